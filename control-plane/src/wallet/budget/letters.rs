//! What the owner of a budget is written. Pure.

use apiclay_config::money::Money;
use url::Url;

use super::documents::Budget;
use crate::ledger::Spending;
use crate::outbound::mail::Letter;

/// Decimal places of an amount in a letter.
const PLACES_MAX: usize = 4;

/// That a threshold is reached.
pub(super) fn reached(budget: &Budget, spending: Spending, percent: u8, app_url: &Url) -> Letter {
    let spent = told(Money::new(spending.spent, budget.amount.currency));
    let (amount, resets_at) = (told(budget.amount), spending.resets_at());
    let (subject, what) = match (percent, budget.hard_stop) {
        (100.., true) => (
            "Your budget stops your spending",
            format!(
                "Calls and fees that would pass it are refused until the next month begins ({resets_at}), or until \
                 you change the budget."
            ),
        ),
        (100.., false) => (
            "Your budget is spent",
            "Nothing is stopped: calls and fees are still paid from your wallet. You can set the budget to stop \
             them."
                .to_owned(),
        ),
        (80.., _) => ("You have spent 80 % of your budget", later(budget, &resets_at.to_string())),
        _ => ("You have spent half of your budget", later(budget, &resets_at.to_string())),
    };
    let at = app_url.join("wallet").map_or_else(|_| app_url.to_string(), |url| url.to_string());
    Letter {
        subject,
        text: format!("This month you have spent {spent} of your budget of {amount}. {what}\n\nSee {at}\n"),
    }
}

/// `100,000.50 INR`: in no letter without a code stands a number of six digits. Small parts are left out, not rounded.
fn told(amount: Money) -> String {
    let text = amount.to_string();
    let (number, currency) = text.split_once(' ').unwrap_or((&text, ""));
    let (whole, parts) = number.split_once('.').unwrap_or((number, ""));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{} {currency}", parts.get(..PLACES_MAX).unwrap_or(parts))
}

fn later(budget: &Budget, resets_at: &str) -> String {
    if budget.hard_stop {
        format!("Once it is spent, calls and fees are refused until the next month begins ({resets_at}).")
    } else {
        format!("The next month begins at {resets_at}.")
    }
}
