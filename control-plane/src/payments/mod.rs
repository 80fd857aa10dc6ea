//! Payments: buyers' money on its way to us and back, by whoever moves it.
//!
//! [`provider`] is what is asked of a provider, in neutral words, and [`provider_error`] why it did not do it; [`razorpay`] says it on
//! Razorpay's wire; [`minor`] turns amounts into a provider's units, exactly. [`simulator`] plays Razorpay's side of that
//! wire, for tests and the demo; [`taking`] says which of the two takes payments here. What a provider tells, whichever way
//! it comes (`routes_topups`: the buyer's browser, `routes_webhook`: an event, `reconcile`: asked by us), is one business
//! fact with one key, and [`settle`] is the one way from there into the journal; [`refunds`] is the way back, ours
//! (`routes_refunds`; where the provider says nothing usable, `routes_refund_decisions`) and the provider's own.

pub mod documents;
pub mod minor;
mod payment_error;
pub mod provider;
pub mod provider_error;
pub mod razorpay;
pub mod reconcile;
pub mod refunds;
pub mod routes_admin;
pub mod routes_dev;
mod routes_refund_decisions;
pub mod routes_refunds;
pub mod routes_topups;
pub mod routes_webhook;
pub(crate) mod rules;
pub mod settle;
pub mod simulator;
pub mod taking;
mod till;
pub(crate) mod waiting;

#[cfg(test)]
mod tests;

pub use payment_error::PaymentError;
pub use taking::Taking;

use crate::store::{Store, StoreError};

/// Makes the collections.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    documents::register(store).await?;
    refunds::register(store).await
}
