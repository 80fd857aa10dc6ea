//! Calls in tiers and calls that are included, from the grant to the charge, over two control planes at once.

use apiclay_config::usage::{Units, UnitsFrom};
use apiclay_control_plane::ledger::verify::verify;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::leases::{EPOCH, Shop, is, shop_at, shop_by_the_month};
use crate::support::{NOW, Plane};

fn money(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR"})
}

/// Leases of these numbers, asked for at once, of two control planes in turn: units by number.
async fn leases_at_once(
    shop: &Shop,
    second: &Plane,
    serials: std::ops::Range<u32>,
    want: u32,
) -> Vec<(u32, u64)> {
    let asked = serials.map(|serial| {
        let root = if serial % 2 == 0 { &shop.plane.base } else { &second.base };
        let to = format!("{}/leases", root.replace("/backend/v1", "/internal/v1"));
        let body = json!({"epoch": EPOCH, "subscription": shop.subscription,
            "grant": {"serial": serial, "want": want, "plan_revision": 1}, "closes": []});
        let request =
            shop.plane.http.post(to).bearer_auth(&shop.gateway.token).header("x-gateway-id", "gw-1");
        async move {
            let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
            (serial, answer["granted"]["units"].as_u64().unwrap_or_else(|| panic!("{answer}")))
        }
    });
    join_all(asked).await.into_iter().filter(|(_, units)| *units > 0).collect()
}

/// So many calls of a lease, in the next batch of its gateway; then it is closed.
async fn used(shop: &Shop, last: &mut u64, serial: u32, calls: u64) {
    if calls > 0 {
        *last += 1;
        shop.batch((EPOCH, *last), serial, calls.into(), calls.into()).await;
    }
    shop.close(serial, u32::try_from(calls).unwrap(), *last).await;
}

async fn balance(shop: &Shop, account: &str) -> i128 {
    let report = verify(&shop.plane.app.store).await.unwrap();
    assert_eq!((report.faults, report.open_holds), (vec![], vec![]));
    report.balances.get(&account.parse().unwrap()).copied().unwrap_or(0)
}

/// Ten at one price, the rest at twice that: what is left of a wallet can be used to the end, and no hold is too small.
#[tokio::test(flavor = "multi_thread")]
async fn leases_on_two_control_planes_cross_a_tier_and_every_call_is_charged_once() {
    let tiers = json!([{"up_to": 10, "amount": money("0.25")}, {"amount": money("0.50")}]);
    let price = json!({"unit": "call", "mode": "graduated", "tiers": tiers});
    let shop = shop_at("20", price).await;
    let second = shop.plane.second().await;
    let granted = leases_at_once(&shop, &second, 1..9, 3).await;
    let units: u64 = granted.iter().map(|(_, units)| units).sum();
    assert_eq!(units, 24, "{granted:?}");
    assert!(is(&shop.wallet().await, "20.00", "12.00"), "held at the dearer tier: {:?}", shop.wallet().await);
    let mut last = 0;
    for (serial, units) in &granted {
        used(&shop, &mut last, *serial, *units).await;
    }
    shop.plane.app.fold.fold_all().await.unwrap();
    let charge = apiclay_control_plane::wallet::leases::charge::charge_closed;
    let (one, other) = tokio::join!(charge(&shop.plane.app), charge(&second.app));
    one.unwrap();
    other.unwrap();
    shop.settle().await;
    // Ten at a quarter, fourteen at a half.
    assert!(is(&shop.wallet().await, "10.50", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 9_500_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn included_calls_are_used_up_exactly_with_an_empty_wallet_and_then_it_pays() {
    let shop = shop_at("0", json!({"unit": "call", "amount": money("0.25"), "included": 10})).await;
    let second = shop.plane.second().await;
    let granted = leases_at_once(&shop, &second, 1..41, 3).await;
    assert_eq!(granted.iter().map(|(_, units)| units).sum::<u64>(), 10, "{granted:?}");
    // Some come back, and are granted once more; never more than there are.
    let (mut spent, mut last) = (0, 0);
    for (place, (serial, units)) in granted.iter().enumerate() {
        let calls = units - u64::from(place % 2 == 0);
        used(&shop, &mut last, *serial, calls).await;
        spent += calls;
    }
    shop.settle().await;
    assert_eq!(balance(&shop, "included_used:XXX").await, i128::from(spent));
    let again = leases_at_once(&shop, &second, 41..81, 3).await;
    assert_eq!(again.iter().map(|(_, units)| units).sum::<u64>(), 10 - spent, "{again:?}");
    for (serial, units) in &again {
        used(&shop, &mut last, *serial, *units).await;
    }
    for _ in 0..2 {
        shop.settle().await;
    }
    assert_eq!(leases_at_once(&shop, &second, 81..83, 1).await, []);
    let month = format!("included:{}:{}:XXX", shop.subscription, NOW.0);
    assert_eq!((balance(&shop, &month).await, balance(&shop, "included_used:XXX").await), (0, 10));
    assert_eq!(balance(&shop, "included_granted:XXX").await, -10);
    assert_eq!((shop.earned().await, is(&shop.wallet().await, "0.00", "0.00")), (0, true));

    // The wallet pays for what follows, and tiers would count from here.
    shop.top_up("1").await;
    assert_eq!(shop.lease(90, 1).await, 1);
    used(&shop, &mut last, 90, 1).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "0.75", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.stored(90).await.value.charged_calls, 1);
    // Another month has its own.
    shop.plane.pass_ms(32 * 24 * 3_600_000);
    assert_eq!(shop.lease(91, 4).await, 3);
    assert_eq!(
        shop.plane.app.journal.head(&month).await.unwrap().pending,
        0,
        "the first month's are not touched"
    );
}

/// Its gateway is forgotten and tells of calls later: those that were included are used again by others, so that these are more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_late_of_an_included_lease_is_borne_by_the_operator() {
    let shop = shop_at("0", json!({"unit": "call", "amount": money("0.25"), "included": 8})).await;
    assert_eq!(shop.lease(1, 2).await, 2);
    shop.batch((EPOCH, 1), 1, 1, 1).await;
    shop.settle().await;
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    shop.batch((EPOCH, 2), 1, 1, 1).await;
    for _ in 0..2 {
        shop.settle().await;
    }
    assert_eq!(
        (balance(&shop, "included_used:XXX").await, balance(&shop, "write_off:INR").await),
        (1, -250_000)
    );
    assert_eq!(shop.stored(1).await.value.charged_calls, 2);
}

/// The month is over, and the job that bills has not come by yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_due_includes_calls_once_it_is_paid() {
    let price = json!({"unit": "call", "amount": money("0.25"), "included": 8});
    let mut shop = shop_by_the_month("300", "300", price).await;
    assert_eq!(shop.lease(1, 2).await, 2);
    shop.close(1, 0, 0).await;
    shop.settle().await;
    // One that outlives the month.
    let token = json!({"name": "months", "scopes": ["read", "write"]});
    let token = shop.plane.done(&shop.buyer, Method::POST, "/me/tokens", token, 201).await;
    shop.buyer.token = token["token"].as_str().unwrap().to_owned();
    shop.plane.pass_ms(31 * 24 * 3_600_000);
    assert_eq!(shop.lease(2, 2).await, 0, "the wallet is empty");
    // A turn of the job pays it.
    shop.top_up("300").await;
    shop.plane.pass_ms(120_000);
    apiclay_control_plane::subscriptions::billing::bill_due(&shop.plane.app).await.unwrap();
    assert_eq!(shop.lease(3, 2).await, 2);
    assert!(is(&shop.wallet().await, "0.00", "0.00"), "{:?}", shop.wallet().await);
}

const fn tokens(count: u32) -> (Units, bool) {
    (Units { count, from: UnitsFrom::Reported, capped: false }, true)
}

fn by_the_token(included: Option<u64>) -> Value {
    let token = json!({"name": "token", "json_pointer": "/usage/total_tokens", "units_max_per_call": 10, "units_default": 2});
    let mut price = json!({"unit": token, "amount": money("0.01")});
    if let Some(included) = included {
        price["included"] = json!(included);
    }
    price
}

/// A lease is for whole calls at the most that each may use; what they used is charged, and said where it is entered.
#[tokio::test(flavor = "multi_thread")]
async fn what_calls_used_is_charged_and_a_lease_is_of_whole_calls() {
    let shop = shop_at("1", by_the_token(None)).await;
    let (_, granted) = shop.ask_of(&json!(null), Some((9, 8)), json!([])).await;
    assert_eq!(granted["units"], 0, "a gateway that has not heard of units would take one a call");
    assert_eq!(shop.lease(1, 1).await, 10, "one call, whatever is wanted");
    assert_eq!(shop.lease(2, 1_000).await, 30, "a part of the nine calls that are left");
    assert!(is(&shop.wallet().await, "1.00", "0.40"), "{:?}", shop.wallet().await);
    let free = (Units::assumed(10), false);
    let assumed = (Units::assumed(2), true);
    let capped = (Units { count: 10, from: UnitsFrom::Reported, capped: true }, true);
    shop.batch_of((EPOCH, 1), 2, &[tokens(4), tokens(0), capped]).await;
    shop.batch_of((EPOCH, 2), 2, &[assumed, free]).await;
    shop.close(1, 0, 0).await;
    shop.close(2, 26, 2).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "0.84", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(shop.earned().await, 160_000);
    let lease = shop.stored(2).await.value;
    assert_eq!((lease.kept, lease.billable, lease.charged_calls), (26, 16, 16));
    let ended = shop.plane.app.journal.by_fact(&format!("hold:{}", "gw-1:00112233445566ff:2")).await.unwrap();
    let ended =
        shop.plane.app.journal.by_fact(&format!("close:{}", ended.unwrap().id)).await.unwrap().unwrap();
    assert!(ended.reason.starts_with("16 tokens of "), "{}", ended.reason);
    let usage = format!("/subscriptions/{}/usage", shop.subscription);
    let usage = shop.plane.done(&shop.buyer, reqwest::Method::GET, &usage, json!(null), 200).await;
    let told = ["calls", "billable_calls", "units", "assumed_calls", "capped_calls"];
    assert_eq!(told.map(|name| usage["total"][name].as_u64().unwrap()), [5, 4, 16, 1, 1], "{usage}");
    // What pays for less than a call may use pays for none.
    assert_eq!(shop.lease(3, 1_000).await, 20);
    for (serial, units) in [(4, 20), (5, 10), (6, 10), (7, 10), (8, 10), (9, 0)] {
        assert_eq!(shop.lease(serial, 1_000).await, units, "{serial}");
    }
}

/// Thirteen are included and a call may use ten: no lease is of the last three, and they are not lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_months_included_units_pay_before_money_does() {
    let shop = shop_at("1", by_the_token(Some(13))).await;
    assert_eq!(shop.lease(1, 100).await, 10);
    assert!(is(&shop.wallet().await, "1.00", "0.00"), "an included call");
    assert_eq!(shop.lease(2, 10).await, 10);
    assert!(is(&shop.wallet().await, "1.00", "0.10"), "three of them are no call, so the wallet holds one");
    shop.batch_of((EPOCH, 1), 1, &[tokens(8)]).await;
    shop.batch_of((EPOCH, 2), 2, &[tokens(9)]).await;
    shop.close(1, 8, 1).await;
    shop.settle().await;
    shop.close(2, 9, 2).await;
    for _ in 0..3 {
        shop.settle().await;
    }
    // Eight and five of the nine are included.
    assert!(is(&shop.wallet().await, "0.96", "0.00"), "{:?}", shop.wallet().await);
    assert_eq!(balance(&shop, "included_used:XXX").await, 13);
    assert_eq!((shop.earned().await, shop.stored(2).await.value.charged_calls), (40_000, 9));
    assert_eq!(shop.lease(3, 10).await, 10);
    shop.batch_of((EPOCH, 3), 3, &[tokens(6)]).await;
    shop.close(3, 6, 3).await;
    shop.settle().await;
    assert!(is(&shop.wallet().await, "0.90", "0.00"), "{:?}", shop.wallet().await);
}
