//! A shop that sells by the month, over a clock that can be set, and what a story of months does with it.

use apiclay_config::money::{Currency, Money};
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::store::Versioned;
use apiclay_control_plane::subscriptions::billing::bill_due;
use apiclay_control_plane::subscriptions::documents::Subscription;
use reqwest::Method;
use serde_json::{Value, json};

use super::market::{Who, admin, on_sale, who};
use super::paying::rupees;
use super::{Plane, body_of, demo};

pub const DAY_MS: i64 = 86_400_000;

/// A market with plans at 0, 300 and 900 a month, one by the call, and a buyer.
pub struct Shop {
    pub plane: Plane,
    pub boss: Who,
    pub vendor: Who,
    pub buyer: Who,
    pub listing: String,
    pub free: String,
    pub small: String,
    pub large: String,
    pub by_the_call: String,
}

pub async fn shop(topped_up: &str) -> Shop {
    let plane = demo().await;
    let (mut vendor, mut buyer, mut boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    for who in [&mut vendor, &mut buyer, &mut boss] {
        // One that outlives the months that pass here.
        let token = json!({"name": "months", "scopes": ["read", "write", "admin"]});
        let token = plane.call(who, Method::POST, "/me/tokens", token).await;
        who.token = body_of(token).await["token"].as_str().unwrap().to_owned();
    }
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plan = async |slug: &str, price: &str, more: Value| {
        let mut plan = json!({"slug": slug, "name": slug, "price": rupees(price)});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/listings/{}/plans", sold.listing);
        let made = plane.done(&vendor, Method::POST, &path, plan, 201).await;
        made["id"].as_str().unwrap().to_owned()
    };
    let small = plan("small", "300", json!({})).await;
    let large = plan("large", "900", json!({})).await;
    let calls = json!({"usage_price": {"unit": "call", "amount": rupees("0.25")}});
    let by_the_call = plan("calls", "0", calls).await;
    let shop = Shop {
        free: sold.plan,
        listing: sold.listing,
        small,
        large,
        by_the_call,
        boss,
        vendor,
        buyer,
        plane,
    };
    if topped_up != "0" {
        shop.top_up(topped_up).await;
    }
    shop
}

impl Shop {
    pub async fn top_up(&self, amount: &str) {
        self.plane.top_up(&self.buyer, amount).await;
    }

    pub async fn subscribe(&self, plan: &str, status: u16) -> Value {
        let body = json!({"plan_id": plan});
        self.plane.done(&self.buyer, Method::POST, "/subscriptions", body, status).await
    }

    pub async fn post(&self, id: &str, act: &str, body: Value, status: u16) -> Value {
        let path = format!("/subscriptions/{id}/{act}");
        self.plane.done(&self.buyer, Method::POST, &path, body, status).await
    }

    pub async fn preview(&self, id: &str, plan: &str, when: &str) -> Value {
        let path = format!("/subscriptions/{id}/change-preview?plan_id={plan}&when={when}");
        self.plane.done(&self.buyer, Method::GET, &path, json!(null), 200).await
    }

    pub async fn stored(&self, id: &str) -> Versioned<Subscription> {
        self.plane.app.store.get(id).await.unwrap().unwrap()
    }

    pub async fn balance(&self) -> String {
        let wallet = self.plane.done(&self.buyer, Method::GET, "/wallet", json!(null), 200).await;
        wallet["balance"]["amount"].as_str().unwrap().to_owned()
    }

    /// The job's turn, after so many days more.
    pub async fn days_later(&self, days: i64) {
        self.plane.pass_ms(days * DAY_MS);
        bill_due(&self.plane.app).await.unwrap();
    }

    pub async fn sound(&self) {
        let report = verify(&self.plane.app.store).await.unwrap();
        assert_eq!(report.faults, []);
    }
}

pub fn id_of(subscription: &Value) -> String {
    subscription["id"].as_str().unwrap().to_owned()
}

pub fn price(rupees: i64) -> Money {
    Money::new(rupees * 1_000_000, Currency::INR)
}
