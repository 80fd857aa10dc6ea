//! What stands at `/auth` and `/me`, and the public keys at `/.well-known`: parse, call, present.

mod me;
mod password;
mod personal_tokens;
mod sessions;
mod sign_in;
mod sign_up;
mod token;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

/// `/auth`.
pub fn auth() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(sign_up::signup))
        .routes(routes!(sign_up::verify_email))
        .routes(routes!(sign_up::admin_setup))
        .routes(routes!(sign_in::login))
        .routes(routes!(sign_in::otp))
        .routes(routes!(sign_in::otp_verify))
        .routes(routes!(sign_in::logout))
        .routes(routes!(sign_in::csrf))
        .routes(routes!(password::forgot))
        .routes(routes!(password::reset))
        .routes(routes!(token::token))
        .routes(routes!(token::revoke))
}

/// `/me`.
pub fn me() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(me::show, me::change))
        .routes(routes!(password::change))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(personal_tokens::list, personal_tokens::make))
        .routes(routes!(personal_tokens::revoke))
}

/// `/.well-known/jwks.json`: the keys that access tokens are verified with.
pub fn well_known() -> Router<App> {
    Router::new().route("/.well-known/jwks.json", get(jwks))
}

async fn jwks(State(app): State<App>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], axum::Json(app.signing.jwks()))
}
