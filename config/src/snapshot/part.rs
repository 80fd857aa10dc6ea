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
    /// Every [`Part::kind`].
    pub const KINDS: [&'static str; 5] = ["everywhere", "listing", "plan", "subscription", "credential"];

    /// What kind of part it is, in a word.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        let number = match self {
            Self::Everywhere => 0,
            Self::Listing(_) => 1,
            Self::Plan(..) => 2,
            Self::Subscription(_) => 3,
            Self::Credential(_) => 4,
        };
        Self::KINDS[number]
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
