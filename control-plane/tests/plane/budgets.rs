//! What a buyer allows himself: a hard stop that many gateways run into at once over two control planes, notices that come
//! once, and the month's turn.

use std::time::{Duration, Instant};

use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::wallet::leases::charge::charge_closed;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::leases::{EPOCH, Shop, shop};
use crate::support::market::{code_of, who};
use crate::support::{Person, Plane};

const DAY_MS: i64 = 86_400_000;
const TOLD_WITHIN: Duration = Duration::from_secs(30);

fn inr(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR"})
}

async fn set(shop: &Shop, amount: &str, hard_stop: bool) -> Value {
    let body = json!({"amount": inr(amount), "hard_stop": hard_stop});
    shop.plane.done(&shop.buyer, Method::PUT, "/wallet/budget", body, 200).await
}

async fn shown(shop: &Shop) -> Value {
    shop.plane.done(&shop.buyer, Method::GET, "/wallet", json!(null), 200).await["budget"].clone()
}

/// The wallet's page as the buyer sees it.
async fn page(shop: &Shop) -> String {
    let (email, username) = ("bela@example.com".to_owned(), "bela".to_owned());
    let buyer = Person { email, username, id: shop.buyer.account.clone() };
    let (cookie, _) = shop.plane.session(&buyer).await;
    let page = shop.plane.base.replace("/backend/v1", "/wallet");
    shop.plane.http.get(page).header("cookie", cookie).send().await.unwrap().text().await.unwrap()
}

/// Subjects of letters about the budget that went out, over all control planes.
fn letters(planes: &[&Plane]) -> Vec<String> {
    let sent = planes.iter().flat_map(|plane| plane.app.mail.sent_to("bela@example.com").unwrap());
    sent.map(|message| message.subject).filter(|subject| subject.contains("udget")).collect()
}

/// The same once there are so many: the job that charges may be the one that tells, beside the test.
async fn letters_once(planes: &[&Plane], count: usize) -> Vec<String> {
    let until = Instant::now() + TOLD_WITHIN;
    loop {
        let told = letters(planes);
        if told.len() >= count || Instant::now() > until {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// So many calls are made from a new lease, and charged by both control planes at the same time.
async fn calls(shop: &Shop, second: &Plane, serial: u32, calls: u32) {
    assert_eq!(shop.lease(serial, calls).await, u64::from(calls));
    shop.batch((EPOCH, u64::from(serial)), serial, u128::from(calls), u128::from(calls)).await;
    shop.close(serial, calls, u64::from(serial)).await;
    shop.plane.app.fold.fold_all().await.unwrap();
    let (one, other) = tokio::join!(charge_closed(&shop.plane.app), charge_closed(&second.app));
    one.unwrap();
    other.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_leases_at_once_over_two_control_planes_none_passes_the_budget() {
    let shop = shop("100").await;
    let second = shop.plane.second().await;
    // Four hundred calls are paid for, and eight are allowed.
    set(&shop, "2", true).await;
    let asked = (1..=100_u32).map(|serial| {
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
    assert_eq!(shop.wallet().await, ("100.00".into(), "2.00".into()));
    let budget = shown(&shop).await;
    assert_eq!(
        (&budget["stops"], &budget["left"], &budget["held"]),
        (&json!(true), &inr("0.00"), &inr("2.00"))
    );
    assert_eq!(budget["resets_at"], "2026-10-01T00:00:00.000Z");
    // Nothing is spent yet: what is held may be free again, and is no news.
    assert_eq!(letters(&[&shop.plane, &second]), [] as [&str; 0]);
    // One who raises it, or takes it away, goes on.
    set(&shop, "2.30", true).await;
    assert_eq!((shop.lease(101, 3).await, shop.lease(102, 3).await), (1, 0));
    shop.plane.done(&shop.buyer, Method::DELETE, "/wallet/budget", json!(null), 204).await;
    assert_eq!(shop.lease(103, 3).await, 3);
    assert_eq!(shown(&shop).await, Value::Null);
    assert_eq!(verify(&shop.plane.app.store).await.unwrap().faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_budget_is_told_once_over_two_control_planes_and_anew_next_month() {
    let shop = shop("100").await;
    let second = shop.plane.second().await;
    let planes = [&shop.plane, &second];
    let told = |count| letters_once(&planes, count);
    set(&shop, "2", false).await;
    calls(&shop, &second, 1, 3).await;
    assert_eq!(told(0).await, [] as [&str; 0]);
    calls(&shop, &second, 2, 1).await;
    assert_eq!(told(1).await, ["You have spent half of your budget"]);
    assert!(
        page(&shop).await.contains("50 % of your budget is reached: you have spent ₹1 of ₹2 this month.")
    );
    calls(&shop, &second, 3, 3).await;
    assert_eq!(told(2).await.len(), 2);
    calls(&shop, &second, 4, 1).await;
    let now = told(3).await;
    assert_eq!(now.len(), 3, "{now:?}");
    calls(&shop, &second, 5, 4).await;
    let now = told(3).await;
    assert_eq!(now.len(), 3, "nothing stops it: {now:?}");
    let budget = shown(&shop).await;
    assert_eq!((&budget["spent"], &budget["stops"]), (&inr("3.00"), &json!(false)));
    assert!(page(&shop).await.contains("Your budget of ₹2 is spent. Nothing is stopped."));

    // With more allowed, what is reached of that is seen when it is set; what is reached later is told.
    set(&shop, "4", false).await;
    calls(&shop, &second, 6, 1).await;
    let now = told(4).await;
    assert_eq!(now.len(), 4, "80 % of the new one: {now:?}");

    shop.plane.pass_ms(10 * DAY_MS);
    calls(&shop, &second, 7, 8).await;
    let now = told(5).await;
    assert_eq!(now.len(), 5, "half of next month's: {now:?}");
    let wallet = format!("wallet:{}:INR", shop.buyer.account);
    let head = shop.plane.app.journal.head(&wallet).await.unwrap();
    assert_eq!((head.spending.spent, head.posted), (2_000_000, 94_750_000));
    assert_eq!(verify(&shop.plane.app.store).await.unwrap().faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_ends_at_the_call_that_does_not_fit_until_the_month_turns() {
    let shop = shop("10").await;
    let second = shop.plane.second().await;
    set(&shop, "0.60", true).await;
    calls(&shop, &second, 1, 1).await;
    calls(&shop, &second, 2, 1).await;
    assert!(!shown(&shop).await["stops"].as_bool().unwrap(), "nobody was refused");
    let planes = [&shop.plane, &second];
    assert_eq!(letters_once(&planes, 1).await, ["You have spent 80 % of your budget"]);
    // A dime is left, and a call costs more.
    for serial in 3..6 {
        assert_eq!(shop.lease(serial, 1).await, 0);
    }
    let told = letters_once(&planes, 2).await;
    assert_eq!(told.len(), 2, "{told:?}");
    for subject in ["You have spent 80 % of your budget", "Your budget stops your spending"] {
        assert!(told.iter().any(|told| told == subject), "{told:?}");
    }
    let budget = shown(&shop).await;
    assert_eq!((&budget["stops"], &budget["left"]), (&json!(true), &inr("0.10")));
    // The wallet is not what stops.
    let page = page(&shop).await;
    assert!(
        page.contains("Your budget stops your calls: ₹0.10 of ₹0.60 is left until 1 Oct 2026, 00:00 UTC."),
        "{page}"
    );
    assert_eq!(shop.wallet().await, ("9.50".into(), "0.00".into()));
    shop.plane.pass_ms(10 * DAY_MS);
    assert_eq!(shop.lease(6, 5).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_one_wallets_and_an_amount_that_can_be_spent() {
    let shop = shop("0").await;
    let (plane, buyer) = (&shop.plane, &shop.buyer);
    assert_eq!(shown(&shop).await, Value::Null);
    let made = set(&shop, "12.50", true).await;
    assert_eq!((&made["amount"], &made["hard_stop"]), (&inr("12.50"), &json!(true)));
    assert_eq!((&made["spent"], &made["left"], &made["stops"]), (&inr("0.00"), &inr("12.50"), &json!(false)));
    assert_eq!(shown(&shop).await, made);
    let dollars = json!({"amount": {"amount": "5", "currency": "USD"}, "hard_stop": false});
    plane.done(buyer, Method::PUT, "/wallet/budget", dollars, 200).await;
    assert_eq!(shown(&shop).await, made, "a wallet in another currency has another");
    for (body, code) in [
        (json!({"amount": inr("0"), "hard_stop": true}), (400, "validation_failed")),
        (json!({"amount": inr("-1"), "hard_stop": true}), (400, "validation_failed")),
        (json!({"amount": inr("1000000000.000001"), "hard_stop": true}), (400, "validation_failed")),
        (json!({"amount": inr("5")}), (400, "request_malformed")),
        (json!({"amount": inr("5"), "hard_stop": true, "weekly": true}), (400, "request_malformed")),
    ] {
        let answer = plane.call(buyer, Method::PUT, "/wallet/budget", body.clone()).await;
        let (status, told) = code_of(answer).await;
        assert_eq!((status, told.as_str()), code, "{body}");
    }
    let other = who(plane, "carl").await;
    plane.done(&other, Method::DELETE, "/wallet/budget", json!(null), 204).await;
    plane.done(buyer, Method::DELETE, "/wallet/budget?currency=USD", json!(null), 204).await;
    assert_eq!(shown(&shop).await, made);
}
