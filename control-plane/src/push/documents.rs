//! The change log as stored: one small document a revision. It names what changed and never how: a delta is made from
//! the document as it is when it is sent.

use apiclay_config::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// Digits of a revision in its id, so that text sorts as numbers do.
const REVISION_DIGITS: usize = 20;

/// What kinds of documents gateways are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `catalog::documents::Listing`
    Listing,
    /// `plans::documents::PlanRevision`
    PlanRevision,
    /// `subscriptions::documents::Subscription`
    Subscription,
    /// `subscriptions::documents::Credential`
    Credential,
    /// `admin::everywhere::Everywhere`
    Everywhere,
}

/// One revision: a document of this kind has changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// Its number; the first is 1, and there are no gaps.
    pub revision: u64,
    /// What kind of document.
    pub kind: Kind,
    /// Its id.
    pub subject: String,
    /// When.
    pub at: Timestamp,
}

impl ChangeEntry {
    /// What tells this change from another that got the same number after the store was restored from an earlier copy.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let said = format!("{:?} {} {}", self.kind, self.subject, self.at.0);
        let digest = blake3::hash(said.as_bytes());
        u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default())
    }

    /// The id of the entry with this number.
    #[must_use]
    pub fn id_of(revision: u64) -> String {
        format!("{revision:0REVISION_DIGITS$}")
    }
}

impl Document for ChangeEntry {
    const COLLECTION: &'static str = "changes";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.revision)
    }
}

/// A document that gateways are told of. Its index `unpublished` is on the mark.
pub trait Published: Document + Clone {
    /// What it is in the change log.
    const KIND: Kind;

    /// Written and not yet in a revision, since then.
    fn mark(&mut self) -> &mut Option<Timestamp>;

    /// Whether a gateway has any use for it yet; a draft's changes make no revision.
    fn concerns_gateways(&self) -> bool {
        true
    }
}
