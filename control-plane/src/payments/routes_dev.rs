//! `/dev/payments`, in a demo only: the pretend buyer pays, or his bank says no. Outside a demo the addresses are 404.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::simulator::{Paid, Simulator, SimulatorError};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Code, Json, Path, Problem};

/// Below `/dev`.
pub fn dev() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(pay)).routes(routes!(fail))
}

/// Nothing is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NothingAsked {}

/// What a provider's checkout hands the buyer's browser.
#[derive(Debug, Serialize, ToSchema)]
struct PaidView {
    payment_id: String,
    signature: String,
}

/// Pays an order as the pretend buyer; events follow.
#[utoipa::path(post, path = "/payments/{provider_order}/pay", tag = "demo", security(()),
    params(("provider_order" = String, Path)), request_body = NothingAsked, responses(
    (status = 200, body = PaidView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn pay(
    State(app): State<App>,
    Path(order): Path<String>,
    Json(NothingAsked {}): Json<NothingAsked>,
) -> Result<Json<PaidView>, Problem> {
    let Paid { payment_id, signature } = simulator(&app)?.pay(&order).map_err(refuse)?;
    Ok(Json(PaidView { payment_id, signature }))
}

/// The pretend buyer's bank says no.
#[utoipa::path(post, path = "/payments/{provider_order}/fail", tag = "demo", security(()),
    params(("provider_order" = String, Path)), request_body = NothingAsked, responses(
    (status = 204, description = "The bank said no"), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn fail(
    State(app): State<App>,
    Path(order): Path<String>,
    Json(NothingAsked {}): Json<NothingAsked>,
) -> Result<axum::http::StatusCode, Problem> {
    simulator(&app)?.fail(&order).map_err(refuse)?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// The demo's provider.
///
/// # Errors
/// Not found outside a demo.
pub(crate) fn simulator(app: &App) -> Result<&Simulator, Problem> {
    let simulator = app.payments.as_ref().and_then(|taking| taking.simulator.as_ref());
    simulator.filter(|_| app.demo).ok_or_else(Problem::not_found)
}

/// What the pretend provider says no with.
pub(crate) fn refuse(error: SimulatorError) -> Problem {
    match error {
        SimulatorError::NoSuch(_) => Problem::not_found(),
        SimulatorError::State { .. } | SimulatorError::Against(_) => {
            Problem::new(Code::StateConflict, error.to_string())
        }
        other => Problem::internal(other),
    }
}
