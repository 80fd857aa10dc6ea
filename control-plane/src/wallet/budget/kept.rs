//! Budgets in the store: found, set and taken away. Next: `routes`, the wallet's page, and whoever takes money from a wallet.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use apiclay_config::money::{Currency, Money};

use super::documents::{Budget, Told};
use super::rules::check;
use crate::ledger::{Ceiling, Journal, LedgerAccount};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, Versioned};

/// Tries of one change while others write.
const TRIES_MAX: u32 = 8;

/// The budget of a wallet.
///
/// # Errors
/// Where the store does not answer.
pub async fn find(
    store: &Store,
    account: AccountId,
    currency: Currency,
) -> Result<Option<Versioned<Budget>>, StoreError> {
    store.get::<Budget>(&LedgerAccount::wallet(account, currency).to_string()).await
}

/// The ceiling that purchases of a wallet are appended within; none where its owner has set no hard stop.
///
/// Figures and month are the journal's when it writes the entry, so that a ceiling does not age; only a budget that is
/// changed in between counts from the next purchase on.
///
/// # Errors
/// Where the store does not answer.
pub async fn ceiling(
    store: &Store,
    account: AccountId,
    currency: Currency,
) -> Result<Option<Ceiling>, StoreError> {
    Ok(find(store, account, currency).await?.and_then(|found| found.value.ceiling()))
}

/// Sets a wallet's budget, whoever else does so at the same time.
///
/// # Errors
/// Where the amount is none that a budget can have, or the store does not answer.
pub async fn set(
    store: &Store,
    journal: &Journal,
    now: Timestamp,
    account: AccountId,
    amount: Money,
    hard_stop: bool,
) -> Result<Budget, Refusal> {
    check(amount)?;
    for _ in 0..TRIES_MAX {
        let known = find(store, account, amount.currency).await?;
        let head = journal.head(&LedgerAccount::wallet(account, amount.currency).to_string()).await?;
        let told = Told::on_setting(amount, head.spending.at(now));
        let told = match &known {
            // Set again, it tells nothing twice.
            Some(known) if known.value.amount == amount => known.value.told,
            _ => told,
        };
        let budget = Budget { account, amount, hard_stop, told };
        let written = match known {
            Some(known) if known.value == budget => return Ok(budget),
            Some(known) => store.replace(&budget, known.version).await.map(drop),
            None => store.insert(&budget).await,
        };
        match written {
            Ok(()) => return Ok(budget),
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// Takes a wallet's budget away, where there is one.
///
/// # Errors
/// Where the store does not answer.
pub async fn remove(store: &Store, account: AccountId, currency: Currency) -> Result<(), StoreError> {
    store.delete::<Budget>(&LedgerAccount::wallet(account, currency).to_string()).await.map(drop)
}
