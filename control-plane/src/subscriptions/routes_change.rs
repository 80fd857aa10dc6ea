//! `/subscriptions/{subscription}/change` and its preview: what another plan costs, to the micro-unit, and having it.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{PlanId, SubscriptionId};
use apiclay_config::money::Money;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::changing::{self, Possible, Present, Wanted};
use super::giving_back::Bound;
use super::period::Period;
use super::quote::When;
use super::routes::{SubscriptionView, present};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Path, Problem, Query, Tagged};
use crate::plans::terms::MoneyShape;

/// Below `/subscriptions`.
pub(super) fn changes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(preview)).routes(routes!(change))
}

/// Which change is looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The plan to have.
    #[param(value_type = String)]
    plan_id: PlanId,
    /// Now, where it is left out.
    when: Option<When>,
}

/// What a change of plan comes to.
#[derive(Debug, Serialize, ToSchema)]
struct ChangePreview {
    when: When,
    /// Under which edition of the plan's terms. Sent with the change, it is had in that or not at all.
    plan_revision: u32,
    /// When the new plan begins.
    #[schema(value_type = String, format = DateTime)]
    effective_at: Timestamp,
    /// What goes back of the present plan's month: its part of the time that is left; where the plan includes calls or units, at
    /// most the part of these that are neither used nor held by a gateway; where its price buys a number of calls otherwise, at most
    /// the part of these that were not made since it began; never more than was charged and did not go back.
    #[schema(value_type = MoneyShape)]
    credit: Money,
    /// Why the credit is no more; null where no month is paid for, or the change waits for its end.
    credit_bound_by: Option<Bound>,
    /// Units that the present plan's month includes; null where it includes none, or none is paid for.
    included: Option<u64>,
    /// Those of them that are neither used nor held by a gateway.
    included_left: Option<u64>,
    /// Calls that the present plan's price buys: of those that cost nothing more, as many as a hard limit a month lets through. Null
    /// where these are not bounded, the first one costs, they are the included ones, or no month is paid for.
    calls: Option<u64>,
    /// Those of them that were not made since that price began, as far as usage is on record.
    calls_left: Option<u64>,
    /// What the new plan costs for as long.
    #[schema(value_type = MoneyShape)]
    price: Money,
    /// Price less credit: what is charged on the change. Goes back into the wallet where it is negative.
    #[schema(value_type = MoneyShape)]
    due_now: Money,
    /// What that is once a fiftieth of the calls or units that the present price buys, at least ten, is used too: a client whose calls
    /// go on sends this as `due_now`, and is charged what it is then.
    #[schema(value_type = MoneyShape)]
    due_at_most: Money,
    /// What each month costs after that.
    #[schema(value_type = MoneyShape)]
    next_price: Money,
    /// The month that is paid for after the change.
    period: Option<Period>,
    /// Sent with the change within ten minutes, it is reckoned by this moment.
    #[schema(value_type = String, format = DateTime)]
    previewed_at: Timestamp,
}

/// A change of plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    #[schema(value_type = String)]
    plan_id: PlanId,
    /// From the preview: where another edition is sold, nothing is done.
    plan_revision: Option<u32>,
    /// Now, where it is left out.
    #[serde(default)]
    when: When,
    /// From the preview: the moment by which it was reckoned.
    #[schema(value_type = Option<String>, format = DateTime)]
    previewed_at: Option<Timestamp>,
    /// A ceiling, from the preview: where more is due by now (less goes back, where it is negative), nothing is done. What is charged
    /// is what is due then.
    #[schema(value_type = Option<MoneyShape>)]
    due_now: Option<Money>,
}

/// What another plan would cost.
#[utoipa::path(get, path = "/{subscription}/change-preview", tag = "buying",
    params(("subscription" = String, Path), Asked), responses((status = 200, body = ChangePreview),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn preview(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    Query(asked): Query<Asked>,
) -> Result<Json<ChangePreview>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    let previewed_at = app.clock.now();
    let when = asked.when.unwrap_or_default();
    let wanted = Wanted { plan: asked.plan_id, plan_revision: None, when, previewed_at: Some(previewed_at) };
    let present = changing::present(&app, found).await?;
    let Possible { quote, at_most, next_price } = changing::preview(&app, &present, &wanted).await?;
    let Present { found, left } = present;
    let included = found.value.month().map(|paid| paid.included).filter(|units| *units > 0);
    Ok(Json(ChangePreview {
        when,
        plan_revision: quote.becomes.edition.revision,
        effective_at: quote.effective_at,
        credit: quote.credit,
        credit_bound_by: quote.bound,
        included,
        included_left: included.map(|_| left.units),
        calls: left.calls.map(|calls| calls.bought),
        calls_left: left.calls.map(|calls| calls.left),
        price: quote.price,
        due_now: quote.due_now,
        due_at_most: at_most,
        next_price,
        period: quote.becomes.paid.filter(|paid| !paid.price.is_zero()).map(|paid| paid.period),
        previewed_at,
    }))
}

/// Changes the plan, now or with the next month.
#[utoipa::path(post, path = "/{subscription}/change", tag = "buying", params(("subscription" = String, Path)),
    request_body = Change, responses((status = 200, body = SubscriptionView), (status = 400, body = ProblemBody),
    (status = 402, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 422, body = ProblemBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    if_match: IfMatch,
    Json(input): Json<Change>,
) -> Result<Tagged<Json<SubscriptionView>>, Problem> {
    let found = access::own(&app.store, id, caller.account).await?;
    if_match.check(found.version)?;
    let Change { plan_id: plan, plan_revision, when, previewed_at, due_now } = input;
    let wanted = Wanted { plan, plan_revision, when, previewed_at };
    let changed = changing::change(&app, found, &wanted, due_now).await?;
    Ok(Tagged(changed.version, Json(present(&changed.value))))
}
