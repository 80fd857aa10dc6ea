//! The ways to a listing: a member of its vendor by role, an admin to any, a buyer to what is on sale.

use apiclay_config::ids::{AccountId, ListingId, RouteId};

use super::documents::Listing;
use crate::refusal::Refusal;
use crate::store::{Query, Store, Versioned};
use crate::vendors;
use crate::vendors::role::Act;

const LISTING: Refusal = Refusal::NotFound("listing");

/// A listing, for a member of its vendor whose role allows `act`.
///
/// # Errors
/// Not found for everybody else; a refusal by role for a member.
pub async fn own(
    store: &Store,
    id: ListingId,
    account: AccountId,
    act: Act,
) -> Result<Versioned<Listing>, Refusal> {
    let listing = any(store, id).await?;
    match vendors::access::vendor(store, &listing.value.vendor.to_string(), account, act).await {
        Ok(_) => Ok(listing),
        Err(Refusal::NotFound(_)) => Err(LISTING),
        Err(refusal) => Err(refusal),
    }
}

/// Any listing: for admins only.
///
/// # Errors
/// Where there is none.
pub async fn any(store: &Store, id: ListingId) -> Result<Versioned<Listing>, Refusal> {
    store.get::<Listing>(&id.to_string()).await?.ok_or(LISTING)
}

/// A listing on sale: for everybody.
///
/// # Errors
/// Where there is none, or it is not on sale.
pub async fn on_sale(store: &Store, id: ListingId) -> Result<Versioned<Listing>, Refusal> {
    let listing = any(store, id).await?;
    if listing.value.is_on_sale() { Ok(listing) } else { Err(LISTING) }
}

/// A listing on sale, by its public path.
///
/// # Errors
/// Where there is none, or it is not on sale.
pub async fn on_sale_at(store: &Store, vendor: &str, slug: &str) -> Result<Versioned<Listing>, Refusal> {
    let valid = apiclay_config::snapshot::slug_is_valid;
    if !valid(vendor) || !valid(slug) {
        return Err(LISTING);
    }
    let query = Query::by("public_path").equals(vendor).equals(slug).limit(1);
    let found = store.query::<Listing>(&query).await?.items.pop();
    found.filter(|listing| listing.value.is_on_sale()).ok_or(LISTING)
}

/// A listing on sale, by one of its routes.
///
/// # Errors
/// Where there is none, or it is not on sale.
pub async fn on_sale_with(store: &Store, route: RouteId) -> Result<Versioned<Listing>, Refusal> {
    let found =
        store.query::<Listing>(&Query::by("route").equals(route.to_string()).limit(1)).await?.items.pop();
    found.filter(|listing| listing.value.is_on_sale()).ok_or(Refusal::NotFound("route"))
}
