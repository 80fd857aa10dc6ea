//! Razorpay, to its documented wire (<https://razorpay.com/docs/api>).
//!
//! [`client`] calls it, in the types of [`wire`], with what passes [`checks`]; [`signature`] tells whether it was Razorpay that spoke; [`webhook`] reads
//! what it tells by itself, after [`scrub`] has taken out what belongs to a card or a person.

mod answer;
pub mod checkout;
pub mod checks;
pub mod client;
pub mod scrub;
pub mod signature;
pub mod webhook;
pub mod wire;

pub use client::{Razorpay, Settings, SettingsError};
pub use scrub::without_card_data;
