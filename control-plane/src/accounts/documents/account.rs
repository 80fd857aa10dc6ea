//! An account: a person. The unique indexes are what makes an address and a username belong to one account only.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{Document, Index};

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Folded (`rules::names`).
    pub email: String,
    /// Folded.
    pub username: String,
    /// As the person writes it.
    pub name: String,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// When the address was shown to be the person's.
    pub email_verified_at: Option<Timestamp>,
    /// Whether it runs the marketplace.
    pub admin: bool,
    /// Whether it may sign in.
    pub state: AccountState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is taken away, where its address was not shown to be its own by then.
    #[serde(default)]
    pub forget_at: Option<Timestamp>,
}

/// Whether an account may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// It may.
    Active,
    /// An admin has shut it out.
    Suspended,
}

impl Account {
    /// The same, with its address shown to be its own.
    #[must_use]
    pub fn verified(self, now: Timestamp) -> Self {
        Self { email_verified_at: self.email_verified_at.or(Some(now)), forget_at: None, ..self }
    }
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    const INDEXES: &'static [Index] = &[
        Index { name: "email", fields: &["email"], unique: true, multi: false },
        Index { name: "username", fields: &["username"], unique: true, multi: false },
        Index { name: "admin", fields: &["admin", "created_at"], unique: false, multi: false },
        Index { name: "created_at", fields: &["created_at"], unique: false, multi: false },
        Index { name: "forget_at", fields: &["forget_at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
