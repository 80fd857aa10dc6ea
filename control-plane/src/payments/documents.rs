//! What is stored of payments: top-ups on their way, and every event of the provider as it came, less what belongs to a
//! card or a person. That money has come in is said by the journal, and by nothing here.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, JournalId, OrderId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Document, Index, Store, StoreError};

/// How far a top-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopUpStatus {
    /// Nothing has been paid that we know of.
    Created,
    /// The buyer's browser has shown that he paid; the provider's own word is awaited.
    Confirming,
    /// It stands in the wallet.
    Paid,
    /// Nobody paid in time.
    Expired,
}

/// A payment that was credited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credited {
    /// The provider's name for it.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// The journal's entry.
    pub entry: JournalId,
}

/// A part of a payment that goes back, or was to. Said in one write of the order: what is reserved can be given back by
/// nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The id of our refund, or the provider's name of one that was made there.
    pub refund: String,
    /// Of which payment.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// How it is. What is free again stays on record: it is never reserved again by somebody slow.
    pub status: ReservationStatus,
}

/// How a reservation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// It is to be given back.
    Reserved,
    /// It was, for good.
    GivenBack,
    /// It was not, and others may have it.
    Free,
}

/// A top-up on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id, and the receipt under which the provider knows it.
    pub id: OrderId,
    /// Whose wallet.
    pub account: AccountId,
    /// How much.
    pub amount: Money,
    /// The provider's name for it; none until the provider has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_order: Option<String>,
    /// How far it is.
    pub status: TopUpStatus,
    /// What came of it; several where a buyer paid twice, for what is taken is credited.
    #[serde(default)]
    pub credited: Vec<Credited>,
    /// What of it goes back or went back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reservation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the provider is asked about it next; none once there is nothing to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<Timestamp>,
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    const INDEXES: &'static [Index] = &[
        Index { name: "account", fields: &["account", "id"], unique: false, multi: false },
        Index { name: "provider_order", fields: &["provider_order"], unique: true, multi: false },
        Index { name: "ask_at", fields: &["ask_at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// What was done about an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handled {
    /// What it says is in the journal.
    Acted,
    /// It says nothing that concerns us.
    Kept,
    /// It contradicts what we know: nothing was done, and a person must look.
    Contradicts(String),
}

/// An event of the provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The digest of its bytes, which its signature covers: one delivery more of the same is the same.
    pub body_digest: String,
    /// The provider's name for it, which no signature covers.
    #[serde(default)]
    pub event_id: Option<String>,
    /// Whose.
    pub provider: String,
    /// When it first came.
    pub received_at: Timestamp,
    /// Its body, less what belongs to a card or a person.
    pub record: Value,
    /// When it is acted on again; none once it is handled. Earlier releases stored since when it waits.
    #[serde(default, alias = "waits_since", skip_serializing_if = "Option::is_none")]
    pub try_at: Option<Timestamp>,
    /// What was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,
}

impl StoredEvent {
    /// The id of an event.
    #[must_use]
    pub fn id_of(provider: &str, body_digest: &str) -> String {
        format!("{provider}:{body_digest}")
    }
}

impl Document for StoredEvent {
    const COLLECTION: &'static str = "payment_events";
    const INDEXES: &'static [Index] = &[
        Index { name: "received_at", fields: &["received_at"], unique: false, multi: false },
        Index { name: "try_at", fields: &["try_at"], unique: false, multi: false },
        Index { name: "waits_since", fields: &["waits_since"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        Self::id_of(&self.provider, &self.body_digest)
    }
}

/// Makes the collections of top-ups and events.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Order>().await?;
    store.register::<StoredEvent>().await
}
