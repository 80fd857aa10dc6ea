//! `/vendors/{vendor}/balance`: what a vendor's buyers were charged, what of it the operator keeps, and what the vendor has.
//! All three are sums of the journal. `/admin/commission`: what the operator keeps.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, VendorId};
use apiclay_config::money::{Currency, Money};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::commission::{CommissionRate, check_rate, rate_of};
use super::documents::Vendor;
use super::role::Act;
use crate::admin::documents::Decision;
use crate::app::App;
use crate::catalog::rules::check_reason;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Caller, Json, Path, Problem, Query};
use crate::ledger::balance::balance_of;
use crate::ledger::{Holder, LedgerAccount};
use crate::plans::terms::MoneyShape;
use crate::refusal::Refusal;
use crate::store::StoreError;

/// Below `/vendors`.
pub(super) fn of_vendors() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(show))
}

/// Below `/admin`.
pub(crate) fn of_admins() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(decide)).routes(routes!(undecide))
}

/// Which balance: a vendor has one a currency.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// ISO 4217; INR where it is left out.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
}

/// What a vendor has earned.
#[derive(Debug, Serialize, ToSchema)]
struct VendorBalance {
    /// What its buyers were charged, less what was given back.
    #[schema(value_type = MoneyShape)]
    charged: Money,
    /// What the operator keeps of that.
    #[schema(value_type = MoneyShape)]
    commission: Money,
    /// What is owed to the vendor: charged less commission.
    #[schema(value_type = MoneyShape)]
    balance: Money,
    /// What the operator keeps of a sale of now, in hundredths of a percent.
    commission_basis_points: u32,
}

/// What a vendor has earned, to its owners and those who look after its finances.
#[utoipa::path(get, path = "/{vendor}/balance", tag = "vendors", params(("vendor" = String, Path), Which), responses(
    (status = 200, body = VendorBalance), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(reference): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<VendorBalance>, Problem> {
    let vendor = access::vendor(&app.store, &reference, caller.account, Act::Earnings).await?.value.id;
    let currency = which.currency.unwrap_or(Currency::INR);
    let stands = async |holder| {
        let account = LedgerAccount { holder, currency };
        let micro = balance_of(&app.store, account, app.clock.now()).await?;
        Ok::<_, Problem>(Money::new(micro, currency))
    };
    let commission = stands(Holder::Commission(vendor)).await?;
    let balance = stands(Holder::Vendor(vendor)).await?;
    let charged = balance.checked_add(commission).ok_or_else(|| Problem::internal("a sum beyond 64 bits"))?;
    let commission_basis_points = rate_of(&app.store, vendor).await?;
    Ok(Json(VendorBalance { charged, commission, balance, commission_basis_points }))
}

/// What the operator keeps of a sale.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CommissionInput {
    /// Of this vendor's sales; where it is left out, of everybody's who has no rate of his own.
    #[schema(value_type = Option<String>)]
    vendor: Option<VendorId>,
    /// Hundredths of a percent: 1500 is 15 %.
    #[schema(maximum = 10_000)]
    basis_points: u32,
    /// Why.
    reason: String,
}

/// A rate of commission.
#[derive(Debug, Serialize, ToSchema)]
struct CommissionView {
    #[schema(value_type = Option<String>)]
    vendor: Option<VendorId>,
    basis_points: u32,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// Decides what the operator keeps of each sale from now on.
#[utoipa::path(put, path = "/commission", tag = "admin", request_body = CommissionInput, responses(
    (status = 200, body = CommissionView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)))]
async fn decide(
    State(app): State<App>,
    admin: Admin,
    Json(input): Json<CommissionInput>,
) -> Result<Json<CommissionView>, Problem> {
    let CommissionInput { vendor, basis_points, reason } = input;
    check_rate(basis_points)?;
    check_reason(&reason)?;
    if let Some(vendor) = vendor {
        let known = app.store.get::<Vendor>(&vendor.to_string()).await?;
        known.ok_or(Refusal::NotFound("vendor"))?;
    }
    let (at, by) = (app.clock.now(), admin.0.account);
    let rate = CommissionRate { vendor, basis_points, by, at };
    note(&app, by, format!("commission.{basis_points}"), vendor, reason).await?;
    match app.store.get::<CommissionRate>(&CommissionRate::id_of(vendor)).await? {
        Some(known) => app.store.replace(&rate, known.version).await.map(drop)?,
        None => app.store.insert(&rate).await?,
    }
    Ok(Json(CommissionView { vendor, basis_points, since: at }))
}

/// Why something is taken away.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Why {
    /// For the record.
    reason: String,
}

/// Takes a vendor's own rate away, where there is one: from now on everybody's holds for him.
#[utoipa::path(delete, path = "/commission/{vendor}", tag = "admin", params(("vendor" = String, Path), Why), responses(
    (status = 204), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)))]
async fn undecide(
    State(app): State<App>,
    admin: Admin,
    Path(vendor): Path<VendorId>,
    Query(why): Query<Why>,
) -> Result<StatusCode, Problem> {
    check_reason(&why.reason)?;
    app.store.get::<Vendor>(&vendor.to_string()).await?.ok_or(Refusal::NotFound("vendor"))?;
    let id = CommissionRate::id_of(Some(vendor));
    if app.store.get::<CommissionRate>(&id).await?.is_some() {
        note(&app, admin.0.account, "commission.none".to_owned(), Some(vendor), why.reason).await?;
        app.store.delete::<CommissionRate>(&id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Puts it on record, before it is done.
async fn note(
    app: &App,
    by: AccountId,
    action: String,
    vendor: Option<VendorId>,
    reason: String,
) -> Result<(), StoreError> {
    let (subject, now) = (CommissionRate::id_of(vendor), app.clock.now());
    app.store.insert(&Decision::new(by, action, subject, reason, now)).await
}
