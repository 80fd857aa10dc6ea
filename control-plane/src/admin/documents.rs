//! What the operator sees, as stored: enrolled gateways with what they last said, who holds the embedded counters, and
//! what was decided with which reason.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use apiclay_config::key::Digest;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index, QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

/// A gateway that may connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gateway {
    /// What it is called: lower-case letters, digits and hyphens.
    pub id: String,
    /// Of its token.
    pub token_digest: Digest,
    /// When it got that token.
    pub enrolled_at: Timestamp,
    /// When it was last heard of.
    #[serde(default)]
    pub last_seen_at: Option<Timestamp>,
    /// What it said last.
    #[serde(default)]
    pub report: Option<GatewayReport>,
}

/// What a gateway says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GatewayReport {
    /// The revision it runs.
    pub revision: u64,
    /// The plugin types it has.
    pub plugins: Vec<PluginType>,
    /// Its release.
    pub version: String,
    /// Of its present life.
    pub epoch: String,
    /// Why it does not serve all that it was told, where it does not.
    #[serde(default)]
    pub refused: Option<String>,
    /// When it said so.
    pub at: Timestamp,
}

/// A plugin type, as announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PluginType {
    /// Its name.
    pub name: String,
    /// JSON Schema of its configuration, as text: a schema's `$ref` is no field of ours.
    pub schema: String,
}

impl Document for Gateway {
    const COLLECTION: &'static str = "gateways";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// Who has the embedded counters: one gateway, since another would count anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmbeddedCounters {
    /// Which.
    pub gateway: String,
    /// Since when.
    pub since: Timestamp,
}

impl EmbeddedCounters {
    /// There is one such document.
    pub const ID: &'static str = "embedded";
}

impl Document for EmbeddedCounters {
    const COLLECTION: &'static str = "counters_held";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

/// Something an admin decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// Sortable by time.
    pub id: String,
    /// Who.
    pub by: AccountId,
    /// What: `listing.approve`.
    pub action: String,
    /// About what, by its id.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Decision {
    /// One that is taken now; it is inserted before it is carried out, so that what took effect is on record.
    #[must_use]
    pub fn new(
        by: AccountId,
        action: impl Into<String>,
        subject: impl Into<String>,
        reason: String,
        at: Timestamp,
    ) -> Self {
        // A listing's id is as good as any for its part that sorts by time.
        let id = ListingId::generate().to_string().replacen("lst_", "dec_", 1);
        Self { id, by, action: action.into(), subject: subject.into(), reason, at }
    }

    /// Inserts it, where it can be taken only once: said again by the same admin for the same reason, after a failure
    /// to carry it out, it is on record.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn insert_once(&self, store: &Store) -> Result<(), StoreError> {
        let of_subject = Query::by("subject").equals(self.subject.as_str()).limit(QUERY_LIMIT_MAX_ITEMS);
        let known = store.query::<Self>(&of_subject).await?.items;
        let said = |one: &Self| (one.by, one.action.clone(), one.reason.clone());
        if known.iter().any(|known| said(&known.value) == said(self)) {
            return Ok(());
        }
        store.insert(self).await
    }
}

impl Document for Decision {
    const COLLECTION: &'static str = "decisions";
    const INDEXES: &'static [Index] =
        &[Index { name: "subject", fields: &["subject", "id"], unique: false, multi: false }];

    fn id(&self) -> String {
        self.id.clone()
    }
}
