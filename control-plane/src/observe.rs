//! What the control plane measures, by Prometheus' conventions, all under `apiclay_control_`. A registry of its own and
//! no global one, so that both planes and many tests can stand in one process; the admin listener reads [`Metrics::text`].

use std::time::Duration;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, exponential_buckets,
};

use crate::store::Store;

/// The metrics of one control plane, cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Batches whose id another content has.
    pub(crate) usage_conflicts: IntCounter,
    /// The last revision of the configuration that is known here.
    pub(crate) config_revision: IntGauge,
    /// Gateways that were heard of lately.
    pub(crate) live_gateways: IntGauge,
    /// What the last check of the books found wrong.
    pub(crate) books_faults: IntGauge,
    /// When that began, in seconds since 1970; 0 where there was none.
    pub(crate) books_checked_s: IntGauge,
    /// Days of usage that are over and cannot be summed.
    pub(crate) usage_unsummed: IntGauge,
    /// Refunds that an admin is to decide.
    pub(crate) refunds_undecided: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    ///
    /// # Panics
    /// Never: names and labels are constants, and a test makes them once.
    #[must_use]
    #[allow(
        clippy::expect_used,
        reason = "names, labels and buckets are constants, which any test would find wrong"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("apiclay_control_requests_total", "Requests to the control plane."),
            &["route", "method", "status_class"],
        )
        .expect("constant");
        // 0.5 ms to 16 s: from a look-up to a password under load.
        let buckets = exponential_buckets(0.0005, 2.0, 16).expect("constant");
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "apiclay_control_request_duration_seconds",
                "Time from a request's headers to its answer's.",
            )
            .buckets(buckets),
            &["route"],
        )
        .expect("constant");
        let usage_conflicts = IntCounter::new(
            "apiclay_control_usage_conflicts_total",
            "Usage batches whose id another content has; each is kept in usage_conflicts and counted in no bill.",
        )
        .expect("constant");
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("constant");
            registry.register(Box::new(gauge.clone())).expect("registered once");
            gauge
        };
        let config_revision = gauge(
            "apiclay_control_config_revision",
            "Last revision of the configuration that this control plane knows of.",
        );
        let live_gateways = gauge("apiclay_control_live_gateways", "Gateways that were heard of lately.");
        let books_faults = gauge(
            "apiclay_control_books_faults",
            "Things that the last check found wrong in the journal, or different between it and usage on record.",
        );
        let usage_unsummed = gauge(
            "apiclay_control_usage_unsummed",
            "Days of a subscription's usage that are over and cannot be summed: the log says why; they are read by their hours.",
        );
        let refunds_undecided = gauge(
            "apiclay_control_refunds_undecided",
            "Refunds of which the provider says nothing usable: an admin is to say what became of them.",
        );
        let books_checked_s =
            gauge("apiclay_control_books_checked_timestamp_seconds", "When the books were last checked.");
        registry.register(Box::new(usage_conflicts.clone())).expect("registered once");
        registry.register(Box::new(requests.clone())).expect("registered once");
        registry.register(Box::new(durations.clone())).expect("registered once");
        Self {
            registry,
            requests,
            durations,
            usage_conflicts,
            config_revision,
            live_gateways,
            books_faults,
            usage_unsummed,
            refunds_undecided,
            books_checked_s,
        }
    }

    /// Where other parts of the control plane register what they measure.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Shows how long `store` takes from now on; once.
    #[allow(clippy::expect_used, reason = "the name is a constant, which any test would find twice")]
    pub(crate) fn watch_store(&self, store: &Store) {
        self.registry.register(Box::new(store.durations())).expect("registered once");
    }

    /// Counts one answered request. `route` is a template, so that series are as many as routes.
    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        // A method of the client's own invention must not make a series.
        let method = if matches!(method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
            method
        } else {
            "other"
        };
        self.requests.with_label_values(&[route, method, class]).inc();
        self.durations.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
