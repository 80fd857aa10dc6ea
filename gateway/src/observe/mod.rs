//! What operators see: Prometheus metrics, all under `apiclay_gateway_`, with a label for each listing and outcome and no
//! label a stranger can invent. Counted by the settle phase, read at `/metrics`.

use std::sync::Arc;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Bounds of the latency histograms, in seconds.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Status classes, as label values.
const CLASSES: [&str; 6] = ["interrupted", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    rejections: IntCounterVec,
    duration: HistogramVec,
    /// The revision that is served.
    pub revision: IntGauge,
    /// When the configuration was last heard of, in seconds since 1970.
    pub config_heard_at: IntGauge,
    /// Revisions that were refused.
    pub refused_revisions: IntCounter,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Bytes of the spool.
    pub spool_bytes: IntGauge,
    /// Records that are open.
    pub spool_open_records: IntGauge,
    /// Records in no batch yet.
    pub spool_unbatched_records: IntGauge,
}

/// Counters of one listing, found once and kept by its runtime.
#[derive(Clone)]
pub struct ListingCalls {
    classes: [IntCounter; CLASSES.len()],
    duration: Histogram,
}

impl ListingCalls {
    /// Counts an answered call.
    pub fn answered(&self, status: u16, seconds: f64) {
        self.classes[usize::from(status / 100).min(CLASSES.len() - 1)].inc();
        self.duration.observe(seconds);
    }
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When two have one name, which a test would have found.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let name = |name: &str, help: &str| Opts::new(format!("apiclay_gateway_{name}"), help);
        let calls = IntCounterVec::new(
            name("calls_total", "Calls answered from an upstream."),
            &["listing", "class"],
        )?;
        let rejections = IntCounterVec::new(
            name("rejections_total", "Calls refused by the gateway, by code."),
            &["code"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "apiclay_gateway_call_duration_seconds",
                "From a call's head to its answer's end.",
            )
            .buckets(LATENCY_BUCKETS_S.to_vec()),
            &["listing"],
        )?;
        let gauge = |n: &str, help: &str| IntGauge::with_opts(name(n, help));
        let metrics = Self {
            calls,
            rejections,
            duration,
            revision: gauge("config_revision", "Revision of the configuration that is served.")?,
            config_heard_at: gauge(
                "config_heard_timestamp_seconds",
                "When the control plane was last heard.",
            )?,
            refused_revisions: IntCounter::with_opts(name(
                "config_refused_total",
                "Revisions that were refused.",
            ))?,
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
        self.registry.register(Box::new(self.calls.clone()))?;
        self.registry.register(Box::new(self.rejections.clone()))?;
        self.registry.register(Box::new(self.duration.clone()))?;
        self.registry.register(Box::new(self.refused_revisions.clone()))?;
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

    /// The counters of a listing, `vendor/listing`.
    #[must_use]
    pub fn listing(&self, name: &str) -> ListingCalls {
        ListingCalls {
            classes: CLASSES.map(|class| self.calls.with_label_values(&[name, class])),
            duration: self.duration.with_label_values(&[name]),
        }
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
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
