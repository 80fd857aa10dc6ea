//! What stands at `/auth` and `/me`, and the public keys at `/.well-known`: parse, call, present.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// `/auth`.
pub fn auth() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}

/// `/me`.
pub fn me() -> OpenApiRouter<App> {
    OpenApiRouter::default()
}

/// `/.well-known/jwks.json`: the keys that access tokens are verified with.
pub fn well_known() -> Router<App> {
    Router::new().route("/.well-known/jwks.json", get(jwks))
}

async fn jwks(State(app): State<App>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], axum::Json(app.signing.jwks()))
}
