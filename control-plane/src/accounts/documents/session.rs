//! A signed-in browser. Its cookie holds a secret of which only the digest is here.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, SessionId};
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, which may be shown.
    pub id: SessionId,
    /// Whose.
    pub account: AccountId,
    /// Of the cookie's secret.
    pub digest: String,
    /// What the browser calls itself, cut.
    pub client: String,
    /// When it signed in.
    pub created_at: Timestamp,
    /// About when it was last here.
    pub seen_at: Timestamp,
    /// When it must sign in again.
    pub expires_at: Timestamp,
}

impl Document for Session {
    const COLLECTION: &'static str = "sessions";
    const INDEXES: &'static [Index] = &[
        Index { name: "digest", fields: &["digest"], unique: true, multi: false },
        Index { name: "account", fields: &["account", "created_at"], unique: false, multi: false },
        Index { name: "expires_at", fields: &["expires_at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
