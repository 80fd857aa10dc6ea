//! `/discover`: public, and all of it about listings on sale.

use apiclay_config::ids::RouteId;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Card, Page, PageRoute};
use super::search::{QUERY_MAX_CHARS, Wanted};
use super::snippets::{self, Lang};
use super::{openapi, page};
use crate::app::App;
use crate::catalog;
use crate::catalog::definition::Definition;
use crate::catalog::documents::Listing;
use crate::catalog::state::{State as ListingState, state_word};
use crate::http::paging::{PAGE_DEFAULT_ITEMS, PAGE_MAX_ITEMS};
use crate::http::problem::ProblemBody;
use crate::http::{Json, Listed, Path, Problem, Query};
use crate::refusal::Refusal;
use crate::{plans, store};

/// Listings looked at for one answer; where none of them was wanted, the page is empty and has a cursor.
const LOOKED_AT_MAX: usize = 500;
/// Listings read at a time.
const READ_AT_ONCE: usize = 100;

/// Below `/discover`.
pub fn discover() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(description))
        .routes(routes!(code))
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// By name.
    #[default]
    Name,
    /// The newest first.
    Newest,
}

/// What is looked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Search {
    /// Words that all stand in it.
    pub q: Option<String>,
    /// A tag.
    pub tag: Option<String>,
    /// A category.
    pub category: Option<String>,
    /// In which order.
    pub sort: Option<Sort>,
    /// At most so many items, up to 100.
    pub limit: Option<usize>,
    /// Where the page before said the next one begins.
    pub cursor: Option<String>,
}

/// Listings on sale.
#[utoipa::path(get, path = "/listings", tag = "discover", params(Search), security(()), responses(
    (status = 200, body = Listed<Card>), (status = 400, body = ProblemBody)))]
async fn list(State(app): State<App>, Query(search): Query<Search>) -> Result<Json<Listed<Card>>, Problem> {
    Ok(Json(find(&app, search).await?))
}

/// Listings on sale, as they are looked for.
///
/// # Errors
/// Where a parameter is too long or the store does not answer.
pub(crate) async fn find(app: &App, search: Search) -> Result<Listed<Card>, Problem> {
    let long =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > QUERY_MAX_CHARS);
    if long(&search.q) || long(&search.tag) || long(&search.category) {
        return Err(Refusal::field("", "too_long", format!("at most {QUERY_MAX_CHARS} characters")).into());
    }
    let wanted = Wanted::new(search.q.as_deref(), search.tag.as_deref(), search.category.as_deref());
    let limit = search.limit.unwrap_or(PAGE_DEFAULT_ITEMS).clamp(1, PAGE_MAX_ITEMS);
    let walk = match search.sort.unwrap_or_default() {
        Sort::Name => store::Query::by("state").equals(state_word(ListingState::Published)),
        Sort::Newest => store::Query::by("id").descending(),
    };
    let (mut items, mut cursor, mut looked_at) = (Vec::new(), search.cursor, 0);
    loop {
        // Never more than are still wanted, so that the store's cursor is ours.
        let ask = walk.clone().limit((limit - items.len()).min(READ_AT_ONCE)).cursor(cursor);
        let found = app.store.query::<Listing>(&ask).await?;
        looked_at += found.items.len();
        items.extend(
            found
                .items
                .iter()
                .filter(|found| wanted.matches(&found.value))
                .map(|found| Card::from(&found.value)),
        );
        cursor = found.next_cursor;
        if cursor.is_none() || items.len() >= limit || looked_at >= LOOKED_AT_MAX {
            return Ok(Listed { items, next_cursor: cursor });
        }
    }
}

/// A listing's page.
#[utoipa::path(get, path = "/listings/{vendor}/{listing}", tag = "discover", security(()),
    params(("vendor" = String, Path), ("listing" = String, Path)), responses(
    (status = 200, body = Page), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    Path((vendor, listing)): Path<(String, String)>,
) -> Result<Json<Page>, Problem> {
    Ok(Json(page_of(&app, &vendor, &listing).await?))
}

/// The page of a listing on sale.
///
/// # Errors
/// Not found where it is not on sale.
pub(crate) async fn page_of(app: &App, vendor: &str, listing: &str) -> Result<Page, Problem> {
    let listing = catalog::access::on_sale_at(&app.store, vendor, listing).await?.value;
    let plans = plans::access::of_listing(&app.store, listing.id).await?;
    let on_sale = plans.iter().filter(|(plan, _)| plan.value.retired_at.is_none());
    Ok(Page {
        routes: with_words(app, &listing).await?,
        plans: on_sale.map(|(plan, terms)| plans::view::present(&plan.value, &terms.terms)).collect(),
        card: Card::from(&listing),
    })
}

async fn with_words(app: &App, listing: &Listing) -> Result<Vec<PageRoute>, Problem> {
    let definition = app.store.get::<Definition>(&listing.id.to_string()).await?;
    Ok(page::routes(listing, definition.map(|found| found.value.operations).unwrap_or_default()))
}

fn server(app: &App, listing: &Listing) -> String {
    server_at(app, &listing.vendor_slug, &listing.slug)
}

/// Where a listing is called.
pub(crate) fn server_at(app: &App, vendor: &str, listing: &str) -> String {
    format!("{}/{vendor}/{listing}", app.gateway_url.as_str().trim_end_matches('/'))
}

/// A listing as an OpenAPI 3.1 document.
#[utoipa::path(get, path = "/listings/{vendor}/{listing}/openapi.json", tag = "discover", security(()),
    params(("vendor" = String, Path), ("listing" = String, Path)), responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody)))]
async fn description(
    State(app): State<App>,
    Path((vendor, listing)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let listing = catalog::access::on_sale_at(&app.store, &vendor, &listing).await?.value;
    let routes = with_words(&app, &listing).await?;
    Ok(Json(openapi::describe(&listing, &routes, &server(&app, &listing))))
}

/// Which call, in which language.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Call {
    /// The route's id.
    #[param(value_type = String)]
    route: RouteId,
    /// The language.
    lang: Lang,
}

/// Code to paste.
#[derive(Debug, Serialize, ToSchema)]
struct Snippet {
    code: String,
}

/// A call of a route, as code.
#[utoipa::path(get, path = "/snippets", tag = "discover", params(Call), security(()), responses(
    (status = 200, body = Snippet), (status = 404, body = ProblemBody)))]
async fn code(State(app): State<App>, Query(call): Query<Call>) -> Result<Json<Snippet>, Problem> {
    let listing = catalog::access::on_sale_with(&app.store, call.route).await?.value;
    let routes = with_words(&app, &listing).await?;
    let route = routes.iter().find(|route| route.id == call.route).ok_or(Refusal::NotFound("route"))?;
    Ok(Json(Snippet {
        code: snippets::snippet(route, &server(&app, &listing), listing.key_header(), call.lang),
    }))
}
