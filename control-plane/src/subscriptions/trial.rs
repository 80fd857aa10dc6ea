//! When an account began its one trial by days of a listing, as stored. It is counted from then under every plan: who ends a
//! subscription and begins another, or changes plans, begins no second trial. Next: the subscription keeps when its trial
//! ends, gateways serve it until then, and `telling` writes to the account before.

mod letter;
pub mod telling;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use super::charge::Charge;
use super::documents::Subscription;
use crate::plans::terms::Terms;
use crate::store::{Document, FIRST_VERSION, Index, Store, StoreError, Versioned};

const DAY_MS: i64 = 86_400_000;
/// Tries of one note while others write.
const TRIES_MAX: u32 = 8;
/// Nobody is told of a trial before the subscription stands that has it, which is written after the trial's begin.
const STANDS_WITHIN_MS: i64 = 60_000;

/// The begin of an account's trial of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBegun {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub listing: ListingId,
    /// When.
    pub at: Timestamp,
    /// When its account is to be told that it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tells_at: Option<Timestamp>,
    /// The end that it was told of; under another plan there may be a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
}

impl TrialBegun {
    /// The same, where its account is to be told of this end before any other.
    fn noted(&self, ends: Timestamp, now: Timestamp) -> Option<Self> {
        let is_news = ends > now && self.told.is_none_or(|told| told < ends);
        let at = letter::is_due_at(self.at, ends).max(now.plus_ms(STANDS_WITHIN_MS));
        (is_news && self.tells_at.is_none_or(|tells_at| at < tells_at))
            .then(|| Self { tells_at: Some(at), ..self.clone() })
    }

    fn id_of(account: AccountId, listing: ListingId) -> String {
        format!("{account}:{listing}")
    }
}

impl Document for TrialBegun {
    const COLLECTION: &'static str = "trials_begun";
    const INDEXES: &'static [Index] =
        &[Index { name: "tells_at", fields: &["tells_at"], unique: false, multi: false }];

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
    let length_ms = i64::from(days) * DAY_MS;
    let new = TrialBegun { account, listing, at: now, tells_at: None, told: None };
    let new = new.noted(now.plus_ms(length_ms), now).unwrap_or(new);
    let begun = match store.insert(&new).await {
        Ok(()) => Versioned { value: new, version: FIRST_VERSION },
        Err(StoreError::Duplicate { .. }) => match store.get(&new.id()).await? {
            Some(known) => known,
            None => return Ok(Some(now.plus_ms(length_ms))),
        },
        Err(error) => return Err(error),
    };
    let ends = begun.value.at.plus_ms(length_ms);
    note(store, begun, ends, now).await?;
    Ok(Some(ends))
}

/// Notes that the account is to be told of this end.
async fn note(
    store: &Store,
    mut known: Versioned<TrialBegun>,
    ends: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    for _ in 0..TRIES_MAX {
        let Some(noted) = known.value.noted(ends, now) else { return Ok(()) };
        match store.replace(&noted, known.version).await {
            Err(StoreError::VersionMismatch) => {}
            written => return written.map(drop),
        }
        let Some(again) = store.get::<TrialBegun>(&noted.id()).await? else { return Ok(()) };
        known = again;
    }
    Err(StoreError::VersionMismatch)
}

/// The same where a subscription changes to these terms, be it now or with its next month. What costs something may never be
/// paid: then it begins with the charge ([`begins`]).
///
/// # Errors
/// Where the store does not answer.
pub async fn with_change(
    store: &Store,
    subscription: &Subscription,
    terms: &Terms,
    due: Money,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let who = (subscription.account, subscription.listing);
    let Some(days) = terms.trial.and_then(|trial| trial.days).filter(|_| comes_with_change(terms)) else {
        return Ok(None);
    };
    if due.is_zero() {
        return ends_at(store, who, terms, now).await;
    }
    let begun = store.get::<TrialBegun>(&TrialBegun::id_of(who.0, who.1)).await?;
    let begun = begun.map_or(now, |known| known.value.at);
    Ok(Some(begun.plus_ms(i64::from(days) * DAY_MS)))
}

/// Begins the trial that comes with a charge that was made.
///
/// # Errors
/// Where the store does not answer: the charge is still in hand, and whoever takes it up begins it.
pub async fn begins(
    store: &Store,
    subscription: &Subscription,
    charge: &Charge,
    terms: &Terms,
) -> Result<(), StoreError> {
    ends_at(store, (subscription.account, subscription.listing), terms, charge.at).await.map(drop)
}

/// Whether a change to these terms begins a trial. A month that is paid for leaves nothing to try, and its account's one trial
/// for another time.
#[must_use]
pub fn comes_with_change(terms: &Terms) -> bool {
    !terms.is_priced() || terms.is_per_call()
}

#[cfg(test)]
mod tests;
