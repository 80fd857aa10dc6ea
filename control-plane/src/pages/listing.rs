//! `/l/{vendor}/{listing}`: what a listing is, what it costs, what can be called, how, and a place to try it. What it
//! says comes from `discover`; the call that is tried goes from the browser to the gateway and never through us.

use apiclay_config::ids::{AccountId, RouteId, SubscriptionId};
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::frame::{Frame, render};
use super::route::{RouteLink, RouteShown};
use super::visitor::Anyone;
use super::words;
use crate::app::App;
use crate::discover::page::{Card, Page};
use crate::discover::routes::{page_of, server_at};
use crate::http::{Path, Problem, Query};
use crate::plans::rules::{Payment, payment};
use crate::plans::terms::{Terms, UsagePrice};
use crate::plans::view::PlanView;
use crate::store;
use crate::subscriptions::documents::Subscription;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    route: Option<RouteId>,
}

/// A plan, in words.
#[derive(Debug)]
pub(super) struct PlanShown {
    pub id: String,
    pub name: String,
    pub price: String,
    pub per: String,
    pub usage_price: Option<String>,
    pub promises: Vec<String>,
    /// The visitor's subscription to it.
    pub mine: Option<SubscriptionId>,
    pub buyable: bool,
    /// How it is paid, where it is paid from the wallet.
    pub paid: Option<&'static str>,
    /// What subscribing costs at once.
    pub due_now: Option<String>,
}

#[derive(Template)]
#[template(path = "listing.html")]
struct ListingPage {
    frame: Frame,
    card: Card,
    server: String,
    plans: Vec<PlanShown>,
    routes: Vec<RouteLink>,
    chosen: Option<RouteShown>,
    here: String,
}

/// A listing on sale.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Path((vendor, listing)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let Page { card, routes, mut plans } = page_of(&app, &vendor, &listing).await?;
    // What costs nothing first, then what is paid by the call, then by the month; each from the cheapest.
    plans.sort_by_key(|plan| {
        let least = plan.usage_price.iter().flat_map(UsagePrice::amounts).map(|amount| amount.micro).min();
        (plan.price.micro, least.unwrap_or(0))
    });
    let server = server_at(&app, &card.vendor, &card.slug);
    let chosen = match asked.route {
        Some(id) => Some(routes.iter().find(|route| route.id == id).ok_or_else(Problem::not_found)?),
        None => routes.first(),
    };
    let mut shown = Vec::with_capacity(plans.len());
    for plan in &plans {
        let mine = match &visitor {
            Some(visitor) => live_subscription(&app, visitor.account.id, plan).await?,
            None => None,
        };
        shown.push(present(plan, mine, app.payments.is_some()));
    }
    let page = ListingPage {
        frame: Frame::new(&app, visitor.as_ref(), "discover"),
        here: format!("/l/{}/{}", card.vendor, card.slug),
        routes: routes.iter().map(|route| RouteLink::new(route, chosen.map(|chosen| chosen.id))).collect(),
        chosen: chosen.map(|route| RouteShown::new(route, &server, &card.key_header)),
        plans: shown,
        server,
        card,
    };
    render(&app, &page)
}

async fn live_subscription(
    app: &App,
    account: AccountId,
    plan: &PlanView,
) -> Result<Option<SubscriptionId>, Problem> {
    let mine = store::Query::by("live").equals(Subscription::live_key_of(account, plan.id)).limit(1);
    Ok(app.store.query::<Subscription>(&mine).await?.items.pop().map(|found| found.value.id))
}

fn present(plan: &PlanView, mine: Option<SubscriptionId>, takes_payments: bool) -> PlanShown {
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
        promises.push(format!("{} at a time", words::count(u64::from(calls))));
    }
    if promises.is_empty() {
        promises.push("No limit on calls".to_owned());
    }
    let payment = payment(&terms, takes_payments).ok();
    promises.extend(plan.trial.as_ref().map(words::trial));
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
        name: plan.name.clone(),
        price,
        per,
        usage_price: usage_price.map(|usage| format!("{} {}", words::call_price(usage), words::each(usage))),
        promises,
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
