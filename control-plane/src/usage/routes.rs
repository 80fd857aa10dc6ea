//! Batches in (gateways), usage out (the subscription's owner).

use std::ops;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::{GatewayEpoch, UsageBatch};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::by_credential::{Credentials, CredentialsView};
use super::by_route::{Routes, RoutesView};
use super::days::MINUTES_PER_DAY;
use super::ingest;
use super::read::Reading;
use super::series::{Item, Series, Step, Total};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Path, Problem, Query};
use crate::push::GatewayCaller;
use crate::refusal::Refusal;
use crate::subscriptions;
use crate::subscriptions::documents::Subscription;

/// Bytes of a batch's events, in base64, and of a counter's window and units beside its key.
const EVENTS_MAX_BYTES: usize = 2 * 1024 * 1024;
const UNITS_TAKEN_MAX_BYTES: usize = 100;
/// Bytes of a batch: what a gateway makes must not be refused for its size, or all usage behind it waits.
const BATCH_MAX_BYTES: usize =
    EVENTS_MAX_BYTES + ingest::UNITS_MAX * (ingest::COUNTER_MAX_BYTES + UNITS_TAKEN_MAX_BYTES);
/// Lives that a gateway asks about at once.
const LIVES_MAX: usize = 1_000;
/// The longest time asked for at once.
const RANGE_MAX_MS: i64 = 10 * 366 * 24 * 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Usage of calls that are counted at this moment belongs to it: gateways' clocks may be ahead by so much.
const CLOCK_AHEAD_MS: i64 = 60_000;

/// Below `/subscriptions`.
pub fn of_subscriptions() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(usage))
}

/// Below `/internal/v1`.
pub fn internal() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(ingest_batch))
        .routes(routes!(compare_lives))
        .layer(DefaultBodyLimit::max(BATCH_MAX_BYTES))
}

/// A gateway's batch; the same again is the same answer again.
#[utoipa::path(post, path = "/usage/batches", tag = "internal", request_body(content = Object), responses(
    (status = 200, description = "Durable"), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 413, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn ingest_batch(
    State(app): State<App>,
    gateway: GatewayCaller,
    Json(batch): Json<UsageBatch>,
) -> Result<StatusCode, Problem> {
    ingest::take(&app.store, &app.fold, &gateway.id, batch).await?;
    Ok(StatusCode::OK)
}

/// Lives of a gateway, each with the last batch that it knows to be taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LivesInput {
    lives: Vec<Life>,
}

/// The same lives, each with the last batch up to which all are here.
#[derive(Debug, Serialize, ToSchema)]
struct LivesView {
    lives: Vec<Life>,
}

/// One life of a gateway.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Life {
    epoch: String,
    seq: u64,
}

/// Up to which batch of each life everything is here: less than the gateway knows, and this store was restored from an
/// earlier copy; it then gives again what it has kept.
#[utoipa::path(post, path = "/usage/lives", tag = "internal", request_body = LivesInput, responses(
    (status = 200, body = LivesView), (status = 401, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn compare_lives(
    State(app): State<App>,
    gateway: GatewayCaller,
    Json(input): Json<LivesInput>,
) -> Result<Json<LivesView>, Problem> {
    if input.lives.len() > LIVES_MAX {
        return Err(Refusal::field("/lives", "too_many", format!("at most {LIVES_MAX} lives")).into());
    }
    let mut lives = Vec::with_capacity(input.lives.len());
    for life in input.lives {
        let from = GatewayEpoch { gateway: gateway.id.clone(), epoch: life.epoch };
        let seq = ingest::have_up_to(&app.store, &from).await?;
        lives.push(Life { epoch: from.epoch, seq });
    }
    Ok(Json(LivesView { lives }))
}

/// Which usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// From when; the subscription's begin where nothing is said. An hour whose minutes are kept no longer counts whole.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when; now where nothing is said.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// How wide a step is; or by route; or by credential, which counts the UTC hours of `from` and `to` whole.
    by: Option<UsageBy>,
}

/// How usage is divided.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum UsageBy {
    /// By the minute.
    Minute,
    /// By the UTC hour.
    Hour,
    /// By the UTC day.
    Day,
    /// By the route that calls took, and within it by class.
    Route,
    /// By the key that calls were made with.
    Credential,
}

/// Which steps of usage.
#[derive(Debug)]
pub(crate) struct Range {
    /// From when; the subscription's begin where nothing is said.
    pub from: Option<Timestamp>,
    /// Until when; now where nothing is said.
    pub to: Option<Timestamp>,
    /// How wide a step is.
    pub by: Option<Step>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum UsageAnswer {
    Steps(UsageView),
    Routes(RoutesView),
    Credentials(CredentialsView),
}

/// What was called.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// In the whole time.
    pub total: Total,
    /// By steps; those without a call are left out.
    pub items: Vec<Item>,
}

/// What was called with a subscription.
#[utoipa::path(get, path = "/{subscription}/usage", tag = "buying", params(("subscription" = String, Path), Asked),
    responses((status = 200, body = UsageAnswer), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn usage(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    Query(Asked { from, to, by }): Query<Asked>,
) -> Result<Json<UsageAnswer>, Problem> {
    let subscription = subscriptions::access::own(&app.store, id, caller.account).await?.value;
    let by = match by {
        None => None,
        Some(UsageBy::Minute) => Some(Step::Minute),
        Some(UsageBy::Hour) => Some(Step::Hour),
        Some(UsageBy::Day) => Some(Step::Day),
        Some(UsageBy::Route) => {
            let view = by_route(&app, &subscription, Range { from, to, by: None }).await?;
            return Ok(Json(UsageAnswer::Routes(view)));
        }
        Some(UsageBy::Credential) => {
            let view = by_credential(&app, &subscription, Range { from, to, by: None }).await?;
            return Ok(Json(UsageAnswer::Credentials(view)));
        }
    };
    Ok(Json(UsageAnswer::Steps(of(&app, &subscription, Range { from, to, by }).await?)))
}

/// What was called with a subscription, whoever asks.
///
/// # Errors
/// Where the range is none, or has too many steps.
pub(crate) async fn of(app: &App, subscription: &Subscription, range: Range) -> Result<UsageView, Problem> {
    let minutes = range.checked(app, subscription.created_at)?;
    let step = range.by.unwrap_or_else(|| Step::by_default(&minutes));
    let mut series = Series::new(step);
    let reading = Reading::new(&app.store, subscription.id, minutes, |counted| series.add(counted.cells()));
    if step == Step::Day {
        reading.days().await?;
    } else {
        reading.hours().await?;
    }
    let (total, items) = series.finish();
    Ok(UsageView { total, items })
}

/// The same by route.
///
/// # Errors
/// Where the range is none.
pub(crate) async fn by_route(
    app: &App,
    subscription: &Subscription,
    range: Range,
) -> Result<RoutesView, Problem> {
    let minutes = range.checked(app, subscription.created_at)?;
    let mut sums = Routes::default();
    let reading = Reading::new(&app.store, subscription.id, minutes, |counted| sums.add(counted.cells()));
    reading.days().await?;
    Ok(sums.finish())
}

/// The same by credential.
async fn by_credential(
    app: &App,
    subscription: &Subscription,
    range: Range,
) -> Result<CredentialsView, Problem> {
    let minutes = range.checked(app, subscription.created_at)?;
    let mut sums = Credentials::default();
    let reading = Reading::new(&app.store, subscription.id, minutes, |counted| sums.add(counted.credentials));
    reading.days().await?;
    Ok(sums.finish())
}

impl Range {
    /// The minutes from that of `from` on, and below that of `to`, or with it where it has begun.
    /// Nothing was called before `begin`.
    pub(super) fn checked(&self, app: &App, begin: Timestamp) -> Result<ops::Range<i64>, Refusal> {
        let from = self.from.unwrap_or_else(|| {
            // Of days that are whole there are sums.
            let minute = begin.plus_ms(-CLOCK_AHEAD_MS).minute();
            Timestamp(minute.div_euclid(MINUTES_PER_DAY).saturating_mul(MINUTES_PER_DAY * MINUTE_MS))
        });
        let to = self.to.unwrap_or_else(|| app.clock.now().plus_ms(CLOCK_AHEAD_MS));
        let span = to.0.checked_sub(from.0).filter(|span| (0..=RANGE_MAX_MS).contains(span));
        if span.is_none() || from.0 < 0 {
            return Err(Refusal::field("", "range_invalid", "from comes before to, by ten years at most"));
        }
        Ok(from.minute()..to.plus_ms(MINUTE_MS - 1).minute())
    }
}
