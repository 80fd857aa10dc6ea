//! `/subscriptions/{id}`: how a subscription stands, its keys, and what was called with it. The page is made here for
//! `keys` too, which shows it with a new key or with what is wrong.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, SubscriptionId};
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::chart::{Bar, Width, bars};
use super::faults::Faults;
use super::frame::{Frame, render};
use super::limits::{self, Limits, UnitsShown, limits, whole_from};
use super::paying::{self, Badge, Paying, Resume};
use super::routes_used::{self, RouteRow};
use super::subscriptions::bought;
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::discover::routes::server_at;
use crate::http::{Path, Problem, Query};
use crate::plans;
use crate::plans::documents::Plan;
use crate::subscriptions::access;
use crate::subscriptions::documents::Credential;
use crate::usage::routes::{Range, by_route, of as usage_of};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    by: Option<Width>,
    done: Option<String>,
}

/// A key, without the key.
pub(super) struct KeyShown {
    id: CredentialId,
    name: String,
    hint: String,
    made: String,
    ends: Option<String>,
    expired: bool,
}

/// A key that has just been made: this once.
pub(super) struct NewKey {
    pub name: String,
    pub key: String,
}

#[derive(Template)]
#[template(path = "subscription.html")]
pub(super) struct SubscriptionPage {
    pub frame: Frame,
    id: SubscriptionId,
    listing: String,
    listing_path: String,
    on_sale: bool,
    server: String,
    plan: String,
    badge: Badge,
    live: bool,
    since: String,
    ended: Option<String>,
    paying: Option<Paying>,
    outlook: Option<String>,
    resume: Option<Resume>,
    /// What is agreed to by whoever ends it; none where that was done.
    ending: Option<String>,
    limits: Limits,
    /// Which answers are billed, where the plan says it.
    billable: Option<String>,
    keys: Vec<KeyShown>,
    /// Makes a form that is sent twice make one key.
    once: CredentialId,
    pub new_key: Option<NewKey>,
    pub key_name: String,
    pub faults: Faults,
    width: Width,
    bars: Vec<Bar>,
    busiest: u64,
    calls: u64,
    /// Of what is shown, where the plan counts others than calls.
    units: Option<UnitsShown>,
    routes: Vec<RouteRow>,
    total: u64,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<SubscriptionId>,
    Query(asked): Query<Asked>,
) -> Answer {
    let mut page = SubscriptionPage::of(&app, &visitor, id, asked.by.unwrap_or_default()).await?;
    page.frame = page.frame.after(asked.done.as_deref());
    render(&app, &page)
}

impl SubscriptionPage {
    /// The page of one of the visitor's subscriptions.
    pub(super) async fn of(
        app: &App,
        visitor: &Visitor,
        id: SubscriptionId,
        width: Width,
    ) -> Result<Self, Problem> {
        let subscription = access::own(&app.store, id, visitor.account.id).await?.value;
        let now = app.clock.now();
        let (listing, plan) = bought(app, &subscription).await?;
        let terms = plans::access::revision(&app.store, subscription.plan, subscription.plan_revision);
        let terms = terms.await?.value.terms;
        let next_plan = match subscription.next_edition {
            Some(next) => app.store.get::<Plan>(&next.plan.to_string()).await?,
            None => None,
        };
        let next_plan = next_plan.map(|plan| plan.value.name);
        let keys = access::live_credentials(&app.store, id).await?;
        let from = width.begin(now);
        let range = Range { from: Some(from), to: None, by: Some(width.step()) };
        let usage = usage_of(app, &subscription, range).await?;
        let whole = usage_of(app, &subscription, whole_from(None)).await?.total;
        let by_route = by_route(app, &subscription, whole_from(Some(from))).await?;
        let bars = bars(width, now, &usage.items);
        let limits = limits(app, &subscription, &terms, &whole).await?;
        let resume = paying::resume(app, &subscription, &terms, limits.trial_over);
        let outlook = match limits.trial_over {
            true => Some(paying::after_trial(resume.as_ref())),
            false => paying::outlook(&subscription, &terms, next_plan.as_deref()),
        };
        Ok(Self {
            frame: Frame::new(app, Some(visitor), "subscriptions"),
            id,
            listing_path: format!("/l/{}/{}", listing.vendor_slug, listing.slug),
            on_sale: listing.is_on_sale(),
            server: server_at(app, &listing.vendor_slug, &listing.slug),
            listing: listing.name.clone(),
            plan: plan.name,
            live: subscription.is_live(),
            since: words::day(subscription.created_at),
            ended: subscription.cancelled_at.map(words::moment),
            badge: paying::badge(&subscription, limits.trial_over),
            paying: paying::paying(app, &subscription, &terms).await?,
            outlook,
            resume,
            ending: (!subscription.cancels_at_end).then(|| paying::ending(&subscription, now)),
            limits,
            billable: terms.billable_statuses.as_deref().map(words::billable),
            keys: keys.iter().map(|found| present(&found.value, now)).collect(),
            once: CredentialId::generate(),
            new_key: None,
            key_name: String::new(),
            faults: Faults::default(),
            width,
            busiest: bars.iter().map(|bar| bar.calls).max().unwrap_or(0),
            calls: bars.iter().map(|bar| bar.calls).sum(),
            bars,
            units: limits::units(&terms, &usage.total),
            routes: routes_used::rows(&by_route.items, &listing.routes),
            total: whole.calls,
        })
    }
}

fn present(credential: &Credential, now: Timestamp) -> KeyShown {
    KeyShown {
        id: credential.id,
        name: credential.name.clone(),
        hint: credential.hint.clone(),
        made: words::day(credential.created_at),
        ends: credential.expires_at.map(words::moment),
        expired: credential.expires_at.is_some_and(|at| at <= now),
    }
}
