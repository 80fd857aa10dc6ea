//! `/subscriptions`: what the visitor has bought; buying and ending. The rules are `subscriptions`'.

use apiclay_config::ids::{PlanId, SubscriptionId};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::form::PostedBy;
use super::frame::{Frame, render, render_as};
use super::paying::{self, Badge};
use super::refused::Refused;
use super::visitor::SignedIn;
use super::{limits, listing, words};
use crate::app::App;
use crate::catalog::documents::Listing;
use crate::http::{Code, Paging, Path, Problem, Query};
use crate::plans;
use crate::plans::documents::Plan;
use crate::refusal::Refusal;
use crate::store;
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::{access, buying};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    cursor: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bought {
    plan: PlanId,
    /// The edition that the page showed.
    plan_revision: String,
}

/// A box is ticked by whoever means it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancelled {
    #[serde(default)]
    sure: String,
}

struct SubscriptionShown {
    id: SubscriptionId,
    listing: String,
    vendor: String,
    plan: String,
    badge: Badge,
    since: String,
}

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct Subscriptions {
    frame: Frame,
    subscriptions: Vec<SubscriptionShown>,
    next_cursor: Option<String>,
}

/// The visitor's subscriptions, the newest first.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let mine = store::Query::by("account").equals(visitor.account.id.to_string()).descending();
    let paging = Paging { limit: None, cursor: asked.cursor };
    let page = app.store.query::<Subscription>(&paging.apply(mine)).await?;
    let mut shown = Vec::with_capacity(page.items.len());
    for found in page.items {
        let subscription = found.value;
        let (listing, plan) = bought(&app, &subscription).await?;
        shown.push(SubscriptionShown {
            id: subscription.id,
            listing: listing.name,
            vendor: listing.vendor_slug,
            plan: plan.name,
            badge: paying::badge(&subscription, trial_is_over(&app, &subscription).await?),
            since: words::day(subscription.created_at),
        });
    }
    let frame = Frame::new(&app, Some(&visitor), "subscriptions").after(asked.done.as_deref());
    render(&app, &Subscriptions { frame, subscriptions: shown, next_cursor: page.next_cursor })
}

/// Read only where it may be: of most there is no trial that could be over.
async fn trial_is_over(app: &App, subscription: &Subscription) -> Result<bool, Problem> {
    if subscription.pays || !subscription.is_live() {
        return Ok(false);
    }
    let edition = plans::access::revision(&app.store, subscription.plan, subscription.plan_revision).await?;
    limits::trial_is_over(app, subscription, &edition.value.terms).await
}

/// What a subscription is of. Its owner may see both, also when they are sold no more.
pub(super) async fn bought(app: &App, subscription: &Subscription) -> Result<(Listing, Plan), Problem> {
    let lost = || Problem::internal("a subscription's listing or plan is not there");
    let listing = app.store.get::<Listing>(&subscription.listing.to_string()).await?.ok_or_else(lost)?;
    let plan = app.store.get::<Plan>(&subscription.plan.to_string()).await?.ok_or_else(lost)?;
    Ok((listing.value, plan.value))
}

/// The edition of a plan that a form's reader was shown.
pub(super) fn shown_revision(shown: &str) -> Result<u32, Problem> {
    let malformed = "the plan's edition is none; load the page again";
    shown.parse().map_err(|_| Problem::new(Code::RequestMalformed, malformed))
}

/// Buys a plan as its page showed it; whoever has it already is led to it.
pub(super) async fn subscribe(State(app): State<App>, posted: PostedBy<Bought>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let to = |id: SubscriptionId, done: &str| {
        Ok(Redirect::to(&format!("/subscriptions/{id}?done={done}")).into_response())
    };
    let shown = shown_revision(&given.plan_revision)?;
    let new = SubscriptionId::generate();
    match buying::subscribe(&app, visitor.account.id, new, (given.plan, Some(shown))).await {
        Ok(made) => to(made.value.id, "subscribed"),
        Err(refusal @ Refusal::Because { code: Code::BalanceInsufficient | Code::BudgetReached, .. }) => {
            let Some(listing) = listing_of(&app, given.plan).await? else { return Err(refusal.into()) };
            let refused = Refused::of(refusal)?;
            let at = (listing.vendor_slug.as_str(), listing.slug.as_str());
            let (status, mut again) = (refused.status, listing::page(&app, Some(&visitor), at, None).await?);
            again.frame = again.frame.refusing(refused);
            render_as(&app, status, &again)
        }
        Err(refusal @ Refusal::Because { code: Code::AmountChanged, .. }) => {
            let Some(listing) = listing_of(&app, given.plan).await? else { return Err(refusal.into()) };
            let path = format!("/l/{}/{}?done=plan_revised", listing.vendor_slug, listing.slug);
            Ok(Redirect::to(&path).into_response())
        }
        Err(refusal @ Refusal::Because { code: Code::AlreadySubscribed, .. }) => {
            let mine = access::live(&app.store, visitor.account.id).await?;
            match mine.iter().find(|mine| mine.is_or_becomes(given.plan)) {
                Some(mine) => to(mine.id, "already_subscribed"),
                None => Err(refusal.into()),
            }
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn listing_of(app: &App, plan: PlanId) -> Result<Option<Listing>, Problem> {
    let Some(plan) = app.store.get::<Plan>(&plan.to_string()).await? else { return Ok(None) };
    let found = app.store.get::<Listing>(&plan.value.listing.to_string()).await?;
    Ok(found.map(|found| found.value))
}

/// Ends a subscription, where its owner is sure.
pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<SubscriptionId>,
    posted: PostedBy<Cancelled>,
) -> Answer {
    let PostedBy { visitor, given } = posted;
    let found = access::own(&app.store, id, visitor.account.id).await?;
    if given.sure != "yes" {
        return Ok(Redirect::to(&format!("/subscriptions/{id}#end")).into_response());
    }
    let ended = buying::cancel(&app, found, None).await?;
    let done = if ended.value.is_live() { "cancels_at_end" } else { "cancelled" };
    Ok(Redirect::to(&format!("/subscriptions/{id}?done={done}")).into_response())
}
