//! Vendors: companies that sell, and who may act for them. Listings, plans and payouts ask `access` who may do what.

pub mod access;
pub(crate) mod balance;
pub mod commission;
pub mod documents;
pub(crate) mod invitations;
mod letters;
pub mod role;
pub mod routes;
mod routes_members;
pub mod rules;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Vendor>().await?;
    store.register::<commission::CommissionRate>().await
}
