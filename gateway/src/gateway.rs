//! What all calls of a gateway share: the configuration that is served, the spool, metrics, and a few settings. Phases
//! read it; `sync` swaps its runtime, whole.

use std::sync::Arc;

use apiclay_config::clock::Clock;
use arc_swap::{ArcSwapOption, Guard};
use arrayvec::ArrayString;

use crate::counters::wallet::TopUp;
use crate::metering::Spool;
use crate::observe::Metrics;
use crate::runtime::Runtime;

/// A host has no longer names (RFC 1035, section 2.3.4).
const HOST_NAME_MAX_BYTES: usize = 255;

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

    /// The configuration that is served.
    #[must_use]
    pub fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.load_full()
    }

    /// The same for as long as a call looks things up in it: nothing is written that threads share. Not to be held across a wait.
    #[must_use]
    pub fn pinned(&self) -> Guard<Option<Arc<Runtime>>> {
        self.runtime.load()
    }

    /// Serves `runtime` from the next call on. What was served before is the caller's to let go of, once no call looks anything
    /// up in it any more: to free a large one takes a while.
    pub fn serve(&self, runtime: Runtime) -> Option<Arc<Runtime>> {
        self.metrics.revision.set(i64::try_from(runtime.revision).unwrap_or(i64::MAX));
        self.runtime.swap(Some(Arc::new(runtime)))
    }

    /// `vendor/listing`, where the host names one.
    #[must_use]
    pub fn listing_by_host(&self, host: &[u8]) -> Option<ArrayString<HOST_NAME_MAX_BYTES>> {
        let domain = self.domain.as_deref()?;
        // A host that was let through is of ASCII.
        let host = std::str::from_utf8(host).ok()?;
        let (names, tail) = host.split_at_checked(host.len().checked_sub(domain.len())?)?;
        let (listing, vendor) = names.split_once('.').filter(|_| tail.eq_ignore_ascii_case(domain))?;
        if vendor.contains('.') {
            return None;
        }
        let mut name = ArrayString::new();
        for part in [vendor, "/", listing] {
            if name.try_push_str(part).is_err() {
                // Too long for any listing's name, and not to be read as another's path.
                return Some(ArrayString::new());
            }
        }
        name.make_ascii_lowercase();
        Some(name)
    }
}
