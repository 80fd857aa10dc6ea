//! Plugins of a plan. They are a part of its terms: other ones are another revision, for those who buy from then on.

use apiclay_config::ids::PlanId;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::routes::write_revision;
use super::terms::Terms;
use crate::admin::gateways;
use crate::app::App;
use crate::catalog::bindings::{BindingView, Place, checked};
use crate::catalog::input::BindingInput;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Listed, Path, Problem, Tagged};
use crate::store::Versioned;
use crate::vendors::role::Act;

/// Below `/plans`.
pub(super) fn plugins() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_plan_plugins, put_plan_plugins))
}

type Shown = Result<Tagged<Json<Listed<BindingView>>>, Problem>;

fn present(version: i64, terms: &Terms) -> Tagged<Json<Listed<BindingView>>> {
    Tagged(version, Json(Listed::whole(terms.bindings.iter().map(BindingView::from).collect())))
}

/// The plugins attached to a plan as it is sold now.
#[utoipa::path(get, path = "/{plan}/plugins", tag = "plans", params(("plan" = String, Path)), responses(
    (status = 200, body = Listed<BindingView>), (status = 404, body = ProblemBody)))]
async fn list_plan_plugins(State(app): State<App>, caller: Caller, Path(id): Path<PlanId>) -> Shown {
    let plan = access::own(&app.store, id, caller.account, Act::Look).await?;
    let terms = access::revision(&app.store, id, plan.value.revision).await?.value.terms;
    Ok(present(plan.version, &terms))
}

/// Attaches these plugins to a plan, and only these, for those who buy from now on.
#[utoipa::path(put, path = "/{plan}/plugins", tag = "plans", params(("plan" = String, Path)),
    request_body = Vec<BindingInput>, responses(
    (status = 200, body = Listed<BindingView>), (status = 400, body = ProblemBody),
    (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 412, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn put_plan_plugins(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlanId>,
    if_match: IfMatch,
    Json(input): Json<Vec<BindingInput>>,
) -> Shown {
    let Versioned { value: mut plan, mut version } =
        access::own(&app.store, id, caller.account, Act::Build).await?;
    if_match.check(version)?;
    let before = access::revision(&app.store, id, plan.revision).await?.value.terms;
    let gateways = gateways::all(&app.store).await?;
    let bindings = checked(input, Place::Plan, "", &gateways, &before.bindings)?;
    let terms = Terms { bindings, ..before.clone() };
    if terms != before {
        plan.revision = write_revision(&app, &plan, plan.revision + 1, terms.clone()).await?.revision;
        plan.updated_at = app.clock.now();
        version = app.store.replace(&plan, version).await?;
    }
    Ok(present(version, &terms))
}
