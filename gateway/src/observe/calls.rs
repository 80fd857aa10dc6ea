//! Calls by listing. Each thread that answers calls counts in a row of its own, so that no two write to one cache line; the rows
//! are added up when Prometheus asks. A listing that is not called has no row and no line in the answer: a large market has
//! many of these. Next: `/metrics`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::LATENCY_BUCKETS_S;
use crate::thread_number::thread_number;

/// Rows of a listing at most: threads beyond them share.
const ROWS_MAX: usize = 64;
/// Status classes, as label values.
const CLASSES: [&str; 6] = ["interrupted", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// [`LATENCY_BUCKETS_S`] in microseconds.
const BOUNDS_US: [u64; LATENCY_BUCKETS_S.len()] = {
    let mut bounds = [0; LATENCY_BUCKETS_S.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (LATENCY_BUCKETS_S[at] * 1e6 + 0.5) as u64;
        at += 1;
    }
    bounds
};
const US_PER_S: f64 = 1e6;

/// What one thread counted.
#[derive(Default)]
#[repr(align(64))]
struct Row {
    classes: [AtomicU64; CLASSES.len()],
    /// Calls that took up to each bound, each in one bucket; the last one is of those beyond.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// The calls of one listing.
#[derive(Default)]
pub struct ListingCalls(OnceLock<Box<[Row]>>);

impl ListingCalls {
    /// Counts an answered call.
    pub fn answered(&self, status: u16, took: Duration) {
        let rows = self.0.get_or_init(|| (0..rows()).map(|_| Row::default()).collect());
        let row = &rows[thread_number() % rows.len()];
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        row.classes[usize::from(status / 100).min(CLASSES.len() - 1)].fetch_add(1, Relaxed);
        row.buckets[bucket].fetch_add(1, Relaxed);
        row.sum_us.fetch_add(us, Relaxed);
    }

    fn sum(&self, counter: impl Fn(&Row) -> &AtomicU64) -> u64 {
        self.0.get().into_iter().flatten().map(|row| counter(row).load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// One a core: a gateway has as many workers, unless it is told otherwise.
fn rows() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(ROWS_MAX)
}

/// The calls of all listings, by `vendor/listing`. What was counted of a listing stays, whatever becomes of it.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<Box<str>, Arc<ListingCalls>>>>);

impl Calls {
    /// Where a listing's calls are counted.
    pub fn of(&self, listing: &str) -> Arc<ListingCalls> {
        let mut listings = self.0.lock();
        if let Some(known) = listings.get(listing) {
            return Arc::clone(known);
        }
        Arc::clone(listings.entry(listing.into()).or_default())
    }
}

/// Shows them to Prometheus.
pub struct CallsCollector {
    calls: Calls,
    total: Desc,
    duration: Desc,
}

impl CallsCollector {
    /// A collector of `calls`.
    ///
    /// # Errors
    /// When a name is none of Prometheus', which a test would have found.
    pub fn new(calls: Calls) -> Result<Self, prometheus::Error> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(format!("apiclay_gateway_{name}"), help.to_owned(), labels, HashMap::new())
        };
        Ok(Self {
            calls,
            total: desc("calls_total", "Calls answered from an upstream.", &["class", "listing"])?,
            duration: desc("call_duration_seconds", "From a call's head to its answer's end.", &["listing"])?,
        })
    }
}

impl Collector for CallsCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.total, &self.duration]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut listings = self.calls.0.lock();
        listings.retain(|_, calls| calls.0.get().is_some() || Arc::strong_count(calls) > 1);
        let called = listings.iter().filter(|(_, calls)| calls.0.get().is_some());
        let mut called: Vec<(Box<str>, Arc<ListingCalls>)> =
            called.map(|(name, calls)| (name.clone(), Arc::clone(calls))).collect();
        drop(listings);
        called.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let totals: Vec<Metric> = called.iter().flat_map(|(name, calls)| totals(name, calls)).collect();
        let durations = called.iter().map(|(name, calls)| duration(name, calls)).collect();
        let families =
            [(&self.total, MetricType::COUNTER, totals), (&self.duration, MetricType::HISTOGRAM, durations)];
        // Prometheus' library takes no family without a metric.
        families.into_iter().filter(|(_, _, metrics)| !metrics.is_empty()).map(family).collect()
    }
}

fn family((desc, kind, metrics): (&Desc, MetricType, Vec<Metric>)) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn totals(listing: &str, calls: &ListingCalls) -> Vec<Metric> {
    let total = |(place, class): (usize, &&str)| {
        let mut counter = Counter::default();
        counter.set_value(calls.sum(|row| &row.classes[place]) as f64);
        let mut metric = Metric::from_label(vec![label("class", class), label("listing", listing)]);
        metric.set_counter(counter);
        metric
    };
    CLASSES.iter().enumerate().map(total).collect()
}

fn duration(listing: &str, calls: &ListingCalls) -> Metric {
    let mut up_to = 0;
    let buckets = LATENCY_BUCKETS_S.iter().enumerate().map(|(place, bound)| {
        up_to += calls.sum(|row| &row.buckets[place]);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(up_to);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(up_to + calls.sum(|row| &row.buckets[BOUNDS_US.len()]));
    // Microseconds of a process's life are far below what a float holds exactly.
    histogram.set_sample_sum(calls.sum(|row| &row.sum_us) as f64 / US_PER_S);
    let mut metric = Metric::from_label(vec![label("listing", listing)]);
    metric.set_histogram(histogram);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_counted_is_added_up_and_what_nobody_called_is_not_told() {
        let calls = Calls::default();
        let registry = prometheus::Registry::new();
        registry.register(Box::new(CallsCollector::new(calls.clone()).unwrap())).unwrap();
        let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let (called, quiet) = (calls.of("acme/echo"), calls.of("acme/quiet"));
        assert_eq!(text(), "");
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    called.answered(200, Duration::from_micros(500));
                    called.answered(503, Duration::from_secs(11));
                });
            }
        });
        let told = text();
        for line in [
            "apiclay_gateway_calls_total{class=\"2xx\",listing=\"acme/echo\"} 8",
            "apiclay_gateway_calls_total{class=\"4xx\",listing=\"acme/echo\"} 0",
            "apiclay_gateway_calls_total{class=\"5xx\",listing=\"acme/echo\"} 8",
            "apiclay_gateway_call_duration_seconds_bucket{listing=\"acme/echo\",le=\"0.0005\"} 8",
            "apiclay_gateway_call_duration_seconds_bucket{listing=\"acme/echo\",le=\"10\"} 8",
            "apiclay_gateway_call_duration_seconds_bucket{listing=\"acme/echo\",le=\"+Inf\"} 16",
            "apiclay_gateway_call_duration_seconds_sum{listing=\"acme/echo\"} 88.004",
            "apiclay_gateway_call_duration_seconds_count{listing=\"acme/echo\"} 16",
        ] {
            assert!(told.lines().any(|one| one == line), "{line}\n{told}");
        }
        assert!(!told.contains("quiet"));
        drop((called, quiet));
        text();
        assert_eq!(calls.0.lock().len(), 1, "what was counted stays, and what was not is forgotten");
        assert_eq!(calls.of("acme/echo").sum(|row| &row.classes[2]), 8);
    }
}
