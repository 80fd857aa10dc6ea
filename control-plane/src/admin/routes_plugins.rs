//! Plugins of the whole gateway: on every call, whatever is called. Attached by the operator, with a reason that is kept.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Decision;
use super::everywhere::{self, Everywhere};
use super::gateways;
use crate::app::App;
use crate::catalog::bindings::{BindingView, Place, checked, keeping_ids};
use crate::catalog::input::BindingInput;
use crate::catalog::rules::check_reason;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, IfMatch, Json, Listed, Problem, Tagged};

/// Below `/admin`.
pub(super) fn plugins() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(bindings, put_bindings))
}

/// What every call shall pass.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GatewayPlugins {
    /// These, and only these.
    plugins: Vec<BindingInput>,
    /// Why.
    reason: String,
}

fn present(version: i64, everywhere: &Everywhere) -> Tagged<Json<Listed<BindingView>>> {
    Tagged(version, Json(Listed::whole(everywhere.bindings.iter().map(BindingView::from).collect())))
}

/// The plugins attached to the whole gateway. The web app's own origin is always among those of `cors`.
#[utoipa::path(get, path = "/plugins/bindings", tag = "admin", responses(
    (status = 200, body = Listed<BindingView>), (status = 403, body = ProblemBody)))]
async fn bindings(State(app): State<App>, _: Admin) -> Result<Tagged<Json<Listed<BindingView>>>, Problem> {
    let there = app.store.get::<Everywhere>(Everywhere::ID).await?;
    Ok(there.map_or_else(
        || Tagged(0, Json(Listed::whole(Vec::new()))),
        |there| present(there.version, &there.value),
    ))
}

/// Attaches these plugins to the whole gateway, and only these.
#[utoipa::path(put, path = "/plugins/bindings", tag = "admin", request_body = GatewayPlugins, responses(
    (status = 200, body = Listed<BindingView>), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 412, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn put_bindings(
    State(app): State<App>,
    admin: Admin,
    if_match: IfMatch,
    Json(input): Json<GatewayPlugins>,
) -> Result<Tagged<Json<Listed<BindingView>>>, Problem> {
    check_reason(&input.reason)?;
    let gateways = gateways::all(&app.store).await?;
    let chosen = checked(input.plugins, Place::Early, "/plugins", &gateways, &[])?;
    let (by, now) = (admin.0.account, app.clock.now());
    let decision = Decision::new(by, "plugins.attach", Everywhere::ID, input.reason, now);
    app.store.insert(&decision).await?;
    let choose = |known: &Everywhere, version: i64| {
        if_match.check(version)?;
        Ok::<_, Problem>(keeping_ids(chosen.clone(), &known.chosen))
    };
    let there = everywhere::change(&app.store, &app.push, &app.app_url, choose).await?;
    Ok(present(there.version, &there.value))
}
