//! A plan's card: what it costs and what it promises, in words. Next: the pages of a listing and of a change of plan, which
//! say what can be done about it.

use apiclay_config::ids::SubscriptionId;

use super::words;
use crate::plans::rules::{Payment, payment};
use crate::plans::terms::{Terms, UsagePrice};
use crate::plans::view::PlanView;

/// A plan, in words.
#[derive(Debug)]
pub(super) struct PlanShown {
    pub id: String,
    pub revision: u32,
    pub name: String,
    pub price: String,
    pub per: String,
    pub usage_price: Option<String>,
    pub promises: Vec<String>,
    /// What costs nothing first, then what is paid by the call, then by the month; each from the cheapest.
    pub order: (i64, i64),
    /// The visitor's subscription to it.
    pub mine: Option<SubscriptionId>,
    pub buyable: bool,
    /// How it is paid, where it is paid from the wallet.
    pub paid: Option<&'static str>,
    /// What subscribing costs at once.
    pub due_now: Option<String>,
}

/// From what a plan is to what its card says.
pub(super) fn present(plan: &PlanView, mine: Option<SubscriptionId>, takes_payments: bool) -> PlanShown {
    let terms = Terms {
        price: plan.price,
        usage_price: plan.usage_price.clone(),
        limits: Vec::new(),
        zone: None,
        trial: plan.trial,
        concurrency_max: plan.concurrency_max,
        billable_statuses: plan.billable_statuses.clone(),
        bindings: Vec::new(),
    };
    let mut promises: Vec<String> =
        plan.limits.iter().map(|limit| words::limit_in(limit, plan.zone.as_deref())).collect();
    if let Some(calls) = plan.concurrency_max {
        promises.push(words::at_a_time(calls));
    }
    if promises.is_empty() && terms.trial.is_none() {
        promises.push("No limit on calls".to_owned());
    }
    let payment = payment(&terms, takes_payments).ok();
    promises.extend(plan.trial.as_ref().map(|trial| words::trial(trial, terms.is_priced())));
    let by_the_call = terms.is_paid_by_the_call();
    let usage = plan.usage_price.as_ref();
    promises.extend(usage.map(words::tiers).unwrap_or_default());
    promises.extend(usage.and_then(words::bounds));
    promises.extend(plan.billable_statuses.as_deref().map(words::billable));
    let (price, per) = match usage.filter(|_| by_the_call) {
        Some(usage) => (words::call_price(usage), words::each(usage)),
        None if !terms.is_priced() => ("Free".to_owned(), String::new()),
        None => (words::money(&plan.price), "a month".to_owned()),
    };
    let usage_price = usage.filter(|_| !by_the_call);
    PlanShown {
        id: plan.id.to_string(),
        revision: plan.revision,
        name: plan.name.clone(),
        price,
        per,
        usage_price: usage_price.map(|usage| format!("{} {}", words::call_price(usage), words::each(usage))),
        promises,
        order: order(plan),
        mine,
        buyable: payment.is_some(),
        paid: payment.and_then(|payment| paid_how(payment, takes_payments)),
        due_now: (payment == Some(Payment::ByTheMonth)).then(|| words::money(&plan.price)),
    }
}

fn paid_how(payment: Payment, takes_payments: bool) -> Option<&'static str> {
    match payment {
        Payment::Nothing => None,
        Payment::ByTheCall => Some("from your wallet, as you call"),
        Payment::ByTheMonth => Some("from your wallet, a month ahead"),
        Payment::Trial if takes_payments => Some("after the trial, from your wallet, once you say so"),
        Payment::Trial => Some("more than the trial cannot be bought here"),
    }
}

fn order(plan: &PlanView) -> (i64, i64) {
    let least = plan.usage_price.iter().flat_map(UsagePrice::amounts).map(|amount| amount.micro).min();
    (plan.price.micro, least.unwrap_or(0))
}
