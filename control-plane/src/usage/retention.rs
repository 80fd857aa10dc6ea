//! How long raw usage and the minutes of rollups are kept. A batch that is folded and older than the operator says is deleted, by a job on every
//! control plane (`jobs`); its rollups stay, and they are what usage is read from; so does the sum of its units, which lost
//! counters are built anew from (`rebuild::record`). Never deleted: what is not folded yet,
//! batches that contradict one, and the empty ones that hold the place of a batch declared lost. A deleted batch that comes
//! again is folded no second time: its life's cursor has passed it. Of minutes the hour's sums stay (`days`). Shown and set in `admin::routes_retention`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};

use super::days;
use super::documents::{FoldCursor, StoredBatch, batch_id};
use super::rebuild::record;
use crate::refusal::Refusal;
use crate::store::{Document, Index, Query, Store, StoreError};

/// For so many days raw usage is kept where nobody says otherwise.
pub const USAGE_EVENTS_KEEP_DEFAULT_DAYS: u32 = 90;
/// Fewest days: by then every life that is not blocked has been folded.
pub const USAGE_KEEP_MIN_DAYS: u32 = 1;
/// Most days.
pub const USAGE_KEEP_MAX_DAYS: u32 = 3_650;
/// For so many days usage is told by the minute where nobody says otherwise.
pub const USAGE_MINUTES_KEEP_DEFAULT_DAYS: u32 = 90;
/// Batches deleted in one run; the next goes on.
const DELETED_A_RUN_MAX_BATCHES: u64 = 100_000;
/// Batches read together: each may be large.
const BATCHES_AT_ONCE_MAX: usize = 16;
/// Tries where other control planes write the same document.
const TRIES_MAX: usize = 10;
const DAY_MS: i64 = 86_400_000;

/// What the operator said. Absent where he said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Raw usage is kept for so many days.
    pub usage_events_keep_days: u32,
    /// Usage is told by the minute for so many days, then by the hour.
    #[serde(default = "minutes_by_default")]
    pub usage_minutes_keep_days: u32,
    /// Who said so.
    pub by: AccountId,
    /// When.
    pub changed_at: Timestamp,
}

const fn minutes_by_default() -> u32 {
    USAGE_MINUTES_KEEP_DEFAULT_DAYS
}

impl Retention {
    /// There is one such document.
    pub const ID: &'static str = "retention";
}

impl Document for Retention {
    const COLLECTION: &'static str = "retention";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

/// What the job did. Absent until it first ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRun {
    /// When it last ran, on whichever control plane.
    pub at: Timestamp,
    /// Batches that this run deleted.
    pub deleted_batches: u64,
    /// Batches that all runs have deleted.
    pub deleted_batches_total: u64,
    /// All that were ever deleted had come before this; absent while none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_before: Option<Timestamp>,
}

impl RetentionRun {
    /// There is one such document.
    pub const ID: &'static str = "usage_events";
}

impl Document for RetentionRun {
    const COLLECTION: &'static str = "retention_runs";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

/// Checks what the operator says.
///
/// # Errors
/// Where it is out of range.
pub fn check(events_days: u32, minutes_days: u32) -> Result<(), Refusal> {
    let named = [("/usage_events_keep_days", events_days), ("/usage_minutes_keep_days", minutes_days)];
    for (field, days) in named {
        if !(USAGE_KEEP_MIN_DAYS..=USAGE_KEEP_MAX_DAYS).contains(&days) {
            let rule = format!("{USAGE_KEEP_MIN_DAYS} to {USAGE_KEEP_MAX_DAYS} days");
            return Err(Refusal::field(field, "out_of_range", rule));
        }
    }
    Ok(())
}

/// Deletes what is due, and keeps how much that was. Safe to run twice at once.
///
/// # Errors
/// Where the store does not answer; what was deleted by then is counted all the same.
pub async fn run(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let said = store.get::<Retention>(Retention::ID).await?;
    let days = said.map_or(USAGE_EVENTS_KEEP_DEFAULT_DAYS, |said| said.value.usage_events_keep_days);
    let older_than = now.plus_ms(-i64::from(days) * DAY_MS);
    let mut run = Run { store, now, older_than, deleted: 0 };
    let done = run.delete_all().await;
    let deleted = run.deleted;
    note(store, now, |known| {
        known.at = now;
        known.deleted_batches = deleted;
        known.deleted_batches_total = known.deleted_batches_total.saturating_add(deleted);
    })
    .await?;
    done.map(|()| deleted)
}

/// Drops minutes that are kept no longer; of how many hours. Safe to run twice at once.
///
/// # Errors
/// Where the store does not answer.
pub async fn drop_minutes(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let said = store.get::<Retention>(Retention::ID).await?;
    let days = said.map_or(USAGE_MINUTES_KEEP_DEFAULT_DAYS, |said| said.value.usage_minutes_keep_days);
    days::drop_minutes(store, now.0.div_euclid(DAY_MS) - i64::from(days)).await
}

/// A run as it goes.
struct Run<'a> {
    store: &'a Store,
    now: Timestamp,
    older_than: Timestamp,
    deleted: u64,
}

impl Run<'_> {
    async fn delete_all(&mut self) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = self.store.query::<FoldCursor>(&Query::by("id").cursor(cursor)).await?;
            for life in page.items {
                self.delete_of(&life.value).await?;
            }
            cursor = page.next_cursor;
            if cursor.is_none() || self.deleted >= DELETED_A_RUN_MAX_BATCHES {
                return Ok(());
            }
        }
    }

    /// Deletes a life's batches from the first up to what is folded, and ends at the first that is not old: they came in
    /// their order, but for what was late, which a later run finds.
    async fn delete_of(&mut self, life: &FoldCursor) -> Result<(), StoreError> {
        let first = batch_id(&life.from, 0);
        let below = batch_id(&life.from, life.folded_seq.saturating_add(1));
        let mut cursor = None;
        let mut added_up = record::added_up(self.store, &life.from).await?;
        while self.deleted < DELETED_A_RUN_MAX_BATCHES {
            let query = Query::by("id").from(first.as_str()).below(below.as_str());
            let query = query.limit(BATCHES_AT_ONCE_MAX).cursor(cursor);
            let page = self.store.query::<StoredBatch>(&query).await?;
            for batch in page.items {
                if batch.value.declared_lost {
                    continue;
                }
                if batch.value.received_at >= self.older_than {
                    return Ok(());
                }
                let seq = batch.value.batch.id.seq;
                if seq > added_up {
                    added_up = last_old(self.store, life, seq, self.older_than).await?;
                    record::add_up(self.store, &life.from, added_up).await?;
                }
                self.delete(&batch.value).await?;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, batch: &StoredBatch) -> Result<(), StoreError> {
        if self.deleted == 0 {
            // Before the first goes: whoever holds usage against the books must not miss it, wherever this run ends.
            let older_than = self.older_than;
            note(self.store, self.now, |known| {
                // A run that kept less has deleted what this one would keep.
                known.deleted_before = known.deleted_before.max(Some(older_than));
            })
            .await?;
        }
        self.deleted += u64::from(self.store.delete::<StoredBatch>(&batch.id()).await?);
        Ok(())
    }
}

/// The last of a life's folded batches, from one that is old on, before the first that is not; at most a block's.
async fn last_old(
    store: &Store,
    life: &FoldCursor,
    old_seq: u64,
    older_than: Timestamp,
) -> Result<u64, StoreError> {
    let end = life.folded_seq.saturating_add(1).min(old_seq.saturating_add(record::BLOCK_BATCHES));
    let (first, below) = (batch_id(&life.from, old_seq), batch_id(&life.from, end));
    let (mut last, mut cursor) = (old_seq, None);
    loop {
        let query = Query::by("id").from(first.as_str()).below(below.as_str());
        let page = store.query::<StoredBatch>(&query.limit(BATCHES_AT_ONCE_MAX).cursor(cursor)).await?;
        for batch in page.items {
            if batch.value.received_at >= older_than && !batch.value.declared_lost {
                return Ok(last);
            }
            last = batch.value.batch.id.seq;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(last);
        }
    }
}

async fn note(store: &Store, now: Timestamp, change: impl Fn(&mut RetentionRun)) -> Result<(), StoreError> {
    for _ in 0..TRIES_MAX {
        let known = store.get::<RetentionRun>(RetentionRun::ID).await?;
        let (mut run, version) = match known {
            Some(known) => (known.value, Some(known.version)),
            None => (
                RetentionRun { at: now, deleted_batches: 0, deleted_batches_total: 0, deleted_before: None },
                None,
            ),
        };
        change(&mut run);
        let written = match version {
            Some(version) => store.replace(&run, version).await.map(drop),
            None => store.insert(&run).await,
        };
        match written {
            // Another control plane ran at this moment: its number is counted too.
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            written => return written,
        }
    }
    Err(StoreError::VersionMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_bounds() {
        for (days, fine) in
            [(0, false), (1, true), (90, true), (3_650, true), (3_651, false), (u32::MAX, false)]
        {
            assert_eq!(check(days, 90).is_ok(), fine, "{days}");
            assert_eq!(check(90, days).is_ok(), fine, "{days}");
        }
    }
}
