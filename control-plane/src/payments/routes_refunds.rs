//! `/admin/refunds`: money of a top-up that goes back to the buyer because an admin says so. Next: `refunds`, which does it.

use std::time::Duration;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, OrderId, RefundId};
use apiclay_config::money::Money;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::PaymentError;
use super::documents::Order;
use super::minor::to_minor;
use super::refunds::rules::FIRST_DUE_AFTER_MS;
use super::refunds::{Refund, RefundState, undecided};
use super::till::{provider, till};
use crate::app::App;
use crate::catalog::rules::check_reason;
use crate::http::idempotency::insert_once;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Code, Json, Listed, OnceId, Paging, Path, Problem, Query};
use crate::plans::terms::MoneyShape;
use crate::refusal::Refusal;
use crate::store::{self, Versioned};

/// The smallest refund, in the currency's smallest units: what the provider takes.
const REFUND_MIN_MINOR: i64 = 100;
/// Refunds of one top-up, those that came to nothing among them.
const REFUNDS_MAX: usize = 100;
/// How long an admin waits for the provider; then the refund goes on without him.
const WAITS_MAX_MS: u64 = 20_000;

/// Below `/admin`.
pub fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .merge(super::routes_refund_decisions::admin())
}

/// What goes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefundInput {
    /// Of which top-up.
    #[schema(value_type = String)]
    order_id: OrderId,
    /// How much, in whole smallest units of the currency. Left out: all that is left of the top-up; where it was paid
    /// more than once, all that is left of the payment of which most is.
    #[serde(default)]
    #[schema(value_type = Option<MoneyShape>)]
    amount: Option<Money>,
    /// Why, for the record.
    reason: String,
}

/// A refund.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefundView {
    #[schema(value_type = String)]
    id: RefundId,
    #[schema(value_type = String)]
    order_id: OrderId,
    /// What the provider calls the payment.
    payment_id: String,
    /// Whose wallet.
    #[schema(value_type = String)]
    account_id: AccountId,
    #[schema(value_type = MoneyShape)]
    amount: Money,
    reason: String,
    /// By whom.
    #[schema(value_type = String)]
    by: AccountId,
    state: RefundState,
    /// Whether the provider has said nothing usable for so long that an admin is to say what became of it.
    needs_decision: bool,
    /// Why it failed; null where it did not.
    failure: Option<String>,
    /// What the provider calls it.
    provider_refund_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

pub(super) fn present(refund: &Refund, now: Timestamp) -> RefundView {
    RefundView {
        id: refund.id,
        order_id: refund.order,
        payment_id: refund.payment.clone(),
        account_id: refund.account,
        amount: refund.amount,
        reason: refund.reason.clone(),
        by: refund.by,
        state: refund.state,
        needs_decision: refund.needs_decision(now),
        failure: refund.failure.clone(),
        provider_refund_id: refund.provider_refund.clone(),
        created_at: refund.created_at,
    }
}

/// Gives money of a top-up back. What the provider has not answered yet goes on by itself: the answer says how far it is. Needs an
/// `Idempotency-Key`: what is sent again under it is the same refund.
#[utoipa::path(post, path = "/refunds", tag = "admin", params(
    ("Idempotency-Key" = String, Header)), request_body = RefundInput, responses(
    (status = 201, body = RefundView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    once: OnceId,
    Json(input): Json<RefundInput>,
) -> Result<(StatusCode, Json<RefundView>), Problem> {
    let provider = provider(&app)?;
    check_reason(&input.reason)?;
    let refund = begin(&app, once.id(), caller.account, input).await?;
    let id = refund.value.id.to_string();
    let till = till(&app, provider);
    // An error here says nothing of the refund, which goes on: the answer is how far it is.
    let waited = tokio::time::timeout(Duration::from_millis(WAITS_MAX_MS), till.go_on(refund)).await;
    if let Ok(Err(error)) = waited {
        tracing::warn!(refund = id, "a refund waits: {}", in_a_line(&error));
    }
    let refund = app.store.get::<Refund>(&id).await?.ok_or(PaymentError::NoRefund)?.value;
    match refund.state {
        RefundState::TooLarge => Err(Problem::new(
            Code::RefundTooLarge,
            format!("{} is more than is left of this top-up, other refunds of it deducted", refund.amount),
        )),
        RefundState::WalletShort => Err(Problem::new(
            Code::WalletShort,
            format!(
                "the buyer has spent or reserved some of it: {} is not free in the wallet",
                refund.amount
            ),
        )),
        RefundState::Asked
        | RefundState::Reserved
        | RefundState::Held
        | RefundState::Processed
        | RefundState::Failed => Ok((StatusCode::CREATED, Json(present(&refund, app.clock.now())))),
    }
}

fn in_a_line(error: &PaymentError) -> String {
    apiclay_config::process::in_a_line(error)
}

/// Writes the refund down, or finds it where the same request has done so.
async fn begin(
    app: &App,
    id: RefundId,
    by: AccountId,
    input: RefundInput,
) -> Result<Versioned<Refund>, Problem> {
    let known = app.store.get::<Refund>(&id.to_string()).await?;
    if known.is_none() {
        let order = app.store.get::<Order>(&input.order_id.to_string()).await?;
        let order = order.ok_or(Refusal::NotFound("top-up"))?.value;
        let (payment, amount) = choose(&order, input.amount)?;
        let now = app.clock.now();
        let refund = Refund {
            id,
            order: order.id,
            payment,
            account: order.account,
            amount,
            reason: input.reason.clone(),
            by,
            state: RefundState::Asked,
            failure: None,
            provider_refund: None,
            created_at: now,
            due_at: Some(now.plus_ms(FIRST_DUE_AFTER_MS)),
        };
        insert_once(&app.store, refund).await?;
    }
    let known = app.store.get::<Refund>(&id.to_string()).await?.ok_or(PaymentError::NoRefund)?;
    let same = known.value.order == input.order_id
        && input.amount.is_none_or(|amount| amount == known.value.amount)
        && known.value.reason == input.reason;
    if same {
        Ok(known)
    } else {
        Err(Problem::new(Code::IdempotencyKeyReused, "choose another key for another refund"))
    }
}

/// Of which payment, and how much. Whether it is still left is decided by the order's own version, later.
fn choose(order: &Order, asked: Option<Money>) -> Result<(String, Money), Problem> {
    if order.reserved.len() >= REFUNDS_MAX {
        let detail = format!("{REFUNDS_MAX} refunds of one top-up; see it at the provider");
        return Err(Problem::new(Code::LimitReached, detail));
    }
    let Some((payment, left_micro)) = order.most_left() else {
        return Err(Problem::new(
            Code::StateConflict,
            "nobody has paid this top-up: there is nothing to give back",
        ));
    };
    let currency = order.amount.currency;
    let amount = asked.unwrap_or(Money::new(left_micro, currency));
    if amount.currency != currency {
        let rule = format!("the top-up is in {}", currency.as_str());
        return Err(Problem::field("/amount/currency", "invalid", rule));
    }
    if amount.micro > left_micro || left_micro == 0 {
        let left = Money::new(left_micro, currency);
        let detail = format!("{left} is left of this top-up, other refunds of it deducted");
        return Err(Problem::new(Code::RefundTooLarge, detail));
    }
    let minor = to_minor(amount)
        .map_err(|error| Problem::field("/amount/amount", "amount_invalid", error.to_string()))?;
    if minor < REFUND_MIN_MINOR {
        let rule = format!("at least {REFUND_MIN_MINOR} of the currency's smallest units");
        return Err(Problem::field("/amount/amount", "out_of_range", rule));
    }
    Ok((payment.to_owned(), amount))
}

/// Which refunds.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those that an admin is to decide, all on one page, the longest due first.
    #[serde(default)]
    needs_decision: bool,
    /// At most so many items, up to 100.
    limit: Option<usize>,
    /// Where the page before said the next one begins.
    cursor: Option<String>,
}

/// All refunds, the newest first.
#[utoipa::path(get, path = "/refunds", tag = "admin", params(Which), responses(
    (status = 200, body = Listed<RefundView>), (status = 403, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<Which>,
) -> Result<Json<Listed<RefundView>>, Problem> {
    let now = app.clock.now();
    if which.needs_decision {
        let waiting = undecided(&app.store, now).await?;
        return Ok(Json(Listed::whole(waiting.iter().map(|refund| present(refund, now)).collect())));
    }
    let paging = Paging { limit: which.limit, cursor: which.cursor };
    let page = app.store.query::<Refund>(&paging.apply(store::Query::by("id").descending())).await?;
    Ok(Json(Listed::present(page, |refund| present(&refund.value, now))))
}

/// A refund, and how far it is.
#[utoipa::path(get, path = "/refunds/{refund}", tag = "admin", params(("refund" = String, Path)), responses(
    (status = 200, body = RefundView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<RefundId>,
) -> Result<Json<RefundView>, Problem> {
    let refund = app.store.get::<Refund>(&id.to_string()).await?.ok_or(Refusal::NotFound("refund"))?;
    Ok(Json(present(&refund.value, app.clock.now())))
}
