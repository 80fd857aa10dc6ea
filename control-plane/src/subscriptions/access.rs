//! The one way to a subscription and its keys: by the account whose they are.

use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, SubscriptionId};

use super::documents::{Credential, Subscription};
use super::rules::{CREDENTIALS_MAX, SUBSCRIPTIONS_PER_ACCOUNT_MAX};
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};

/// A subscription of this account.
///
/// # Errors
/// Not found where it is another's.
pub async fn own(
    store: &Store,
    id: SubscriptionId,
    account: AccountId,
) -> Result<Versioned<Subscription>, Refusal> {
    let found = store.get::<Subscription>(&id.to_string()).await?;
    found.filter(|found| found.value.account == account).ok_or(Refusal::NotFound("subscription"))
}

/// The account's live subscriptions.
///
/// # Errors
/// Where the store does not answer.
pub async fn live(store: &Store, account: AccountId) -> Result<Vec<Subscription>, StoreError> {
    let (from, below) = Subscription::live_keys_of(account);
    let live = Query::by("live").from(from).below(below).limit(SUBSCRIPTIONS_PER_ACCOUNT_MAX);
    let found = store.query::<Subscription>(&live).await?.items;
    Ok(found.into_iter().map(|found| found.value).collect())
}

/// Whether the account has a live subscription to a listing.
///
/// # Errors
/// Where the store does not answer.
pub async fn has_live(store: &Store, account: AccountId, listing: ListingId) -> Result<bool, StoreError> {
    Ok(live(store, account).await?.iter().any(|mine| mine.listing == listing))
}

/// Whether the account has a live subscription to a plan, or one that becomes that with its next period.
///
/// # Errors
/// Where the store does not answer.
pub async fn has_live_to(store: &Store, account: AccountId, plan: PlanId) -> Result<bool, StoreError> {
    Ok(live(store, account).await?.iter().any(|mine| mine.is_or_becomes(plan)))
}

/// A live key of this account and subscription.
///
/// # Errors
/// Not found where it is another's, or has been revoked.
pub async fn own_credential(
    store: &Store,
    id: CredentialId,
    subscription: SubscriptionId,
    account: AccountId,
) -> Result<Versioned<Credential>, Refusal> {
    let found = store.get::<Credential>(&id.to_string()).await?;
    found
        .filter(|found| {
            let credential = &found.value;
            credential.account == account && credential.subscription == subscription && credential.is_live()
        })
        .ok_or(Refusal::NotFound("credential"))
}

/// The live keys of a subscription.
///
/// # Errors
/// Where the store does not answer.
pub async fn live_credentials(
    store: &Store,
    subscription: SubscriptionId,
) -> Result<Vec<Versioned<Credential>>, StoreError> {
    // Revoked ones have no slot, and are not in this index; there are as many as slots, and no more.
    let query = Query::by("slot").equals(subscription.to_string()).limit(CREDENTIALS_MAX as usize + 1);
    Ok(store.query::<Credential>(&query).await?.items)
}
