//! Tells the owner of a budget, by mail, that a part of it is spent: each threshold once a month, whoever looks at the same
//! time. Looked at where a wallet is charged and where a gateway asks for calls, so that no job walks all budgets, and what
//! one who died has left is told at the next of these.
//!
//! What was told is written first, by its version, and then the letter is sent: at most once. One who dies in between costs
//! a letter, and mail may be lost on its way in any case; the wallet's page says the same by the figures, and the hard stop
//! hangs on no letter. The other order would write twice to those whose control planes are busy.

use apiclay_config::ids::AccountId;
use apiclay_config::money::Currency;

use super::documents::Budget;
use super::kept::find;
use super::letters;
use crate::accounts::documents::Account;
use crate::app::App;
use crate::ledger::{LedgerAccount, Spending};
use crate::refusal::Refusal;
use crate::store::StoreError;

/// Tries of one notice while others write.
const TRIES_MAX: u32 = 8;

/// Looks at what a wallet has spent of its budget: to be called after a charge. Cheap where there is no budget.
///
/// # Errors
/// Where the store does not answer; looked again, what is left to tell is told.
pub async fn after_charge(app: &App, account: AccountId, currency: Currency) -> Result<(), Refusal> {
    let Some(known) = find(&app.store, account, currency).await? else { return Ok(()) };
    let spending = spending(app, account, currency).await?;
    look(app, &known.value, spending, None).await
}

/// The same for a budget that was read already, and where a purchase of so much was refused for its sake: the first that does
/// not fit is its end, though a little of it may be left. Writes nothing where all is known.
///
/// # Errors
/// As [`after_charge`].
pub async fn look(
    app: &App,
    budget: &Budget,
    spent: Spending,
    refused_micro: Option<i64>,
) -> Result<(), Refusal> {
    if budget.noted(spent, refused_micro).is_none() {
        return Ok(());
    }
    let (account, currency) = (budget.account, budget.amount.currency);
    for _ in 0..TRIES_MAX {
        let Some(known) = find(&app.store, account, currency).await? else { return Ok(()) };
        let spending = spending(app, account, currency).await?;
        let Some(noted) = known.value.noted(spending, refused_micro) else { return Ok(()) };
        match app.store.replace(&noted.budget, known.version).await {
            Ok(_) => {
                return match noted.tells {
                    Some(percent) => write_to(app, &noted.budget, spending, percent).await,
                    None => Ok(()),
                };
            }
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

async fn spending(app: &App, account: AccountId, currency: Currency) -> Result<Spending, StoreError> {
    let head = app.journal.head(&LedgerAccount::wallet(account, currency).to_string()).await?;
    Ok(head.spending.at(app.clock.now()))
}

async fn write_to(app: &App, budget: &Budget, spending: Spending, percent: u8) -> Result<(), Refusal> {
    if let Some(owner) = app.store.get::<Account>(&budget.account.to_string()).await? {
        let letter = letters::reached(budget, spending, percent, &app.app_url);
        app.mail.send(&owner.value.email, letter, app.clock.now());
    }
    Ok(())
}
