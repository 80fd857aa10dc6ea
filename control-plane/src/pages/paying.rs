//! How a subscription stands, in words: its state, what it costs, until when it is paid for, and what can be done about it.
//! Next: the pages of one and of all subscriptions.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;

use super::words;
use crate::app::App;
use crate::http::Problem;
use crate::plans;
use crate::plans::pricing::Pricing;
use crate::plans::terms::Terms;
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::life::SubscriptionState;
use crate::subscriptions::period::Period;
use crate::wallet::budget;
use crate::wallet::leases::included;
use crate::wallet::leases::reckon::units_charged;
use crate::wallet::statement::{self, Standing};

/// A state, for a badge.
pub(super) struct Badge {
    pub word: &'static str,
    pub class: &'static str,
}

/// What it costs, and what there is to pay it with.
pub(super) struct Paying {
    pub price: String,
    pub free: String,
    /// Units of this month that cost nothing and are left.
    pub included_left: Option<u64>,
    /// What they are called.
    pub nouns: String,
    /// Why the next call or month cannot be paid.
    pub short: Option<&'static str>,
}

/// The button that goes on with it, and what that means.
pub(super) struct Resume {
    pub label: String,
    pub told: String,
    /// What it charges at once, in micro-units: the form carries what its reader saw.
    pub due_now: i64,
}

pub(super) fn badge(subscription: &Subscription, trial_over: bool) -> Badge {
    let (word, class) = match subscription.state() {
        SubscriptionState::Active if trial_over => ("Trial over", "bad"),
        SubscriptionState::Active if subscription.cancels_at_end => ("Ends with its month", "warn"),
        SubscriptionState::Active => ("Active", "good"),
        SubscriptionState::PastDue => ("Payment due", "warn"),
        SubscriptionState::Unpaid => ("Stopped", "bad"),
        SubscriptionState::Incomplete => ("Being paid", ""),
        SubscriptionState::Cancelled => ("Ended", ""),
    };
    Badge { word, class }
}

/// `₹499 a month, and ₹0.10 a call`; none for what is free.
pub(super) fn price(terms: &Terms) -> Option<String> {
    let month = (!terms.price.is_zero()).then(|| format!("{} a month", words::money(&terms.price)));
    let call = terms.usage_price.as_ref().filter(|_| terms.is_per_call());
    let call = call.map(|usage| format!("{} {}", words::call_price(usage), words::each(usage)));
    match (month, call) {
        (Some(month), Some(call)) => Some(format!("{month}, and {call}")),
        (month, call) => month.or(call),
    }
}

pub(super) async fn paying(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
) -> Result<Option<Paying>, Problem> {
    let Some(price) = price(terms).filter(|_| app.payments.is_some() && subscription.is_live()) else {
        return Ok(None);
    };
    let standing = statement::standing(&app.journal, subscription.account, terms.price.currency).await?;
    let calls = calls(app, subscription, terms).await?;
    let now = match subscription.state() {
        SubscriptionState::PastDue | SubscriptionState::Unpaid => due(subscription, terms).micro,
        _ if calls.included_left.is_none_or(|left| left < calls.of_call) => calls.next_micro,
        _ => 0,
    };
    let month = next_month(app, subscription, terms).await?;
    let nouns = terms.usage_price.as_ref().map_or_else(String::new, |usage| usage.unit.noun(0));
    Ok(Some(Paying {
        price,
        included_left: calls.included_left,
        nouns,
        short: short(app, subscription, &standing, (now, month)).await?,
        free: words::money(&standing.free()),
    }))
}

/// Why what is paid next cannot be: now, and with the next month at a moment. What the wallet has decides on both, a budget
/// only on what is charged in the calendar month that it is for.
async fn short(
    app: &App,
    subscription: &Subscription,
    standing: &Standing,
    (now, month): (i64, Option<(i64, Timestamp)>),
) -> Result<Option<&'static str>, Problem> {
    if standing.free().micro < month.map_or(now, |(month, _)| month.max(now)) {
        return Ok(Some("add money"));
    }
    let budget = budget::find(&app.store, subscription.account, standing.balance.currency).await?;
    let Some(budget) = budget.map(|found| found.value).filter(|budget| budget.hard_stop) else {
        return Ok(None);
    };
    let spending = standing.spending.at(app.clock.now());
    let month = month.filter(|(_, at)| *at < spending.resets_at()).map_or(0, |(month, _)| month);
    let stops = (now > 0 && budget.stops(spending)) || budget.left(spending) < now.max(month);
    Ok(stops.then_some("your budget stops it"))
}

/// What the month after the one that is paid for costs, and when; none where none follows.
async fn next_month(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
) -> Result<Option<(i64, Timestamp)>, Problem> {
    let follows = subscription.state() == SubscriptionState::Active && !subscription.cancels_at_end;
    let Some(paid) = subscription.month().filter(|_| follows) else { return Ok(None) };
    let price = match subscription.next_edition {
        Some(next) => plans::access::revision(&app.store, next.plan, next.revision).await?.value.terms.price,
        None => terms.price,
    };
    Ok(Some((price.micro, paid.period.ends_at)))
}

/// What the month costs that is to be paid, or was last.
fn due(subscription: &Subscription, terms: &Terms) -> Money {
    subscription.charging.as_ref().map_or(terms.price, |charge| charge.sale.amount)
}

/// What further calls cost.
#[derive(Default)]
struct Calls {
    included_left: Option<u64>,
    /// What one takes of them.
    of_call: u64,
    /// One more after those, at most.
    next_micro: i64,
}

async fn calls(app: &App, subscription: &Subscription, terms: &Terms) -> Result<Calls, Problem> {
    let usage = terms.usage_price.as_ref().filter(|_| subscription.pays);
    let Some((usage, pricing)) = usage.and_then(|usage| Pricing::of(usage).map(|pricing| (usage, pricing)))
    else {
        return Ok(Calls::default());
    };
    let period = Period::containing(subscription.anchor(), app.clock.now());
    let edition = (subscription.plan, subscription.plan_revision);
    let before = units_charged(&app.journal, subscription.id, edition, &period).await?;
    let (month, included) =
        included::of_subscription(&app.store, subscription, terms, app.clock.now()).await?;
    let left = included::left(&app.journal, &month, included).await?;
    let of_call = usage.unit.metered().map_or(1, |unit| unit.units_max_per_call);
    let next_micro = pricing.price_max_from(before).saturating_mul(i64::from(of_call));
    Ok(Calls { included_left: usage.included.map(|_| left), of_call: u64::from(of_call), next_micro })
}

/// What stands between now and the next month, in a sentence.
pub(super) fn outlook(subscription: &Subscription, terms: &Terms, next_plan: Option<&str>) -> Option<String> {
    let month_ends = subscription.month().map(|paid| words::moment(paid.period.ends_at));
    match (subscription.state(), month_ends) {
        (SubscriptionState::Active, Some(end)) if subscription.cancels_at_end => {
            let calls = if terms.is_per_call() { " Calls are charged until then." } else { "" };
            Some(format!("Paid until {end}; it ends then, and no further month is charged.{calls}"))
        }
        (SubscriptionState::Active, Some(end)) => Some(match next_plan {
            Some(plan) => format!("Paid until {end}; it changes to {plan} then."),
            None => format!("Paid until {end}; the next month is charged then."),
        }),
        (SubscriptionState::PastDue, _) => {
            let end = subscription.grace_ends_at().map(words::moment).unwrap_or_default();
            Some(format!(
                "This month could not be paid: your wallet or its budget had too little left, or the listing cannot be called. It goes on until {end}, and is paid by itself once there is enough."
            ))
        }
        (SubscriptionState::Unpaid, _) => Some(
            "No next month was paid for, so calls are refused. Nothing more is charged until you resume it."
                .to_owned(),
        ),
        _ => None,
    }
}

/// What to do where a trial is over: to pay, where that is offered.
pub(super) fn after_trial(resume: Option<&Resume>) -> String {
    let what = if resume.is_some() { "Pay for a month" } else { "Change the plan" };
    format!("Your trial is over, so calls are refused. {what} to go on.")
}

/// What going on with it would mean, where that changes anything.
pub(super) fn resume(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
    trial_over: bool,
) -> Option<Resume> {
    let due = due(subscription, terms);
    let (price, due_now) = (words::money(&due), due.micro);
    match subscription.state() {
        SubscriptionState::Active if subscription.cancels_at_end => Some(Resume {
            label: "Keep it".to_owned(),
            told: "Kept, it goes on, and the next month is charged when this one ends.".to_owned(),
            due_now: 0,
        }),
        SubscriptionState::PastDue => Some(Resume {
            label: format!("Pay {price} now"),
            told: "Pays the month that has begun from your wallet.".to_owned(),
            due_now,
        }),
        SubscriptionState::Active | SubscriptionState::Unpaid
            if !subscription.pays && !terms.price.is_zero() && app.payments.is_some() =>
        {
            // Where calls cost something too, what is left of a trial comes before they do.
            let lasts = subscription.state() == SubscriptionState::Active && !trial_over;
            let tried = terms.trial.is_some() && lasts && !terms.is_per_call();
            let trial = if tried { " and ends your trial" } else { "" };
            Some(Resume {
                label: format!("Pay {price} and go on"),
                told: format!(
                    "A first month begins now{trial}. Each month after it costs {price}, from your wallet, until you end it."
                ),
                due_now,
            })
        }
        _ => None,
    }
}

/// What ending it means, to be agreed to.
pub(super) fn ending(subscription: &Subscription, now: Timestamp) -> String {
    match subscription.month().filter(|paid| paid.period.ends_at > now) {
        Some(paid) => format!(
            "I understand that its keys stop working on {}, and that nothing is given back for the month.",
            words::moment(paid.period.ends_at)
        ),
        None => "I understand that its keys stop working at once.".to_owned(),
    }
}
