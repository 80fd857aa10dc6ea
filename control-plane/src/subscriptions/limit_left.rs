//! How much of a plan's hard limit of calls a calendar month is left, at the price of the month that is paid for: as much as its
//! counter had left when that price began, less what is on record since. A counter is a subscription's by one zone's clocks, and
//! has calls alone that were made under a plan with a limit a month by these clocks. Next: `giving_back` bounds by it what goes
//! back; `billing` notes at each change of edition what the counters have.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::snapshot::Window;
use apiclay_config::zone::{Span, UTC, Zone};
use serde::{Deserialize, Serialize};

use super::documents::Subscription;
use crate::plans::terms::Terms;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::usage::read::billed_calls;

const MINUTE_MS: i64 = 60_000;

/// What was on record of a subscription in the calendar months that went on when its edition began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBefore {
    /// When it began.
    pub at: Timestamp,
    /// Billed calls, by the clocks of the edition's limit a month: none where it has none.
    pub calls: u64,
    /// Those of them that its counters have, by their zones.
    pub counted: BTreeMap<String, u64>,
}

impl MadeBefore {
    /// Itself, where that was in this month.
    fn within(&self, month: &Span) -> Option<&Self> {
        (self.at >= month.starts).then_some(self)
    }

    /// What a zone's counter has once so many calls are on record, under the edition that began then.
    fn counter(&self, zone: &str, all: u64) -> u64 {
        let counted = self.counted.get(zone).copied().unwrap_or_default();
        counted.saturating_add(all.saturating_sub(self.calls))
    }
}

/// What of a limit is left in the calendar month that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitLeft {
    /// Calls that were to be had in it at this price: at least one.
    pub calls: u64,
    /// Those of them that were not made.
    pub left: u64,
    /// From when they were to be had.
    pub since: Timestamp,
    /// When as many come anew as the limit is.
    pub ends: Timestamp,
}

/// What is left now of the limit of these terms, under which a month is paid for; none where they have none that is hard, where
/// it was used up before, and where each call is paid for.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn of(
    store: &Store,
    subscription: &Subscription,
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<LimitLeft>, Refusal> {
    let hard = terms.limits.iter().filter(|limit| limit.hard && limit.window == Window::Month);
    let Some(max) = hard.map(|limit| limit.max).min() else { return Ok(None) };
    let Some(begun) = subscription.month().map(|paid| paid.period.begins_at) else { return Ok(None) };
    if terms.is_per_call() {
        return Ok(None);
    }
    let month = month(terms, now);
    let all = made(store, subscription.id, &month).await?;
    let noted = subscription.made_before.as_ref().and_then(|before| before.within(&month));
    let (since, by_then) = match noted {
        Some(noted) if noted.at >= begun => (noted.at, noted.calls),
        _ if begun > month.starts => {
            // Of a renewal's minute all is the month's before; of the first month's minute nothing is.
            let renewed = begun > subscription.anchor();
            let ends = if renewed { begun.plus_ms(MINUTE_MS - 1) } else { begun };
            (begun, made(store, subscription.id, &Span { ends, ..month }).await?)
        }
        _ => (month.starts, 0),
    };
    let before = noted.map_or(by_then, |noted| noted.counter(zone(terms), by_then));
    Ok(left(max, before, all.saturating_sub(by_then)).map(|(calls, left)| LimitLeft {
        calls,
        left,
        since,
        ends: month.ends,
    }))
}

/// How many calls a limit had left after some, and how many after more: none where there were none.
fn left(max: u64, before: u64, since: u64) -> Option<(u64, u64)> {
    let calls = max.checked_sub(before).filter(|calls| *calls > 0)?;
    Some((calls, calls.saturating_sub(since)))
}

/// What is on record when a subscription gets other terms; none where no counter of it has any calls, nor will have.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn before(
    store: &Store,
    subscription: &Subscription,
    (from, to): (&Terms, &Terms),
    at: Timestamp,
) -> Result<Option<MadeBefore>, Refusal> {
    let mut all = [0, 0];
    for (all, terms) in all.iter_mut().zip([from, to]) {
        if has_counter(terms) {
            *all = made(store, subscription.id, &month(terms, at)).await?;
        }
    }
    Ok(noted(subscription.made_before.as_ref(), (from, to), all, at))
}

/// The same, of what is on record by the clocks of both terms. Pure.
fn noted(
    known: Option<&MadeBefore>,
    (from, to): (&Terms, &Terms),
    [by_from, calls]: [u64; 2],
    at: Timestamp,
) -> Option<MadeBefore> {
    let mut counted = known.map(|known| known.counted.clone()).unwrap_or_default();
    // With a month its counter ends.
    counted.retain(|zone, _| known.is_some_and(|known| known.within(&clocks(zone).month(at)).is_some()));
    if has_counter(from) {
        let known = known.and_then(|known| known.within(&month(from, at)));
        let count = known.map_or(by_from, |known| known.counter(zone(from), by_from));
        counted.insert(zone(from).to_owned(), count);
    }
    (has_counter(to) || !counted.is_empty()).then_some(MadeBefore { at, calls, counted })
}

/// Whether calls under these terms are counted by the month, be the limit hard or not.
fn has_counter(terms: &Terms) -> bool {
    terms.limits.iter().any(|limit| limit.window == Window::Month)
}

fn zone(terms: &Terms) -> &str {
    terms.zone.as_deref().unwrap_or(UTC)
}

fn clocks(zone: &str) -> Zone {
    Zone::named(zone).unwrap_or_default()
}

fn month(terms: &Terms, now: Timestamp) -> Span {
    clocks(zone(terms)).month(now)
}

/// Billed calls of a time on record, but for the minute that its end is in.
async fn made(store: &Store, subscription: SubscriptionId, time: &Span) -> Result<u64, Refusal> {
    billed_calls(store, subscription, time.starts.minute()..time.ends.minute()).await
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::{Currency, Money};
    use apiclay_config::snapshot::Limit;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn terms(limit: Option<(Window, u64)>, zone: Option<&str>) -> Terms {
        let limits = limit.map(|(window, max)| Limit { window, max, hard: true });
        Terms {
            price: Money::new(300, Currency::INR),
            usage_price: None,
            limits: limits.into_iter().collect(),
            zone: zone.map(str::to_owned),
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
            bindings: Vec::new(),
        }
    }

    /// Changes of edition, each with all calls on record by then by the clocks of both: what the last one's counter has.
    fn counted(story: &[(&Terms, &Terms, u64)]) -> Option<u64> {
        let mut known = None;
        for (day, (from, to, all)) in (0..).zip(story) {
            known = noted(known.as_ref(), (from, to), [*all; 2], Timestamp(day * DAY_MS));
        }
        let (_, to, all) = story.last()?;
        known.map(|known| known.counter(zone(to), *all))
    }

    #[test]
    fn a_counter_has_what_was_made_under_its_own_limits() {
        let daily = terms(Some((Window::Day, 100)), None);
        let month = terms(Some((Window::Month, 1_000)), None);
        let there = terms(Some((Window::Month, 1_000)), Some("Asia/Kolkata"));
        // 1,500 of a plan without such a limit are not deducted, and hide no call that is made since.
        assert_eq!(counted(&[(&daily, &month, 1_500)]), Some(0));
        assert_eq!(left(1_000, 0, 1_000), Some((1_000, 0)));
        assert_eq!(left(1_000, 0, 100), Some((1_000, 900)), "nor is a buyer told less than he has");
        assert_eq!(counted(&[(&daily, &daily, 1_500)]), None);
        assert_eq!(counted(&[(&month, &daily, 700), (&daily, &month, 900)]), Some(700));
        assert_eq!(counted(&[(&month, &there, 700)]), Some(0));
        assert_eq!(counted(&[(&month, &there, 700), (&there, &month, 900)]), Some(700));
        assert_eq!(left(1_000, 1_000, 0), None);
    }

    #[test]
    fn with_a_month_its_counter_ends() {
        let month = terms(Some((Window::Month, 1_000)), None);
        let daily = terms(Some((Window::Day, 100)), None);
        let known = noted(None, (&month, &daily), [700, 0], Timestamp(0));
        let next = noted(known.as_ref(), (&daily, &month), [0, 20], Timestamp(31 * DAY_MS)).unwrap();
        assert_eq!((next.calls, next.counter(UTC, 50)), (20, 30), "all since it began");
        assert_eq!(noted(known.as_ref(), (&daily, &daily), [0, 0], Timestamp(31 * DAY_MS)), None);
    }
}
