//! A backend whose answers are timed, by operation and outcome: all documents of one operation together, so that series are
//! few. Stands before each backend; [`super::Store::durations`] gives the histogram to whoever shows it.

use std::path::Path;
use std::time::Instant;

use async_trait::async_trait;
use prometheus::{HistogramOpts, HistogramVec, exponential_buckets};

use super::Backend;
use super::document::{Collection, Record};
use super::error::StoreError;
use super::query::{RecordPage, Walk};

/// The first bucket's bound in seconds, and how many there are, each twice the one before: to 3.3 s.
const BUCKET_FIRST_S: f64 = 0.0001;
const BUCKETS: usize = 16;

/// The histogram of one store.
#[allow(
    clippy::expect_used,
    reason = "names, labels and buckets are constants, which any test would find wrong"
)]
pub(super) fn durations() -> HistogramVec {
    let buckets = exponential_buckets(BUCKET_FIRST_S, 2.0, BUCKETS).expect("constant");
    let options = HistogramOpts::new(
        "apiclay_control_store_duration_seconds",
        "Time the store takes to answer, by operation and outcome.",
    );
    HistogramVec::new(options.buckets(buckets), &["operation", "outcome"]).expect("constant")
}

/// Any backend, timed.
pub(super) struct Measured<B> {
    pub(super) backend: B,
    pub(super) durations: HistogramVec,
}

impl<B> Measured<B> {
    async fn time<T>(
        &self,
        operation: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = work.await;
        let outcome = match &answer {
            Ok(_) => "ok",
            // Not faults: how writers find out about each other.
            Err(StoreError::Duplicate { .. } | StoreError::VersionMismatch) => "conflict",
            Err(_) => "error",
        };
        self.durations.with_label_values(&[operation, outcome]).observe(begun.elapsed().as_secs_f64());
        answer
    }
}

#[async_trait]
impl<B: Backend> Backend for Measured<B> {
    async fn register(&self, collection: Collection) -> Result<(), StoreError> {
        self.time("register", self.backend.register(collection)).await
    }

    async fn get(&self, collection: Collection, id: &str) -> Result<Option<Record>, StoreError> {
        self.time("get", self.backend.get(collection, id)).await
    }

    async fn insert(&self, collection: Collection, record: Record) -> Result<(), StoreError> {
        self.time("insert", self.backend.insert(collection, record)).await
    }

    async fn replace(&self, collection: Collection, record: Record, version: i64) -> Result<i64, StoreError> {
        self.time("replace", self.backend.replace(collection, record, version)).await
    }

    async fn delete(&self, collection: Collection, id: &str) -> Result<bool, StoreError> {
        self.time("delete", self.backend.delete(collection, id)).await
    }

    async fn query(&self, walk: Walk) -> Result<RecordPage, StoreError> {
        self.time("query", self.backend.query(walk)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.time("ping", self.backend.ping()).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.time("backup", self.backend.backup(to)).await
    }
}
