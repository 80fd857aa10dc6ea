//! `/invoices`: the caller's invoices and credit notes.

use apiclay_config::ids::{AccountId, InvoiceId};
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::Invoice;
use super::view::{InvoiceView, present};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Listed, Paging, Path, Problem, Query};
use crate::refusal::Refusal;
use crate::store::{self, Page, Store, StoreError};

/// Below `/invoices`.
pub fn invoices() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(show))
}

/// The caller's invoices and credit notes, the newest first.
#[utoipa::path(get, path = "", tag = "buying", params(Paging), responses(
    (status = 200, body = Listed<InvoiceView>), (status = 400, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<InvoiceView>>, Problem> {
    let page = of_account(&app.store, caller.account, paging).await?;
    Ok(Json(Listed::present(page, |found| present(&found.value))))
}

/// One of the caller's invoices.
#[utoipa::path(get, path = "/{invoice}", tag = "buying", params(("invoice" = String, Path)), responses(
    (status = 200, body = InvoiceView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<InvoiceId>,
) -> Result<Json<InvoiceView>, Problem> {
    Ok(Json(present(&own(&app.store, id, caller.account).await?)))
}

/// An account's invoices and credit notes, the newest first.
///
/// # Errors
/// Where the store does not answer, or the cursor is not this list's.
pub async fn of_account(
    store: &Store,
    account: AccountId,
    paging: Paging,
) -> Result<Page<Invoice>, StoreError> {
    let mine = store::Query::by("account").equals(account.to_string()).descending();
    store.query::<Invoice>(&paging.apply(mine)).await
}

/// An account's own invoice.
///
/// # Errors
/// Not found where there is none, or it is somebody else's.
pub async fn own(store: &Store, id: InvoiceId, account: AccountId) -> Result<Invoice, Refusal> {
    let found = store.get::<Invoice>(&id.to_string()).await?.map(|found| found.value);
    found.filter(|invoice| invoice.account == account).ok_or(Refusal::NotFound("invoice"))
}
