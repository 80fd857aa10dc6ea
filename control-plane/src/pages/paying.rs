//! How a subscription stands, in words: its state, what it costs, until when it is paid for, and what can be done about it.
//! Next: the pages of one and of all subscriptions.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;

use super::words;
use crate::app::App;
use crate::http::Problem;
use crate::plans::pricing::Pricing;
use crate::plans::terms::Terms;
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::life::SubscriptionState;
use crate::subscriptions::period::Period;
use crate::wallet::leases::included;
use crate::wallet::leases::reckon::units_charged;
use crate::wallet::statement;

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
    /// The next call or month cannot be paid.
    pub too_little: bool,
}

/// The button that goes on with it, and what that means.
pub(super) struct Resume {
    pub label: String,
    pub told: String,
    /// What it charges at once, in micro-units: the form carries what its reader saw.
    pub due_now: i64,
}

pub(super) fn badge(subscription: &Subscription) -> Badge {
    let (word, class) = match subscription.state() {
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
    let free = statement::standing(&app.journal, subscription.account, terms.price.currency).await?.free();
    let calls = calls(app, subscription, terms).await?;
    let next = match subscription.state() {
        SubscriptionState::PastDue | SubscriptionState::Unpaid => due(subscription, terms).micro,
        _ if calls.included_left.is_none_or(|left| left < calls.of_call) => calls.next_micro,
        _ => 0,
    };
    let included_left = calls.included_left;
    let nouns = terms.usage_price.as_ref().map_or_else(String::new, |usage| usage.unit.noun(0));
    Ok(Some(Paying { price, included_left, nouns, too_little: free.micro < next, free: words::money(&free) }))
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
pub(super) fn outlook(subscription: &Subscription, next_plan: Option<&str>) -> Option<String> {
    let month_ends = subscription.month().map(|paid| words::moment(paid.period.ends_at));
    match (subscription.state(), month_ends) {
        (SubscriptionState::Active, Some(end)) if subscription.cancels_at_end => {
            Some(format!("Paid until {end}; it ends then, and nothing more is charged."))
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

/// What going on with it would mean, where that changes anything.
pub(super) fn resume(app: &App, subscription: &Subscription, terms: &Terms) -> Option<Resume> {
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
            Some(Resume {
                label: format!("Pay {price} and go on"),
                told: format!(
                    "A first month begins now. Each month after it costs {price}, from your wallet, until you end it."
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
