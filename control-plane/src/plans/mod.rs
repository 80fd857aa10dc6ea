//! Plans: what a listing costs and how much of it may be called. A subscription holds one revision of one plan.

pub mod access;
pub mod documents;
pub mod routes;
mod routes_plugins;
pub mod rules;
pub mod terms;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Plan>().await?;
    store.register::<documents::PlanRevision>().await
}
