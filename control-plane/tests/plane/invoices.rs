//! Invoices by the API: a month of a buyer's, shown to him alone, given back by an admin, and numbers that agree with the
//! wallet and the vendor's balance.

use apiclay_config::money::Currency;
use apiclay_control_plane::invoices::documents::InvoiceRun;
use apiclay_control_plane::invoices::run::issue_due;
use apiclay_control_plane::invoices::verify::verify;
use apiclay_control_plane::ledger::{Amount, EntryKind, Holder, LedgerAccount, Proposal, Step};
use apiclay_control_plane::subscriptions::billing::bill_due;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, on_sale, who};
use crate::support::paying::rupees;
use crate::support::{Plane, demo};

const DAY_MS: i64 = 86_400_000;

struct Shop {
    plane: Plane,
    boss: Who,
    vendor: Who,
    buyer: Who,
    other: Who,
}

/// A buyer with a plan at 300 a month, since the 21st of September.
async fn shop() -> Shop {
    let plane = demo().await;
    let mut people = Vec::new();
    for name in ["vera", "bela", "otto"] {
        people.push(who(&plane, name).await);
    }
    people.push(admin(&plane, "boss").await);
    for who in &mut people {
        // One that outlives the months that pass here.
        let token = json!({"name": "months", "scopes": ["read", "write", "admin"]});
        let token = plane.call(who, Method::POST, "/me/tokens", token).await;
        who.token = crate::support::body_of(token).await["token"].as_str().unwrap().to_owned();
    }
    let [vendor, buyer, other, boss] = people.try_into().ok().unwrap();
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let rate = json!({"basis_points": 1000, "reason": "a test"});
    plane.done(&boss, Method::PUT, "/admin/commission", rate, 200).await;
    let plan = json!({"slug": "small", "name": "Small", "price": rupees("300")});
    let plan =
        plane.done(&vendor, Method::POST, &format!("/listings/{}/plans", sold.listing), plan, 201).await;
    plane.top_up(&buyer, "1000").await;
    plane.done(&buyer, Method::POST, "/subscriptions", json!({"plan_id": plan["id"]}), 201).await;
    Shop { plane, boss, vendor, buyer, other }
}

impl Shop {
    async fn get(&self, who: &Who, path: &str) -> Value {
        self.plane.done(who, Method::GET, path, json!(null), 200).await
    }

    async fn give_back(&self, invoice: &str, body: Value) -> reqwest::Response {
        let path = format!("/admin/invoices/{invoice}/credit-notes");
        let asked = self.plane.to(Method::POST, &path).bearer_auth(&self.boss.token);
        asked.header("idempotency-key", body.to_string()).json(&body).send().await.unwrap()
    }

    /// What the vendor's buyers were charged, what of it the operator keeps, what is the vendor's.
    async fn earned(&self) -> [String; 3] {
        let balance = self.get(&self.vendor, "/vendors/acme/balance").await;
        ["charged", "commission", "balance"].map(|part| balance[part]["amount"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_month_is_invoiced_to_its_buyer_and_money_of_it_goes_back_with_a_note() {
    let shop = shop().await;
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 0);
    shop.plane.pass_ms(12 * DAY_MS);
    bill_due(&shop.plane.app).await.unwrap();
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 1);
    let run: InvoiceRun = shop.plane.app.store.get(InvoiceRun::ID).await.unwrap().unwrap().value;
    assert_eq!(run.done_until.to_string(), "2026-10-01T00:00:00.000Z");
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 0);

    let listed = shop.get(&shop.buyer, "/invoices").await;
    let invoice = &listed["items"][0];
    let id = invoice["id"].as_str().unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(invoice["number"], "INV-2026-000001");
    assert_eq!(invoice["kind"], "invoice");
    assert_eq!(invoice["begins_at"], "2026-09-01T00:00:00.000Z");
    assert_eq!(invoice["total"], rupees("300.00"));
    assert_eq!(invoice["lines"].as_array().unwrap().len(), 1);
    let line = &invoice["lines"][0];
    assert_eq!((line["what"].as_str(), line["plan"].as_str()), (Some("period"), Some("Small")));
    assert_eq!(line["amount"], rupees("300.00"));
    assert_eq!(&shop.get(&shop.buyer, &format!("/invoices/{id}")).await, invoice);

    // To somebody else it does not exist; to an admin it does.
    let path = format!("/invoices/{id}");
    shop.plane.done(&shop.other, Method::GET, &path, json!(null), 404).await;
    assert_eq!(shop.get(&shop.other, "/invoices").await["items"], json!([]));
    shop.plane.done(&shop.buyer, Method::GET, "/admin/invoices", json!(null), 403).await;
    assert_eq!(shop.get(&shop.boss, "/admin/invoices").await["items"][0], *invoice);

    assert_eq!(shop.earned().await, ["300.00", "30.00", "270.00"]);
    for (body, code) in [
        (json!({"line": 1, "amount": rupees("0"), "reason": "x"}), "validation_failed"),
        (json!({"line": 1, "amount": rupees("300.01"), "reason": "x"}), "refund_too_large"),
        (
            json!({"line": 1, "amount": {"amount": "1", "currency": "USD"}, "reason": "x"}),
            "validation_failed",
        ),
        (json!({"line": 1, "amount": rupees("1"), "reason": ""}), "validation_failed"),
        (json!({"line": 2, "amount": rupees("1"), "reason": "x"}), "validation_failed"),
    ] {
        assert_eq!(code_of(shop.give_back(id, body.clone()).await).await.1, code, "{body}");
    }
    shop.plane.pass_ms(1);
    let vendor = line["vendor_id"].clone();
    let body = json!({"line": 1, "amount": rupees("100"), "vendor_id": vendor, "reason": "The API was down"});
    let note = shop.give_back(id, body).await;
    assert_eq!(note.status(), 201);
    let note = crate::support::body_of(note).await;
    assert_eq!(
        (note["number"].as_str(), note["kind"].as_str()),
        (Some("CN-2026-000001"), Some("credit_note"))
    );
    assert_eq!(note["total"], rupees("-100.00"));
    assert_eq!(note["credits"]["number"], "INV-2026-000001");
    assert_eq!(
        (&note["credits"]["reason"], &note["credits"]["line"]),
        (&json!("The API was down"), &json!(1))
    );
    assert_eq!(shop.get(&shop.buyer, "/wallet").await["balance"], rupees("800.00"));
    assert_eq!(shop.earned().await, ["200.00", "20.00", "180.00"]);
    assert_eq!(shop.get(&shop.buyer, "/invoices").await["items"][0], note, "the newest first");
    assert_eq!(verify(&shop.plane.app.store).await.unwrap().faults, Vec::<String>::new());
}

/// One wallet's books are broken: the other's invoice is written, the month is not done, and an hour later it is tried again.
#[tokio::test]
async fn a_wallet_that_cannot_be_invoiced_keeps_no_other_waiting() {
    let shop = shop().await;
    let otto = LedgerAccount::wallet(shop.other.account.parse().unwrap(), Currency::INR);
    let operator = LedgerAccount { holder: Holder::WriteOff, currency: Currency::INR };
    let moves = |fact: &str, kind, micro: i64| Proposal {
        facts: vec![fact.to_owned()],
        kind,
        step: Step::Move(vec![Amount { account: otto, micro }, Amount { account: operator, micro: -micro }]),
        usage: None,
        fee: None,
        reason: "a charge that does not say for what".to_owned(),
    };
    for proposal in [moves("gift", EntryKind::TopUp, 500), moves("fee", EntryKind::PeriodFee, -300)] {
        shop.plane.app.journal.append(&proposal).await.unwrap();
    }
    let store = &shop.plane.app.store;
    let run = async || store.get::<InvoiceRun>(InvoiceRun::ID).await.unwrap().unwrap().value;
    shop.plane.pass_ms(12 * DAY_MS);
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 1);
    let failed = run().await;
    assert_ne!(failed.done_until.to_string(), "2026-10-01T00:00:00.000Z");
    assert_eq!(failed.again_at, Some(shop.plane.app.clock.now().plus_ms(3_600_000)));
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 0);
    assert_eq!(run().await, failed, "not yet");
    shop.plane.pass_ms(3_600_000);
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 0);
    assert_ne!(run().await, failed);
    assert_eq!(shop.get(&shop.buyer, "/invoices").await["items"].as_array().unwrap().len(), 1);
}
