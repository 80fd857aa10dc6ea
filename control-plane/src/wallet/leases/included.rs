//! Calls of a month that cost nothing: an account of the journal with a floor, so that no more than there are is granted, over
//! any number of gateways at once. Next: `grant` holds what is free there before it turns to the wallet.

use apiclay_config::ids::SubscriptionId;

use super::documents::WalletLease;
use super::rules::{granted_fact, include};
use crate::ledger::{Journal, LedgerAccount, LedgerError};
use crate::store::StoreError;
use crate::subscriptions::period::Period;

/// Calls of a month that are neither used nor held, of so many that the plan includes.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn left(
    journal: &Journal,
    subscription: SubscriptionId,
    period: &Period,
    included: u64,
) -> Result<u64, StoreError> {
    if included == 0 {
        return Ok(0);
    }
    let account = LedgerAccount::included(subscription, period.begins_at);
    let Some(entry) = journal.by_fact(&granted_fact(subscription, period.begins_at)).await? else {
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
    let account = LedgerAccount::included(lease.subscription, lease.period.begins_at);
    if journal.head(&account.to_string()).await?.seq == 0 {
        match journal.append(&include(lease)).await {
            // Another edition of the plan said another number in this month: the first one holds until it ends.
            Ok(_) | Err(LedgerError::OtherContent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(left(journal, lease.subscription, &lease.period, lease.included).await?)
}
