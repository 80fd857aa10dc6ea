//! What all calls of a gateway share: the configuration that is served, the spool, metrics, and a few settings. Phases
//! read it; `sync` swaps its runtime, whole.

use std::sync::Arc;

use apiclay_config::clock::Clock;
use arc_swap::ArcSwapOption;

use crate::counters::wallet::TopUp;
use crate::metering::Spool;
use crate::observe::Metrics;
use crate::runtime::Runtime;

/// The shared part of a gateway.
pub struct Gateway {
    runtime: ArcSwapOption<Runtime>,
    /// Where calls are recorded.
    pub spool: Arc<Spool>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Request bodies beyond this are refused.
    pub body_max_bytes: u64,
    /// Where buyers top up their wallets, once the control plane said it.
    pub top_up: Arc<TopUp>,
    /// `listing.vendor.DOMAIN` names a listing, where the gateway has a domain.
    domain: Option<String>,
}

impl Gateway {
    /// A gateway without a configuration.
    #[must_use]
    pub fn new(
        spool: Arc<Spool>,
        metrics: Arc<Metrics>,
        clock: Clock,
        body_max_bytes: u64,
        domain: Option<String>,
        top_up: Arc<TopUp>,
    ) -> Self {
        let domain = domain.map(|d| format!(".{}", d.to_ascii_lowercase()));
        Self { runtime: ArcSwapOption::empty(), spool, metrics, clock, body_max_bytes, top_up, domain }
    }

    /// The configuration for a new call.
    #[must_use]
    pub fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.load_full()
    }

    /// Serves `runtime` from the next call on.
    pub fn serve(&self, runtime: Runtime) {
        self.metrics.revision.set(i64::try_from(runtime.revision).unwrap_or(i64::MAX));
        self.runtime.store(Some(Arc::new(runtime)));
    }

    /// `vendor/listing`, where the host names one.
    #[must_use]
    pub fn listing_by_host(&self, host: &str) -> Option<String> {
        let domain = self.domain.as_deref()?;
        let host = host.to_ascii_lowercase();
        let (listing, vendor) = host.strip_suffix(domain)?.split_once('.')?;
        (!vendor.contains('.')).then(|| format!("{vendor}/{listing}"))
    }
}
