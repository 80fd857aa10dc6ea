//! Invoices: what each wallet's calendar month came to, numbered without gaps, never changed, and credit notes.
//!
//! `slice` gathers a month from the wallet's row of the journal (pure), along which `months` walks, `issue` ends the month there
//! and writes its invoice under the next `number`, `run` does so for every wallet once a month is over, `credit` gives money of
//! an invoice back and `notes` writes the note, `verify` reckons everything anew, `vendors` what they were credited. `documents` is what is stored, `view` what is told of it, `routes` and `routes_admin` the API.

pub mod credit;
pub mod documents;
pub mod issue;
mod months;
mod notes;
mod number;
pub mod routes;
pub mod routes_admin;
pub mod run;
pub mod slice;
mod vendors;
pub mod verify;
pub mod view;

#[cfg(test)]
mod tests;

use crate::ledger::LedgerError;
use crate::store::{Store, StoreError};
use documents::{Invoice, InvoiceRun};
use slice::Broken;

/// Why a wallet's month was not invoiced.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The journal is not what it should be.
    #[error("the journal is broken; run `apiclay ledger verify`")]
    Broken(#[from] Broken),
    /// Nothing could be appended.
    #[error("the month could not be ended in the journal")]
    Ledger(#[from] LedgerError),
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// Others were quicker, each time.
    #[error("too many invoices are issued at once; it is tried again")]
    Contended,
}

/// Makes the collections of this domain.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Invoice>().await?;
    store.register::<InvoiceRun>().await
}
