//! Reads a time's rollups in its order: hours, or where whole days will do, days that are summed, and the hours of those that
//! are not. Next: `series`, `by_route`, `by_credential`, which add them up.

use std::collections::BTreeSet;
use std::ops::Range;

use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::Cell;

use super::days::{DayRollup, MINUTES_PER_DAY};
use super::rollup::{HOURS_PER_DAY, MINUTES_PER_HOUR, Rollup, Todo};
use super::sums::OfCredential;
use crate::refusal::Refusal;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store};

/// What a rollup holds of the time that is asked for.
pub(super) struct Counted<'a> {
    cells: &'a [Cell],
    /// The minutes that count; none for all.
    minutes: Option<Range<i64>>,
    /// By credential, of the whole rollup.
    pub(super) credentials: &'a [OfCredential],
}

impl<'a> Counted<'a> {
    /// Its cells.
    pub(super) fn cells(&self) -> impl Iterator<Item = &'a Cell> + use<'a> {
        let minutes = self.minutes.clone();
        self.cells
            .iter()
            .filter(move |cell| minutes.as_ref().is_none_or(|minutes| minutes.contains(&cell.key.minute)))
    }
}

/// Billed calls of a subscription in these minutes, as far as they are on record.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn billed_calls(
    store: &Store,
    subscription: SubscriptionId,
    minutes: Range<i64>,
) -> Result<u64, Refusal> {
    let mut calls = 0_u64;
    let take = |counted: Counted<'_>| {
        let billed = counted.cells().map(|cell| cell.counts.billable_calls);
        calls = billed.fold(calls, u64::saturating_add);
        Ok(())
    };
    Reading::new(store, subscription, minutes, take).days().await?;
    Ok(calls)
}

/// A subscription's rollups of some minutes.
pub(super) struct Reading<'a, F> {
    store: &'a Store,
    subscription: SubscriptionId,
    minutes: Range<i64>,
    take: F,
}

impl<'a, F: FnMut(Counted<'_>) -> Result<(), Refusal>> Reading<'a, F> {
    pub(super) const fn new(
        store: &'a Store,
        subscription: SubscriptionId,
        minutes: Range<i64>,
        take: F,
    ) -> Self {
        Self { store, subscription, minutes, take }
    }

    /// Hour by hour.
    pub(super) async fn hours(mut self) -> Result<(), Refusal> {
        let all = self.all_hours();
        self.hours_of(all).await
    }

    /// By whole days, as far as there are such.
    pub(super) async fn days(mut self) -> Result<(), Refusal> {
        let first_day = self.minutes.start.div_euclid(MINUTES_PER_DAY)
            + i64::from(self.minutes.start.rem_euclid(MINUTES_PER_DAY) != 0);
        let end_day = self.minutes.end.div_euclid(MINUTES_PER_DAY);
        let Range { start: mut next_hour, end: end_hour } = self.all_hours();
        // Marks before sums: a mark is taken away once the sum is there.
        let marked = self.marked(first_day, end_day).await?;
        let summed = Query::by("id")
            .from(DayRollup::id_of(self.subscription, first_day))
            .below(DayRollup::id_of(self.subscription, end_day))
            .limit(QUERY_LIMIT_MAX_ITEMS);
        let mut cursor = None;
        loop {
            let page = self.store.query::<DayRollup>(&summed.clone().cursor(cursor)).await?;
            for day in page.items.into_iter().map(|day| day.value).filter(|day| !marked.contains(&day.day)) {
                // What lies before it: a part of a day, days without calls, days that are not summed.
                self.hours_of(next_hour..day.day * HOURS_PER_DAY).await?;
                (self.take)(Counted { cells: &day.cells, minutes: None, credentials: &day.credentials })?;
                next_hour = (day.day + 1) * HOURS_PER_DAY;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return self.hours_of(next_hour..end_hour).await;
            }
        }
    }

    fn all_hours(&self) -> Range<i64> {
        let end = self.minutes.end;
        let begun = i64::from(end.rem_euclid(MINUTES_PER_HOUR) != 0);
        self.minutes.start.div_euclid(MINUTES_PER_HOUR)..end.div_euclid(MINUTES_PER_HOUR) + begun
    }

    /// Days with an hour that is not in their sum.
    async fn marked(&self, first_day: i64, end_day: i64) -> Result<BTreeSet<i64>, Refusal> {
        let (mut days, mut cursor) = (BTreeSet::new(), None);
        let marks = Query::by("todo_of")
            .equals(self.subscription.to_string())
            .equals(Todo::Sum.word())
            .from(first_day)
            .below(end_day)
            .limit(QUERY_LIMIT_MAX_ITEMS);
        loop {
            let page = self.store.query::<Rollup>(&marks.clone().cursor(cursor)).await?;
            days.extend(page.items.iter().map(|hour| hour.value.day));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(days);
            }
        }
    }

    async fn hours_of(&mut self, hours: Range<i64>) -> Result<(), Refusal> {
        if hours.is_empty() {
            return Ok(());
        }
        let walk = Query::by("id")
            .from(Rollup::id_of(self.subscription, hours.start))
            .below(Rollup::id_of(self.subscription, hours.end))
            .limit(QUERY_LIMIT_MAX_ITEMS);
        let mut cursor = None;
        loop {
            let page = self.store.query::<Rollup>(&walk.clone().cursor(cursor)).await?;
            for hour in page.items.iter().map(|hour| &hour.value) {
                // Without its minutes an hour counts whole.
                let minutes = (!hour.minutes_gone).then(|| self.minutes.clone());
                (self.take)(Counted { cells: &hour.cells, minutes, credentials: &hour.credentials })?;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
