//! A vendor as stored: a company and its members in one document, so that a change of members is one write.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, VendorId};
use serde::{Deserialize, Serialize};

use super::rules::Role;
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
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
