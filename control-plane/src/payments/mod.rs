//! Payments: buyers' money on its way to us and back, by whoever moves it.
//!
//! [`provider`] is what is asked of a provider, in neutral words, and [`error`] why it did not do it; [`razorpay`] says it on Razorpay's wire; [`minor`] turns
//! amounts into a provider's units, exactly. [`simulator`] plays Razorpay's side of that wire, for tests and the demo.
//! What a provider tells, whichever way it comes, is one business fact with one key. Next: the ledger.

pub mod error;
pub mod minor;
pub mod provider;
pub mod razorpay;
pub mod simulator;

#[cfg(test)]
mod tests;
