//! `/wallet/topups`: an order at the provider, the browser's word that it was paid, and how far it is.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, OrderId};
use apiclay_config::money::{Currency, Money};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{Order, TopUpStatus};
use super::minor::{AmountError, from_minor, to_minor};
use super::payment_error::PaymentError;
use super::provider::{NewOrder, PaymentProvider};
use super::rules::FIRST_ASKED_AFTER_MS;
use super::till::{provider, till};
use super::waiting;
use crate::app::App;
use crate::http::idempotency::insert_once;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, Json, Listed, NewId, Paging, Path, Problem, Query};
use crate::plans::terms::MoneyShape;
use crate::refusal::Refusal;
use crate::store::{self, Versioned};

/// The smallest top-up, in the currency's smallest units: what the provider takes.
const TOP_UP_MIN_MINOR: i64 = 100;
/// The largest top-up, in the currency's smallest units.
const TOP_UP_MAX_MINOR: i64 = 50_000_000;
/// Top-ups of one account that wait to be paid.
const OPEN_MAX: usize = 20;
/// Those that wait for the provider's answer: they are asked about, and take no place of one that can be paid.
const UNANSWERED_MAX: usize = 60;
/// Bytes of what a browser says was paid.
const WORD_MAX_BYTES: usize = 200;

/// Below `/wallet`.
pub fn of_wallet() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(create, list)).routes(routes!(show)).routes(routes!(confirm))
}

/// How much.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopUpInput {
    /// In whole smallest units of the currency: at most two decimals in INR.
    #[schema(value_type = MoneyShape)]
    amount: Money,
}

/// What the provider's checkout gave the browser.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// The provider's name of the payment.
    payment_id: String,
    /// By which the provider says that it pays this order.
    signature: String,
}

/// A top-up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopUpView {
    #[schema(value_type = String)]
    id: OrderId,
    /// What the provider calls it.
    provider_order_id: Option<String>,
    /// What its checkout is opened with.
    checkout_key: String,
    status: TopUpStatus,
    #[schema(value_type = MoneyShape)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

fn present(order: &Order, provider: &dyn PaymentProvider) -> TopUpView {
    TopUpView {
        id: order.id,
        provider_order_id: order.provider_order.clone(),
        checkout_key: provider.checkout_key().to_owned(),
        status: order.status,
        amount: order.amount,
        created_at: order.created_at,
    }
}

/// Begins a top-up: the answer has what the provider's checkout needs.
#[utoipa::path(post, path = "/topups", tag = "buying", request_body = TopUpInput, responses(
    (status = 201, body = TopUpView), (status = 400, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 422, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    new_id: NewId,
    Json(input): Json<TopUpInput>,
) -> Result<(StatusCode, Json<TopUpView>), Problem> {
    let provider = provider(&app)?;
    let order = begin(&app, caller.account, new_id.id(), input.amount).await?;
    Ok((StatusCode::CREATED, Json(present(&order, provider))))
}

/// Makes an order here and at the provider.
///
/// # Errors
/// Where the amount is none that can be paid, too many wait, or the provider is not to be had.
pub(crate) async fn begin(
    app: &App,
    account: AccountId,
    id: OrderId,
    amount: Money,
) -> Result<Order, Problem> {
    let provider = provider(app)?;
    check(amount)?;
    let waiting = waiting::open(&app.store, account).await?;
    let (payable, unanswered) = waiting
        .iter()
        .filter(|order| order.id != id)
        .partition::<Vec<_>, _>(|order| order.provider_order.is_some());
    if unanswered.len() >= UNANSWERED_MAX {
        let detail =
            "the payment provider has not answered for too many of your top-ups; try again in an hour";
        return Err(Problem::new(Code::LimitReached, detail));
    }
    if payable.len() >= OPEN_MAX {
        let detail = format!(
            "{OPEN_MAX} top-ups wait to be paid; pay one of them, or come back when they have expired"
        );
        return Err(Problem::new(Code::LimitReached, detail));
    }
    let now = app.clock.now();
    let order = Order {
        id,
        account,
        amount,
        provider_order: None,
        status: TopUpStatus::Created,
        credited: Vec::new(),
        reserved: Vec::new(),
        created_at: now,
        ask_at: Some(now.plus_ms(FIRST_ASKED_AFTER_MS)),
    };
    // Before the provider hears of it: whatever is paid there finds its wallet.
    insert_once(&app.store, order).await?;
    let known = app.store.get::<Order>(&id.to_string()).await?.ok_or(PaymentError::NoOrder)?;
    if known.value.provider_order.is_some() {
        return Ok(known.value);
    }
    let asked = NewOrder { receipt: id.to_string(), amount: known.value.amount, notes: Default::default() };
    let till = till(app, provider);
    let made = match provider.create_order(&asked).await {
        Ok(made) => made,
        Err(error) => {
            if !error.leaves_it_open() {
                // Nothing was made and nothing will be: it waits for nobody.
                till.note(known, |order, _| order.refused()).await?;
            }
            return Err(PaymentError::from(error).into());
        }
    };
    // Of two tries at the same time the first is what is paid.
    let noted = till
        .note(known, |order, _| order.provider_order = order.provider_order.take().or(Some(made.id.clone())));
    let noted = noted.await?;
    Ok(noted.value)
}

fn check(amount: Money) -> Result<(), Refusal> {
    let invalid = |error: AmountError| Refusal::field("/amount/amount", "amount_invalid", error.to_string());
    to_minor(amount).map_err(invalid)?;
    let (least, most) = bounds(amount.currency).map_err(invalid)?;
    if !(least.micro..=most.micro).contains(&amount.micro) {
        return Err(Refusal::field("/amount/amount", "out_of_range", format!("{least} to {most}")));
    }
    Ok(())
}

/// The smallest and the largest top-up.
///
/// # Errors
/// Where no payments are taken in the currency.
pub(crate) fn bounds(currency: Currency) -> Result<(Money, Money), AmountError> {
    Ok((from_minor(TOP_UP_MIN_MINOR, currency)?, from_minor(TOP_UP_MAX_MINOR, currency)?))
}

/// The caller's top-ups, the newest first.
#[utoipa::path(get, path = "/topups", tag = "buying", params(Paging), responses(
    (status = 200, body = Listed<TopUpView>), (status = 422, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<TopUpView>>, Problem> {
    let provider = provider(&app)?;
    let mine = store::Query::by("account").equals(caller.account.to_string()).descending();
    let page = app.store.query::<Order>(&paging.apply(mine)).await?;
    Ok(Json(Listed::present(page, |order| present(&order.value, provider))))
}

/// One of the caller's top-ups.
#[utoipa::path(get, path = "/topups/{order}", tag = "buying", params(("order" = String, Path)), responses(
    (status = 200, body = TopUpView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<OrderId>,
) -> Result<Json<TopUpView>, Problem> {
    let provider = provider(&app)?;
    let order = own(&app, id, caller.account).await?;
    Ok(Json(present(&order.value, provider)))
}

/// Says that a top-up was paid, with what the provider's checkout gave the browser. The money is there when the provider
/// says so itself, mostly at once.
#[utoipa::path(post, path = "/topups/{order}/confirm", tag = "buying", params(("order" = String, Path)),
    request_body = Confirmation, responses(
    (status = 200, body = TopUpView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<OrderId>,
    Json(given): Json<Confirmation>,
) -> Result<Json<TopUpView>, Problem> {
    let provider = provider(&app)?;
    let order = own(&app, id, caller.account).await?;
    let bounded = given.payment_id.len() <= WORD_MAX_BYTES && given.signature.len() <= WORD_MAX_BYTES;
    let holds = bounded
        && order.value.provider_order.as_deref().is_some_and(|provider_order| {
            provider.checkout_signature_holds(provider_order, &given.payment_id, &given.signature)
        });
    if !holds {
        return Err(Problem::new(
            Code::SignatureInvalid,
            "this is not what the provider signed for this top-up",
        ));
    }
    // Whoever repeats a true word takes nobody's place at the provider.
    let asked_for =
        order.value.status == TopUpStatus::Confirming && order.value.ask_at > Some(app.clock.now());
    if order.value.status == TopUpStatus::Paid || asked_for {
        return Ok(Json(present(&order.value, provider)));
    }
    let till = till(&app, provider);
    let order = till.note(order, Order::is_confirming).await?;
    let order = match till.ask(order.clone()).await {
        Ok(asked) => asked,
        // The browser's word stands; the provider's is waited for.
        Err(PaymentError::Provider(error)) if error.leaves_it_open() => {
            tracing::warn!(order = %order.value.id, "a paid top-up waits for the provider's word: {error}");
            order
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Json(present(&order.value, provider)))
}

/// A top-up of this account.
///
/// # Errors
/// Not found where it is another's.
pub(crate) async fn own(app: &App, id: OrderId, account: AccountId) -> Result<Versioned<Order>, Refusal> {
    let found = app.store.get::<Order>(&id.to_string()).await?;
    found.filter(|order| order.value.account == account).ok_or(Refusal::NotFound("top-up"))
}
