//! `/listings/{listing}/versions` and `/changes`: what was published when. Members of the vendor see every change and who
//! made it; subscribers see what concerns their calls (`changes`).

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::change_log;
use super::changes::{ChangeKind, LoggedChange, RouteChange};
use super::state::State as ListingState;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Listed, Paging, Path, Problem, Query};
use crate::refusal::Refusal;
use crate::store;
use crate::subscriptions::access::has_live;
use crate::vendors::role::Act;

/// Below `/listings`.
pub(super) fn changes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(versions)).routes(routes!(told))
}

/// A published change, to a member of the vendor.
#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    /// Its number; the first is 1, and there are no gaps.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Null where it was the operator.
    #[schema(value_type = Option<String>)]
    by: Option<AccountId>,
    by_operator: bool,
    kinds: Vec<ChangeKind>,
    /// The state since then, where that changed.
    state: Option<ListingState>,
    /// The first 50 routes that changed.
    routes: Vec<RouteChange>,
    /// How many more did.
    routes_more: usize,
}

/// A published change, to a subscriber.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeView {
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    kinds: Vec<ChangeKind>,
    /// The state since then, where that changed.
    state: Option<ListingState>,
    /// The first 50 routes that changed.
    routes: Vec<RouteChange>,
    /// How many more did.
    routes_more: usize,
}

impl From<LoggedChange> for VersionView {
    fn from(change: LoggedChange) -> Self {
        Self {
            version: change.number,
            at: change.at,
            by: (!change.operator).then_some(change.by),
            by_operator: change.operator,
            kinds: change.kinds,
            state: change.state,
            routes: change.routes,
            routes_more: change.routes_more,
        }
    }
}

impl From<LoggedChange> for ChangeView {
    fn from(change: LoggedChange) -> Self {
        Self {
            version: change.number,
            at: change.at,
            kinds: change.kinds.into_iter().filter(|kind| kind.is_told()).collect(),
            state: change.state,
            routes: change.routes,
            routes_more: change.routes_more,
        }
    }
}

/// What was published when, by whom: every change since the listing was first published, the newest first.
#[utoipa::path(get, path = "/{listing}/versions", tag = "listings", params(("listing" = String, Path), Paging),
    responses((status = 200, body = Listed<VersionView>), (status = 404, body = ProblemBody)))]
async fn versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<VersionView>>, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Look).await?.value;
    change_log::settle(&app.store, &listing).await?;
    let newest = store::Query::by("listing").equals(id.to_string()).descending();
    let page = app.store.query::<LoggedChange>(&paging.apply(newest)).await?;
    Ok(Json(Listed::present(page, |change| change.value.into())))
}

/// What changed for those who call, the newest first: to subscribers, and members of the vendor.
#[utoipa::path(get, path = "/{listing}/changes", tag = "listings", params(("listing" = String, Path), Paging),
    responses((status = 200, body = Listed<ChangeView>), (status = 404, body = ProblemBody)))]
async fn told(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<ChangeView>>, Problem> {
    let listing = match access::own(&app.store, id, caller.account, Act::Look).await {
        Err(Refusal::NotFound(_)) if has_live(&app.store, caller.account, id).await? => {
            access::any(&app.store, id).await?
        }
        own => own?,
    };
    change_log::settle(&app.store, &listing.value).await?;
    let newest = store::Query::by("told").equals(id.to_string()).descending();
    let page = app.store.query::<LoggedChange>(&paging.apply(newest)).await?;
    Ok(Json(Listed::present(page, |change| change.value.into())))
}
