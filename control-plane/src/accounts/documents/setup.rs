//! The link by which the first admin of a new marketplace signs up: made once, used once.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// The one set-up link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupLink {
    /// Of the token in the link.
    pub digest: String,
    /// When it is no good any more.
    pub expires_at: Timestamp,
    /// The id of the account that it will make: a second use meets it, also at the same moment.
    pub account: AccountId,
}

impl SetupLink {
    /// There is one, so that there is one id.
    pub const ID: &'static str = "first-admin";
}

impl Document for SetupLink {
    const COLLECTION: &'static str = "setup_links";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}
