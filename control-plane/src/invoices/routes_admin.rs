//! `/admin/invoices`: all invoices, and credit notes on them.

use apiclay_config::ids::{InvoiceId, VendorId};
use apiclay_config::money::Money;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::credit::{Wanted, credit};
use super::documents::Invoice;
use super::view::{InvoiceView, present};
use crate::app::App;
use crate::catalog::rules::check_reason;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Json, Listed, OnceId, Paging, Path, Problem, Query};
use crate::plans::terms::MoneyShape;
use crate::refusal::Refusal;
use crate::store;

/// Below `/admin`.
pub fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(show)).routes(routes!(give_back))
}

/// Everybody's invoices and credit notes, the newest first.
#[utoipa::path(get, path = "/invoices", tag = "admin", params(Paging), responses(
    (status = 200, body = Listed<InvoiceView>), (status = 403, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<InvoiceView>>, Problem> {
    let page = app.store.query::<Invoice>(&paging.apply(store::Query::by("issued_at").descending())).await?;
    Ok(Json(Listed::present(page, |found| present(&found.value))))
}

/// Anybody's invoice.
#[utoipa::path(get, path = "/invoices/{invoice}", tag = "admin", params(("invoice" = String, Path)), responses(
    (status = 200, body = InvoiceView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<InvoiceId>,
) -> Result<Json<InvoiceView>, Problem> {
    let invoice = app.store.get::<Invoice>(&id.to_string()).await?.ok_or(Refusal::NotFound("invoice"))?;
    Ok(Json(present(&invoice.value)))
}

/// What is given back of an invoice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreditInput {
    /// Of which of its lines, counted from 1.
    line: u32,
    /// How much: no more than the line's amount and the invoice's total, other credit notes deducted and what a change of plan
    /// gave back of the same month.
    #[schema(value_type = MoneyShape)]
    amount: Money,
    /// The line's vendor where he bears it, and with him the operator by today's rate of commission. Left out: the operator
    /// alone.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    vendor_id: Option<VendorId>,
    /// Why. It stands on the credit note, which the buyer sees.
    reason: String,
}

/// Gives money of a line of an invoice back to the buyer's wallet, with a credit note. Needs an `Idempotency-Key`: what is sent
/// again under it gives nothing back again.
#[utoipa::path(post, path = "/invoices/{invoice}/credit-notes", tag = "admin", params(("invoice" = String, Path),
    ("Idempotency-Key" = String, Header)), request_body = CreditInput, responses(
    (status = 201, body = InvoiceView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn give_back(
    State(app): State<App>,
    _: Admin,
    Path(invoice): Path<InvoiceId>,
    new_id: OnceId,
    Json(input): Json<CreditInput>,
) -> Result<(StatusCode, Json<InvoiceView>), Problem> {
    check_reason(&input.reason)?;
    let CreditInput { line, amount, vendor_id: vendor, reason } = input;
    let wanted = Wanted { id: new_id.id(), invoice, line, amount, vendor, reason };
    let note = credit((&app.store, &app.journal, app.clock.now()), &wanted).await?;
    Ok((StatusCode::CREATED, Json(present(&note))))
}
