//! When an account began its one trial by days of a listing, as stored. It is counted from then under every plan: who ends a
//! subscription and begins another, or changes plans, begins no second trial. Next: the subscription keeps when its trial
//! ends, and gateways serve it until then.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use serde::{Deserialize, Serialize};

use crate::plans::terms::Terms;
use crate::store::{Document, Index, Store, StoreError};

const DAY_MS: i64 = 86_400_000;

/// The begin of an account's trial of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBegun {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub listing: ListingId,
    /// When.
    pub at: Timestamp,
}

impl TrialBegun {
    fn id_of(account: AccountId, listing: ListingId) -> String {
        format!("{account}:{listing}")
    }
}

impl Document for TrialBegun {
    const COLLECTION: &'static str = "trials_begun";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.account, self.listing)
    }
}

/// When an account's trial by days is over under these terms, begun now if it never was; none where they have no such trial.
///
/// # Errors
/// Where the store does not answer.
pub async fn ends_at(
    store: &Store,
    (account, listing): (AccountId, ListingId),
    terms: &Terms,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(days) = terms.trial.and_then(|trial| trial.days) else { return Ok(None) };
    let begun = match store.insert(&TrialBegun { account, listing, at: now }).await {
        Ok(()) => now,
        Err(StoreError::Duplicate { .. }) => {
            let known = store.get::<TrialBegun>(&TrialBegun::id_of(account, listing)).await?;
            known.map_or(now, |known| known.value.at)
        }
        Err(error) => return Err(error),
    };
    Ok(Some(begun.plus_ms(i64::from(days) * DAY_MS)))
}

#[cfg(test)]
mod tests;
