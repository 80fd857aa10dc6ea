//! A family of refresh tokens: one sign-in of a program. Each refresh puts a new token in the place of the last; an
//! old one that shows up again means that somebody copied it, and ends the family.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// One sign-in of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFamily {
    /// Random; part of every refresh token and access token of the family.
    pub id: String,
    /// Whose.
    pub account: AccountId,
    /// Of the one refresh token that is good now.
    pub digest: String,
    /// When it signed in.
    pub created_at: Timestamp,
    /// When it must sign in again.
    pub expires_at: Timestamp,
}

impl Document for TokenFamily {
    const COLLECTION: &'static str = "token_families";
    const INDEXES: &'static [Index] = &[
        Index { name: "account", fields: &["account", "created_at"], unique: false, multi: false },
        Index { name: "expires_at", fields: &["expires_at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.clone()
    }
}
