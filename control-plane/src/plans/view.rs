//! A plan as it is shown, whoever sees it. Next: `routes`, `discover` and the pages.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId};
use apiclay_config::money::Money;
use apiclay_config::snapshot::{Limit, StatusRange};
use serde::Serialize;
use utoipa::ToSchema;

use super::documents::Plan;
use super::terms::{LimitInput, MoneyShape, Terms, Trial, Unit, UsagePrice};

/// A plan and its terms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanView {
    #[schema(value_type = String)]
    pub id: PlanId,
    #[schema(value_type = String)]
    pub listing_id: ListingId,
    pub slug: String,
    pub name: String,
    pub revision: u32,
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    pub limits: Vec<LimitInput>,
    /// The time zone whose hours, days and months limits are counted in; UTC where it is null.
    #[schema(example = "Asia/Kolkata")]
    pub zone: Option<String>,
    pub trial: Option<Trial>,
    pub usage_price: Option<UsagePrice>,
    pub concurrency_max: Option<u32>,
    /// The statuses of answers that are billed; null for all below 500.
    #[schema(value_type = Option<Vec<String>>, example = json!(["2XX", "404"]))]
    pub billable_statuses: Option<Vec<StatusRange>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retired_at: Option<Timestamp>,
}

/// A plan as it is shown, whoever sees it.
pub(crate) fn present(plan: &Plan, terms: &Terms) -> PlanView {
    let limit = |limit: &Limit| LimitInput {
        unit: Unit::Call,
        window: limit.window.into(),
        max: limit.max,
        hard: limit.hard,
    };
    PlanView {
        id: plan.id,
        listing_id: plan.listing,
        slug: plan.slug.clone(),
        name: plan.name.clone(),
        revision: plan.revision,
        price: terms.price,
        limits: terms.limits.iter().map(limit).collect(),
        zone: terms.zone.clone(),
        trial: terms.trial,
        usage_price: terms.usage_price.clone(),
        concurrency_max: terms.concurrency_max,
        billable_statuses: terms.billable_statuses.clone(),
        retired_at: plan.retired_at,
    }
}
