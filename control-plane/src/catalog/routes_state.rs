//! A listing's life, as far as its vendor decides it; the operator's part is in `admin::routes`.

use apiclay_config::ids::ListingId;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::edit::{Editor, edit};
use super::rules::{self, Step};
use super::view::ListingView;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Path, Problem, Tagged};

/// Below `/listings`.
pub(super) fn states() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(submit))
        .routes(routes!(publish))
        .routes(routes!(deprecate))
        .routes(routes!(retire))
}

/// Nothing more needs to be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

type Moved = Result<Tagged<Json<ListingView>>, Problem>;

/// Hands a listing in for review.
#[utoipa::path(post, path = "/{listing}/submit", tag = "listings", params(("listing" = String, Path)),
    request_body = Nothing, responses(
    (status = 200, body = ListingView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn submit(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(Nothing {}): Json<Nothing>,
) -> Moved {
    take(&app, id, &Editor::Member(&caller, &if_match), Step::Submit).await
}

/// Begins to sell an approved listing.
#[utoipa::path(post, path = "/{listing}/publish", tag = "listings", params(("listing" = String, Path)),
    request_body = Nothing, responses(
    (status = 200, body = ListingView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn publish(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(Nothing {}): Json<Nothing>,
) -> Moved {
    take(&app, id, &Editor::Member(&caller, &if_match), Step::Publish).await
}

/// Stops selling; those who have it go on.
#[utoipa::path(post, path = "/{listing}/deprecate", tag = "listings", params(("listing" = String, Path)),
    request_body = Nothing, responses(
    (status = 200, body = ListingView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn deprecate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(Nothing {}): Json<Nothing>,
) -> Moved {
    take(&app, id, &Editor::Member(&caller, &if_match), Step::Deprecate).await
}

/// Ends a listing for everybody.
#[utoipa::path(post, path = "/{listing}/retire", tag = "listings", params(("listing" = String, Path)),
    request_body = Nothing, responses(
    (status = 200, body = ListingView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn retire(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(Nothing {}): Json<Nothing>,
) -> Moved {
    take(&app, id, &Editor::Member(&caller, &if_match), Step::Retire).await
}

async fn take(app: &App, id: ListingId, editor: &Editor<'_>, step: Step) -> Moved {
    let now = app.clock.now();
    let (listing, ()) = edit(app, id, editor, |listing| {
        rules::step(listing, step)?;
        match step {
            Step::Submit => listing.submitted_at = Some(now),
            Step::Publish => listing.pushed = true,
            _ => {}
        }
        Ok(())
    })
    .await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}
