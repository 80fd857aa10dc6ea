//! What changed since the runtime that is served was compiled, and what of it was there before. Next: `follow.rs` compiles only that.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::ids::{CredentialId, ListingId, PlanId, SubscriptionId};
use apiclay_config::key::Digest;
use apiclay_config::snapshot::{Change, Delta, Snapshot, Subscription};

use super::listings::name_of;

/// Parts that changed, each with what is to be known of it as it was, where it was there.
#[derive(Default)]
pub struct Changes {
    /// More than is told apart here.
    pub all: bool,
    /// Listings, with their names.
    pub(super) listings: BTreeMap<ListingId, Option<Box<str>>>,
    /// Editions of plans.
    pub(super) plans: BTreeSet<(PlanId, u32)>,
    /// Subscriptions.
    pub(super) subscriptions: BTreeMap<SubscriptionId, Option<Subscription>>,
    /// Keys, with their digests.
    pub(super) credentials: BTreeMap<CredentialId, Option<Digest>>,
}

impl Changes {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Notes what `delta` will change of `before`. What was there before the first change stays noted.
    pub fn note(&mut self, before: &Snapshot, delta: &Delta) {
        for change in &delta.changes {
            match change {
                Change::PutListing(listing) => {
                    let name = || before.listings.get(&listing.id).map(name_of);
                    self.listings.entry(listing.id).or_insert_with(name);
                }
                Change::PutPlan(plan) => drop(self.plans.insert((plan.id, plan.revision))),
                Change::PutSubscription(subscription) => {
                    let known = || before.subscriptions.get(&subscription.id).cloned();
                    self.subscriptions.entry(subscription.id).or_insert_with(known);
                }
                Change::PutCredential(credential) => self.note_key(before, credential.id),
                Change::RemoveCredential(id) => self.note_key(before, *id),
                Change::SetBindings(_) | Change::Unread(_) => self.all = true,
            }
        }
    }

    fn note_key(&mut self, before: &Snapshot, id: CredentialId) {
        let digest = || before.credentials.get(&id).map(|known| known.digest);
        self.credentials.entry(id).or_insert_with(digest);
    }
}
