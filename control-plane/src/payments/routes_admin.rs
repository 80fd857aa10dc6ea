//! `/admin/payments`: every event of the provider as it was kept, and acting on one again. Nothing can be credited twice by
//! it, for crediting is under the payment's own fact.

use apiclay_config::clock::Timestamp;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{Handled, StoredEvent};
use super::routes_webhook::handle;
use super::till::provider;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Json, Listed, Paging, Path, Problem, Query};
use crate::refusal::Refusal;
use crate::store::{self, Document as _};

/// Below `/admin`.
pub fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(replay))
}

/// Nothing is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Replay {}

/// An event of the provider.
#[derive(Debug, Serialize, ToSchema)]
struct EventView {
    id: String,
    /// What the provider calls it, which no signature covers.
    event_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// What was done about it; null while it waits.
    handled: Option<Handled>,
    /// Its body, less what belongs to a card or a person.
    record: Value,
}

fn present(event: &StoredEvent) -> EventView {
    EventView {
        id: event.id(),
        event_id: event.event_id.clone(),
        received_at: event.received_at,
        handled: event.handled.clone(),
        record: event.record.clone(),
    }
}

/// The provider's events, the newest first.
#[utoipa::path(get, path = "/payments/events", tag = "admin", params(Paging), responses(
    (status = 200, body = Listed<EventView>), (status = 403, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<EventView>>, Problem> {
    let newest = store::Query::by("received_at").descending();
    let page = app.store.query::<StoredEvent>(&paging.apply(newest)).await?;
    Ok(Json(Listed::present(page, |event| present(&event.value))))
}

/// Acts on an event again, as if it came now.
#[utoipa::path(post, path = "/payments/events/{event}/replay", tag = "admin", params(("event" = String, Path)),
    request_body = Replay, responses(
    (status = 200, body = EventView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 422, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn replay(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<String>,
    Json(Replay {}): Json<Replay>,
) -> Result<Json<EventView>, Problem> {
    let provider = provider(&app)?;
    let found = async || app.store.get::<StoredEvent>(&id).await?.ok_or(Refusal::NotFound("event"));
    handle(&app, provider, found().await?).await?;
    Ok(Json(present(&found().await?.value)))
}
