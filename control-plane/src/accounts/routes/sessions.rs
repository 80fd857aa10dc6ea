//! GET /me/sessions, DELETE /me/sessions/{id}: where the caller is signed in.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SessionId;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::documents::Session;
use crate::accounts::sessions;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Listed, Paging, Path, Problem, Query, Via};
use crate::store;

/// A browser that is signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionShown {
    /// Its id.
    #[schema(value_type = String)]
    id: SessionId,
    /// What the browser calls itself.
    client: String,
    /// Whether it is the one that asks.
    current: bool,
    /// When it signed in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// About when it was last here.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// When it must sign in again.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The browsers that are signed in, the newest first.
#[utoipa::path(get, path = "/sessions", tag = "me", params(Paging),
    responses((status = 200, body = Listed<SessionShown>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<SessionShown>>, Problem> {
    let of_caller = store::Query::by("account").equals(caller.account.to_string()).descending();
    let page = app.store.query::<Session>(&paging.apply(of_caller)).await?;
    Ok(Json(Listed::present(page, |found| {
        let Session { id, client, created_at, seen_at, expires_at, .. } = found.value;
        let current = caller.via == Via::Session(id);
        SessionShown { id, client, current, created_at, seen_at, expires_at }
    })))
}

/// Signs a browser out.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "me", params(("id" = String, Path)), responses(
    (status = 204), (status = 404, description = "not one of the caller's", body = ProblemBody)))]
pub(super) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    let found = app.store.get::<Session>(&id.to_string()).await?.ok_or_else(Problem::not_found)?;
    if found.value.account != caller.account {
        return Err(Problem::not_found());
    }
    sessions::end(&app, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
