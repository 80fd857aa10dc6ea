//! The ways to a plan: a member of its vendor by role, and whoever buys what is on sale.

use apiclay_config::ids::{AccountId, ListingId, PlanId};

use super::documents::{Plan, PlanRevision};
use super::rules::PLANS_PER_LISTING_MAX;
use crate::catalog;
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};
use crate::vendors::role::Act;

const PLAN: Refusal = Refusal::NotFound("plan");

/// A plan, for a member of its vendor whose role allows `act`.
///
/// # Errors
/// Not found for everybody else; a refusal by role for a member.
pub async fn own(
    store: &Store,
    id: PlanId,
    account: AccountId,
    act: Act,
) -> Result<Versioned<Plan>, Refusal> {
    let plan = store.get::<Plan>(&id.to_string()).await?.ok_or(PLAN)?;
    match catalog::access::own(store, plan.value.listing, account, act).await {
        Ok(_) => Ok(plan),
        Err(Refusal::NotFound(_)) => Err(PLAN),
        Err(refusal) => Err(refusal),
    }
}

/// A plan that can be bought now, whoever asks.
///
/// # Errors
/// Where there is none, it is sold no more, or its listing is not on sale.
pub async fn on_sale(store: &Store, id: PlanId) -> Result<Plan, Refusal> {
    let plan = store.get::<Plan>(&id.to_string()).await?.ok_or(PLAN)?.value;
    if plan.retired_at.is_some() { Err(PLAN) } else { Ok(plan) }
}

/// The terms that a plan is sold under.
///
/// # Errors
/// Where the store does not answer or has lost them.
pub async fn revision(
    store: &Store,
    plan: PlanId,
    revision: u32,
) -> Result<Versioned<PlanRevision>, Refusal> {
    let found = store.get::<PlanRevision>(&PlanRevision::id_of(plan, revision)).await?;
    found.ok_or(Refusal::Internal("reading a plan's revision"))
}

/// Every plan of a listing with its terms, by slug.
///
/// # Errors
/// Where the store does not answer.
pub async fn of_listing(
    store: &Store,
    listing: ListingId,
) -> Result<Vec<(Versioned<Plan>, PlanRevision)>, Refusal> {
    let mut plans = Vec::new();
    for plan in heads(store, listing).await? {
        let terms = revision(store, plan.value.id, plan.value.revision).await?;
        plans.push((plan, terms.value));
    }
    Ok(plans)
}

/// Every plan of a listing, one more than there may be at most.
///
/// # Errors
/// Where the store does not answer.
pub async fn heads(store: &Store, listing: ListingId) -> Result<Vec<Versioned<Plan>>, StoreError> {
    let query = Query::by("listing_slug").equals(listing.to_string()).limit(PLANS_PER_LISTING_MAX + 1);
    Ok(store.query::<Plan>(&query).await?.items)
}
