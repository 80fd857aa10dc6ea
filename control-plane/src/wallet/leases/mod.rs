//! Calls that a wallet pays for, before they are made: a gateway asks for a lease, which is a hold in the journal at the
//! most that its calls can cost (`grant`); the calls it was for are counted as their batches are folded (`used`); once all
//! of a closed lease's calls are on record, one entry charges them (`reckon`) and frees the rest (`charge`). The way of it: `docs/ARCHITECTURE.md`, "A rupee's way".

pub mod charge;
pub mod documents;
pub mod grant;
pub(crate) mod included;
pub(crate) mod reckon;
pub mod routes;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
pub mod used;

use crate::store::{Store, StoreError};

/// Makes its collection.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::WalletLease>().await
}
