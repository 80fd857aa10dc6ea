//! `/subscriptions/{id}`: how a subscription stands, its keys, and what was called with it. The page is made here for
//! `keys` too, which shows it with a new key or with what is wrong.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, SubscriptionId};
use apiclay_config::zone::{UTC, Zone};
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::chart::{Bar, Width, bars};
use super::faults::Faults;
use super::frame::{Frame, render};
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
use crate::plans::terms::{LimitInput, Terms, Unit, WindowInput};
use crate::subscriptions::access;
use crate::subscriptions::documents::{Credential, Subscription};
use crate::usage::routes::{Range, by_route, of as usage_of};
use crate::usage::series::Step;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// A limit, and how much of it is used.
struct Meter {
    text: String,
    used: u64,
    max: u64,
    /// Thousandths, for the bar.
    thousandths: u64,
}

/// A key that has just been made: this once.
pub(super) struct NewKey {
    pub name: String,
    pub key: String,
}

#[derive(Template)]
#[template(path = "subscription.html")]
pub(super) struct SubscriptionPage {
    frame: Frame,
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
    rates: Vec<String>,
    /// Which answers are billed, where the plan says it.
    billable: Option<String>,
    meters: Vec<Meter>,
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
        let (rates, meters) = limits(app, &subscription, &terms, now).await?;
        let next_plan = match subscription.next_edition {
            Some(next) => app.store.get::<Plan>(&next.plan.to_string()).await?,
            None => None,
        };
        let next_plan = next_plan.map(|plan| plan.value.name);
        let keys = access::live_credentials(&app.store, id).await?;
        let from = width.begin(now);
        let range = Range { from: Some(from), to: None, by: Some(width.step()) };
        let usage = usage_of(app, &subscription, range).await?;
        let whole = usage_of(app, &subscription, whole_from(None)).await?;
        let by_route = by_route(app, &subscription, whole_from(Some(from))).await?;
        let bars = bars(width, now, &usage.items);
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
            badge: paying::badge(&subscription),
            paying: paying::paying(app, &subscription, &terms).await?,
            outlook: paying::outlook(&subscription, next_plan.as_deref()),
            resume: paying::resume(app, &subscription, &terms),
            ending: (!subscription.cancels_at_end).then(|| paying::ending(&subscription, now)),
            rates,
            billable: terms.billable_statuses.as_deref().map(words::billable),
            meters,
            keys: keys.iter().map(|found| present(&found.value, now)).collect(),
            once: CredentialId::generate(),
            new_key: None,
            key_name: String::new(),
            faults: Faults::default(),
            width,
            busiest: bars.iter().map(|bar| bar.calls).max().unwrap_or(0),
            calls: bars.iter().map(|bar| bar.calls).sum(),
            bars,
            routes: routes_used::rows(&by_route.items, &listing.routes),
            total: whole.total.calls,
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

/// The limits of the edition that was bought: rates as text, quotas with what is used of them on record.
async fn limits(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
    now: Timestamp,
) -> Result<(Vec<String>, Vec<Meter>), Problem> {
    let (mut rates, mut meters) = (Vec::new(), Vec::new());
    // A month that is paid for needs no trial.
    if let Some(trial) = terms.trial.filter(|_| !subscription.pays || terms.is_per_call()) {
        if let Some(calls) = trial.calls {
            let used = usage_of(app, subscription, whole_from(None)).await?.total.calls;
            meters.push(meter("Trial".to_owned(), used, calls));
        }
        if let Some(ends_at) = subscription.trial_ends_at.filter(|_| trial.days.is_some()) {
            let over = if ends_at <= now { "Trial was over" } else { "Trial until" };
            rates.push(format!("{over} {}", words::moment(ends_at)));
        }
    }
    let zone = Zone::named(terms.zone.as_deref().unwrap_or(UTC)).unwrap_or_default();
    let clocks = terms.zone.as_deref().unwrap_or(UTC).replace('_', " ");
    for limit in &terms.limits {
        let input =
            LimitInput { unit: Unit::Call, window: limit.window.into(), max: limit.max, hard: limit.hard };
        let Some(begin) = begin_of(input.window, &zone, now) else {
            rates.push(words::limit(&input));
            continue;
        };
        let used = usage_of(app, subscription, whole_from(Some(begin))).await?.total.calls;
        let name = match input.window {
            WindowInput::Hour => "This hour".to_owned(),
            WindowInput::Day => format!("Today ({clocks})"),
            _ => format!("This month ({clocks})"),
        };
        meters.push(meter(name, used, input.max));
    }
    if let Some(calls) = terms.concurrency_max {
        rates.push(format!("{} at a time", words::count(u64::from(calls))));
    }
    Ok((rates, meters))
}

/// For the sum alone, which whole days make cheapest.
const fn whole_from(from: Option<Timestamp>) -> Range {
    Range { from, to: None, by: Some(Step::Day) }
}

fn meter(text: String, used: u64, max: u64) -> Meter {
    let thousandths = (u128::from(used.min(max)) * 1000).checked_div(u128::from(max)).unwrap_or(0);
    // At most 1000.
    Meter { text, used, max, thousandths: thousandths as u64 }
}

/// When the window of a quota began; none for rates, which are too short to show.
fn begin_of(window: WindowInput, zone: &Zone, now: Timestamp) -> Option<Timestamp> {
    match window {
        WindowInput::Second | WindowInput::Minute => None,
        WindowInput::Hour => Some(zone.hour(now).starts),
        WindowInput::Day => Some(zone.day(now).starts),
        WindowInput::Month => Some(zone.month(now).starts),
    }
}
