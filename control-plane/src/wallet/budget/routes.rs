//! `/wallet/budget`: what the caller allows himself to spend in a month.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Budget;
use super::kept;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Problem, Query};
use crate::ledger::Spending;
use crate::plans::terms::MoneyShape;
use crate::wallet::statement;

/// Below `/wallet`.
pub fn of_wallet() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(set, remove))
}

/// A budget as it is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BudgetInput {
    /// What may be spent in a calendar month (UTC).
    #[schema(value_type = MoneyShape)]
    amount: Money,
    /// Whether calls and fees that would pass it are refused. Where not, it only tells.
    hard_stop: bool,
}

/// A budget, and what is spent of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::wallet) struct BudgetView {
    /// What may be spent in a calendar month (UTC).
    #[schema(value_type = MoneyShape)]
    amount: Money,
    /// Whether calls and fees that would pass it are refused.
    hard_stop: bool,
    /// What was spent this month, on fees and calls.
    #[schema(value_type = MoneyShape)]
    spent: Money,
    /// What is held for calls under way: it counts as spent as long as it is held.
    #[schema(value_type = MoneyShape)]
    held: Money,
    /// What is left of it: amount less spent and held, never less than zero.
    #[schema(value_type = MoneyShape)]
    left: Money,
    /// Whether it is the budget that refuses now what the wallet could pay: nothing is left, or less than a call costs.
    stops: bool,
    /// When the next month begins.
    #[schema(value_type = String, format = DateTime)]
    resets_at: Timestamp,
}

/// Which wallet's: an account has one a currency.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// ISO 4217; INR where it is left out.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
}

/// `spending` is as of now.
pub(in crate::wallet) fn present(budget: &Budget, spending: Spending) -> BudgetView {
    let money = |micro| Money::new(micro, budget.amount.currency);
    BudgetView {
        amount: budget.amount,
        hard_stop: budget.hard_stop,
        spent: money(spending.spent),
        held: money(spending.held),
        left: money(budget.left(spending)),
        stops: budget.stops(spending),
        resets_at: spending.resets_at(),
    }
}

/// Sets what the caller allows himself to spend in a month. He is told at 50, 80 and 100 percent of it.
#[utoipa::path(put, path = "/budget", tag = "buying", request_body = BudgetInput, responses(
    (status = 200, body = BudgetView), (status = 400, body = ProblemBody)))]
async fn set(
    State(app): State<App>,
    caller: Caller,
    Json(input): Json<BudgetInput>,
) -> Result<Json<BudgetView>, Problem> {
    let BudgetInput { amount, hard_stop } = input;
    let now = app.clock.now();
    let budget = kept::set(&app.store, &app.journal, now, caller.account, amount, hard_stop).await?;
    let standing = statement::standing(&app.journal, caller.account, amount.currency).await?;
    Ok(Json(present(&budget, standing.spending.at(now))))
}

/// Takes the caller's budget away, where there is one.
#[utoipa::path(delete, path = "/budget", tag = "buying", params(Which), responses(
    (status = 204), (status = 400, body = ProblemBody)))]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<StatusCode, Problem> {
    kept::remove(&app.store, caller.account, which.currency.unwrap_or(Currency::INR)).await?;
    Ok(StatusCode::NO_CONTENT)
}
