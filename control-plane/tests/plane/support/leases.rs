//! A shop whose calls are paid from a wallet, and what a gateway says of leases on it.

use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{
    BatchId, Ending, Event, GatewayEpoch, LEASED_WINDOWS, LeasedWindow, Units, UsageBatch,
};
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::store::Versioned;
use apiclay_control_plane::usage::ingest;
use apiclay_control_plane::wallet::leases::charge::{Books, charge_closed};
use apiclay_control_plane::wallet::leases::documents::WalletLease;
use reqwest::Method;
use serde_json::{Value, json};

use super::market::{Gateway, Who, admin, gateway, who};
use super::{NOW, Plane, demo};

/// The life of the gateway that asks.
pub const EPOCH: &str = "00112233445566ff";

/// A market with a plan at a quarter of a rupee a call, a buyer with so much in his wallet, and a gateway.
pub struct Shop {
    pub plane: Plane,
    pub buyer: Who,
    pub subscription: String,
    pub plan: String,
    pub vendor: String,
    pub gateway: Gateway,
}

pub async fn shop(rupees: &str) -> Shop {
    shop_at(rupees, json!({"unit": "call", "amount": {"amount": "0.25", "currency": "INR"}})).await
}

/// The same at another price.
pub async fn shop_at(rupees: &str, usage_price: Value) -> Shop {
    shop_by_the_month(rupees, "0", usage_price).await
}

/// The same where each month costs something too.
pub async fn shop_by_the_month(rupees: &str, month: &str, usage_price: Value) -> Shop {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let made =
        plane.done(&vendor, Method::POST, "/vendors", json!({"slug": "acme", "name": "Acme"}), 201).await;
    let listing = json!({"slug": "weather", "name": "Weather", "summary": "The weather now"});
    let listing = plane.done(&vendor, Method::POST, "/vendors/acme/listings", listing, 201).await;
    let listing = format!("/listings/{}", listing["id"].as_str().unwrap());
    let upstream = json!({"targets": [{"url": "http://127.0.0.1:9000", "weight": 1}]});
    plane.done(&vendor, Method::PUT, &format!("{listing}/upstream"), upstream, 200).await;
    let route = json!({"method": "GET", "path": "/now"});
    plane.done(&vendor, Method::POST, &format!("{listing}/routes"), route, 201).await;
    let money = |amount: &str| json!({"amount": amount, "currency": "INR"});
    let plan = json!({"slug": "calls", "name": "Calls", "price": money(month),
        "usage_price": usage_price});
    let plan = plane.done(&vendor, Method::POST, &format!("{listing}/plans"), plan, 201).await;
    plane.done(&vendor, Method::POST, &format!("{listing}/submit"), json!({}), 200).await;
    let approve = format!("/admin{listing}/approve");
    plane.done(&boss, Method::POST, &approve, json!({"reason": "looks well"}), 200).await;
    plane.done(&vendor, Method::POST, &format!("{listing}/publish"), json!({}), 200).await;
    let gateway = gateway(&plane, "gw-1").await;
    let vendor = made["id"].as_str().unwrap().to_owned();
    let plan = plan["id"].as_str().unwrap().to_owned();
    let mut shop = Shop { plane, buyer, subscription: String::new(), plan, vendor, gateway };
    if rupees != "0" {
        shop.top_up(rupees).await;
    }
    let bought = json!({"plan_id": shop.plan});
    let subscription = shop.plane.done(&shop.buyer, Method::POST, "/subscriptions", bought, 201).await;
    assert_eq!(subscription["state"], "active");
    shop.subscription = subscription["id"].as_str().unwrap().to_owned();
    shop
}

impl Shop {
    pub async fn top_up(&self, rupees: &str) {
        self.plane.top_up(&self.buyer, rupees).await;
    }

    /// Asks for a lease of this number, and says these closes: the status, and what was granted.
    pub async fn ask(&self, grant: Option<(u32, u32)>, closes: Value) -> (u16, Value) {
        let plan = json!(self.plan);
        self.ask_of(&plan, grant, closes).await
    }

    /// The same of this plan; a gateway of an earlier release names none.
    pub async fn ask_of(&self, plan: &Value, grant: Option<(u32, u32)>, closes: Value) -> (u16, Value) {
        let grant = grant
            .map(|(serial, want)| json!({"serial": serial, "want": want, "plan": plan, "plan_revision": 1}));
        let body =
            json!({"epoch": EPOCH, "subscription": self.subscription, "grant": grant, "closes": closes});
        let answer = self.gateway.to(Method::POST, "/leases").json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.unwrap();
        (status, answer["granted"].clone())
    }

    /// Units of a lease that is granted.
    pub async fn lease(&self, serial: u32, want: u32) -> u64 {
        let (status, granted) = self.ask(Some((serial, want)), json!([])).await;
        assert_eq!(status, 200, "{granted}");
        granted["units"].as_u64().unwrap()
    }

    pub async fn close(&self, serial: u32, spent: u32, seq: u64) {
        let last = (spent > 0).then(|| json!({"epoch": EPOCH, "seq": seq}));
        let close = json!([{"epoch": EPOCH, "serial": serial, "spent": spent, "last_batch": last}]);
        assert_eq!(self.ask(None, close).await.0, 200);
    }

    /// A batch of calls that were paid from a lease, of which so many are billed.
    pub async fn batch(&self, batch: (&str, u64), serial: u32, calls: u128, billed: u128) {
        let calls: Vec<(Units, bool)> = (0..calls).map(|n| (Units::CALL, n < billed)).collect();
        self.batch_of(batch, serial, &calls).await;
    }

    /// A batch of calls with what each used, and whether it is billed.
    pub async fn batch_of(&self, (epoch, seq): (&str, u64), serial: u32, calls: &[(Units, bool)]) {
        let from = GatewayEpoch { gateway: "gw-1".into(), epoch: epoch.to_owned() };
        let subscription: SubscriptionId = self.subscription.parse().unwrap();
        let mut leases = [0; LEASED_WINDOWS];
        leases[LeasedWindow::Wallet as usize] = serial;
        let event = |(n, (units, billable)): (u128, &(Units, bool))| Event {
            request: RequestId::from_u128(u128::from(seq) << 64 | n),
            subscription,
            credential: CredentialId::from_u128(1),
            route: RouteId::from_u128(1),
            plan_revision: 1,
            at: NOW,
            duration_us: 500,
            status: 200,
            tries: 1,
            ending: Ending::Complete,
            billable: *billable,
            kept: true,
            leases,
            units: *units,
            bytes_in: 1,
            bytes_out: 1,
        };
        let events: Vec<Event> = (0..).zip(calls).map(event).collect();
        let batch = UsageBatch::pack(BatchId { from, seq }, Vec::new(), &events).unwrap();
        ingest::take(&self.plane.app.store, &self.plane.app.fold, "gw-1", batch).await.unwrap();
    }

    /// Folds what there is and charges what can be.
    pub async fn settle(&self) {
        self.plane.app.fold.fold_all().await.unwrap();
        charge_closed(&self.plane.app).await.unwrap();
    }

    pub async fn stored(&self, serial: u32) -> Versioned<WalletLease> {
        let id = WalletLease::id_of("gw-1", EPOCH, serial);
        self.plane.app.store.get(&id).await.unwrap().unwrap()
    }

    pub fn books(&self) -> Books<'_> {
        Books { store: &self.plane.app.store, journal: &self.plane.app.journal, now: NOW }
    }

    /// Balance and what is held of it.
    pub async fn wallet(&self) -> (String, String) {
        let wallet = self.plane.done(&self.buyer, Method::GET, "/wallet", json!(null), 200).await;
        let text = |name: &str| wallet[name]["amount"].as_str().unwrap().to_owned();
        (text("balance"), text("held"))
    }

    /// What the vendor has earned, in micro-units, by a journal in which nothing is wrong.
    pub async fn earned(&self) -> i128 {
        let report = verify(&self.plane.app.store).await.unwrap();
        assert_eq!(report.faults, []);
        let account = format!("vendor:{}:INR", self.vendor).parse().unwrap();
        report.balances.get(&account).copied().unwrap_or(0)
    }
}

pub fn is(wallet: &(String, String), balance: &str, held: &str) -> bool {
    (wallet.0.as_str(), wallet.1.as_str()) == (balance, held)
}
