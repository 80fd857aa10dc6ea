//! Calls that a wallet pays for: leases are holds, a lease's calls are charged once they are on record, and whoever says the
//! same twice, late or in another order changes nothing.

use apiclay_config::ids::PlanId;
use apiclay_config::money::{Currency, Money};
use apiclay_config::usage::GatewayEpoch;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::ledger::{Amount, EntryKind, Proposal, Step};
use apiclay_control_plane::subscriptions::documents::Subscription;
use apiclay_control_plane::usage::lost;
use apiclay_control_plane::wallet::leases::documents::WalletLease;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::NOW;
use crate::support::leases::{EPOCH, Shop, is, shop};
use crate::support::market::code_of;

const LATER_EPOCH: &str = "8899aabbccddeeff";

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_a_hold_and_its_calls_are_charged_once_they_are_on_record() {
    let shop = shop("10").await;
    // Forty calls are free: a quarter of them at most.
    assert_eq!(shop.lease(1, 100).await, 10);
    assert!(is(&shop.wallet().await, "10.00", "2.50"));
    assert_eq!(shop.lease(1, 100).await, 10, "asked for again, it is the same");
    assert!(is(&shop.wallet().await, "10.00", "2.50"));

    // The close overtakes the batch: nothing is charged before all seven calls are there.
    shop.close(1, 7, 2).await;
    shop.settle().await;
    shop.batch((EPOCH, 1), 1, 3, 3).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "2.50"));
    shop.batch((EPOCH, 2), 1, 4, 3).await;
    for _ in 0..3 {
        shop.settle().await;
        shop.close(1, 7, 2).await;
    }
    // Six of the seven are billed.
    assert!(is(&shop.wallet().await, "8.50", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 1_500_000);
    // A late echo of the request.
    assert_eq!(shop.ask(Some((1, 100)), json!([])).await.0, 409);
    assert!(is(&shop.wallet().await, "8.50", "0.00"));
    let shown = shop.plane.done(&shop.buyer, Method::GET, "/wallet/entries", json!(null), 200).await;
    assert_eq!(
        (&shown["items"][0]["kind"], &shown["items"][0]["amount"]["amount"]),
        (&json!("calls"), &json!("-1.50"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_life_s_calls_may_be_told_by_a_later_one() {
    let shop = shop("10").await;
    assert_eq!(shop.lease(5, 4).await, 4);
    shop.batch((EPOCH, 1), 5, 1, 1).await;
    shop.batch((LATER_EPOCH, 1), 5, 2, 1).await;
    let last = json!({"epoch": LATER_EPOCH, "seq": 1});
    let close = json!([{"epoch": EPOCH, "serial": 5, "spent": 3, "last_batch": last}]);
    assert_eq!(shop.ask(None, close).await.0, 200);
    shop.settle().await;
    assert!(is(&shop.wallet().await, "9.50", "0.00"), "{:?}", shop.wallet().await);
}

/// What is lost of one life says nothing of another, whose batches come yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_batch_of_one_life_does_not_charge_what_another_has_not_told_yet() {
    let shop = shop("10").await;
    assert_eq!(shop.lease(5, 4).await, 4);
    shop.batch((EPOCH, 2), 5, 3, 3).await;
    for seq in [1, 3] {
        shop.batch((LATER_EPOCH, seq), 5, u128::from(seq == 1), 1).await;
    }
    shop.settle().await;
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: LATER_EPOCH.to_owned() };
    lost::declare(&shop.plane.app.store, &from, 2, NOW).await.unwrap();
    let last = json!({"epoch": LATER_EPOCH, "seq": 1});
    let close = json!([{"epoch": EPOCH, "serial": 5, "spent": 4, "last_batch": last}]);
    assert_eq!(shop.ask(None, close).await.0, 200);
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "1.00"), "{:?}", shop.wallet().await);
    shop.batch((EPOCH, 1), 5, 0, 0).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "9.00", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_never_hold_more_than_there_is_and_all_of_it_can_be_used() {
    let shop = shop("2").await;
    let second = shop.plane.second().await;
    // Eight calls are free; forty requests at once, over two control planes.
    let asked = (1..=40_u32).map(|serial| {
        let root = if serial % 2 == 0 { &shop.plane.base } else { &second.base };
        let to = format!("{}/leases", root.replace("/backend/v1", "/internal/v1"));
        let body = json!({"epoch": EPOCH, "subscription": shop.subscription,
            "grant": {"serial": serial, "want": 3, "plan_revision": 1}, "closes": []});
        let request =
            shop.plane.http.post(to).bearer_auth(&shop.gateway.token).header("x-gateway-id", "gw-1");
        async move { request.json(&body).send().await.unwrap().json::<Value>().await.unwrap() }
    });
    let granted = futures_util::future::join_all(asked).await;
    let units: u64 = granted.iter().map(|answer| answer["granted"]["units"].as_u64().unwrap()).sum();
    assert_eq!(units, 8, "{granted:?}");
    assert!(is(&shop.wallet().await, "2.00", "2.00"));
    assert_eq!(shop.lease(100, 1).await, 0);
    assert_eq!(shop.earned().await, 0);
    shop.top_up("1").await;
    assert_eq!(shop.lease(101, 1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_overtakes_its_grant_is_not_overtaken_back() {
    let shop = shop("10").await;
    shop.close(9, 0, 0).await;
    assert_eq!(shop.ask(Some((9, 4)), json!([])).await.0, 409);
    assert!(is(&shop.wallet().await, "10.00", "0.00"));
    // One that was granted and never used is freed whole.
    assert_eq!(shop.lease(10, 4).await, 4);
    shop.close(10, 0, 0).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "0.00"));
    assert_eq!(shop.earned().await, 0);
}

/// Its gateway is forgotten with calls that nobody has told of yet: the wallet is free, and what comes late the operator bears.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_forgotten_gateway_held_is_free_and_what_it_tells_late_is_written_off() {
    let shop = shop("10").await;
    assert_eq!(shop.lease(1, 8).await, 8);
    assert_eq!(shop.lease(2, 4).await, 4);
    shop.batch((EPOCH, 1), 1, 3, 2).await;
    shop.settle().await;
    let store = &shop.plane.app.store;
    for ended in [2, 0] {
        assert_eq!(shop.books().forget("gw-1").await.unwrap(), (ended, 0));
    }
    assert!(is(&shop.wallet().await, "9.50", "0.00"), "{:?}", shop.wallet().await);
    for seq in [2, 3] {
        shop.batch((EPOCH, seq), 1, 2, 2).await;
        for _ in 0..2 {
            shop.settle().await;
        }
    }
    assert!(is(&shop.wallet().await, "9.50", "0.00"));
    assert_eq!(shop.earned().await, 1_500_000, "two calls by the wallet, four by the operator");
    assert_eq!(verify(store).await.unwrap().balances[&"write_off:INR".parse().unwrap()], -1_000_000);
}

/// Whoever ended the hold died before it was noted, and more calls are told of since: what stands in the journal stands, and
/// the rest is late.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_ended_and_not_noted_holds_up_nothing() {
    let shop = shop("10").await;
    assert_eq!(shop.lease(1, 8).await, 8);
    shop.batch((EPOCH, 1), 1, 2, 2).await;
    shop.settle().await;
    let before = shop.stored(1).await;
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    let after = shop.stored(1).await;
    shop.plane.app.store.replace(&before.value, after.version).await.unwrap();
    shop.batch((EPOCH, 2), 1, 3, 3).await;
    shop.settle().await;
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    for _ in 0..2 {
        shop.settle().await;
    }
    assert!(is(&shop.wallet().await, "9.50", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 1_250_000);
    assert_eq!(shop.stored(1).await.value.charged_calls, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_after_its_gateway_was_forgotten_ends_or_is_not_made() {
    let shop = shop("10").await;
    for (serial, is_first) in [(7, true), (8, false)] {
        a_hold_comes(&shop, serial, is_first).await;
    }
}

/// Before the job looks for it, or after.
async fn a_hold_comes(shop: &Shop, serial: u32, is_first: bool) {
    let subscription =
        shop.plane.app.store.get::<Subscription>(&shop.subscription).await.unwrap().unwrap().value;
    // A grant has written its lease, and not its hold.
    let price = Money::new(250_000, Currency::INR);
    let lease = WalletLease::new(("gw-1", EPOCH, serial), &subscription, price, NOW);
    shop.plane.app.store.insert(&lease).await.unwrap();
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    if !is_first {
        shop.settle().await;
    }
    let account = format!("wallet:{}:INR", shop.buyer.account).parse().unwrap();
    let hold = Proposal {
        facts: vec![lease.hold_fact()],
        kind: EntryKind::Calls,
        step: Step::Hold(Amount { account, micro: 1_000_000 }),
        usage: None,
        fee: None,
        reason: "held".into(),
    };
    assert_eq!(shop.plane.app.journal.append(&hold).await.is_ok(), is_first);
    assert_eq!(shop.ask(Some((serial, 4)), json!([])).await.0, 409, "nobody may spend from it");
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "0.00"), "{:?}", shop.wallet().await);
}

/// A kill left a record of a call whose unit had come back: as many are on record as were spent before the last of them is.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_not_charged_before_its_last_batch_is_folded() {
    let shop = shop("10").await;
    assert_eq!(shop.lease(1, 8).await, 8);
    shop.batch((EPOCH, 1), 1, 2, 1).await;
    shop.close(1, 2, 2).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "2.00"));
    shop.batch((EPOCH, 2), 1, 1, 1).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "9.50", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 500_000);
}

/// The gateway's folder went back or was lost: it closes what it knows, and says that there is no more.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_a_gateway_has_lost_end_with_what_is_on_record() {
    let shop = shop("10").await;
    assert_eq!((shop.lease(1, 4).await, shop.lease(2, 4).await), (4, 4));
    shop.batch((EPOCH, 1), 1, 3, 3).await;
    shop.batch((LATER_EPOCH, 1), 1, 1, 1).await;
    let over = async |epoch: &str| {
        let body = json!({ "epoch": epoch });
        let answer = shop.gateway.to(Method::POST, "/leases/earlier-over").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    };
    over(EPOCH).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "2.00"), "leases of the present life stay");
    // Neither does a life end what a later one spends, be its word late.
    let report = json!({"revision": 1, "epoch": EPOCH});
    assert_eq!(shop.gateway.report(report).await.status(), 204);
    let body = json!({ "epoch": LATER_EPOCH });
    let answer = shop.gateway.to(Method::POST, "/leases/earlier-over").json(&body).send().await.unwrap();
    assert_eq!(code_of(answer).await, (409, "state_conflict".into()));
    shop.settle().await;
    assert!(is(&shop.wallet().await, "10.00", "2.00"), "leases of the life that reported stay");
    let report = json!({"revision": 1, "epoch": LATER_EPOCH});
    assert_eq!(shop.gateway.report(report).await.status(), 204);
    over(LATER_EPOCH).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "9.00", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_gateway_asks_and_only_for_those_who_pay() {
    let shop = shop("10").await;
    let body = json!({"epoch": EPOCH, "subscription": shop.subscription, "grant": null, "closes": []});
    let path = shop.plane.base.replace("/backend/v1", "/internal/v1/leases");
    let answer = shop.plane.http.post(path).bearer_auth(&shop.buyer.token).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let wrong = [
        json!({"epoch": "x", "subscription": shop.subscription, "grant": null, "closes": []}),
        json!({"epoch": EPOCH, "subscription": shop.subscription,
            "grant": {"serial": 0, "want": 1, "plan_revision": 1}, "closes": []}),
    ];
    for body in wrong {
        let answer = shop.gateway.to(Method::POST, "/leases").json(&body).send().await.unwrap();
        assert_eq!(code_of(answer).await, (422, "lease_invalid".into()));
    }
    let ended = format!("/subscriptions/{}/cancel", shop.subscription);
    shop.plane.done(&shop.buyer, Method::POST, &ended, json!({}), 200).await;
    assert_eq!(shop.lease(1, 1).await, 0, "an ended subscription takes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_of_the_plan_that_its_calls_are_made_under() {
    let shop = shop("10").await;
    let path = format!("/subscriptions/{}", shop.subscription);
    let bought = shop.plane.done(&shop.buyer, Method::GET, &path, json!({}), 200).await;
    let other = PlanId::generate().to_string();
    // One of before the change of plan, and of the same revision; the subscription's own; and as an earlier version asks.
    for (serial, plan, units) in
        [(1, json!(other), 0), (2, bought["plan_id"].clone(), 3), (3, Value::Null, 3)]
    {
        let body = json!({"epoch": EPOCH, "subscription": shop.subscription, "closes": [],
            "grant": {"serial": serial, "want": 3, "plan": plan, "plan_revision": 1}});
        let answer = shop.gateway.to(Method::POST, "/leases").json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["granted"]["units"], units, "{plan}: {answer}");
    }
}
