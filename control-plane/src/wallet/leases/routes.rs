//! `POST /internal/v1/leases`: where gateways get what prepaid calls are paid from. Next: `grant`.

use apiclay_config::wallet_leases::{EarlierOver, LeasesAnswer, LeasesRequest};
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::charge::Books;
use super::grant;
use crate::admin::documents::Gateway;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Code, Json, Problem};
use crate::push::GatewayCaller;
use crate::refusal::Refusal;

/// Where a wallet is topped up, below `APP_URL`.
const TOP_UP_PATH: &str = "/wallet";

/// Below `/internal/v1`.
pub fn internal() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(leases)).routes(routes!(earlier_over))
}

/// A gateway has nothing more to say of its earlier lives: every lease that it knew of is closed, every batch is here.
#[utoipa::path(post, path = "/leases/earlier-over", tag = "internal", request_body(content = Object), responses(
    (status = 204, description = "Leases that it has lost end with what is on record"),
    (status = 401, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn earlier_over(
    State(app): State<App>,
    gateway: GatewayCaller,
    Json(over): Json<EarlierOver>,
) -> Result<StatusCode, Problem> {
    over.check().map_err(|wrong| Refusal::because(Code::LeaseInvalid, wrong.to_string()))?;
    // A request of a life that is over itself, or that runs beside another, would end leases that are being spent.
    let known = app.store.get::<Gateway>(&gateway.id).await?;
    let newest = known.and_then(|known| known.value.report).map(|report| report.epoch);
    if newest.is_some_and(|newest| newest != over.epoch) {
        return Err(
            Refusal::because(Code::StateConflict, "another life of the gateway has reported since").into()
        );
    }
    let books = Books { store: &app.store, journal: &app.journal, now: app.clock.now() };
    let closed = books.close_earlier(&gateway.id, &over.epoch).await?;
    if closed > 0 {
        tracing::warn!(
            gateway = gateway.id,
            closed,
            "leases on wallets were lost by their gateway: they end with what is on record"
        );
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A gateway asks for a lease on a wallet, and says which it has done with; the same again is the same answer again.
#[utoipa::path(post, path = "/leases", tag = "internal", request_body(content = Object), responses(
    (status = 200, description = "Closes are noted, and what was granted"), (status = 401, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn leases(
    State(app): State<App>,
    gateway: GatewayCaller,
    Json(request): Json<LeasesRequest>,
) -> Result<Json<LeasesAnswer>, Problem> {
    let granted = grant::answer(&app, &gateway.id, &request).await?;
    Ok(Json(LeasesAnswer { granted, top_up_url: app.app_url.join(TOP_UP_PATH).ok() }))
}
