//! `/l/{vendor}/{listing}`: what a listing is, what it costs, what can be called, how, and a place to try it. What it
//! says comes from `discover`; the call that is tried goes from the browser to the gateway and never through us.

use apiclay_config::ids::{AccountId, RouteId, SubscriptionId};
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::frame::{Frame, render};
use super::plan_shown::{self, PlanShown};
use super::route::{RouteLink, RouteShown};
use super::visitor::Anyone;
use crate::app::App;
use crate::discover::page::{Card, Page};
use crate::discover::routes::{page_of, server_at};
use crate::http::{Path, Problem, Query};
use crate::plans::view::PlanView;
use crate::store;
use crate::subscriptions::documents::Subscription;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    route: Option<RouteId>,
    done: Option<String>,
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
    let Page { card, routes, plans } = page_of(&app, &vendor, &listing).await?;
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
        shown.push(plan_shown::present(plan, mine, app.payments.is_some()));
    }
    shown.sort_by_key(|plan| plan.order);
    let page = ListingPage {
        frame: Frame::new(&app, visitor.as_ref(), "discover").after(asked.done.as_deref()),
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
