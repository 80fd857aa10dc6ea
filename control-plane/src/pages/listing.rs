//! `/l/{vendor}/{listing}`: what a listing is, what it costs, what can be called, how, and a place to try it. What it
//! says comes from `discover`; the call that is tried goes from the browser to the gateway and never through us.

use apiclay_config::ids::RouteId;
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::frame::{Frame, render};
use super::plan_shown::{self, PlanShown};
use super::route::{RouteLink, RouteShown};
use super::visitor::{Anyone, Visitor};
use crate::app::App;
use crate::discover::page::{Card, Page};
use crate::discover::routes::{page_of, server_at};
use crate::http::{Path, Problem, Query};
use crate::plans::view::PlanView;
use crate::subscriptions::access;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    route: Option<RouteId>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "listing.html")]
pub(super) struct ListingPage {
    pub frame: Frame,
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
    let mut page = page(&app, visitor.as_ref(), (&vendor, &listing), asked.route).await?;
    page.frame = page.frame.after(asked.done.as_deref());
    render(&app, &page)
}

/// The page, with this route or else the first.
pub(super) async fn page(
    app: &App,
    visitor: Option<&Visitor>,
    (vendor, listing): (&str, &str),
    route: Option<RouteId>,
) -> Result<ListingPage, Problem> {
    let Page { card, routes, plans } = page_of(app, vendor, listing).await?;
    let server = server_at(app, &card.vendor, &card.slug);
    let chosen = match route {
        Some(id) => Some(routes.iter().find(|route| route.id == id).ok_or_else(Problem::not_found)?),
        None => routes.first(),
    };
    let mine = match visitor {
        Some(visitor) => access::live(&app.store, visitor.account.id).await?,
        None => Vec::new(),
    };
    let shown = |plan: &PlanView| {
        let mine = mine.iter().find(|mine| mine.is_or_becomes(plan.id)).map(|mine| mine.id);
        plan_shown::present(plan, mine, app.payments.is_some())
    };
    let mut plans: Vec<PlanShown> = plans.iter().map(shown).collect();
    plans.sort_by_key(|plan| plan.order);
    Ok(ListingPage {
        frame: Frame::new(app, visitor, "discover"),
        here: format!("/l/{}/{}", card.vendor, card.slug),
        routes: routes.iter().map(|route| RouteLink::new(route, chosen.map(|chosen| chosen.id))).collect(),
        chosen: chosen.map(|route| RouteShown::new(route, &server, &card.key_header)),
        plans,
        server,
        card,
    })
}
