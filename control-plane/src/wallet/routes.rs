//! `/wallet`: what the caller has, and how it came there. Top-ups are `payments`', budgets `budget`'s.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use apiclay_config::money::{Currency, Money};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::budget;
use super::budget::routes::BudgetView;
use super::statement::{self, Movement};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Listed, Paging, Problem, Query};
use crate::ledger::EntryKind;
use crate::plans::terms::MoneyShape;

/// Below `/wallet`.
pub fn wallet() -> OpenApiRouter<App> {
    let own = OpenApiRouter::default().routes(routes!(show)).routes(routes!(entries));
    own.merge(budget::routes::of_wallet())
}

/// Which wallet: an account has one a currency.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// ISO 4217; INR where it is left out.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
}

/// Which page of which wallet.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichPage {
    /// ISO 4217; INR where it is left out.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// At most so many items, up to 100.
    limit: Option<usize>,
    /// Where the page before said the next one begins.
    cursor: Option<String>,
}

/// What stands in a wallet.
#[derive(Debug, Serialize, ToSchema)]
struct WalletView {
    /// All of it.
    #[schema(value_type = MoneyShape)]
    balance: Money,
    /// The part of it that is held for calls under way.
    #[schema(value_type = MoneyShape)]
    held: Money,
    /// What can be spent: balance less held.
    #[schema(value_type = MoneyShape)]
    free: Money,
    /// What may be spent of it in a month, where that is set.
    budget: Option<BudgetView>,
}

/// One movement of a wallet.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    #[schema(value_type = String)]
    id: JournalId,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    kind: EntryKind,
    /// More, or where negative less.
    #[schema(value_type = MoneyShape)]
    amount: Money,
    /// What stood in the wallet after it.
    #[schema(value_type = MoneyShape)]
    balance_after: Money,
    reason: String,
}

fn present(movement: Movement) -> EntryView {
    let Movement { entry: id, at, kind, amount, balance_after, reason } = movement;
    EntryView { id, at, kind, amount, balance_after, reason }
}

/// What stands in the caller's wallet.
#[utoipa::path(get, path = "", tag = "buying", params(Which), responses(
    (status = 200, body = WalletView), (status = 400, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<WalletView>, Problem> {
    let currency = which.currency.unwrap_or(Currency::INR);
    let standing = statement::standing(&app.journal, caller.account, currency).await?;
    let budget = budget::find(&app.store, caller.account, currency).await?;
    let spending = standing.spending.at(app.clock.now());
    Ok(Json(WalletView {
        balance: standing.balance,
        held: standing.held,
        free: standing.free(),
        budget: budget.map(|found| budget::routes::present(&found.value, spending)),
    }))
}

/// The movements of the caller's wallet, the newest first.
#[utoipa::path(get, path = "/entries", tag = "buying", params(WhichPage), responses(
    (status = 200, body = Listed<EntryView>), (status = 400, body = ProblemBody)))]
async fn entries(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<WhichPage>,
) -> Result<Json<Listed<EntryView>>, Problem> {
    let currency = which.currency.unwrap_or(Currency::INR);
    let paging = Paging { limit: which.limit, cursor: which.cursor };
    let page = statement::movements(&app.store, caller.account, currency, paging).await?;
    let movement = |entry: &crate::ledger::JournalEntry| statement::movement(entry, caller.account, currency);
    Ok(Json(Listed::present(page, |found| present(movement(&found.value)))))
}
