//! Calls of a month that cost nothing: an account of the journal with a floor, so that no more than there are is granted, over
//! any number of gateways at once. Next: `grant` holds what is free there before it turns to the wallet.

use apiclay_config::clock::Timestamp;

use super::documents::{IncludedMonth, WalletLease};
use super::rules::{calls_held, calls_in, granted_fact, include, is_included, rest, rest_fact};
use crate::ledger::{Hold, Journal, LedgerError, Refused};
use crate::plans::terms::Terms;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::free_months::{self, FreeMonths};
use crate::subscriptions::period::Period;

/// Tries of one rest while others take of the same month.
const TRIES_MAX: u32 = 64;

/// Where a subscription's included units of now stand, and how many they are. Those of a plan that costs nothing a month are
/// the account's, once a listing and month.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn of_subscription(
    store: &Store,
    subscription: &Subscription,
    terms: &Terms,
    now: Timestamp,
) -> Result<(IncludedMonth, u64), StoreError> {
    if terms.price.is_zero() && terms.included() > 0 {
        let months = free_months::found(store, subscription).await?;
        return Ok((free_month(&months, now), terms.included()));
    }
    let period = Period::containing(subscription.anchor(), now);
    let own = IncludedMonth { subscription: subscription.id, begins_at: period.begins_at };
    Ok((own, subscription.included(terms.included())))
}

/// The same for calls that are asked for: from now on they count.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn of_caller(
    store: &Store,
    subscription: &Subscription,
    terms: &Terms,
    now: Timestamp,
) -> Result<(IncludedMonth, u64), StoreError> {
    if terms.price.is_zero() && terms.included() > 0 {
        free_months::begun(store, subscription).await?;
    }
    of_subscription(store, subscription, terms, now).await
}

fn free_month(months: &FreeMonths, now: Timestamp) -> IncludedMonth {
    let begins_at = Period::containing(months.anchor, now).begins_at;
    IncludedMonth { subscription: months.subscription, begins_at }
}

/// Calls of a month that are neither used nor held, of so many that the plan includes.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn left(journal: &Journal, month: &IncludedMonth, included: u64) -> Result<u64, StoreError> {
    if included == 0 {
        return Ok(0);
    }
    let account = month.account();
    let Some(entry) = journal.by_fact(&granted_fact(month)).await? else {
        // Nobody has asked yet.
        return Ok(included);
    };
    let granted = entry.lines.iter().find(|line| line.account == account).map_or(0, |line| line.micro);
    let head = journal.head(&account.to_string()).await?;
    let free = head.posted.saturating_sub(head.pending);
    // Of another edition's larger number, no more than this one's.
    let rest = i64::try_from(included).unwrap_or(i64::MAX).saturating_sub(granted.saturating_sub(free));
    Ok(u64::try_from(free.min(rest)).unwrap_or(0))
}

/// The same for a lease's month, which has them from now on: the first to ask puts them there.
///
/// # Errors
/// Where the journal does not answer.
pub(super) async fn of_lease(journal: &Journal, lease: &WalletLease) -> Result<u64, LedgerError> {
    if lease.included == 0 {
        return Ok(0);
    }
    let month = lease.included_month();
    put_first(journal, &month, lease.included).await?;
    Ok(left(journal, &month, lease.included).await?)
}

/// Puts a month's units where they stand, unless they are there.
///
/// # Errors
/// Where the journal does not answer.
pub(crate) async fn put(journal: &Journal, month: &IncludedMonth, units: u64) -> Result<(), Refusal> {
    put_first(journal, month, units).await.map_err(failed)
}

async fn put_first(journal: &Journal, month: &IncludedMonth, units: u64) -> Result<(), LedgerError> {
    if journal.head(&month.account().to_string()).await?.seq > 0 {
        return Ok(());
    }
    match journal.append(&include(month, units)).await {
        // Another edition of the plan said another number in this month: the first one holds until it ends.
        Ok(_) | Err(LedgerError::OtherContent { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn failed(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Store(error) => error.into(),
        other => {
            tracing::error!("a month's included units cannot be used: {other}");
            Refusal::Internal("using included units")
        }
    }
}

/// How many units of a lease on the wallet are paid for by what is left of its month's included ones. Where a call may use many
/// units no lease is made of the last few, so they pay for what was used of a lease on the wallet, before money does. What is said
/// of a lease stands, be it none: it is charged by that, whoever charges it.
///
/// # Errors
/// Where the journal does not answer: the lease is charged later.
pub(super) async fn rest_of_month(
    journal: &Journal,
    lease: &WalletLease,
    hold: &Hold,
) -> Result<u64, Refusal> {
    if lease.metered.is_none() || lease.included == 0 || is_included(&hold.amount) {
        return Ok(0);
    }
    for _ in 0..TRIES_MAX {
        if let Some(entry) = journal.by_fact(&rest_fact(lease)).await? {
            return Ok(calls_in(&entry));
        }
        let charged = lease.billable.min(calls_held(lease, &hold.amount));
        let units = of_lease(journal, lease).await.map_err(failed)?.min(charged);
        match journal.append(&rest(lease, units)?).await {
            Ok(appended) => return Ok(calls_in(&appended.entry)),
            // Said by another, or held by a gateway meanwhile: look again.
            Err(LedgerError::OtherContent { .. } | LedgerError::Refused(Refused::Floor { .. })) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Refusal::Internal("using included units while many others of the same month are used"))
}
