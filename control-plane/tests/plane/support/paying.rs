//! How a test's buyer comes to money: a top-up, paid at the pretend provider.

use apiclay_config::ids::RefundId;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::market::Who;
use super::{Plane, body_of};

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

    /// Asks for a refund under a key of its own.
    pub async fn ask_to_give_back(&self, admin: &Who, body: &Value) -> Response {
        let asked = self.to(Method::POST, "/admin/refunds").bearer_auth(&admin.token);
        let key = RefundId::generate().to_string();
        asked.header("idempotency-key", key).json(body).send().await.unwrap()
    }

    /// The same where that is the answer's status.
    pub async fn give_back(&self, admin: &Who, body: &Value, status: u16) -> Value {
        let answer = self.ask_to_give_back(admin, body).await;
        let (given, told) = (answer.status().as_u16(), body_of(answer).await);
        assert_eq!(given, status, "{told}");
        told
    }
}
