//! How a test's buyer comes to money: a top-up, paid at the pretend provider.

use reqwest::Method;
use serde_json::{Value, json};

use super::Plane;
use super::market::Who;

/// How long the provider may take to tell of a payment, in milliseconds.
const TOLD_WITHIN_MS: u64 = 5_000;

/// An amount as the API takes it.
pub fn rupees(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR"})
}

impl Plane {
    /// Begins a top-up: its id, and what the provider calls it.
    pub async fn begin_top_up(&self, buyer: &Who, amount: &str) -> (String, String) {
        let asked = json!({"amount": rupees(amount)});
        let made = self.done(buyer, Method::POST, "/wallet/topups", asked, 201).await;
        assert_eq!(made["status"], "created");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("provider_order_id"))
    }

    /// A top-up that is paid and has been told of.
    pub async fn top_up(&self, buyer: &Who, amount: &str) {
        let (_, provider_order) = self.begin_top_up(buyer, amount).await;
        self.simulator().pay(&provider_order).unwrap();
        assert!(self.simulator().all_delivered(TOLD_WITHIN_MS).await);
    }
}
