//! A personal token: a secret for a person's own programs, with scopes and an end, shown once.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};

use crate::accounts::rules::scopes::Scope;
use crate::store::{Document, Index};

/// A secret for a person's own programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalToken {
    /// Its id, which may be shown.
    pub id: String,
    /// Whose.
    pub account: AccountId,
    /// Of the secret.
    pub digest: String,
    /// What the person calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never, where there is none.
    pub expires_at: Option<Timestamp>,
}

impl Document for PersonalToken {
    const COLLECTION: &'static str = "personal_tokens";
    const INDEXES: &'static [Index] = &[
        Index { name: "digest", fields: &["digest"], unique: true, multi: false },
        Index { name: "account", fields: &["account", "created_at"], unique: false, multi: false },
        Index { name: "expires_at", fields: &["expires_at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.clone()
    }
}
