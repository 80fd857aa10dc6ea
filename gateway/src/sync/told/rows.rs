//! How parts stand in the file: under a key that sorts by kind and id, and under the keys of what they stand on, so that those of a
//! subscription, a plan, or an account that tries a listing are found without a look at the others. Next: `file.rs`.

use apiclay_config::ids::{CredentialId, ListingId, PlanId, SubscriptionId};
use apiclay_config::snapshot::{Change, Credential, Part, Subscription};
use arrayvec::ArrayVec;

/// A key's first byte.
const LISTING: u8 = 1;
const PLAN: u8 = 2;
const SUBSCRIPTION: u8 = 3;
const CREDENTIAL: u8 = 4;
/// Of no part: what an account's subscriptions to one listing stand on.
const TRIALIST: u8 = 5;
/// A kind and two ids.
const KEY_MAX_BYTES: usize = 33;

/// A key of the file.
pub(super) type Key = ArrayVec<u8, KEY_MAX_BYTES>;

/// The key of a part; none of what the file's head has.
pub(super) fn key(part: Part) -> Option<Key> {
    let (kind, id, revision) = match part {
        Part::Everywhere => return None,
        Part::Listing(id) => (LISTING, id.as_u128(), None),
        Part::Plan(id, revision) => (PLAN, id.as_u128(), Some(revision)),
        Part::Subscription(id) => (SUBSCRIPTION, id.as_u128(), None),
        Part::Credential(id) => (CREDENTIAL, id.as_u128(), None),
    };
    let revision = revision.map(u32::to_be_bytes);
    Some(joined([&[kind], &id.to_be_bytes(), revision.as_ref().map_or(&[], |bytes| &bytes[..])]))
}

/// The part of a key.
pub(super) fn part(key: &[u8]) -> Option<Part> {
    let (kind, rest) = key.split_first()?;
    let (id, revision) = rest.split_first_chunk()?;
    let id = u128::from_be_bytes(*id);
    match (*kind, revision.len()) {
        (LISTING, 0) => Some(Part::Listing(ListingId::from_u128(id))),
        (PLAN, 4) => {
            let revision = u32::from_be_bytes(*revision.first_chunk()?);
            Some(Part::Plan(PlanId::from_u128(id), revision))
        }
        (SUBSCRIPTION, 0) => Some(Part::Subscription(SubscriptionId::from_u128(id))),
        (CREDENTIAL, 0) => Some(Part::Credential(CredentialId::from_u128(id))),
        _ => None,
    }
}

/// The key of the edition that a subscription holds.
pub(super) fn edition(subscription: &Subscription) -> Key {
    let (plan, revision) = (subscription.plan.as_u128(), subscription.plan_revision);
    joined([&[PLAN], &plan.to_be_bytes(), &revision.to_be_bytes()])
}

/// The key of what the subscriptions of an account to a listing stand on: they share a trial.
pub(super) fn trialist(subscription: &Subscription) -> Key {
    let (account, listing) = (subscription.account.as_u128(), subscription.listing.as_u128());
    joined([&[TRIALIST], &account.to_be_bytes(), &listing.to_be_bytes()])
}

/// The key of the subscription that a key opens.
pub(super) fn opened(credential: &Credential) -> Key {
    joined([&[SUBSCRIPTION], &credential.subscription.as_u128().to_be_bytes()])
}

/// The keys of what a part stands on and is looked for by.
pub(super) fn bases(change: &Change) -> ArrayVec<Key, 2> {
    match change {
        Change::PutSubscription(one) => [edition(one), trialist(one)].into(),
        Change::PutCredential(one) => std::iter::once(opened(one)).collect(),
        _ => ArrayVec::new(),
    }
}

/// What a row's bytes come to: a flipped bit is found before anything of it is believed. The fields' lengths follow from their kinds.
pub(super) fn sum(fields: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for field in fields {
        crc.update(field);
    }
    crc.finalize()
}

fn joined<const N: usize>(fields: [&[u8]; N]) -> Key {
    fields.into_iter().flatten().copied().collect()
}
