//! Folding: the waiting batches of each gateway's life, in the order of their seqs and without a gap, into the rollups; then
//! the cursor moves. A crash between the two folds them again, which the rollups notice. Run by a job on every control
//! plane, woken by `ingest`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::GatewayEpoch;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

use super::documents::{FoldCursor, StoredBatch, batches_from, epoch_id};
use super::rebuild::record;
use super::rollup::{Portion, Rollup, portions};
use crate::store::{Document as _, FIRST_VERSION, Query, Store, StoreError};
use crate::wallet::leases::used;

/// Batches folded together.
const BATCHES_AT_ONCE_MAX: usize = 16;
/// Rollups written at the same time.
const WRITES_AT_ONCE_MAX: usize = 16;
/// Tries of one rollup while others write it.
const TRIES_MAX: usize = 50;
/// For so long it is remembered that a life's cursor is open.
const OPEN_REMEMBERED_MS: i64 = 60_000;
/// A life of which nothing has come for so long is looked at no more, until something comes.
const CLOSE_AFTER_MS: i64 = 3_600_000;
/// How often all open lives are looked at, woken or not: other control planes ingest too.
pub const SWEEP_INTERVAL_MS: u64 = 1_000;

/// The folding of one control plane.
pub struct Fold {
    store: Store,
    clock: Clock,
    woken: Notify,
    /// Lives whose cursor was seen open, and when.
    open: Mutex<HashMap<GatewayEpoch, Timestamp>>,
    conflicts: IntCounter,
}

impl Fold {
    /// Over this store; `conflicts` counts batches that contradicted one.
    #[must_use]
    pub fn new(store: Store, clock: Clock, conflicts: IntCounter) -> Self {
        Self { store, clock, woken: Notify::new(), open: Mutex::default(), conflicts }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn conflict(&self) {
        self.conflicts.inc();
    }

    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Makes sure that a life's batches are looked for, before one of them is inserted.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open(&self, from: &GatewayEpoch) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.open.lock().get(from).is_some_and(|seen| *seen > now.plus_ms(-OPEN_REMEMBERED_MS)) {
            return Ok(());
        }
        loop {
            let written = match self.store.get::<FoldCursor>(&epoch_id(from)).await? {
                // Far from being closed: the batch will be there before any round could do it.
                Some(cursor)
                    if cursor.value.open == Some(true)
                        && cursor.value.folded_at > now.plus_ms(-CLOSE_AFTER_MS / 2) =>
                {
                    Ok(())
                }
                Some(mut cursor) => {
                    cursor.value.open = Some(true);
                    cursor.value.folded_at = now;
                    self.store.replace(&cursor.value, cursor.version).await.map(|_| ())
                }
                None => {
                    let cursor = FoldCursor::new(from.clone(), now);
                    self.store.insert(&cursor).await
                }
            };
            match written {
                Ok(()) => break,
                // Somebody else opened or moved it: look again.
                Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut open = self.open.lock();
        open.retain(|_, seen| *seen > now.plus_ms(-OPEN_REMEMBERED_MS));
        open.insert(from.clone(), now);
        Ok(())
    }

    /// Folds until it is told to stop.
    pub async fn run(&self) {
        loop {
            if let Err(error) = self.fold_all().await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(cause, "usage could not be folded and will be tried again: {error}");
                tokio::time::sleep(Duration::from_millis(SWEEP_INTERVAL_MS)).await;
            }
            let sweep = Duration::from_millis(SWEEP_INTERVAL_MS);
            let _woken_or_due = tokio::time::timeout(sweep, self.woken.notified()).await;
        }
    }

    /// Folds what there is of every open life.
    ///
    /// # Errors
    /// The first of them, where a life could not be folded or the store does not answer; what was folded stays.
    pub async fn fold_all(&self) -> Result<(), StoreError> {
        let mut cursor = None;
        let mut failed = None;
        loop {
            let page = self.store.query::<FoldCursor>(&Query::by("open").equals(true).cursor(cursor)).await?;
            for open in page.items {
                // One life that cannot be folded (a damaged batch, say) holds up no other.
                if let Err(error) = self.fold_life(&open.value.from).await {
                    tracing::error!(life = open.value.id(), %error, "a life's usage could not be folded");
                    failed.get_or_insert(error);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return failed.map_or(Ok(()), Err);
            }
        }
    }

    async fn fold_life(&self, from: &GatewayEpoch) -> Result<(), StoreError> {
        while self.fold_some(from).await? {}
        Ok(())
    }

    /// Folds the next few batches of one life; whether there may be more.
    async fn fold_some(&self, from: &GatewayEpoch) -> Result<bool, StoreError> {
        let id = epoch_id(from);
        let Some(mut cursor) = self.store.get::<FoldCursor>(&id).await? else { return Ok(false) };
        let (first, below) = batches_from(from, cursor.value.folded_seq + 1);
        let query = Query::by("id").from(first).below(below).limit(BATCHES_AT_ONCE_MAX);
        let waiting: Vec<StoredBatch> = self
            .store
            .query::<StoredBatch>(&query)
            .await?
            .items
            .into_iter()
            .map(|found| found.value)
            .collect();
        let now = self.clock.now();
        let seqs = waiting.iter().map(|batch| batch.batch.id.seq);
        let ready =
            (cursor.value.folded_seq + 1..).zip(seqs).take_while(|(wanted, seq)| wanted == seq).count();
        let gap_before = waiting.get(ready).map(|batch| batch.batch.id.seq);
        if ready > 0 {
            let last = cursor.value.folded_seq + ready as u64;
            self.write(from, &waiting[..ready]).await?;
            cursor.value.folded_seq = last;
            cursor.value.folded_at = now;
            // In the write that steps over it: whoever declared it may have crashed before it was noted.
            for lost in waiting[..ready].iter().filter(|batch| batch.declared_lost) {
                cursor.value.note_lost(lost.batch.id.seq);
            }
        } else if waiting.is_empty() && cursor.value.folded_at < now.plus_ms(-CLOSE_AFTER_MS) {
            cursor.value.open = None;
        } else if cursor.value.blocked_by_gap_before == gap_before {
            return Ok(false);
        }
        cursor.value.blocked_by_gap_before = gap_before;
        if ready == 0
            && let Some(seq) = gap_before
        {
            tracing::warn!(
                life = id,
                seq,
                missing = cursor.value.folded_seq + 1,
                "folding waits for a missing batch"
            );
        }
        match self.store.replace(&cursor.value, cursor.version).await {
            // Another control plane folds the same life: what it wrote stands, and what is left will be found.
            Err(StoreError::VersionMismatch) => Ok(ready > 0),
            Err(error) => Err(error),
            Ok(_) => {
                let folded_seq = cursor.value.folded_seq;
                record::folded(&self.store, from, folded_seq - ready as u64, folded_seq).await?;
                Ok(ready > 0)
            }
        }
    }

    /// Writes batches that follow each other into their rollups, and into the leases that their calls were paid from.
    async fn write(&self, from: &GatewayEpoch, batches: &[StoredBatch]) -> Result<(), StoreError> {
        let epoch = &epoch_id(from);
        let mut by_lease = used::UsedByLease::new();
        let mut by_rollup: BTreeMap<(SubscriptionId, i64), Portion> = BTreeMap::new();
        for batch in batches {
            // It was held against its hash when it came; what cannot be read now was damaged in the store.
            let events = batch.batch.unpack().map_err(|wrong| StoreError::Corrupt {
                collection: "usage_batches",
                id: epoch.clone(),
                source: wrong.into(),
            })?;
            used::gather(&mut by_lease, batch.batch.id.seq, &events);
            for (place, part) in portions(events, batch.received_at) {
                by_rollup.entry(place).or_default().insert(batch.batch.id.seq, part);
            }
        }
        used::note(&self.store, from, by_lease).await?;
        stream::iter(by_rollup)
            .map(|((subscription, hour), portion)| self.write_one(epoch, subscription, hour, portion))
            .buffer_unordered(WRITES_AT_ONCE_MAX)
            .try_collect()
            .await
    }

    async fn write_one(
        &self,
        epoch: &str,
        subscription: SubscriptionId,
        hour: i64,
        portion: Portion,
    ) -> Result<(), StoreError> {
        for _ in 0..TRIES_MAX {
            let known = self.store.get::<Rollup>(&Rollup::id_of(subscription, hour)).await?;
            let (mut rollup, version) = known.map_or_else(
                || (Rollup::new(subscription, hour), None),
                |known| (known.value, Some(known.version)),
            );
            if !rollup.apply(epoch, &portion) {
                return Ok(());
            }
            let written = match version {
                Some(version) => self.store.replace(&rollup, version).await,
                None => self.store.insert(&rollup).await.map(|()| FIRST_VERSION),
            };
            match written {
                Ok(_) => return Ok(()),
                Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::VersionMismatch)
    }
}
