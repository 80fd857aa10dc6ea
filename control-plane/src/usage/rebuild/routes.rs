//! Where gateways whose counters are lost report, and are told what to write. Next: `mod.rs`.

use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildReport};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Json, Problem};
use crate::push::GatewayCaller;

/// Bytes of a report; what a store's document may have, with room.
const REPORT_MAX_BYTES: usize = 12 * 1024 * 1024;

/// Below `/internal/v1`.
pub fn internal() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(rebuild))
        .routes(routes!(taken))
        .layer(DefaultBodyLimit::max(REPORT_MAX_BYTES))
}

/// A gateway reports what it has in hand of counters that were lost; the same again asks how far the rebuild is.
#[utoipa::path(post, path = "/counters/rebuild", tag = "internal", request_body(content = Object), responses(
    (status = 200, description = "Waiting for gateways, or the generation and its figures"),
    (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn rebuild(
    State(app): State<App>,
    gateway: GatewayCaller,
    Json(report): Json<RebuildReport>,
) -> Result<axum::Json<RebuildAnswer>, Problem> {
    Ok(axum::Json(super::take(&app.store, &gateway.id, report, app.clock.now()).await?))
}

/// A gateway says, before it takes units of them, that counters stand.
#[utoipa::path(post, path = "/counters/taken", tag = "internal", request_body(content = Object), responses(
    (status = 204, description = "They are taken"),
    (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
    (status = 409, body = ProblemBody, description = "They are being rebuilt")))]
async fn taken(
    State(app): State<App>,
    _gateway: GatewayCaller,
    Json(said): Json<CountersTaken>,
) -> Result<StatusCode, Problem> {
    super::taken(&app.store, &said, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
