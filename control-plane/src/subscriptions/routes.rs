//! `/subscriptions`: buy, look, cancel, resume. Changes of plan are in `routes_change`, keys are in `credential_routes`, usage in `usage::routes`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use apiclay_config::money::Money;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Subscription;
use super::life::SubscriptionState;
use super::period::Period;
use super::quote::When;
use super::{access, buying};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Listed, NewId, Paging, Path, Problem, Query, Tagged};
use crate::plans::terms::MoneyShape;
use crate::store::{self, Versioned};

/// Below `/subscriptions`.
pub fn subscriptions() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(resume))
        .merge(super::routes_change::changes())
        .merge(super::credential_routes::credentials())
        .merge(crate::usage::routes::of_subscriptions())
}

/// What is bought. Price and terms are the plan's, never the client's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionInput {
    #[schema(value_type = String)]
    plan_id: PlanId,
    /// The plan's revision that was read: where it is sold in another one by now, nothing is done.
    plan_revision: Option<u32>,
}

/// A subscription, to its owner.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubscriptionView {
    #[schema(value_type = String)]
    id: SubscriptionId,
    state: SubscriptionState,
    #[schema(value_type = String)]
    listing_id: ListingId,
    #[schema(value_type = String)]
    plan_id: PlanId,
    plan_revision: u32,
    /// The month that is paid for.
    current_period: Option<Period>,
    /// When its trial by days is over, or was.
    #[schema(value_type = Option<String>, format = DateTime)]
    trial_ends_at: Option<Timestamp>,
    /// It ends with that month.
    cancels_at_end: bool,
    /// The plan that the next month is of, where that is another.
    #[schema(value_type = Option<String>)]
    next_plan_id: Option<PlanId>,
    /// Until when calls go on although the month that has begun is not paid.
    #[schema(value_type = Option<String>, format = DateTime)]
    grace_ends_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    cancelled_at: Option<Timestamp>,
}

pub(super) fn present(subscription: &Subscription) -> SubscriptionView {
    SubscriptionView {
        id: subscription.id,
        state: subscription.state(),
        listing_id: subscription.listing,
        plan_id: subscription.plan,
        plan_revision: subscription.plan_revision,
        current_period: subscription.month().map(|paid| paid.period),
        trial_ends_at: subscription.trial_ends_at,
        cancels_at_end: subscription.cancels_at_end,
        next_plan_id: subscription.next_edition.map(|edition| edition.plan),
        grace_ends_at: subscription.grace_ends_at(),
        created_at: subscription.created_at,
        cancelled_at: subscription.cancelled_at,
    }
}

/// Subscribes to a plan.
#[utoipa::path(post, path = "", tag = "buying", request_body = SubscriptionInput, responses(
    (status = 201, body = SubscriptionView), (status = 402, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    new_id: NewId,
    Json(input): Json<SubscriptionInput>,
) -> Result<(StatusCode, Tagged<Json<SubscriptionView>>), Problem> {
    let Versioned { value, version } =
        buying::subscribe(&app, caller.account, new_id.id(), (input.plan_id, input.plan_revision)).await?;
    Ok((StatusCode::CREATED, Tagged(version, Json(present(&value)))))
}

/// The caller's subscriptions, the newest first.
#[utoipa::path(get, path = "", tag = "buying", params(Paging), responses(
    (status = 200, body = Listed<SubscriptionView>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<SubscriptionView>>, Problem> {
    let mine = store::Query::by("account").equals(caller.account.to_string()).descending();
    let page = app.store.query::<Subscription>(&paging.apply(mine)).await?;
    Ok(Json(Listed::present(page, |subscription| present(&subscription.value))))
}

/// One of the caller's subscriptions.
#[utoipa::path(get, path = "/{subscription}", tag = "buying", params(("subscription" = String, Path)), responses(
    (status = 200, body = SubscriptionView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
) -> Result<Tagged<Json<SubscriptionView>>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    Ok(Tagged(found.version, Json(present(&found.value))))
}

/// How a subscription is ended.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    /// With the month that is paid for where there is one, and at once where there is none, unless this says when.
    when: Option<When>,
}

/// Ends a subscription; its keys open nothing from then on. What is paid for is not given back.
#[utoipa::path(post, path = "/{subscription}/cancel", tag = "buying", params(("subscription" = String, Path)),
    request_body = Option<Cancellation>, responses((status = 200, body = SubscriptionView),
    (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    if_match: IfMatch,
    body: Option<Json<Cancellation>>,
) -> Result<Tagged<Json<SubscriptionView>>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    if_match.check(found.version)?;
    let when = body.and_then(|Json(given)| given.when);
    let ended = buying::cancel(&app, found, when).await?;
    Ok(Tagged(ended.version, Json(present(&ended.value))))
}

/// What is agreed to by whoever goes on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Resumption {
    /// What is to be paid now: where another amount is due, nothing is done.
    #[schema(value_type = Option<MoneyShape>)]
    due_now: Option<Money>,
}

/// Goes on with a subscription: takes back that it ends with its month, pays a month that is due, or begins to pay after a
/// trial or where it had stopped for lack of money.
#[utoipa::path(post, path = "/{subscription}/resume", tag = "buying", params(("subscription" = String, Path)),
    request_body = Option<Resumption>, responses((status = 200, body = SubscriptionView),
    (status = 400, body = ProblemBody), (status = 402, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    if_match: IfMatch,
    body: Option<Json<Resumption>>,
) -> Result<Tagged<Json<SubscriptionView>>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    if_match.check(found.version)?;
    let agreed = body.and_then(|Json(given)| given.due_now);
    let resumed = buying::resume(&app, found, agreed).await?;
    Ok(Tagged(resumed.version, Json(present(&resumed.value))))
}
