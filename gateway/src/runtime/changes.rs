//! What changed since the runtime that is served was compiled, and what of it was there before. Next: `follow.rs` compiles only that.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::ids::{CredentialId, ListingId, PlanId, SubscriptionId};
use apiclay_config::key::Digest;
use apiclay_config::snapshot::{Change, Delta, Part, Snapshot, Subscription};

use super::listings::name_of;

/// Parts that changed, each with what is to be known of it as it was, where it was there.
#[derive(Default)]
pub struct Changes {
    /// More than is told apart here.
    pub(super) all: bool,
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

    /// Whether all is to be compiled.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        self.all
    }

    /// The parts that changed, whether they are there or were.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let listings = self.listings.keys().map(|id| Part::Listing(*id));
        let plans = self.plans.iter().map(|(id, revision)| Part::Plan(*id, *revision));
        let subscriptions = self.subscriptions.keys().map(|id| Part::Subscription(*id));
        let credentials = self.credentials.keys().map(|id| Part::Credential(*id));
        listings.chain(plans).chain(subscriptions).chain(credentials)
    }

    /// Subscriptions that changed, as they were.
    pub fn subscriptions_before(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.values().flatten()
    }

    /// Notes what `delta` will change of `before`. What was there before the first change stays noted. A control plane puts again
    /// what stands beside a change, so that it is there: that changes nothing, and to compile it is the larger part by far.
    pub fn note(&mut self, before: &Snapshot, delta: &Delta) {
        for change in delta.changes.iter().filter(|change| !says_the_same(before, change)) {
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

/// Whether it puts what is there. Of what could not be read this cannot be told.
fn says_the_same(before: &Snapshot, change: &Change) -> bool {
    let part = change.puts();
    before.unread.iter().all(|unread| unread.part.is_some() && unread.part != part)
        && match change {
            Change::PutListing(listing) => before.listings.get(&listing.id) == Some(listing),
            Change::PutPlan(plan) => before.plans.get(&(plan.id, plan.revision)) == Some(plan),
            Change::PutSubscription(subscription) => {
                before.subscriptions.get(&subscription.id) == Some(subscription)
            }
            Change::PutCredential(credential) => before.credentials.get(&credential.id) == Some(credential),
            Change::RemoveCredential(_) | Change::SetBindings(_) | Change::Unread(_) => false,
        }
}
