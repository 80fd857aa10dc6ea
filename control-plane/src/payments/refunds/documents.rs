//! What is stored of a refund of ours: what was asked for, and how far it is. What it did to money is in the journal.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, OrderId, RefundId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index, Store, StoreError};

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Asked for by an admin; nothing was done yet.
    Asked,
    /// No other refund can have this money of the top-up.
    Reserved,
    /// It cannot be spent from the wallet any more, and the provider is asked to give it back.
    Held,
    /// The buyer has it, and it has left the wallet.
    Processed,
    /// The provider did not give it back; it is free in the wallet again.
    Failed,
    /// Not so much is left of the top-up: nothing was done.
    TooLarge,
    /// Not so much was free in the wallet: nothing was done.
    WalletShort,
}

/// Money of a top-up that goes back, because an admin says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Its id, under which the provider makes it once and tells of it.
    pub id: RefundId,
    /// Of which top-up.
    pub order: OrderId,
    /// Of which of its payments, by the provider's name.
    pub payment: String,
    /// Whose wallet.
    pub account: AccountId,
    /// How much.
    pub amount: Money,
    /// Why, by the admin.
    pub reason: String,
    /// By whom.
    pub by: AccountId,
    /// How far it is.
    pub state: RefundState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The provider's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_refund: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is gone on with; none once nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

impl Document for Refund {
    const COLLECTION: &'static str = "refunds";
    const INDEXES: &'static [Index] = &[
        Index { name: "due_at", fields: &["due_at"], unique: false, multi: false },
        Index { name: "provider_refund", fields: &["provider_refund"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Makes the collection of refunds.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Refund>().await
}
