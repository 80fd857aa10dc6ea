//! A listing's life, as far as its vendor decides it; the operator's part is in `admin::routes`.

use apiclay_config::ids::ListingId;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::edit::{Editor, edit};
use super::rules;
use super::state::Step;
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

/// A handler a step. Only what it is called and what it means differ; the description wants each by itself.
macro_rules! steps {
    ($($(#[$words:meta])+ $name:ident $path:literal $step:ident;)+) => {$(
        $(#[$words])+
        #[utoipa::path(post, path = $path, tag = "listings", params(("listing" = String, Path)),
            request_body = Nothing, responses(
            (status = 200, body = ListingView), (status = 403, body = ProblemBody),
            (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
            (status = 422, body = ProblemBody)))]
        async fn $name(
            State(app): State<App>,
            caller: Caller,
            Path(id): Path<ListingId>,
            if_match: IfMatch,
            Json(Nothing {}): Json<Nothing>,
        ) -> Moved {
            take(&app, id, &Editor::Member(&caller, &if_match), Step::$step).await
        }
    )+};
}

steps! {
    /// Hands a listing in for review.
    submit "/{listing}/submit" Submit;
    /// Begins to sell an approved listing.
    publish "/{listing}/publish" Publish;
    /// Stops selling; those who have it go on.
    deprecate "/{listing}/deprecate" Deprecate;
    /// Ends a listing for everybody.
    retire "/{listing}/retire" Retire;
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
