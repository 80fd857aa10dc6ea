//! How much of a plan's hard limit of calls a calendar month is left, at the price of the month that is paid for: as much as was to
//! be had when that price began, less what is on record since. Next: `giving_back` bounds by it what goes back.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::snapshot::Window;
use apiclay_config::zone::{Span, Zone};
use serde::{Deserialize, Serialize};

use super::charge::Paid;
use crate::plans::terms::Terms;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::usage::read::billed_calls;

/// Calls that had been made in a limit's calendar month when another price began within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBefore {
    /// When it began.
    pub at: Timestamp,
    /// How many.
    pub calls: u64,
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

/// What is left now; none where the terms have no such limit, or it was used up before.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn of(
    store: &Store,
    subscription: SubscriptionId,
    (paid, terms): (&Paid, &Terms),
    now: Timestamp,
) -> Result<Option<LimitLeft>, Refusal> {
    let Some((max, month)) = limit(terms, now) else { return Ok(None) };
    let all = made(store, subscription, month.starts, month.ends).await?;
    let begins_at = paid.period.begins_at;
    let (since, before) = match paid.made_before.filter(|before| before.at >= month.starts) {
        Some(before) => (before.at, before.calls),
        None if begins_at > month.starts => {
            (begins_at, made(store, subscription, month.starts, begins_at).await?)
        }
        None => (month.starts, 0),
    };
    let calls = max.saturating_sub(before);
    let left = calls.saturating_sub(all.saturating_sub(before));
    Ok((calls > 0).then_some(LimitLeft { calls, left, since, ends: month.ends }))
}

/// What had been made when a price of these terms begins.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn before(
    store: &Store,
    subscription: SubscriptionId,
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<MadeBefore>, Refusal> {
    let Some((_, month)) = limit(terms, now) else { return Ok(None) };
    let calls = made(store, subscription, month.starts, month.ends).await?;
    Ok(Some(MadeBefore { at: now, calls }))
}

/// The hard limit of a calendar month, and the month.
fn limit(terms: &Terms, now: Timestamp) -> Option<(u64, Span)> {
    let hard = terms.limits.iter().filter(|limit| limit.hard && limit.window == Window::Month);
    let max = hard.map(|limit| limit.max).min()?;
    let zone = terms.zone.as_deref().and_then(Zone::named).unwrap_or_default();
    Some((max, zone.month(now)))
}

async fn made(
    store: &Store,
    subscription: SubscriptionId,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64, Refusal> {
    billed_calls(store, subscription, from.minute()..to.minute()).await
}
