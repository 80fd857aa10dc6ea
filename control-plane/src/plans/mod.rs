//! Plans: what a listing costs and how much of it may be called. A subscription holds one revision of one plan.

pub mod access;
pub mod bounds;
pub mod documents;
pub mod pricing;
pub mod routes;
mod routes_plugins;
mod routes_preview;
pub mod rules;
mod rules_usage;
pub mod terms;
pub mod units;
pub(crate) mod view;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Plan>().await?;
    store.register::<documents::PlanRevision>().await
}
