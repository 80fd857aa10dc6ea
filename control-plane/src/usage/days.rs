//! Days: what a subscription's hours of one UTC day sum to, so that a year is 365 documents and not 8,760 with minutes in
//! them. Hours stay the truth. Folding marks an hour in the write that changes it (`rollup::Todo::Sum`); a job sums the days
//! that are over and takes the marks away, each by the version that it summed. So a day whose hours bear no mark is their sum,
//! however late a batch comes; `read` takes the hours of any other. Why so: docs/decisions/0015.

use std::collections::BTreeSet;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::{Cell, CellKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::rollup::{HOURS_PER_DAY, MINUTES_PER_HOUR, Rollup, Todo};
use super::sums::{OfCredential, Sums};
use crate::store::{Document, Index, Query, Store, StoreError, Versioned};

/// Minutes in a day.
pub const MINUTES_PER_DAY: i64 = MINUTES_PER_HOUR * HOURS_PER_DAY;
/// A day is summed so long after its end: most of what is late has come by then, and is not summed twice.
const SUM_AFTER_MS: i64 = 3_600_000;
/// Hours read together: each may be large.
const HOURS_AT_ONCE_MAX: usize = 96;
/// Days summed, or hours written, at the same time: a durable write waits for the disk, and several share a wait.
const AT_ONCE_MAX: usize = 8;
/// Hours whose minutes go in one run; the next goes on.
const DROPPED_A_RUN_MAX_HOURS: u64 = 100_000;
/// Digits of a day in an id, so that text sorts as numbers do.
const DAY_DIGITS: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// The calls of one subscription in one UTC day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRollup {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Whole days since 1970.
    pub day: i64,
    /// The counts by route, plan revision and class; all at the day's first minute.
    pub cells: Vec<Cell>,
    /// The same calls by credential.
    pub credentials: Vec<OfCredential>,
}

impl DayRollup {
    /// Its id.
    #[must_use]
    pub fn id_of(subscription: SubscriptionId, day: i64) -> String {
        format!("{subscription}:{:0DAY_DIGITS$}", day.max(0))
    }

    /// The sum of hours. Pure.
    pub fn of<'a>(subscription: SubscriptionId, day: i64, hours: impl Iterator<Item = &'a Rollup>) -> Self {
        let minute = day * MINUTES_PER_DAY;
        let mut sums = Sums::default();
        for hour in hours {
            for cell in &hour.cells {
                sums.add(minute, CellKey { minute, ..cell.key.clone() }, &cell.counts);
            }
            for of in &hour.credentials {
                sums.add_credential(of.credential, &of.counts);
            }
        }
        let (cells, credentials) = sums.done();
        Self { subscription, day, cells, credentials }
    }
}

impl Document for DayRollup {
    const COLLECTION: &'static str = "day_rollups";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.subscription, self.day)
    }
}

/// Sums every day that is over and has calls in no sum yet; how many days. Safe to run twice at once.
///
/// # Errors
/// Where the store does not answer: what is left is found again.
pub async fn sum_all(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let end_day = now.plus_ms(-SUM_AFTER_MS).0.div_euclid(DAY_MS);
    let (mut summed, mut cursor) = (0, None);
    loop {
        let marked = Query::by("todo").equals(Todo::Sum.word()).below(end_day);
        let page = store.query::<Rollup>(&marked.limit(HOURS_AT_ONCE_MAX).cursor(cursor)).await?;
        let days: BTreeSet<_> =
            page.items.iter().map(|hour| (hour.value.subscription, hour.value.day)).collect();
        drop(page.items);
        summed += days.len() as u64;
        stream::iter(days)
            .map(|(subscription, day)| sum(store, subscription, day))
            .buffer_unordered(AT_ONCE_MAX)
            .try_collect::<()>()
            .await?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(summed);
        }
    }
}

/// Sums a day, if nobody else does at this moment.
async fn sum(store: &Store, subscription: SubscriptionId, day: i64) -> Result<(), StoreError> {
    // Before its hours: whoever summed later ones meanwhile has written it, and what is made here of earlier ones is refused.
    let known = store.get::<DayRollup>(&DayRollup::id_of(subscription, day)).await?;
    let first = day * HOURS_PER_DAY;
    let of_day = Query::by("id")
        .from(Rollup::id_of(subscription, first))
        .below(Rollup::id_of(subscription, first + HOURS_PER_DAY));
    let (mut hours, mut cursor): (Vec<Versioned<Rollup>>, _) = (Vec::new(), None);
    loop {
        let page = store.query::<Rollup>(&of_day.clone().limit(HOURS_AT_ONCE_MAX).cursor(cursor)).await?;
        hours.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let sum = DayRollup::of(subscription, day, hours.iter().map(|hour| &hour.value));
    let written = match known {
        Some(known) if known.value == sum => Ok(()),
        Some(known) => store.replace(&sum, known.version).await.map(drop),
        None => store.insert(&sum).await,
    };
    match written {
        Ok(()) => {}
        Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let marked = hours.into_iter().filter(|hour| hour.value.todo == Some(Todo::Sum));
    let done = marked.map(|mut hour| {
        hour.value.todo = Some(Todo::DropMinutes);
        hour
    });
    replace_unchanged(store, done).await
}

/// Drops the minutes of hours of days before `end_day` that are in their day's sum; how many.
///
/// # Errors
/// Where the store does not answer.
pub async fn drop_minutes(store: &Store, end_day: i64) -> Result<u64, StoreError> {
    let (mut dropped, mut cursor) = (0, None);
    loop {
        let old = Query::by("todo").equals(Todo::DropMinutes.word()).below(end_day);
        let page = store.query::<Rollup>(&old.limit(HOURS_AT_ONCE_MAX).cursor(cursor)).await?;
        dropped += page.items.len() as u64;
        let without = page.items.into_iter().map(|mut hour| {
            hour.value.drop_minutes();
            hour
        });
        replace_unchanged(store, without).await?;
        cursor = page.next_cursor;
        if cursor.is_none() || dropped >= DROPPED_A_RUN_MAX_HOURS {
            return Ok(dropped);
        }
    }
}

/// Writes hours back; where a late batch has come, or another did it, that stands and is looked at again.
async fn replace_unchanged(
    store: &Store,
    hours: impl Iterator<Item = Versioned<Rollup>>,
) -> Result<(), StoreError> {
    let write = |hour: Versioned<Rollup>| async move {
        match store.replace(&hour.value, hour.version).await {
            Ok(_) | Err(StoreError::VersionMismatch) => Ok(()),
            Err(error) => Err(error),
        }
    };
    stream::iter(hours).map(write).buffer_unordered(AT_ONCE_MAX).try_collect::<()>().await
}
