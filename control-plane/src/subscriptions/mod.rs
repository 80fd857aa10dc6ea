//! Subscriptions and their keys: what a buyer has of a listing, and with what he opens it. A write here is on a gateway
//! within a second.

pub mod access;
pub(crate) mod credential_routes;
pub mod documents;
pub mod period;
pub mod routes;
pub mod rules;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Subscription>().await?;
    store.register::<documents::Credential>().await
}
