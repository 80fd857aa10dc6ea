//! `/admin/listings`: the review queue and what is decided about listings. Gateways are in `routes_gateways`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::ListingId;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Decision;
use crate::app::App;
use crate::catalog::documents::Listing;
use crate::catalog::edit::{Editor, edit};
use crate::catalog::rules;
use crate::catalog::state::{State as ListingState, Step, state_word};
use crate::catalog::view::ListingView;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Code, Json, Listed, Paging, Path, Problem, Query, Tagged};
use crate::store;

/// Below `/admin`.
pub fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(queue))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(suspend))
        .routes(routes!(restore))
        .merge(super::routes_gateways::gateways())
        .merge(super::routes_plugins::plugins())
        .merge(super::routes_retention::retention())
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// What the vendor will read.
    reason: String,
}

/// Which listings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// In this state; those that wait for review where nothing is said.
    state: Option<ListingState>,
    /// At most so many items, up to 100.
    limit: Option<usize>,
    /// Where the page before said the next one begins.
    cursor: Option<String>,
}

/// Listings in a state: those that wait for review, the first handed in first.
#[utoipa::path(get, path = "/listings", tag = "admin", params(Which), responses(
    (status = 200, body = Listed<ListingView>), (status = 403, body = ProblemBody)))]
async fn queue(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<Which>,
) -> Result<Json<Listed<ListingView>>, Problem> {
    let state = which.state.unwrap_or(ListingState::Submitted);
    let index = if state == ListingState::Submitted { "review" } else { "state" };
    let walk = store::Query::by(index).equals(state_word(state));
    let page =
        app.store.query::<Listing>(&Paging { limit: which.limit, cursor: which.cursor }.apply(walk)).await?;
    Ok(Json(Listed::present(page, |listing| ListingView::from(&listing.value))))
}

type Decided = Result<Tagged<Json<ListingView>>, Problem>;

/// Lets a listing be published.
#[utoipa::path(post, path = "/listings/{listing}/approve", tag = "admin", params(("listing" = String, Path)),
    request_body = Reason, responses((status = 200, body = ListingView), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn approve(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<ListingId>,
    Json(Reason { reason }): Json<Reason>,
) -> Decided {
    decide(&app, &admin, id, "listing.approve", reason, |listing| Ok(rules::step(listing, Step::Approve)?))
        .await
}

/// Sends a listing back to its vendor.
#[utoipa::path(post, path = "/listings/{listing}/reject", tag = "admin", params(("listing" = String, Path)),
    request_body = Reason, responses((status = 200, body = ListingView), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn reject(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<ListingId>,
    Json(Reason { reason }): Json<Reason>,
) -> Decided {
    decide(&app, &admin, id, "listing.reject", reason, |listing| Ok(rules::step(listing, Step::Reject)?))
        .await
}

/// Stops every call of a listing.
#[utoipa::path(post, path = "/listings/{listing}/suspend", tag = "admin", params(("listing" = String, Path)),
    request_body = Reason, responses((status = 200, body = ListingView), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn suspend(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<ListingId>,
    Json(Reason { reason }): Json<Reason>,
) -> Decided {
    decide(&app, &admin, id, "listing.suspend", reason, |listing| turn(listing, true)).await
}

/// Lets a suspended listing be called again.
#[utoipa::path(post, path = "/listings/{listing}/restore", tag = "admin", params(("listing" = String, Path)),
    request_body = Reason, responses((status = 200, body = ListingView), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn restore(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<ListingId>,
    Json(Reason { reason }): Json<Reason>,
) -> Decided {
    decide(&app, &admin, id, "listing.restore", reason, |listing| turn(listing, false)).await
}

fn turn(listing: &mut Listing, suspended: bool) -> Result<(), Problem> {
    if listing.suspended == suspended {
        let is = if suspended { "is suspended already" } else { "is not suspended" };
        return Err(Problem::new(Code::StateConflict, format!("the listing {is}")));
    }
    listing.suspended = suspended;
    Ok(())
}

/// Changes the listing and keeps who decided it, and why. The record is written first: a decision that failed is on
/// record once too often, and none that took effect is missing.
async fn decide(
    app: &App,
    admin: &Admin,
    id: ListingId,
    action: &str,
    reason: String,
    change: impl Fn(&mut Listing) -> Result<(), Problem> + Send + Sync,
) -> Decided {
    rules::check_reason(&reason)?;
    let mut trial = crate::catalog::access::any(&app.store, id).await?.value;
    change(&mut trial)?;
    let at: Timestamp = app.clock.now();
    let decision = Decision::new(admin.0.account, action, id.to_string(), reason.clone(), at);
    app.store.insert(&decision).await?;
    let (listing, ()) = edit(app, id, &Editor::Admin(admin.0.account), |listing| {
        change(listing)?;
        listing.review_reason = Some(reason.clone());
        Ok(())
    })
    .await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}
