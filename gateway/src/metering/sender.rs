//! The sender: has batches made every interval and sends them, oldest first, until the control plane has them. While it
//! is away, records stay in the spool and batches on disk; one that is read from there is alone in memory. Next: the control
//! plane's ingest.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::usage::{BATCH_EVENTS_MAX, BatchId};
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::Instant;

use super::batch_file::SealedBatch;
use super::batcher::{Batcher, BatcherError};
use super::spool::Spool;
use super::thread::BatchThread;
use super::units::LeaseLedger;

/// One post may take this long.
const POST_MAX_MS: u64 = 10_000;
/// The wait after the first failure; it doubles, up to the next.
const BACKOFF_FIRST_MS: u64 = 250;
const BACKOFF_MAX_MS: u64 = 30_000;
/// Batches that were refused are tried again after this.
const REFUSED_AGAIN_MS: u64 = 60_000;
/// Batches made in one go at most, so that sending has its turn.
const COLLECTS_MAX: usize = 32;
/// Records in no batch from which on batches do not give way to calls; half a second of a busy gateway's are fewer.
pub(super) const BEHIND_RECORDS: u64 = 8 * BATCH_EVENTS_MAX as u64;

/// A batch that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody answered, or not now: it is sent again, before any other.
    #[error("the control plane cannot be reached: {0}")]
    Retry(String),
    /// It has another batch under this id: set aside, and someone must look.
    #[error("the control plane has another batch under this id: {0}")]
    Conflict(String),
    /// It does not want this one: others go first, and it is tried again later.
    #[error("the control plane refuses the batch: {0}")]
    Refused(String),
}

/// Where batches go.
#[async_trait]
pub trait BatchSink: Send + Sync {
    /// Sends one batch. `Ok` once the control plane has it for good.
    async fn post(&self, batch: &SealedBatch) -> Result<(), PostError>;

    /// Whether the control plane came back since this was asked last: its store may have been restored from a copy that
    /// lacks what it acknowledged.
    fn came_back(&self) -> bool;

    /// Up to which batch of each of these lives the control plane has everything.
    async fn have(&self, lives: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>, PostError>;
}

/// How often, and how long at the end.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions {
    /// Between two rounds of collecting and sending.
    pub interval_ms: u64,
    /// How long what is there at shutdown may take.
    pub shutdown_max_ms: u64,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { interval_ms: 500, shutdown_max_ms: 5_000 }
    }
}

/// Collects and sends until `shutdown` comes true; then collects and sends what is there, within a deadline. What is not
/// sent by then stays on disk for the next life. Others may hold the batcher for a moment.
pub async fn send_forever(
    batcher: Arc<Mutex<Batcher>>,
    spool: Arc<Spool>,
    ledger: Arc<dyn LeaseLedger>,
    sink: impl BatchSink,
    options: SendOptions,
    shutdown: impl Future<Output = ()>,
) {
    let thread = BatchThread::start();
    let interval = Duration::from_millis(options.interval_ms);
    let collected_at = Instant::now();
    let mut sender = Sender {
        thread,
        batcher,
        spool,
        ledger,
        sink,
        interval,
        collected_at,
        to_compare: false,
        failures: 0,
    };
    let mut shutdown = pin!(shutdown);
    let mut send_at = Instant::now();
    let mut refused_at = Instant::now() + Duration::from_millis(REFUSED_AGAIN_MS);
    loop {
        let round = async {
            if sender.is_worth_collecting() {
                sender.collect().await;
            }
            let now = Instant::now();
            if now >= refused_at {
                refused_at = now + Duration::from_millis(REFUSED_AGAIN_MS);
                sender.batcher.lock().resume_postponed();
            }
            sender.compare().await;
            if now >= send_at {
                sender.send_pending().await;
                send_at = Instant::now() + sender.backoff();
            }
            tokio::time::sleep(interval).await;
        };
        tokio::select! {
            () = &mut shutdown => break,
            () = round => {}
        }
    }
    if tokio::time::timeout(Duration::from_millis(options.shutdown_max_ms), sender.finish()).await.is_err() {
        let pending = sender.spool.stats().pending_batches;
        tracing::warn!(
            pending,
            "usage batches were not sent before the deadline: they stay on disk for the next start"
        );
    }
}

struct Sender<S> {
    thread: BatchThread,
    batcher: Arc<Mutex<Batcher>>,
    spool: Arc<Spool>,
    ledger: Arc<dyn LeaseLedger>,
    sink: S,
    /// Between two times that records are taken into batches.
    interval: Duration,
    collected_at: Instant,
    /// Whether the control plane is to be asked what it has.
    to_compare: bool,
    /// Posts that failed in a row.
    failures: u32,
}

impl<S: BatchSink> Sender<S> {
    /// While the control plane is away, records wait in the spool until they fill a batch (or room is short): an hour
    /// away must not become seven thousand files.
    fn is_worth_collecting(&self) -> bool {
        let full = || self.spool.stats().unbatched_records >= BATCH_EVENTS_MAX as u64;
        self.failures == 0 || !self.spool.is_writable() || full()
    }

    /// Whether calls come faster than a thread that gives way makes batches of them: their leases and the spool would run full.
    fn is_behind(&self) -> bool {
        self.spool.stats().unbatched_records >= BEHIND_RECORDS || !self.spool.is_writable()
    }

    /// Takes all closed records into batches.
    async fn collect(&mut self) {
        self.collected_at = Instant::now();
        for _ in 0..COLLECTS_MAX {
            let ledger = Arc::clone(&self.ledger);
            let is_full = |batch: SealedBatch| batch.event_count == BATCH_EVENTS_MAX;
            match self.aside(move |batcher| Ok(batcher.collect(&*ledger)?.is_some_and(is_full))).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failed) => {
                    tracing::error!(error = %failed, cause = ?failed, "usage records stay in the spool for now");
                    return;
                }
            }
        }
    }

    /// Makes pending again what the control plane has acknowledged once and, restored from an earlier copy, lacks.
    async fn compare(&mut self) {
        self.to_compare |= self.sink.came_back();
        if !self.to_compare {
            return;
        }
        let known = self.batcher.lock().acked_lives();
        let asked = tokio::time::timeout(Duration::from_millis(POST_MAX_MS), self.sink.have(&known)).await;
        let Ok(Ok(have)) = asked else { return };
        let lacking = known.into_iter().filter_map(|(epoch, last)| {
            let have_seq = have.get(&epoch).copied()?;
            (have_seq < last).then_some((epoch, have_seq))
        });
        self.to_compare = false;
        for (epoch, have_seq) in lacking {
            let life = epoch.clone();
            match self.aside(move |batcher| batcher.give_again(&life, have_seq)).await {
                Ok(again) => tracing::warn!(
                    epoch,
                    have_seq,
                    again,
                    "the control plane lacks batches that it had: given again"
                ),
                Err(failed) => {
                    tracing::error!(error = %failed, cause = ?failed, "batches that the control plane lacks cannot be given again");
                    self.to_compare = true;
                }
            }
        }
    }

    /// Sends until nothing is pending, or something is in the way.
    async fn send_pending(&mut self) {
        loop {
            // A backlog may take minutes to send: records would fill the spool meanwhile, and their units' leases wait.
            if self.collected_at.elapsed() >= self.interval && self.is_worth_collecting() {
                self.collect().await;
            }
            let is_sent = match self.aside(|batcher| batcher.pending()).await {
                Ok(None) => break self.failures = 0,
                Ok(Some(batch)) => self.send(batch).await,
                Err(failed) => {
                    tracing::error!(error = %failed, cause = ?failed, "usage batches cannot be sent");
                    false
                }
            };
            if !is_sent {
                break self.failures = self.failures.saturating_add(1);
            }
            self.failures = 0;
        }
    }

    /// Sends one; whether the next may follow at once.
    async fn send(&self, batch: SealedBatch) -> bool {
        let posted = tokio::time::timeout(Duration::from_millis(POST_MAX_MS), self.sink.post(&batch)).await;
        // Its room is free with the last who has it.
        let SealedBatch { id, body, .. } = batch;
        drop(body);
        let BatchId { from, seq } = &id.clone();
        let done = match posted {
            Ok(Ok(())) => self.aside(move |batcher| batcher.acknowledged(&id)).await,
            Ok(Err(conflict @ PostError::Conflict(_))) => {
                tracing::error!(epoch = from.epoch, seq, error = %conflict, "a usage batch is set aside: someone must look");
                self.aside(move |batcher| batcher.set_aside(&id)).await
            }
            Ok(Err(refused @ PostError::Refused(_))) => {
                tracing::error!(epoch = from.epoch, seq, error = %refused, "a usage batch will be tried again later");
                self.batcher.lock().postpone(&id);
                Ok(())
            }
            Ok(Err(away @ PostError::Retry(_))) => {
                tracing::warn!(epoch = from.epoch, seq, error = %away, "a usage batch will be sent again");
                return false;
            }
            Err(_elapsed) => {
                tracing::warn!(
                    epoch = from.epoch,
                    seq,
                    "a usage batch got no answer in time and will be sent again"
                );
                return false;
            }
        };
        done.inspect_err(
            |failed| tracing::error!(error = %failed, cause = ?failed, "a batch will be sent again"),
        )
        .is_ok()
    }

    /// The last round: tries until all is sent; the caller sets the deadline.
    async fn finish(&mut self) {
        self.collect().await;
        loop {
            self.send_pending().await;
            if self.failures == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(BACKOFF_FIRST_MS)).await;
        }
    }

    /// Nothing after success; after failures a wait that doubles, spread over its second half so that gateways that
    /// lost the same control plane do not come back together.
    fn backoff(&self) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
        let full_ms = doubled.min(BACKOFF_MAX_MS);
        Duration::from_millis(rand::rng().random_range(full_ms / 2..=full_ms))
    }

    /// Runs a step on the thread of batches, unless much is behind. Should this future be dropped, the step still comes to its
    /// end, and the batcher is there for the next.
    async fn aside<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Batcher) -> Result<T, BatcherError> + Send + 'static,
    ) -> Result<T, BatcherError> {
        let batcher = Arc::clone(&self.batcher);
        // Unlocked and let go of before anybody hears of it: the spool's folder may be opened again then.
        let step = move || step(&mut batcher.lock());
        self.thread.run(self.is_behind(), step).await?
    }
}
