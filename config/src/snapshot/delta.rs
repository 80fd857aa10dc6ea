//! Changes between revisions, and the frames of the stream that carries them. Applied by gateways to their snapshot.

use serde::{Deserialize, Serialize};

use super::{Binding, Credential, Listing, Part, Plan, Snapshot, Subscription, Unread};
use crate::ids::CredentialId;

/// One thing put, or a key taken away. Listings and subscriptions that ended are put as what is refused: plans and keys still
/// name them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A listing as it is now.
    PutListing(Box<Listing>),
    /// A plan revision. None is ever taken away: somebody may hold it.
    PutPlan(Box<Plan>),
    /// A subscription as it is now.
    PutSubscription(Subscription),
    /// A key that opens from now on.
    PutCredential(Credential),
    /// A key that opens no more.
    RemoveCredential(CredentialId),
    /// The plugins of the whole gateway.
    SetBindings(Vec<Binding>),
    /// What [`Frame::read`] could not read. No control plane says it.
    Unread(Unread),
}

impl Change {
    /// The part that it puts in place of what was there.
    #[must_use]
    pub fn puts(&self) -> Option<Part> {
        match self {
            Self::PutListing(listing) => Some(Part::Listing(listing.id)),
            Self::PutPlan(plan) => Some(Part::Plan(plan.id, plan.revision)),
            Self::PutSubscription(subscription) => Some(Part::Subscription(subscription.id)),
            Self::PutCredential(credential) => Some(Part::Credential(credential.id)),
            Self::RemoveCredential(id) => Some(Part::Credential(*id)),
            Self::SetBindings(_) => Some(Part::Everywhere),
            Self::Unread(unread) => unread.part,
        }
    }
}

/// What one revision changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The revision it leads to; it applies to the one before.
    pub revision: u64,
    /// Of the change that has this number.
    #[serde(default)]
    pub fingerprint: Option<u64>,
    /// Applied in order.
    pub changes: Vec<Change>,
}

/// What stands in the frames of the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Everything, in place of what was there.
    Snapshot(Box<Snapshot>),
    /// The next revision.
    Delta(Delta),
    /// Nothing new: the connection lives.
    Heartbeat {
        /// The control plane's revision.
        revision: u64,
        /// Gateways heard of lately, among which rates are divided. None while the control plane has not been there long
        /// enough to have heard of all: then the last number holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live_gateways: Option<u32>,
    },
    /// What [`Frame::read`] could not read, and why. No control plane says it.
    Unread(String),
}

impl Snapshot {
    /// Applies the next revision.
    pub fn follow(&mut self, delta: &Delta) {
        for change in &delta.changes {
            self.apply(change);
        }
        self.revision = delta.revision;
        self.fingerprint = delta.fingerprint;
    }

    /// Applies one change. The revision is the caller's to move.
    pub fn apply(&mut self, change: &Change) {
        self.put(change.clone());
    }

    /// The same of one that nobody else needs.
    pub fn put(&mut self, change: Change) {
        let puts = change.puts();
        self.unread.retain(|unread| unread.part != puts);
        match change {
            Change::PutListing(listing) => drop(self.listings.insert(listing.id, *listing)),
            Change::PutPlan(plan) => drop(self.plans.insert((plan.id, plan.revision), *plan)),
            Change::PutSubscription(subscription) => {
                self.subscriptions.insert(subscription.id, subscription);
            }
            Change::PutCredential(credential) => {
                self.credentials.insert(credential.id, credential);
            }
            Change::RemoveCredential(id) => self.remove(Part::Credential(id)),
            Change::SetBindings(bindings) => self.bindings = bindings,
            Change::Unread(unread) => {
                // What was there of a part that is told anew and not understood holds no more: it may have allowed more.
                unread.part.into_iter().for_each(|part| self.remove(part));
                self.unread.push(unread);
            }
        }
    }

    /// The change that puts what is there of a part; none where there is nothing, or it is no part by itself.
    #[must_use]
    pub fn change_that_puts(&self, part: Part) -> Option<Change> {
        match part {
            Part::Listing(id) => Some(Change::PutListing(Box::new(self.listings.get(&id)?.clone()))),
            Part::Plan(id, revision) => {
                Some(Change::PutPlan(Box::new(self.plans.get(&(id, revision))?.clone())))
            }
            Part::Subscription(id) => Some(Change::PutSubscription(self.subscriptions.get(&id)?.clone())),
            Part::Credential(id) => Some(Change::PutCredential(self.credentials.get(&id)?.clone())),
            Part::Everywhere => None,
        }
    }

    /// All parts of which there may be many, by kind and then by id.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let listings = self.listings.keys().map(|id| Part::Listing(*id));
        let plans = self.plans.keys().map(|(id, revision)| Part::Plan(*id, *revision));
        let subscriptions = self.subscriptions.keys().map(|id| Part::Subscription(*id));
        let credentials = self.credentials.keys().map(|id| Part::Credential(*id));
        listings.chain(plans).chain(subscriptions).chain(credentials)
    }

    /// Takes a part out, if it is there.
    pub fn remove(&mut self, part: Part) {
        match part {
            Part::Listing(id) => drop(self.listings.remove(&id)),
            Part::Plan(id, revision) => drop(self.plans.remove(&(id, revision))),
            Part::Subscription(id) => drop(self.subscriptions.remove(&id)),
            Part::Credential(id) => drop(self.credentials.remove(&id)),
            Part::Everywhere => {}
        }
    }
}
