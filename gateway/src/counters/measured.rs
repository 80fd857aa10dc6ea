//! A counter store whose answers are timed, by operation and outcome, so that operators see a slow or silent store before
//! buyers do. Stands between the lease book and the store; changes nothing that is said.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use prometheus::HistogramVec;

use super::{Close, Counters, CountersError, Grant, GrantRequest};

/// Any counter store, timed.
pub struct MeasuredCounters {
    store: Arc<dyn Counters>,
    durations: HistogramVec,
}

impl MeasuredCounters {
    /// `durations` has the labels `operation` and `outcome`.
    #[must_use]
    pub fn new(store: Arc<dyn Counters>, durations: HistogramVec) -> Self {
        Self { store, durations }
    }

    fn measure<T>(&self, operation: &str, begun: Instant, answer: &Result<T, CountersError>) {
        let outcome = match answer {
            Ok(_) => "ok",
            Err(
                CountersError::Unavailable(_) | CountersError::Wallets(_) | CountersError::WalletFailed(_),
            ) => "unavailable",
            Err(_) => "refused",
        };
        self.durations.with_label_values(&[operation, outcome]).observe(begun.elapsed().as_secs_f64());
    }
}

#[async_trait]
impl Counters for MeasuredCounters {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        let begun = Instant::now();
        let answer = self.store.grant(request).await;
        self.measure("grant", begun, &answer);
        answer
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        let begun = Instant::now();
        let answer = self.store.close(key, closes).await;
        self.measure("close", begun, &answer);
        answer
    }

    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        let begun = Instant::now();
        let answer = self.store.forget(gateway).await;
        self.measure("forget", begun, &answer);
        answer
    }

    async fn ping(&self) -> Result<(), CountersError> {
        let begun = Instant::now();
        let answer = self.store.ping().await;
        self.measure("ping", begun, &answer);
        answer
    }

    fn wallets_are_there(&self) -> bool {
        self.store.wallets_are_there()
    }
}
