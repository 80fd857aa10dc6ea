//! A vendor as stored: a company, its members and who is invited in one document, so that a change of members is one
//! write: an invitation is spent by the write that makes the member.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, VendorId};
use serde::{Deserialize, Serialize};

use super::role::Role;
use crate::store::{Document, Index};

/// A company that sells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vendor {
    /// Its id.
    pub id: VendorId,
    /// First segment of its listings' public paths. Never changes: buyers' code holds it.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// Who acts for it; at least one owner.
    pub members: Vec<Member>,
    /// Who may become a member.
    #[serde(default)]
    pub invitations: Vec<Invitation>,
    /// Listings that were ever made for it.
    #[serde(default)]
    pub listings_made: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Somebody who acts for a vendor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub account: AccountId,
    /// As what.
    pub role: Role,
}

/// Somebody who may become a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    /// Its id, which may be shown.
    pub id: String,
    /// Whose account may accept it: this address's, folded.
    pub email: String,
    /// As what.
    pub role: Role,
    /// Of the code in the mail.
    pub code_digest: String,
    /// Who invited.
    pub by: AccountId,
    /// When.
    pub created_at: Timestamp,
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
}

impl Vendor {
    /// What the account is here; none where it is not a member.
    #[must_use]
    pub fn role_of(&self, account: AccountId) -> Option<Role> {
        self.members.iter().find(|member| member.account == account).map(|member| member.role)
    }
}

impl Document for Vendor {
    const COLLECTION: &'static str = "vendors";
    const INDEXES: &'static [Index] = &[
        Index { name: "slug", fields: &["slug"], unique: true, multi: false },
        Index { name: "member", fields: &["members.account"], unique: false, multi: true },
        Index { name: "invitation", fields: &["invitations.code_digest"], unique: true, multi: true },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
