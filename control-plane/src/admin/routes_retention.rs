//! `/admin/retention`: how long raw usage is kept, and what the job that deletes it did last (`usage::retention`).

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Decision;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, IfMatch, Json, Problem, Tagged};
use crate::store::{FIRST_VERSION, Versioned};
use crate::usage::retention::{
    self, Retention, RetentionRun, USAGE_EVENTS_KEEP_DEFAULT_DAYS, USAGE_MINUTES_KEEP_DEFAULT_DAYS,
};

/// Below `/admin`.
pub(super) fn retention() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(show, put))
}

/// How long things are kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionInput {
    /// Days that raw usage is kept once it is folded; its rollups stay.
    #[schema(minimum = 1, maximum = 3650)]
    usage_events_keep_days: u32,
    /// Days that usage is told by the minute; then by the hour. As it was where it is left out.
    #[schema(minimum = 1, maximum = 3650)]
    usage_minutes_keep_days: Option<u32>,
}

/// How long things are kept, and what was deleted.
#[derive(Debug, Serialize, ToSchema)]
struct RetentionView {
    usage_events_keep_days: u32,
    usage_minutes_keep_days: u32,
    /// Null where it is the default.
    #[schema(value_type = Option<String>)]
    changed_by: Option<AccountId>,
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<Timestamp>,
    /// Null until the job first ran.
    last_run: Option<RetentionRunView>,
}

/// What the job did.
#[derive(Debug, Serialize, ToSchema)]
struct RetentionRunView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Batches of raw usage that this run deleted.
    deleted_batches: u64,
    /// Batches that all runs have deleted.
    deleted_batches_total: u64,
}

type Shown = Result<Tagged<Json<RetentionView>>, Problem>;

async fn present(app: &App, said: Option<Versioned<Retention>>) -> Shown {
    let run = app.store.get::<RetentionRun>(RetentionRun::ID).await?.map(|run| run.value);
    let last_run = run.map(|run| RetentionRunView {
        at: run.at,
        deleted_batches: run.deleted_batches,
        deleted_batches_total: run.deleted_batches_total,
    });
    let version = said.as_ref().map_or(0, |said| said.version);
    let said = said.map(|said| said.value);
    let view = RetentionView {
        usage_events_keep_days: said
            .as_ref()
            .map_or(USAGE_EVENTS_KEEP_DEFAULT_DAYS, |said| said.usage_events_keep_days),
        usage_minutes_keep_days: said
            .as_ref()
            .map_or(USAGE_MINUTES_KEEP_DEFAULT_DAYS, |said| said.usage_minutes_keep_days),
        changed_by: said.as_ref().map(|said| said.by),
        changed_at: said.as_ref().map(|said| said.changed_at),
        last_run,
    };
    Ok(Tagged(version, Json(view)))
}

/// How long raw usage is kept.
#[utoipa::path(get, path = "/retention", tag = "admin", responses(
    (status = 200, body = RetentionView), (status = 403, body = ProblemBody)))]
async fn show(State(app): State<App>, _: Admin) -> Shown {
    let said = app.store.get::<Retention>(Retention::ID).await?;
    present(&app, said).await
}

/// Says how long raw usage is kept. What is older goes at the job's next turn, within the hour.
#[utoipa::path(put, path = "/retention", tag = "admin", request_body = RetentionInput, responses(
    (status = 200, body = RetentionView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
async fn put(
    State(app): State<App>,
    admin: Admin,
    if_match: IfMatch,
    Json(input): Json<RetentionInput>,
) -> Shown {
    let keep_days = input.usage_events_keep_days;
    let before = app.store.get::<Retention>(Retention::ID).await?;
    let minutes_before = before
        .as_ref()
        .map_or(USAGE_MINUTES_KEEP_DEFAULT_DAYS, |before| before.value.usage_minutes_keep_days);
    let minutes = input.usage_minutes_keep_days.unwrap_or(minutes_before);
    retention::check(keep_days, minutes)?;
    if_match.check(before.as_ref().map_or(0, |before| before.version))?;
    let (by, changed_at) = (admin.0.account, app.clock.now());
    let days_before =
        before.as_ref().map_or(USAGE_EVENTS_KEEP_DEFAULT_DAYS, |before| before.value.usage_events_keep_days);
    // Who said so comes first: what took effect is on record.
    let reason = format!(
        "usage_events_keep_days from {days_before} to {keep_days}, \
        usage_minutes_keep_days from {minutes_before} to {minutes}"
    );
    let decision = Decision::new(by, "retention.set", Retention::ID, reason, changed_at);
    app.store.insert(&decision).await?;
    let value =
        Retention { usage_events_keep_days: keep_days, usage_minutes_keep_days: minutes, by, changed_at };
    let version = match before {
        Some(before) => app.store.replace(&value, before.version).await?,
        None => app.store.insert(&value).await.map(|()| FIRST_VERSION)?,
    };
    present(&app, Some(Versioned { value, version })).await
}
