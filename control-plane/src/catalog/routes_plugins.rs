//! Plugins of a listing and of one of its routes. A plan's are in `plans::routes_plugins`, the whole gateway's in
//! `admin::routes_plugins`; what may be attached is `bindings`.

use apiclay_config::ids::{ListingId, RouteId};
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::bindings::{BindingView, Place, check_together, checked};
use super::edit::{Editor, edit};
use super::input::BindingInput;
use super::view::ListingView;
use crate::admin::gateways;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Listed, Path, Problem, Tagged};
use crate::refusal::Refusal;
use crate::vendors::role::Act;

/// Below `/listings`.
pub(super) fn plugins() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list_plugins, put_plugins))
        .routes(routes!(list_route_plugins, put_route_plugins))
}

type Shown = Result<Tagged<Json<Listed<BindingView>>>, Problem>;

/// The plugins attached to a listing.
#[utoipa::path(get, path = "/{listing}/plugins", tag = "listings", params(("listing" = String, Path)), responses(
    (status = 200, body = Listed<BindingView>), (status = 404, body = ProblemBody)))]
async fn list_plugins(State(app): State<App>, caller: Caller, Path(id): Path<ListingId>) -> Shown {
    let listing = access::own(&app.store, id, caller.account, Act::Look).await?;
    let plugins = listing.value.bindings.iter().map(BindingView::from).collect();
    Ok(Tagged(listing.version, Json(Listed::whole(plugins))))
}

/// Attaches these plugins to a listing, and only these.
#[utoipa::path(put, path = "/{listing}/plugins", tag = "listings", params(("listing" = String, Path)),
    request_body = Vec<BindingInput>, responses(
    (status = 200, body = ListingView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn put_plugins(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(input): Json<Vec<BindingInput>>,
) -> Result<Tagged<Json<ListingView>>, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Build).await?;
    let gateways = gateways::all(&app.store).await?;
    let bindings = checked(input, Place::Early, "", &gateways, &listing.value.bindings)?;
    let (listing, ()) = edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        listing.bindings.clone_from(&bindings);
        Ok(check_together(listing.all_bindings())?)
    })
    .await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}

/// The plugins attached to a route.
#[utoipa::path(get, path = "/{listing}/routes/{route}/plugins", tag = "listings",
    params(("listing" = String, Path), ("route" = String, Path)), responses(
    (status = 200, body = Listed<BindingView>), (status = 404, body = ProblemBody)))]
async fn list_route_plugins(
    State(app): State<App>,
    caller: Caller,
    Path((id, route)): Path<(ListingId, RouteId)>,
) -> Shown {
    let listing = access::own(&app.store, id, caller.account, Act::Look).await?;
    let route = listing.value.routes.iter().find(|known| known.id == route);
    let bindings = &route.ok_or(Refusal::NotFound("route"))?.bindings;
    Ok(Tagged(listing.version, Json(Listed::whole(bindings.iter().map(BindingView::from).collect()))))
}

/// Attaches these plugins to a route, and only these. One replaces the listing's of the same type.
#[utoipa::path(put, path = "/{listing}/routes/{route}/plugins", tag = "listings",
    params(("listing" = String, Path), ("route" = String, Path)), request_body = Vec<BindingInput>, responses(
    (status = 200, body = Listed<BindingView>), (status = 400, body = ProblemBody),
    (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn put_route_plugins(
    State(app): State<App>,
    caller: Caller,
    Path((id, route)): Path<(ListingId, RouteId)>,
    if_match: IfMatch,
    Json(input): Json<Vec<BindingInput>>,
) -> Shown {
    let listing = access::own(&app.store, id, caller.account, Act::Build).await?.value;
    let known = listing.routes.iter().find(|known| known.id == route).ok_or(Refusal::NotFound("route"))?;
    let gateways = gateways::all(&app.store).await?;
    let bindings = checked(input, Place::Early, "", &gateways, &known.bindings)?;
    let (listing, ()) = edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        let known = listing.routes.iter_mut().find(|known| known.id == route);
        known.ok_or(Refusal::NotFound("route"))?.bindings.clone_from(&bindings);
        Ok(check_together(listing.all_bindings())?)
    })
    .await?;
    Ok(Tagged(listing.version, Json(Listed::whole(bindings.iter().map(BindingView::from).collect()))))
}
