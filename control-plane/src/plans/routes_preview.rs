//! `/plans/{plan}/preview`: what so many calls, or units in their place, come to in a month, before anybody buys. Public for what is on sale.

use apiclay_config::ids::PlanId;
use apiclay_config::money::Money;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::bounds::CALLS_MAX;
use super::pricing::Pricing;
use super::terms::{MoneyShape, Terms};
use super::units::UsageUnit;
use crate::app::App;
use crate::catalog;
use crate::http::problem::ProblemBody;
use crate::http::{Json, Path, Problem, Query};
use crate::refusal::Refusal;

/// Below `/plans`.
pub(super) fn previews() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(preview_plan))
}

/// For how much.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Calls in a month, or what the price of usage counts in their place.
    usage: u64,
}

/// What a month comes to.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Preview {
    /// The edition that is sold now.
    revision: u32,
    /// What is counted.
    unit: UsageUnit,
    /// How many.
    usage: u64,
    /// So many of them cost nothing.
    included: u64,
    /// The rest, tier by tier.
    tiers: Vec<PreviewTier>,
    /// What the rest costs.
    #[schema(value_type = MoneyShape)]
    usage_amount: Money,
    /// The month itself.
    #[schema(value_type = MoneyShape)]
    price: Money,
    /// Both.
    #[schema(value_type = MoneyShape)]
    total: Money,
}

/// What the units in one tier come to.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct PreviewTier {
    units: u64,
    /// What one costs.
    #[schema(value_type = MoneyShape)]
    price: Money,
    /// What they cost together.
    #[schema(value_type = MoneyShape)]
    amount: Money,
}

/// What so many calls in a month cost under a plan that is on sale.
#[utoipa::path(get, path = "/{plan}/preview", tag = "plans", params(("plan" = String, Path), Asked), security(()),
    responses((status = 200, body = Preview), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn preview_plan(
    State(app): State<App>,
    Path(plan): Path<PlanId>,
    Query(asked): Query<Asked>,
) -> Result<Json<Preview>, Problem> {
    let plan = access::on_sale(&app.store, plan).await?;
    catalog::access::on_sale(&app.store, plan.listing).await?;
    if asked.usage > CALLS_MAX {
        return Err(Refusal::field("", "out_of_range", format!("usage is 0 to {CALLS_MAX}")).into());
    }
    let revision = access::revision(&app.store, plan.id, plan.revision).await?;
    let preview = preview(revision.value.revision, &revision.value.terms, asked.usage);
    Ok(Json(preview.ok_or_else(|| {
        Refusal::field("", "too_large", "this comes to more than can be paid; ask for less usage")
    })?))
}

/// None where it comes to more than 64 bits.
fn preview(revision: u32, terms: &Terms, usage: u64) -> Option<Preview> {
    let currency = terms.price.currency;
    let money = |micro: i128| i64::try_from(micro).ok().map(|micro| Money::new(micro, currency));
    let pricing = match &terms.usage_price {
        Some(usage) => Some(Pricing::of(usage)?),
        None => None,
    };
    let included = pricing.as_ref().map_or(0, |pricing| pricing.included.min(usage));
    let costs = pricing.map_or_else(Vec::new, |pricing| pricing.by_tier(usage.saturating_sub(included)));
    let mut tiers = Vec::with_capacity(costs.len());
    for cost in costs.iter().filter(|cost| cost.units > 0) {
        let price = Money::new(cost.price_micro, currency);
        tiers.push(PreviewTier { units: cost.units, price, amount: money(cost.micro)? });
    }
    let usage_amount = money(costs.iter().map(|cost| cost.micro).sum())?;
    Some(Preview {
        revision,
        unit: terms.usage_price.as_ref().map_or(UsageUnit::CALL, |usage| usage.unit.clone()),
        usage,
        included,
        tiers,
        usage_amount,
        price: terms.price,
        total: usage_amount.checked_add(terms.price)?,
    })
}
