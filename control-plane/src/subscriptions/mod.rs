//! Subscriptions and their keys: what a buyer has of a listing, and with what he opens it. A write here is on a gateway
//! within a second.

pub mod access;
mod affording;
pub mod billing;
pub(crate) mod buying;
pub(crate) mod changing;
pub mod charge;
pub(crate) mod credential_routes;
pub mod documents;
pub(crate) mod free_months;
pub(crate) mod giving_back;
mod letters;
pub mod life;
pub mod period;
pub(crate) mod quote;
pub mod routes;
mod routes_change;
pub mod rules;
pub mod trial;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Subscription>().await?;
    store.register::<trial::TrialBegun>().await?;
    store.register::<free_months::FreeMonths>().await?;
    store.register::<documents::Credential>().await
}
