//! What operators see: Prometheus metrics, all under `apiclay_gateway_`, with a label for each listing and outcome and no
//! label a stranger can invent. Counted by the settle phase, read at `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use apiclay_config::clock::Timestamp;
use apiclay_config::snapshot::{Faults, Part};
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::limits::{LeaseBook, Monotonic};
use crate::rebuild::RebuildMetrics;

mod calls;
mod leases;

pub use calls::ListingCalls;
use calls::{Calls, CallsCollector};

/// Bounds of the latency histograms, in seconds.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of the counter store's, which answers within its deadline of half a second.
const COUNTERS_BUCKETS_S: [f64; 11] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5];

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    calls: Calls,
    rejections: IntCounterVec,
    /// The revision that is served.
    pub revision: IntGauge,
    /// How long the counter store takes, by operation and outcome.
    pub counters_duration: HistogramVec,
    /// How long the control plane takes to grant and close leases on wallets, by operation and outcome.
    pub wallets_duration: HistogramVec,
    /// Whether counters are lost, and how often this gateway rebuilt them.
    pub counters_rebuild: RebuildMetrics,
    config_heard_at: IntGauge,
    config_age: Gauge,
    /// When the control plane was last heard, or this began, on `monotonic`: an age must not jump with the wall clock.
    heard_ms: AtomicU64,
    monotonic: Monotonic,
    /// Revisions that were refused.
    pub refused_revisions: IntCounter,
    config_left_out: IntGaugeVec,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Bytes of the spool.
    pub spool_bytes: IntGauge,
    /// Records that are open.
    pub spool_open_records: IntGauge,
    /// Records in no batch yet.
    pub spool_unbatched_records: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When two have one name, which a test would have found.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let name = |name: &str, help: &str| Opts::new(format!("apiclay_gateway_{name}"), help);
        let rejections = IntCounterVec::new(
            name("rejections_total", "Calls refused by the gateway, by code."),
            &["code"],
        )?;
        let counters_duration = HistogramVec::new(
            HistogramOpts::new(
                "apiclay_gateway_counters_duration_seconds",
                "Time the counter store takes to answer, by operation and outcome.",
            )
            .buckets(COUNTERS_BUCKETS_S.to_vec()),
            &["operation", "outcome"],
        )?;
        let wallets_duration = HistogramVec::new(
            HistogramOpts::new(
                "apiclay_gateway_wallets_duration_seconds",
                "Time the control plane takes to answer about wallets, by operation and outcome.",
            )
            .buckets(LATENCY_BUCKETS_S.to_vec()),
            &["operation", "outcome"],
        )?;
        let gauge = |n: &str, help: &str| IntGauge::with_opts(name(n, help));
        let metrics = Self {
            calls: Calls::default(),
            rejections,
            revision: gauge("config_revision", "Revision of the configuration that is served.")?,
            config_heard_at: gauge(
                "config_heard_timestamp_seconds",
                "When the control plane was last heard.",
            )?,
            config_age: Gauge::with_opts(name(
                "config_age_seconds",
                "Time since the last word from the control plane, or since the start where there was none.",
            ))?,
            heard_ms: AtomicU64::new(0),
            monotonic: Monotonic::system(),
            counters_duration,
            wallets_duration,
            counters_rebuild: RebuildMetrics {
                lost: gauge(
                    "counters_lost",
                    "1 while no unit is granted because the counter store lost its memory.",
                )?,
                rebuilt: IntCounter::with_opts(name(
                    "counters_rebuilt_total",
                    "Times that this gateway built lost counters anew.",
                ))?,
            },
            refused_revisions: IntCounter::with_opts(name(
                "config_refused_total",
                "Revisions that were refused.",
            ))?,
            config_left_out: IntGaugeVec::new(
                name("config_left_out", "Parts of the configuration that cannot be served here, by kind."),
                &["kind"],
            )?,
            connections: gauge("connections", "Client connections that are open.")?,
            spool_bytes: gauge("spool_bytes", "Size of the spool on disk.")?,
            spool_open_records: gauge("spool_open_records", "Calls whose record is open.")?,
            spool_unbatched_records: gauge("spool_unbatched_records", "Calls that are in no batch yet.")?,
            registry,
        };
        metrics.register()?;
        Ok(Arc::new(metrics))
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(CallsCollector::new(self.calls.clone())?))?;
        self.registry.register(Box::new(self.rejections.clone()))?;
        self.registry.register(Box::new(self.refused_revisions.clone()))?;
        self.registry.register(Box::new(self.config_left_out.clone()))?;
        self.registry.register(Box::new(self.counters_duration.clone()))?;
        self.registry.register(Box::new(self.wallets_duration.clone()))?;
        self.registry.register(Box::new(self.counters_rebuild.lost.clone()))?;
        self.registry.register(Box::new(self.counters_rebuild.rebuilt.clone()))?;
        self.registry.register(Box::new(self.config_age.clone()))?;
        for gauge in [
            &self.revision,
            &self.config_heard_at,
            &self.connections,
            &self.spool_bytes,
            &self.spool_open_records,
            &self.spool_unbatched_records,
        ] {
            self.registry.register(Box::new(gauge.clone()))?;
        }
        Ok(())
    }

    /// Shows the leases of `book` from now on.
    ///
    /// # Errors
    /// When it shows some already.
    pub fn watch_leases(&self, book: &Arc<LeaseBook>) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(leases::LeaseGauges::new(book)?))
    }

    /// Notes that the control plane was heard just now.
    pub fn config_heard(&self, now: Timestamp) {
        self.config_heard_at.set(now.0 / 1_000);
        self.heard_ms.store(self.monotonic.now_ms(), Relaxed);
    }

    /// Notes which parts of the configuration cannot be served.
    pub fn config_left_out(&self, faults: &Faults) {
        for (kind, parts) in Part::KINDS.into_iter().zip(faults.by_kind()) {
            self.config_left_out.with_label_values(&[kind]).set(i64::from(parts));
        }
    }

    /// Where the calls of a listing, `vendor/listing`, are counted.
    #[must_use]
    pub fn listing(&self, name: &str) -> Arc<ListingCalls> {
        self.calls.of(name)
    }

    /// Counts a refusal.
    pub fn rejected(&self, code: &'static str) {
        self.rejections.with_label_values(&[code]).inc();
    }

    /// Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric has no samples, which registering rules out.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let age_ms = self.monotonic.now_ms().saturating_sub(self.heard_ms.load(Relaxed));
        // Milliseconds of an age are far below what a float holds exactly.
        self.config_age.set(age_ms as f64 / 1_000.0);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
