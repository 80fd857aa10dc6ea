//! From when the months are counted whose included units cost an account nothing, as stored: one count an account and listing,
//! begun by the first subscription that asks for them. Who ends a plan that costs nothing a month and buys it again, or
//! another such plan of the listing, goes on with what is left of the same month. Next: `wallet::leases::included`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId, SubscriptionId};
use serde::{Deserialize, Serialize};

use super::documents::Subscription;
use crate::store::{Document, Index, Store, StoreError};

/// The count of an account's free months of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeMonths {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub listing: ListingId,
    /// Under whose name their units stand in the journal: no subscription's, for that has months that are paid for.
    pub subscription: SubscriptionId,
    /// From when they are counted.
    pub anchor: Timestamp,
}

impl FreeMonths {
    /// As a subscription would begin them.
    fn of(subscription: &Subscription) -> Self {
        let &Subscription { account, listing, .. } = subscription;
        Self { account, listing, subscription: name_of(account, listing), anchor: subscription.anchor() }
    }
}

impl Document for FreeMonths {
    const COLLECTION: &'static str = "free_months";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        format!("{}:{}", self.account, self.listing)
    }
}

/// The name that follows from whose they are and of what.
fn name_of(account: AccountId, listing: ListingId) -> SubscriptionId {
    let digest = blake3::hash(format!("free_months:{account}:{listing}").as_bytes());
    let half = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
    SubscriptionId::from_u128(u128::from_be_bytes(half))
}

/// The count that a subscription's included units are in, or would be: nothing is written.
///
/// # Errors
/// Where the store does not answer.
pub async fn found(store: &Store, subscription: &Subscription) -> Result<FreeMonths, StoreError> {
    let own = FreeMonths::of(subscription);
    Ok(store.get::<FreeMonths>(&own.id()).await?.map_or(own, |known| known.value))
}

/// The same, begun now where it never was.
///
/// # Errors
/// Where the store does not answer.
pub async fn begun(store: &Store, subscription: &Subscription) -> Result<FreeMonths, StoreError> {
    let own = FreeMonths::of(subscription);
    if let Some(known) = store.get::<FreeMonths>(&own.id()).await? {
        return Ok(known.value);
    }
    match store.insert(&own).await {
        Ok(()) => Ok(own),
        Err(StoreError::Duplicate { .. }) => found(store, subscription).await,
        Err(error) => Err(error),
    }
}
