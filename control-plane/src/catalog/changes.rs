//! What changed of a listing, when and by whom, from its publication on: one insert-only document a change. It tells of
//! the configuration and is none: gateways are told from the listing alone.
//!
//! A change stands in the listing (`last_change`), in the same write as what it tells of, and from there it is copied into
//! a document of its own: after that write, and again before the next write and before any reading, where a crash came
//! between. The copy's id is the listing's and the change's number, so that it is made once. Made by `change_log`, read by
//! `routes_changes`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::State;
use crate::store::{Document, Index};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedChange {
    /// The listing's id and the number.
    pub id: String,
    /// Of which listing.
    pub listing: ListingId,
    /// The same, where buyers are told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<ListingId>,
    /// The first is 1, and there are no gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: AccountId,
    /// Whether that was the operator.
    pub operator: bool,
    /// What.
    pub kinds: Vec<ChangeKind>,
    /// The state since then, where that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The routes that changed, as far as there is room.
    #[serde(default)]
    pub routes: Vec<RouteChange>,
    /// How many more did.
    #[serde(default)]
    pub routes_more: usize,
}

/// What is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Where it is in its life.
    State,
    /// The operator stopped it.
    Suspended,
    /// The operator let it go on.
    Restored,
    /// Name, summary, category or tags.
    Words,
    /// The header that keys travel in.
    KeyHeader,
    /// What can be called.
    Routes,
    /// Where calls go.
    Upstream,
    /// What is injected for the vendor.
    Secrets,
    /// What calls pass.
    Plugins,
}

impl ChangeKind {
    /// Whether buyers are told of it: what they call and how, and not how the vendor does it.
    #[must_use]
    pub const fn is_told(self) -> bool {
        !matches!(self, Self::Upstream | Self::Secrets | Self::Plugins)
    }
}

/// A route that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteChange {
    /// How.
    pub what: RouteChangeKind,
    /// Its method; of a removed one, the last.
    pub method: String,
    /// Its path; of a removed one, the last.
    pub path: String,
}

/// How a route is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteChangeKind {
    /// It can be called now.
    Added,
    /// Its method, path or summary is another.
    Changed,
    /// It cannot be called any more.
    Removed,
}

/// Who changes a listing.
#[derive(Debug, Clone, Copy)]
pub struct Author {
    /// Whose account.
    pub account: AccountId,
    /// Whether as the operator.
    pub operator: bool,
}

impl Document for LoggedChange {
    const COLLECTION: &'static str = "listing_changes";
    const INDEXES: &'static [Index] = &[
        Index { name: "listing", fields: &["listing", "id"], unique: false, multi: false },
        Index { name: "told", fields: &["told", "id"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.clone()
    }
}
