//! The table of contents of the API, in the order of a marketplace's life. Each domain lists its own routes with `routes!`, from
//! which both the router and the OpenAPI description are made; what is not listed here does not exist.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::accounts;
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{ANSWER_TIMEOUT_S, BODY_MAX_BYTES};
use crate::http::{answer, idempotency};
use crate::{
    admin, catalog, discover, invoices, openapi, outbound, pages, payments, plans, push, subscriptions,
    usage, vendors, wallet,
};

/// Where the API stands.
pub const BASE: &str = "/backend/v1";
/// Where gateways call.
pub const INTERNAL: &str = "/internal/v1";

/// The API: what stands below [`BASE`].
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .nest("/auth", accounts::routes::auth())
        .nest("/me", accounts::routes::me())
        .nest("/vendors", of_vendors())
        .nest("/listings", catalog::routes::listings().merge(plans::routes::of_listings()))
        .nest("/plans", plans::routes::plans())
        .nest("/discover", discover::routes::discover())
        .nest("/subscriptions", subscriptions::routes::subscriptions())
        .nest("/wallet", wallet::routes::wallet().merge(payments::routes_topups::of_wallet()))
        .nest("/invoices", invoices::routes::invoices())
        .nest("/webhooks", payments::routes_webhook::webhooks())
        .nest("/admin", admin())
        .nest("/dev", outbound::routes::dev().merge(payments::routes_dev::dev()))
}

/// What a vendor's members do.
fn of_vendors() -> OpenApiRouter<App> {
    vendors::routes::vendors().merge(catalog::routes::of_vendors()).merge(usage::routes_vendor::of_vendors())
}

/// What the operator does.
fn admin() -> OpenApiRouter<App> {
    admin::routes::admin()
        .merge(payments::routes_admin::admin())
        .merge(payments::routes_refunds::admin())
        .merge(invoices::routes_admin::admin())
        .merge(vendors::balance::of_admins())
}

/// What gateways call, with a credential of their own: what stands below [`INTERNAL`]. No part of the API's description.
fn internal() -> Router<App> {
    let internal =
        push::routes::internal().merge(usage::routes::internal()).merge(usage::rebuild::routes::internal());
    let internal = internal.merge(wallet::leases::routes::internal());
    OpenApiRouter::default().nest(INTERNAL, internal).split_for_parts().0
}

/// The API with its description, before it is given anything to work on.
fn described() -> (Router<App>, OpenApi) {
    let (router, mut description) =
        OpenApiRouter::with_openapi(openapi::base()).nest(BASE, api()).split_for_parts();
    openapi::name_operations(&mut description);
    (router, description)
}

/// The description alone, for the golden file.
#[must_use]
pub fn description() -> OpenApi {
    described().1
}

/// The whole router, over what handlers share.
///
/// # Errors
/// Where the description cannot be written: a mistake in our code, which any test finds.
pub fn build(app: &App) -> Result<Router, Box<dyn std::error::Error + Send + Sync>> {
    let (api, description) = described();
    Ok(api
        .merge(internal())
        .merge(openapi::routes(&description)?)
        .merge(accounts::routes::well_known())
        .merge(pages::routes())
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "see Allow for the methods that are")
        })
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(ANSWER_TIMEOUT_S),
        ))
        .layer(CatchPanicLayer::custom(answer::after_panic))
        .layer(from_fn_with_state(app.clone(), answer::around))
        .with_state(app.clone()))
}
