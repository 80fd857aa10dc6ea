//! What the wallet's page says of a budget: what is spent of it, a meter's figure, and what stands in its form. Next:
//! `wallet` renders it, and takes the form.

use apiclay_config::ids::AccountId;
use apiclay_config::money::{MICRO_PER_UNIT, Money};
use serde::Deserialize;

use super::words;
use crate::app::App;
use crate::http::Problem;
use crate::plans::bounds::PRICE_MAX_UNITS;
use crate::wallet::budget;
use crate::wallet::statement::Standing;

/// What a full meter is.
const METER_FULL: i128 = 1_000;

/// The form that sets a budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The amount, as people write rupees.
    pub budget: String,
    /// There where it is ticked.
    pub hard_stop: Option<String>,
}

/// What the page says of a budget.
pub(super) struct BudgetShown {
    /// What is in the form.
    pub form: Wanted,
    /// What is set.
    pub set: Option<BudgetSet>,
}

impl BudgetShown {
    /// Whether the form's box is ticked.
    pub(super) fn is_hard(&self) -> bool {
        self.form.hard_stop.is_some()
    }

    /// What is in the form's field.
    pub(super) fn amount(&self) -> &str {
        &self.form.budget
    }
}

/// A budget that is set.
pub(super) struct BudgetSet {
    /// How much.
    pub amount: String,
    /// What is spent of it.
    pub spent: String,
    /// Held for calls under way, where there is something and it counts.
    pub held: Option<String>,
    /// What is neither.
    pub left: String,
    /// The meter's.
    pub thousandths: i64,
    /// When it begins anew.
    pub resets: String,
    /// The highest threshold that is reached, in percent.
    pub reached: u8,
    /// Whether it is what refuses calls.
    pub stops: bool,
}

/// Whether a budget can be so much, told in the words of the page.
pub(super) fn within(amount: Money) -> Result<Money, Problem> {
    let most = Money::new(PRICE_MAX_UNITS.saturating_mul(MICRO_PER_UNIT), amount.currency);
    if (1..=most.micro).contains(&amount.micro) {
        return Ok(amount);
    }
    let (least, most) = (words::money(&Money::new(0, amount.currency)), words::money_parted(&most));
    Err(Problem::field("/amount", "out_of_range", format!("more than {least}, and at most {most}")))
}

/// The budget of a visitor's wallet, with the form as it was sent or as it is set.
pub(super) async fn shown(
    app: &App,
    account: AccountId,
    standing: &Standing,
    sent: Option<Wanted>,
) -> Result<BudgetShown, Problem> {
    let currency = standing.balance.currency;
    let spending = standing.spending.at(app.clock.now());
    let found = budget::find(&app.store, account, currency).await?.map(|found| found.value);
    let money = |micro| words::money(&Money::new(micro, currency));
    let set = found.map(|budget| BudgetSet {
        amount: words::money(&budget.amount),
        spent: money(spending.spent),
        held: (budget.hard_stop && spending.held > 0).then(|| money(spending.held)),
        left: money(budget.left(spending)),
        thousandths: thousandths(spending.spent, budget.amount.micro),
        resets: words::moment(spending.resets_at()),
        reached: budget.reached(spending),
        stops: budget.stops(spending),
    });
    let as_set = || Wanted {
        budget: found.map_or_else(String::new, |budget| plain(&budget.amount)),
        hard_stop: found.filter(|budget| budget.hard_stop).map(|_| String::new()),
    };
    Ok(BudgetShown { form: sent.unwrap_or_else(as_set), set })
}

/// As it is typed: without a sign.
fn plain(amount: &Money) -> String {
    words::money(amount).trim_start_matches('₹').to_owned()
}

fn thousandths(spent: i64, of: i64) -> i64 {
    let part = (i128::from(spent) * METER_FULL).checked_div(i128::from(of)).unwrap_or(0);
    i64::try_from(part.clamp(0, METER_FULL)).unwrap_or(0)
}
