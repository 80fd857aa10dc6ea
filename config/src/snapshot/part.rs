//! Parts of a snapshot by name: each is served, or left out, for itself. Next: `validate.rs` says which are at fault.

use serde::{Deserialize, Serialize};

use crate::ids::{CredentialId, ListingId, PlanId, SubscriptionId};

/// One part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The plugins of the whole gateway.
    Everywhere,
    /// A listing, with its routes.
    Listing(ListingId),
    /// A plan in one revision.
    Plan(PlanId, u32),
    /// A subscription.
    Subscription(SubscriptionId),
    /// A key.
    Credential(CredentialId),
}

impl Part {
    /// What kinds there are; the last where not even the part can be read.
    pub const KINDS: [&'static str; 6] =
        ["everywhere", "listing", "plan", "subscription", "credential", "unknown"];

    /// The place of a part's kind in [`Part::KINDS`].
    pub(super) const fn kind(part: Option<Self>) -> usize {
        match part {
            Some(Self::Everywhere) => 0,
            Some(Self::Listing(_)) => 1,
            Some(Self::Plan(..)) => 2,
            Some(Self::Subscription(_)) => 3,
            Some(Self::Credential(_)) => 4,
            None => 5,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everywhere => out.write_str("gateway"),
            Self::Listing(id) => id.fmt(out),
            Self::Plan(id, revision) => write!(out, "{id} revision {revision}"),
            Self::Subscription(id) => id.fmt(out),
            Self::Credential(id) => id.fmt(out),
        }
    }
}
