//! Days: what a subscription's hours of one UTC day sum to, so that a year is 365 documents and not 8,760 with minutes in
//! them. Hours stay the truth. Folding marks an hour in the write that changes it (`rollup::Todo::Sum`); a job sums the days
//! that are over and takes the marks away, each by the version that it summed. So a day whose hours bear no mark is their sum,
//! however late a batch comes; `read` takes the hours of any other. Why so: docs/decisions/0015.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::process::in_a_line;
use apiclay_config::usage::{Cell, CellKey};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rollup::{HOURS_PER_DAY, MINUTES_PER_HOUR, Rollup, Todo};
use super::sums::{OfCredential, Sums};
use crate::app::App;
use crate::refusal::Refusal;
use crate::store::{Document, Index, Query, Store, StoreError, Versioned};

/// Minutes in a day.
pub const MINUTES_PER_DAY: i64 = MINUTES_PER_HOUR * HOURS_PER_DAY;
/// A day is summed so long after its end: most of what is late has come by then, and is not summed twice.
const SUM_AFTER_MS: i64 = 3_600_000;
/// Hours read together: each may be large.
const HOURS_AT_ONCE_MAX: usize = 96;
/// Days summed, or hours written, at the same time: a durable write waits for the disk, and several share a wait.
const AT_ONCE_MAX: usize = 8;
/// Days of one turn that may fail; with more it is no fault of theirs.
const FAILED_MAX: usize = 100;
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
        let mut adding = Adding::new(subscription, day);
        hours.for_each(|hour| adding.add(hour));
        adding.done()
    }
}

/// A day that is being summed: its hours come in one by one. Pure.
struct Adding {
    subscription: SubscriptionId,
    day: i64,
    sums: Sums,
}

impl Adding {
    fn new(subscription: SubscriptionId, day: i64) -> Self {
        Self { subscription, day, sums: Sums::default() }
    }

    fn add(&mut self, hour: &Rollup) {
        let minute = self.day * MINUTES_PER_DAY;
        for cell in &hour.cells {
            self.sums.add(minute, CellKey { minute, ..cell.key.clone() }, &cell.counts);
        }
        for of in &hour.credentials {
            self.sums.add_credential(of.credential, &of.counts);
        }
    }

    fn done(self) -> DayRollup {
        let Self { subscription, day, sums } = self;
        let (cells, credentials) = sums.done();
        DayRollup { subscription, day, cells, credentials }
    }
}

impl Document for DayRollup {
    const COLLECTION: &'static str = "day_rollups";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.subscription, self.day)
    }
}

/// Where an hour is, whatever else it holds: one that cannot be read fails with its own day.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    subscription: SubscriptionId,
    hour: i64,
    day: i64,
}

impl Document for Place {
    const COLLECTION: &'static str = Rollup::COLLECTION;
    const INDEXES: &'static [Index] = Rollup::INDEXES;
    // Also of a newer release's hours, which are none of this one's to sum.
    const SCHEMA: u32 = u32::MAX;

    fn id(&self) -> String {
        Rollup::id_of(self.subscription, self.hour)
    }
}

/// What one turn has done.
#[derive(Debug, Default)]
pub struct Summed {
    /// Days that were summed, by this or by another at this moment.
    pub days: u64,
    /// Days that could not be.
    pub failed: Vec<(SubscriptionId, i64, StoreError)>,
}

/// Days that could not be summed and are told of: each once, until it is summed.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<(SubscriptionId, i64)>>);

impl Told {
    /// Tells of those that were not told of yet; how many.
    fn tell(&self, failed: &[(SubscriptionId, i64, StoreError)]) -> usize {
        let failing = failed.iter().map(|(subscription, day, _)| (*subscription, *day)).collect();
        let known = std::mem::replace(&mut *self.0.lock(), failing);
        let news = failed.iter().filter(|(subscription, day, _)| !known.contains(&(*subscription, *day)));
        news.inspect(|(subscription, day, error)| {
            let at = Timestamp(day.saturating_mul(DAY_MS));
            tracing::error!(
                %subscription, day = %at, cause = in_a_line(error),
                "a day of usage cannot be summed: it is read by its hours, and tried again each minute"
            );
        })
        .count()
    }
}

/// Sums what is due, and tells of what cannot be.
///
/// # Errors
/// Where the store does not answer: what is left is found again.
pub async fn sum_due(app: &App, told: &Told) -> Result<usize, Refusal> {
    let summed = sum_all(&app.store, app.clock.now()).await?;
    app.metrics.usage_unsummed.set(i64::try_from(summed.failed.len()).unwrap_or(i64::MAX));
    Ok(told.tell(&summed.failed))
}

/// Sums every day that is over and has calls in no sum yet. Safe to run twice at once. A day that cannot be summed keeps no
/// other waiting.
///
/// # Errors
/// Where the store does not answer, or so many days fail that it is the store: what is left is found again.
pub async fn sum_all(store: &Store, now: Timestamp) -> Result<Summed, StoreError> {
    let end_day = now.plus_ms(-SUM_AFTER_MS).0.div_euclid(DAY_MS);
    let (mut summed, mut cursor) = (Summed::default(), None);
    loop {
        let marked = Query::by("todo").equals(Todo::Sum.word()).below(end_day);
        let page = store.query::<Place>(&marked.limit(HOURS_AT_ONCE_MAX).cursor(cursor)).await?;
        let days: BTreeSet<_> =
            page.items.iter().map(|hour| (hour.value.subscription, hour.value.day)).collect();
        drop(page.items);
        let mut done = stream::iter(days)
            .map(async |(subscription, day)| (subscription, day, sum(store, subscription, day).await))
            .buffer_unordered(AT_ONCE_MAX);
        while let Some((subscription, day, done)) = done.next().await {
            match done {
                Ok(()) => summed.days += 1,
                Err(error) if summed.failed.len() >= FAILED_MAX => return Err(error),
                Err(error) => summed.failed.push((subscription, day, error)),
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            // Of a day whose hours stand on two pages once.
            summed.failed.sort_by_key(|(subscription, day, _)| (*subscription, *day));
            summed.failed.dedup_by_key(|(subscription, day, _)| (*subscription, *day));
            return Ok(summed);
        }
    }
}

/// Sums a day, if nobody else does at this moment. Holds as many of its hours at once as stand on a page, which is bounded in
/// bytes (`PAGE_MAX_BYTES`), and reads them a second time to take the marks away.
async fn sum(store: &Store, subscription: SubscriptionId, day: i64) -> Result<(), StoreError> {
    // Before its hours: whoever summed later ones meanwhile has written it, and what is made here of earlier ones is refused.
    let known = store.get::<DayRollup>(&DayRollup::id_of(subscription, day)).await?;
    let (mut adding, mut versions, mut cursor) = (Adding::new(subscription, day), BTreeMap::new(), None);
    loop {
        let page = store.query::<Rollup>(&hours_of(subscription, day).cursor(cursor)).await?;
        for hour in page.items {
            adding.add(&hour.value);
            versions.insert(hour.value.hour, hour.version);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let sum = adding.done();
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
    loop {
        let page = store.query::<Rollup>(&hours_of(subscription, day).cursor(cursor)).await?;
        let as_summed = |hour: &Versioned<Rollup>| {
            hour.value.todo == Some(Todo::Sum) && versions.get(&hour.value.hour) == Some(&hour.version)
        };
        let done = page.items.into_iter().filter(as_summed).map(|mut hour| {
            hour.value.todo = Some(Todo::DropMinutes);
            hour
        });
        replace_unchanged(store, done).await?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// A day's hours.
fn hours_of(subscription: SubscriptionId, day: i64) -> Query {
    let first = day * HOURS_PER_DAY;
    Query::by("id")
        .from(Rollup::id_of(subscription, first))
        .below(Rollup::id_of(subscription, first + HOURS_PER_DAY))
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

#[cfg(test)]
mod tests;
