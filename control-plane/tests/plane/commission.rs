//! What buyers were charged for months, shared out between vendor and operator at the rate of when they were charged.

use apiclay_config::ids::{SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};
use apiclay_control_plane::admin::documents::Decision;
use apiclay_control_plane::invoices::verify::verify as verify_invoices;
use apiclay_control_plane::ledger::{Amount, EntryKind, Fee, Holder, LedgerAccount, Proposal, Step};
use apiclay_control_plane::store::Query;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, on_sale, who};
use crate::support::months::{DAY_MS, Shop, id_of, price, shop};
use crate::support::paying::rupees;

#[tokio::test(flavor = "multi_thread")]
async fn what_buyers_were_charged_less_the_commission_is_the_vendors() {
    let shop = shop("5000").await;
    let boss = &shop.boss;
    let set = async |body: Value, status: u16| {
        shop.plane.done(boss, Method::PUT, "/admin/commission", body, status).await
    };
    let balance = async |who: &Who, status: u16| {
        shop.plane.done(who, Method::GET, "/vendors/acme/balance", json!(null), status).await
    };
    set(json!({"basis_points": 1_500, "reason": "as agreed"}), 200).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let earned = balance(&shop.vendor, 200).await;
    let of = |charged: &str, commission: &str, left: &str, rate: u32| {
        json!({"charged": rupees(charged), "commission": rupees(commission), "balance": rupees(left),
            "commission_basis_points": rate})
    };
    assert_eq!(earned, of("300.00", "45.00", "255.00", 1_500));
    // Another rate, of this vendor: what was sold before stays as it was shared out.
    let vendor = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme", json!(null), 200).await;
    set(json!({"vendor": vendor["id"], "basis_points": 0, "reason": "a friend"}), 200).await;
    shop.days_later(31).await;
    assert_eq!(balance(&shop.vendor, 200).await, of("600.00", "45.00", "555.00", 0));
    assert!(shop.stored(&id).await.value.paid.is_some());
    for (wrong, status) in [
        (json!({"basis_points": 10_001, "reason": "greed"}), 400),
        (json!({"basis_points": -1, "reason": "none"}), 400),
        (json!({"basis_points": 1}), 400),
        (json!({"vendor": "ven_00000000000000000000000000", "basis_points": 1, "reason": "nobody"}), 404),
    ] {
        set(wrong, status).await;
    }
    shop.plane
        .done(&shop.buyer, Method::PUT, "/admin/commission", json!({"basis_points": 0, "reason": "x"}), 403)
        .await;
    balance(&shop.buyer, 404).await;
    shop.sound().await;
}

/// Commission and what buyers were charged, in micro-units.
async fn shared_out(shop: &Shop) -> (i64, i64) {
    let told = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme/balance", json!(null), 200).await;
    let micro = |name: &str| serde_json::from_value::<Money>(told[name].clone()).unwrap().micro;
    (micro("commission"), micro("charged"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_shared_out_at_the_rate_it_was_charged_at() {
    let shop = shop("5000").await;
    let rate = async |basis_points: u32| {
        let body = json!({"basis_points": basis_points, "reason": "as agreed"});
        shop.plane.done(&shop.boss, Method::PUT, "/admin/commission", body, 200).await
    };
    rate(1_500).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    for (days, to, other) in [(5, &shop.large, 0), (5, &shop.small, 10_000), (5, &shop.free, 3_000)] {
        rate(other).await;
        shop.plane.pass_ms(days * DAY_MS);
        shop.post(&id, "change", json!({"plan_id": to}), 200).await;
        let (commission, charged) = shared_out(&shop).await;
        // Each change may round by a part of a micro-unit.
        assert!((commission - charged * 15 / 100).abs() <= 4, "{commission} of {charged} at {other}");
    }
    // Of a month that begins after it, the operator keeps what he has decided on since.
    let before = shared_out(&shop).await;
    shop.days_later(31).await;
    shop.post(&id, "change", json!({"plan_id": &shop.large}), 200).await;
    let after = shared_out(&shop).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (270_000_000, 900_000_000));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_without_a_rate_of_his_own_has_that_of_all() {
    let shop = shop("0").await;
    let vendor = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme", json!(null), 200).await;
    let vendor = vendor["id"].as_str().unwrap();
    for body in [
        json!({"basis_points": 1_500, "reason": "of all"}),
        json!({"vendor": vendor, "basis_points": 0, "reason": "a friend"}),
    ] {
        shop.plane.done(&shop.boss, Method::PUT, "/admin/commission", body, 200).await;
    }
    let remove = async |who: &Who, vendor: &str, reason: &str| {
        let path = format!("/admin/commission/{vendor}?reason={reason}");
        shop.plane.call(who, Method::DELETE, &path, json!(null)).await.status().as_u16()
    };
    let rate = async || {
        let told = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme/balance", json!(null), 200);
        told.await["commission_basis_points"].clone()
    };
    assert_eq!(remove(&shop.vendor, vendor, "mine").await, 403);
    assert_eq!(remove(&shop.boss, vendor, "").await, 400);
    assert_eq!(rate().await, json!(0));
    for _ in 0..2 {
        assert_eq!(remove(&shop.boss, vendor, "over").await, 204);
        assert_eq!(rate().await, json!(1_500));
    }
    let decided = shop.plane.app.store.query::<Decision>(&Query::by("id")).await.unwrap().items;
    let decided = decided.iter().filter(|one| one.value.action == "commission.none");
    assert_eq!(decided.count(), 1, "the second changes nothing");
    for none in ["ven_00000000000000000000000000", "all"] {
        assert_eq!(remove(&shop.boss, none, "over").await, 404, "{none}");
    }
    assert_eq!(rate().await, json!(1_500), "that of all stays");
}

/// Of two vendors each has what his own buyers were charged; what another was credited of it is found.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_vendors_each_has_what_his_own_buyers_were_charged() {
    let shop = shop("5000").await;
    let plane = &shop.plane;
    let rate = json!({"basis_points": 1_000, "reason": "as agreed"});
    plane.done(&shop.boss, Method::PUT, "/admin/commission", rate, 200).await;
    let other = who(plane, "olga").await;
    let sold = on_sale(plane, &other, &shop.boss, "globex").await;
    let plan = json!({"slug": "month", "name": "Month", "price": rupees("70")});
    let path = format!("/listings/{}/plans", sold.listing);
    let plan = plane.done(&other, Method::POST, &path, plan, 201).await;
    let carl = who(plane, "carl").await;
    plane.top_up(&carl, "2000").await;
    for (buyer, plan) in [
        (&shop.buyer, json!(shop.small)),
        (&shop.buyer, plan["id"].clone()),
        (&carl, json!(shop.large)),
        (&carl, plan["id"].clone()),
    ] {
        plane.done(buyer, Method::POST, "/subscriptions", json!({"plan_id": plan}), 201).await;
    }
    let balance = async |who: &Who, vendor: &str| {
        let told =
            plane.done(who, Method::GET, &format!("/vendors/{vendor}/balance"), json!(null), 200).await;
        ["charged", "commission", "balance"].map(|part| told[part]["amount"].as_str().unwrap().to_owned())
    };
    assert_eq!(balance(&shop.vendor, "acme").await, ["1200.00", "120.00", "1080.00"]);
    assert_eq!(balance(&other, "globex").await, ["140.00", "14.00", "126.00"]);
    let faults = async || verify_invoices(&plane.app.store).await.unwrap().faults;
    assert_eq!(faults().await, Vec::<String>::new());

    // A month of globex's plan, of which acme has all: the journal finds nothing wrong with it.
    let acme = plane.done(&shop.vendor, Method::GET, "/vendors/acme", json!(null), 200).await;
    let acme: VendorId = serde_json::from_value(acme["id"].clone()).unwrap();
    let wallet = LedgerAccount::wallet(carl.account.parse().unwrap(), Currency::INR);
    let earned = LedgerAccount { holder: Holder::Vendor(acme), currency: Currency::INR };
    let month = price(70).micro;
    let now = plane.app.clock.now();
    let wrong = Proposal {
        facts: vec!["period:wrong".to_owned()],
        kind: EntryKind::PeriodFee,
        step: Step::Move(vec![
            Amount { account: wallet, micro: -month },
            Amount { account: earned, micro: month },
        ]),
        usage: None,
        fee: Some(Fee {
            subscription: SubscriptionId::generate(),
            plan: plan["id"].as_str().unwrap().parse().unwrap(),
            plan_revision: 1,
            begins_at: now,
            ends_at: now.plus_ms(30 * DAY_MS),
            change: false,
            counted: true,
        }),
        reason: "planted".to_owned(),
    };
    let entry = plane.app.journal.append(&wrong).await.unwrap().entry;
    shop.sound().await;
    let found = faults().await;
    assert_eq!(found.len(), 3, "the entry, and a vendor that has too much, and one too little: {found:?}");
    assert!(found[0].starts_with(&entry.id.to_string()), "{found:?}");
    assert!(found[1..].iter().any(|fault| fault.starts_with(&acme.to_string())), "{found:?}");
}
