//! Whether a buyer can pay a charge, and whether it was made: looks ahead and back. What decides is the journal. Called by
//! `buying`, `changing` and `billing`.

use apiclay_config::money::Money;

use super::charge::{Purpose, fact};
use super::documents::Subscription;
use crate::app::App;
use crate::http::Code;
use crate::refusal::Refusal;
use crate::wallet::{budget, statement};

/// Whether the charge of this number was made.
///
/// # Errors
/// Where it was declined: what is missing.
pub(super) async fn was_made(
    app: &App,
    subscription: &Subscription,
    (purpose, number): (Purpose, u32),
    amount: Money,
) -> Result<(), Refusal> {
    if amount.is_zero() {
        return Ok(());
    }
    match app.journal.by_fact(&fact(subscription, number)).await? {
        Some(entry) if !entry.is_nothing() => Ok(()),
        _ => {
            can_pay(app, subscription, amount).await?;
            if purpose == Purpose::Change {
                // Included calls were taken, or money of the month was given back, since it was reckoned.
                let told =
                    "what this change comes to is another by now; see the preview again, and agree to that";
                return Err(Refusal::because(Code::AmountChanged, told));
            }
            // There is enough by now, and was not then.
            let told = "there was too little in your wallet; there is enough now, so try again";
            Err(Refusal::because(Code::BalanceInsufficient, told))
        }
    }
}

/// Whether a wallet has so much free, and its budget as much left. A look ahead: what decides is the journal.
///
/// # Errors
/// Where it has not.
pub(super) async fn can_pay(app: &App, subscription: &Subscription, amount: Money) -> Result<(), Refusal> {
    let (account, currency) = (subscription.account, amount.currency);
    let standing = statement::standing(&app.journal, account, currency).await?;
    let free = standing.free();
    if free.micro < amount.micro {
        let missing = Money::new(amount.micro.saturating_sub(free.micro), currency);
        let told =
            format!("{amount} is to be paid and {free} is free in your wallet; top up {missing} or more");
        return Err(Refusal::because(Code::BalanceInsufficient, told));
    }
    let budget = budget::find(&app.store, account, currency).await?.map(|found| found.value);
    let Some(budget) = budget.filter(|budget| budget.ceiling().is_some()) else { return Ok(()) };
    let left = budget.left(standing.spending.at(app.clock.now()));
    if left < amount.micro {
        let left = Money::new(left.max(0), currency);
        let told = format!(
            "{amount} is to be paid and {left} is left of the budget that you set for this month; raise it first"
        );
        return Err(Refusal::because(Code::BudgetReached, told));
    }
    Ok(())
}
