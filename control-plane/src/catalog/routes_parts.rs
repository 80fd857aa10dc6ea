//! A listing's parts: routes, secrets, the import of a definition. Plugins are in `routes_plugins`.

use apiclay_config::ids::{ListingId, RouteId};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::definition::{self, Definition, Report, UPLOAD_MAX_BYTES};
use super::documents::{Route, Secret};
use super::edit::{Editor, edit};
use super::input::{RouteInput, SecretInput};
use super::paths::PathSet;
use super::rules::{self, ROUTES_MAX, SECRETS_MAX};
use super::view::RouteView;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, IfMatch, Json, Listed, NewId, Path, Problem, Tagged, json};
use crate::refusal::Refusal;
use crate::vendors::role::Act;

/// Definitions read at the same time in this process: each may take a hundred megabytes.
static IMPORTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);

/// Below `/listings`.
pub(super) fn parts() -> OpenApiRouter<App> {
    let definition = OpenApiRouter::default()
        .routes(routes!(put_definition))
        .layer(DefaultBodyLimit::max(UPLOAD_MAX_BYTES));
    OpenApiRouter::default()
        .routes(routes!(list_routes, add_route))
        .routes(routes!(put_route, remove_route))
        .routes(routes!(put_secret, remove_secret))
        .merge(definition)
}

/// What can be called.
#[utoipa::path(get, path = "/{listing}/routes", tag = "listings", params(("listing" = String, Path)), responses(
    (status = 200, body = Listed<RouteView>), (status = 404, body = ProblemBody)))]
async fn list_routes(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
) -> Result<Json<Listed<RouteView>>, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Look).await?;
    Ok(Json(Listed::whole(listing.value.routes.iter().map(RouteView::from).collect())))
}

/// Adds a route.
#[utoipa::path(post, path = "/{listing}/routes", tag = "listings", params(("listing" = String, Path)),
    request_body = RouteInput, responses(
    (status = 201, body = RouteView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn add_route(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    new_id: NewId,
    Json(input): Json<RouteInput>,
) -> Result<(StatusCode, Tagged<Json<RouteView>>), Problem> {
    let route_id: RouteId = new_id.id();
    let (listing, route) = edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        // An earlier try of this request made it.
        if let Some(made) = listing.routes.iter().find(|route| route.id == route_id) {
            return Ok(made.clone());
        }
        if listing.routes.len() >= ROUTES_MAX {
            return Err(Problem::new(Code::LimitReached, format!("at most {ROUTES_MAX} routes a listing")));
        }
        let route = checked_route(&listing.routes, route_id, &input)?;
        listing.routes.push(route.clone());
        Ok(route)
    })
    .await?;
    Ok((StatusCode::CREATED, Tagged(listing.version, Json(RouteView::from(&route)))))
}

/// Changes a route; its id stays, and with it its usage.
#[utoipa::path(put, path = "/{listing}/routes/{route}", tag = "listings",
    params(("listing" = String, Path), ("route" = String, Path)), request_body = RouteInput, responses(
    (status = 200, body = RouteView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn put_route(
    State(app): State<App>,
    caller: Caller,
    Path((id, route_id)): Path<(ListingId, RouteId)>,
    if_match: IfMatch,
    Json(input): Json<RouteInput>,
) -> Result<Tagged<Json<RouteView>>, Problem> {
    let (listing, route) = edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        let place = place_of(&listing.routes, route_id)?;
        let mut others = listing.routes.clone();
        let before = others.remove(place);
        let route = Route { bindings: before.bindings, ..checked_route(&others, route_id, &input)? };
        listing.routes[place] = route.clone();
        Ok(route)
    })
    .await?;
    Ok(Tagged(listing.version, Json(RouteView::from(&route))))
}

/// Removes a route.
#[utoipa::path(delete, path = "/{listing}/routes/{route}", tag = "listings",
    params(("listing" = String, Path), ("route" = String, Path)), responses(
    (status = 204, description = "Gone"), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn remove_route(
    State(app): State<App>,
    caller: Caller,
    Path((id, route_id)): Path<(ListingId, RouteId)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        let place = place_of(&listing.routes, route_id)?;
        listing.routes.remove(place);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn place_of(routes: &[Route], id: RouteId) -> Result<usize, Refusal> {
    routes.iter().position(|route| route.id == id).ok_or(Refusal::NotFound("route"))
}

fn checked_route(others: &[Route], id: RouteId, input: &RouteInput) -> Result<Route, Refusal> {
    rules::check_route(&input.method, &input.path)?;
    if let Some(summary) = &input.summary {
        rules::check_words(None, None, Some(summary), None, None)?;
    }
    let mut paths = PathSet::of(others.iter().map(|route| (route.method.as_str(), route.path.as_str())));
    paths
        .add(&input.method, &input.path)
        .map_err(|conflict| Refusal::because(Code::RouteConflict, conflict.to_string()))?;
    Ok(Route {
        id,
        method: input.method.clone(),
        path: input.path.clone(),
        summary: input.summary.clone(),
        bindings: Vec::new(),
    })
}

/// Puts a secret in a header of every call; it is sealed at once and never shown.
#[utoipa::path(put, path = "/{listing}/secrets/{name}", tag = "listings",
    params(("listing" = String, Path), ("name" = String, Path)), request_body = SecretInput, responses(
    (status = 204, description = "Kept"), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn put_secret(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(ListingId, String)>,
    if_match: IfMatch,
    Json(input): Json<SecretInput>,
) -> Result<StatusCode, Problem> {
    access::own(&app.store, id, caller.account, Act::Build).await?;
    if !apiclay_config::snapshot::slug_is_valid(&name) {
        return Err(Problem::field("", "name_invalid", "a secret's name is a slug"));
    }
    let header = rules::check_secret(&input.header, input.value.expose_secret())?;
    let value = app.master_key.seal(&input.value, &format!("{id}/{header}")).map_err(Problem::internal)?;
    let secret = Secret { name, header, value };
    edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        listing.secrets.retain(|known| known.name != secret.name);
        if listing.secrets.iter().any(|known| known.header == secret.header) {
            return Err(Problem::new(Code::Conflict, "another secret goes into the same header"));
        }
        if listing.secrets.len() >= SECRETS_MAX {
            return Err(Problem::new(Code::LimitReached, format!("at most {SECRETS_MAX} secrets a listing")));
        }
        listing.secrets.push(secret.clone());
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a secret away.
#[utoipa::path(delete, path = "/{listing}/secrets/{name}", tag = "listings",
    params(("listing" = String, Path), ("name" = String, Path)), responses(
    (status = 204, description = "Gone"), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn remove_secret(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(ListingId, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        let place = listing.secrets.iter().position(|secret| secret.name == name);
        listing.secrets.remove(place.ok_or(Refusal::NotFound("secret"))?);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Imports an OpenAPI 3 definition: its operations become routes.
#[utoipa::path(put, path = "/{listing}/definition", tag = "listings", params(("listing" = String, Path)),
    request_body(content = Object, description = "`{\"document\": …}`: OpenAPI 3 as JSON"), responses(
    (status = 200, body = Report), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 413, body = ProblemBody), (status = 422, body = ProblemBody),
    (status = 429, description = "`rate_limited`", body = ProblemBody)))]
async fn put_definition(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    request: Request,
) -> Result<Json<Report>, Problem> {
    // Asked before sixteen megabytes are read.
    let vendor = access::own(&app.store, id, caller.account, Act::Build).await?.value.vendor;
    if !is_json(request.headers()) {
        return Err(Problem::new(Code::MediaTypeUnsupported, "send Content-Type: application/json"));
    }
    let place = app.uploads.take(caller.account, vendor)?;
    let body = json::body(request, &app).await?;
    let permit = IMPORTS.acquire().await.map_err(Problem::internal)?;
    let reading = tokio::task::spawn_blocking(move || {
        // Held until the work ends, also where the client has gone and nobody awaits it; the place, until all is kept.
        let _permit = permit;
        (definition::parse(&body), place)
    });
    let (parsed, _place) = reading.await.map_err(Problem::internal)?;
    let parsed = parsed.map_err(Refusal::from)?;
    let (_, (report, words)) = edit(&app, id, &Editor::Member(&caller, &if_match), |listing| {
        Ok(definition::merge(parsed.clone(), &mut listing.routes, RouteId::generate))
    })
    .await?;
    // The words come second: without them the page says less, without the routes they would say too much.
    keep_words(&app, id, words).await?;
    Ok(Json(report))
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let value =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn keep_words(
    app: &App,
    listing: ListingId,
    words: Vec<(RouteId, definition::Operation)>,
) -> Result<(), Problem> {
    let operations = words.into_iter().map(|(route, operation)| (route.to_string(), operation)).collect();
    let definition = Definition { listing, operations, imported_at: app.clock.now() };
    match app.store.get::<Definition>(&listing.to_string()).await? {
        Some(known) => app.store.replace(&definition, known.version).await.map(|_| ())?,
        None => app.store.insert(&definition).await?,
    }
    Ok(())
}
