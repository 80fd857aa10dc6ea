//! What a buyer allows himself to spend in a calendar month (UTC): told at half, four fifths and all of it, and stopped there
//! where he says so. `documents` is what is stored, `rules` what follows from it (pure), `kept` finds and sets it, `notices`
//! tells the buyer (`letters`), `routes` is the API. What is spent the journal says (`ledger::spending`).
//!
//! Whoever takes money from a wallet for a purchase appends his entry within [`ceiling`], and calls
//! [`notices::after_charge`] after it.

pub mod documents;
mod kept;
mod letters;
pub mod notices;
pub mod routes;
mod rules;

#[cfg(test)]
mod tests;

pub use kept::{ceiling, find, remove, set};

use crate::store::{Store, StoreError};

/// Makes its collection.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Budget>().await
}
