//! What the operator does: review listings, stop and restore them, look after gateways. Each decision is kept with its
//! reason.

pub mod documents;
pub mod everywhere;
pub mod gateways;
pub mod routes;
mod routes_gateways;
mod routes_plugins;
mod routes_retention;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<everywhere::Everywhere>().await?;
    store.register::<documents::Gateway>().await?;
    store.register::<documents::EmbeddedCounters>().await?;
    store.register::<documents::Decision>().await
}
