//! What a refused revision takes away all the same: rights that the served configuration gives and the told one does not.
//! Pure. Next: `configuration` serves what is left.

use apiclay_config::clock::Timestamp;
use apiclay_config::snapshot::Snapshot;

/// `served` less every right that `told` no longer gives. Nothing new comes of `told`.
pub(super) fn without_revoked(served: &Snapshot, told: &Snapshot) -> Snapshot {
    let mut less = served.clone();
    for listing in less.listings.values_mut() {
        // Plans and subscriptions still name one that is gone: suspended is as good.
        listing.suspended |= told.listings.get(&listing.id).is_none_or(|now| now.suspended);
    }
    for subscription in less.subscriptions.values_mut() {
        let now = told.subscriptions.get(&subscription.id);
        subscription.inactive |= now.is_none_or(|now| now.inactive || now.listing != subscription.listing);
        subscription.pays &= now.is_some_and(|now| now.pays);
        subscription.ends_at = earlier(subscription.ends_at, now.and_then(|now| now.ends_at));
    }
    less.credentials.retain(|id, credential| {
        let now = told.credentials.get(id);
        credential.expires_at = earlier(credential.expires_at, now.and_then(|now| now.expires_at));
        now.is_some_and(|now| now.digest == credential.digest && now.subscription == credential.subscription)
    });
    less
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
