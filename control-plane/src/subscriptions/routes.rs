//! `/subscriptions`: buy, look, cancel. Keys are in `credential_routes`, usage in `usage::routes`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::Subscription;
use super::rules::SUBSCRIPTIONS_PER_ACCOUNT_MAX;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, IfMatch, Json, Listed, NewId, Paging, Path, Problem, Query, Tagged};
use crate::refusal::Refusal;
use crate::store::{self, StoreError, Versioned};
use crate::{catalog, plans};

/// Below `/subscriptions`.
pub fn subscriptions() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .merge(super::credential_routes::credentials())
        .merge(crate::usage::routes::of_subscriptions())
}

/// What is bought. Price and terms are the plan's, never the client's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionInput {
    #[schema(value_type = String)]
    plan_id: PlanId,
}

/// Where a subscription is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SubscriptionState {
    /// It opens.
    Active,
    /// It has ended.
    Cancelled,
}

/// A subscription, to its owner.
#[derive(Debug, Serialize, ToSchema)]
struct SubscriptionView {
    #[schema(value_type = String)]
    id: SubscriptionId,
    state: SubscriptionState,
    #[schema(value_type = String)]
    listing_id: ListingId,
    #[schema(value_type = String)]
    plan_id: PlanId,
    plan_revision: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    cancelled_at: Option<Timestamp>,
}

fn present(subscription: &Subscription) -> SubscriptionView {
    SubscriptionView {
        id: subscription.id,
        state: if subscription.is_live() { SubscriptionState::Active } else { SubscriptionState::Cancelled },
        listing_id: subscription.listing,
        plan_id: subscription.plan,
        plan_revision: subscription.plan_revision,
        created_at: subscription.created_at,
        cancelled_at: subscription.cancelled_at,
    }
}

/// Subscribes to a plan.
#[utoipa::path(post, path = "", tag = "buying", request_body = SubscriptionInput, responses(
    (status = 201, body = SubscriptionView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    new_id: NewId,
    Json(input): Json<SubscriptionInput>,
) -> Result<(StatusCode, Tagged<Json<SubscriptionView>>), Problem> {
    let Versioned { value, version } = subscribe(&app, &caller, new_id.id(), input.plan_id).await?;
    Ok((StatusCode::CREATED, Tagged(version, Json(present(&value)))))
}

/// Buys a plan for the caller.
///
/// # Errors
/// Where the plan is not on sale or cannot be paid, or the caller has it already.
pub(crate) async fn subscribe(
    app: &App,
    caller: &Caller,
    id: SubscriptionId,
    plan: PlanId,
) -> Result<Versioned<Subscription>, Problem> {
    let plan = plans::access::on_sale(&app.store, plan).await?;
    let listing = catalog::access::on_sale(&app.store, plan.listing).await.map_err(|refusal| {
        if let Refusal::NotFound(_) = refusal { Refusal::NotFound("plan") } else { refusal }
    })?;
    let revision = plans::access::revision(&app.store, plan.id, plan.revision).await?;
    let pays = plans::rules::check_buyable(&revision.value.terms, app.payments.is_some())?;
    let (from, below) = Subscription::live_keys_of(caller.account);
    let mine = store::Query::by("live").from(from).below(below).limit(SUBSCRIPTIONS_PER_ACCOUNT_MAX);
    if app.store.query::<Subscription>(&mine).await?.items.len() >= SUBSCRIPTIONS_PER_ACCOUNT_MAX {
        let detail = format!("at most {SUBSCRIPTIONS_PER_ACCOUNT_MAX} live subscriptions an account");
        return Err(Problem::new(Code::LimitReached, detail));
    }
    // No gateway hears of the subscription before what it names.
    app.push.publish(listing).await?;
    app.push.publish(revision).await?;
    let subscription = Subscription {
        id,
        account: caller.account,
        listing: plan.listing,
        vendor: plan.vendor,
        plan: plan.id,
        plan_revision: plan.revision,
        pays,
        live_key: Some(Subscription::live_key_of(caller.account, plan.id)),
        created_at: app.clock.now(),
        cancelled_at: None,
        unpublished: None,
    };
    match app.push.insert_once(subscription).await {
        Err(StoreError::Duplicate { index: "live", .. }) => {
            Err(Problem::new(Code::AlreadySubscribed, "you have a live subscription to this plan already"))
        }
        written => Ok(written?),
    }
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

/// Ends a subscription at once; its keys open nothing from then on.
#[utoipa::path(post, path = "/{subscription}/cancel", tag = "buying", params(("subscription" = String, Path)),
    responses((status = 200, body = SubscriptionView), (status = 404, body = ProblemBody)))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    if_match: IfMatch,
) -> Result<Tagged<Json<SubscriptionView>>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    if_match.check(found.version)?;
    let ended = end(&app, found).await?;
    Ok(Tagged(ended.version, Json(present(&ended.value))))
}

/// Ends a subscription, unless it has ended.
///
/// # Errors
/// Where somebody else wrote in between, or the store does not answer.
pub(crate) async fn end(
    app: &App,
    mut found: Versioned<Subscription>,
) -> Result<Versioned<Subscription>, Problem> {
    if found.value.is_live() {
        found.value.cancelled_at = Some(app.clock.now());
        found.value.live_key = None;
        found = app.push.replace(found.value, found.version).await?;
    }
    Ok(found)
}
