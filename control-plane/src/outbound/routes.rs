//! `/dev`, in a demo only: the mail that was not sent. Outside a demo the addresses are 404, as if they did not exist.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::mail::Message;
use crate::accounts::rules::names;
use crate::app::App;
use crate::http::{Json, Listed, Problem, Query};

/// The routes.
pub fn dev() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(outbox))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Whose {
    /// The address that mail went to.
    to: String,
}

/// The mail that a demo would have sent to an address, the newest last.
#[utoipa::path(get, path = "/outbox", tag = "demo", params(Whose), security(()),
    responses((status = 200, body = Listed<Message>), (status = 404, description = "not a demo")))]
async fn outbox(State(app): State<App>, whose: Query<Whose>) -> Result<Json<Listed<Message>>, Problem> {
    let sent = app.mail.sent_to(&names::fold_email(&whose.0.to)).ok_or_else(Problem::not_found)?;
    Ok(Json(Listed::whole(sent)))
}
