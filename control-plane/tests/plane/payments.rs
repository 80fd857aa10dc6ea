//! Top-ups: one payment is one credit, whoever tells of it, how often and in which order; and nothing else is any.

use std::time::Duration;

use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::ledger::{Amount, EntryKind, Proposal, Step};
use apiclay_control_plane::payments::documents::{Handled, Order, StoredEvent};
use apiclay_control_plane::payments::razorpay::signature::sign;
use apiclay_control_plane::payments::reconcile::reconcile;
use apiclay_control_plane::payments::simulator::{Api, ReleaseIn};
use apiclay_control_plane::store::Query;
use reqwest::{Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, who};
use crate::support::{Person, Plane, WEBHOOK_SECRET, demo};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

fn rupees(amount: &str) -> Value {
    json!({"amount": {"amount": amount, "currency": "INR"}})
}

/// The same for a buyer whose token is too old by the clock that tests set.
async fn begin_by(plane: &Plane, buyer: &Who, amount: &str) -> (String, String) {
    let fresh = who_again(plane, buyer).await;
    plane.begin_top_up(&fresh, amount).await
}

async fn who_again(plane: &Plane, who: &Who) -> Who {
    let person =
        Person { email: "bela@example.com".into(), username: "bela".into(), id: who.account.clone() };
    Who { token: plane.access(&person).await, account: who.account.clone() }
}

async fn balance(plane: &Plane, buyer: &Who) -> String {
    let wallet = plane.done(buyer, Method::GET, "/wallet", json!(null), 200).await;
    assert_eq!(wallet["held"]["amount"], "0.00");
    wallet["balance"]["amount"].as_str().unwrap().to_owned()
}

async fn until_balance(plane: &Plane, buyer: &Who, amount: &str) {
    for _ in 0..100 {
        if balance(plane, buyer).await == amount {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} and not {amount}", balance(plane, buyer).await);
}

async fn status(plane: &Plane, buyer: &Who, order: &str) -> String {
    let found = plane.done(buyer, Method::GET, &format!("/wallet/topups/{order}"), json!(null), 200).await;
    found["status"].as_str().unwrap().to_owned()
}

async fn tell(plane: &Plane, body: &[u8], signature: &str) -> Response {
    let request = plane.to(Method::POST, "/webhooks/razorpay").header("x-razorpay-signature", signature);
    request.header("content-type", "application/json").body(body.to_vec()).send().await.unwrap()
}

async fn entries(plane: &Plane) -> u64 {
    let report = verify(&plane.app.store).await.unwrap();
    assert_eq!(report.faults, []);
    report.entries
}

async fn events(plane: &Plane) -> Vec<StoredEvent> {
    let found = plane.app.store.query::<StoredEvent>(&Query::by("received_at")).await.unwrap();
    found.items.into_iter().map(|found| found.value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_is_one_credit_whichever_way_it_is_told() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "500").await;
    let paid = plane.simulator().pay(&provider_order).unwrap();
    // The browser, the events and the reconciler, all at once.
    let word = json!({"payment_id": paid.payment_id, "signature": paid.signature});
    let confirm = format!("/wallet/topups/{order}/confirm");
    let told = (0..5).map(|_| plane.done(&buyer, Method::POST, &confirm, word.clone(), 200));
    let (_, reconciled) = tokio::join!(futures_util::future::join_all(told), reconcile(&plane.app));
    reconciled.unwrap();
    until_balance(&plane, &buyer, "500.00").await;
    assert!(plane.simulator().all_delivered(5_000).await);
    assert_eq!((balance(&plane, &buyer).await.as_str(), entries(&plane).await), ("500.00", 1));
    assert_eq!(status(&plane, &buyer, &order).await, "paid");
    let shown = plane.done(&buyer, Method::GET, "/wallet/entries", json!(null), 200).await;
    let items = shown["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["kind"]), (1, &json!("top_up")));
    assert_eq!(items[0]["balance_after"], json!({"amount": "500.00", "currency": "INR"}));
    // Nobody else's.
    let other = who(&plane, "otto").await;
    assert_eq!(balance(&plane, &other).await, "0.00");
    let path = format!("/wallet/topups/{order}");
    assert_eq!(plane.call(&other, Method::GET, &path, json!(null)).await.status(), 404);
    assert_eq!(plane.call(&other, Method::POST, &confirm, word).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_a_hundred_times_over_four_connections_to_two_control_planes_is_one_credit() {
    let plane = demo().await;
    let second = plane.second().await;
    let buyer = who(&plane, "bela").await;
    let (_, provider_order) = plane.begin_top_up(&buyer, "99.50").await;
    // Nothing is delivered: the events are told here alone, the later ones first.
    plane.simulator().hold_webhooks();
    plane.simulator().pay(&provider_order).unwrap();
    let held = plane.simulator().held();
    assert_eq!(held.len(), 3, "authorised, captured, paid");
    let mut told = Vec::new();
    for connection in 0..4 {
        let to = if connection % 2 == 0 { &plane } else { &second };
        let held = held.clone();
        told.push(async move {
            for n in 0..25 {
                let event = &held[(n + connection) % held.len()];
                let answer = tell(to, &event.body, &event.signature).await;
                assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
            }
        });
    }
    futures_util::future::join_all(told).await;
    assert_eq!((balance(&plane, &buyer).await.as_str(), entries(&plane).await), ("99.50", 1));
    let stored = events(&plane).await;
    assert_eq!(stored.len(), 3);
    assert!(stored.iter().all(|event| event.handled == Some(Handled::Acted) && event.try_at.is_none()));
    plane.simulator().release_webhooks(ReleaseIn::Reverse).await;
    assert_eq!((balance(&plane, &buyer).await.as_str(), entries(&plane).await), ("99.50", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_did_not_sign_credits_nothing() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "500").await;
    let (other, other_provider_order) = plane.begin_top_up(&buyer, "1").await;
    plane.simulator().hold_webhooks();
    let small = plane.simulator().pay(&other_provider_order).unwrap();
    let captured =
        plane.simulator().held().into_iter().find(|held| held.event == "payment.captured").unwrap();
    plane.simulator().lose_webhooks();

    // The small payment's word, for the large order.
    let word = json!({"payment_id": small.payment_id, "signature": small.signature});
    let confirm = |order: &str| format!("/wallet/topups/{order}/confirm");
    let answer = plane.call(&buyer, Method::POST, &confirm(&order), word.clone()).await;
    assert_eq!(code_of(answer).await, (401, "signature_invalid".into()));
    // An event that says more, one that is written anew, one without a signature.
    let more =
        String::from_utf8(captured.body.to_vec()).unwrap().replace("\"amount\":100", "\"amount\":50000");
    assert_ne!(more.as_bytes(), &captured.body[..]);
    let anew = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&captured.body).unwrap()).unwrap();
    for (body, signature) in
        [(more.as_bytes(), &*captured.signature), (&anew, &captured.signature), (&captured.body, "")]
    {
        let answer = tell(&plane, body, signature).await;
        assert_eq!(code_of(answer).await, (401, "signature_invalid".into()));
    }
    assert_eq!((events(&plane).await.len(), entries(&plane).await), (0, 0));

    // Signed as it should be, and of another amount than its order: kept, and not acted on.
    let secret = SecretString::from(WEBHOOK_SECRET);
    let contradicts = more.replace(&other_provider_order, &provider_order).replace("50000", "40000");
    let answer = tell(&plane, contradicts.as_bytes(), &sign(&secret, contradicts.as_bytes())).await;
    assert_eq!(answer.status(), 204);
    // One that nobody knows, in the future perhaps.
    let unknown = br#"{"entity":"event","event":"payment.teleported","payload":{}}"#;
    assert_eq!(tell(&plane, unknown, &sign(&secret, unknown)).await.status(), 204);
    let stored = events(&plane).await;
    assert_eq!((stored.len(), entries(&plane).await), (2, 0));
    assert!(stored.iter().any(|event| event.handled == Some(Handled::Kept)));
    assert!(stored.iter().any(|event| matches!(&event.handled, Some(Handled::Contradicts(_)))));
    assert_eq!(status(&plane, &buyer, &order).await, "created");

    plane.done(&buyer, Method::POST, &confirm(&other), word, 200).await;
    assert_eq!(balance(&plane, &buyer).await, "1.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sees_every_event_and_acts_on_one_again() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    let (_, provider_order) = plane.begin_top_up(&buyer, "500").await;
    // An event of an order that nobody knows yet: its writer died before it noted the provider's name of it.
    let query = Query::by("provider_order").equals(provider_order.as_str());
    let known = plane.app.store.query::<Order>(&query).await.unwrap().items.remove(0);
    let nameless = Order { provider_order: None, ..known.value.clone() };
    let version = plane.app.store.replace(&nameless, known.version).await.unwrap();
    plane.simulator().pay(&provider_order).unwrap();
    assert!(plane.simulator().all_delivered(5_000).await);
    let listed = plane.done(&boss, Method::GET, "/admin/payments/events", json!(null), 200).await;
    let items = listed["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|event| event["handled"] != "acted"), "{items:?}");
    assert_eq!(entries(&plane).await, 0);
    plane.app.store.replace(&known.value, version).await.unwrap();
    for _ in 0..2 {
        for event in &items {
            let path = format!("/admin/payments/events/{}/replay", event["id"].as_str().unwrap());
            assert_eq!(plane.call(&buyer, Method::POST, &path, json!({})).await.status(), 403);
            let replayed = plane.done(&boss, Method::POST, &path, json!({}), 200).await;
            assert_eq!(replayed["handled"], "acted");
        }
    }
    assert_eq!((balance(&plane, &buyer).await.as_str(), entries(&plane).await), ("500.00", 1));
    let none = "/admin/payments/events/razorpay:none/replay";
    assert_eq!(plane.call(&boss, Method::POST, none, json!({})).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_asked_for() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    plane.simulator().hold_webhooks();
    let (order, provider_order) = plane.begin_top_up(&buyer, "10").await;
    plane.simulator().pay(&provider_order).unwrap();
    // Authorised, and never captured by anybody but us.
    let (_, authorised) = plane.begin_top_up(&buyer, "20").await;
    plane.simulator().authorize(&authorised).unwrap();
    // Refused, and let through by the bank a day later.
    let (late_order, late) = plane.begin_top_up(&buyer, "40").await;
    let failed = plane.simulator().fail(&late).unwrap();
    plane.simulator().lose_webhooks();
    plane.simulator().hold_webhooks();
    reconcile(&plane.app).await.unwrap();
    assert_eq!(status(&plane, &buyer, &order).await, "created", "too early to ask");
    plane.pass_ms(14 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let stored = plane.app.store.get::<Order>(&order).await.unwrap().unwrap();
    assert!(stored.value.credited.is_empty(), "too early to ask");
    plane.pass_ms(2 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let posted = async || {
        let wallet = format!("wallet:{}:INR", buyer.account);
        plane.app.journal.head(&wallet).await.unwrap().posted
    };
    assert_eq!(posted().await, 30_000_000);
    plane.simulator().authorize_late(&failed).unwrap();
    plane.pass_ms(DAY_MS);
    reconcile(&plane.app).await.unwrap();
    assert_eq!((posted().await, entries(&plane).await), (70_000_000, 3));
    // Nothing more is asked about what is paid; what nobody pays expires.
    let stored = plane.app.store.get::<Order>(&late_order).await.unwrap().unwrap();
    assert_eq!((stored.value.ask_at, stored.value.credited.len()), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_credits_no_payment_of_another_amount_than_its_order() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "500").await;
    let known = plane.app.store.get::<Order>(&order).await.unwrap().unwrap();
    let mut less = known.value;
    less.amount.micro = 400_000_000;
    plane.app.store.replace(&less, known.version).await.unwrap();
    plane.simulator().hold_webhooks();
    plane.simulator().pay(&provider_order).unwrap();
    plane.pass_ms(16 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let after = plane.app.store.get::<Order>(&order).await.unwrap().unwrap().value;
    assert!(after.credited.is_empty() && after.ask_at > less.ask_at, "asked, and not credited: {after:?}");
    assert_eq!(entries(&plane).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_at_the_provider_s_desk_leaves_the_wallet_whichever_is_told_first() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    // Credited, then given back in part, told twice.
    let (_, provider_order) = plane.begin_top_up(&buyer, "500").await;
    let paid = plane.simulator().pay(&provider_order).unwrap();
    until_balance(&plane, &buyer, "500.00").await;
    plane.simulator().refund_at_desk(&paid.payment_id, 20_000).unwrap();
    until_balance(&plane, &buyer, "300.00").await;
    // Given back before anybody told of the payment: the reconciler hears of both.
    let (order, provider_order) = plane.begin_top_up(&buyer, "100").await;
    plane.simulator().hold_webhooks();
    let paid = plane.simulator().pay(&provider_order).unwrap();
    plane.simulator().refund_at_desk(&paid.payment_id, 10_000).unwrap();
    plane.pass_ms(16 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let wallet = format!("wallet:{}:INR", buyer.account);
    let posted = async || plane.app.journal.head(&wallet).await.unwrap().posted;
    assert_eq!(posted().await, 300_000_000);
    // The events come after it, the last first.
    plane.simulator().release_webhooks(ReleaseIn::Reverse).await;
    assert_eq!((posted().await, entries(&plane).await), (300_000_000, 4));
    let stored = plane.app.store.get::<Order>(&order).await.unwrap().unwrap();
    assert_eq!(stored.value.credited.len(), 1);
    // What was spent already the operator bears.
    let (_, provider_order) = begin_by(&plane, &buyer, "50").await;
    let paid = plane.simulator().pay(&provider_order).unwrap();
    assert!(plane.simulator().all_delivered(5_000).await);
    let spent = Amount { account: wallet.parse().unwrap(), micro: -340_000_000 };
    let earned =
        Amount { account: "vendor:ven_00000000000000000000000001:INR".parse().unwrap(), micro: 340_000_000 };
    let fee = Proposal {
        facts: vec!["test:spent".into()],
        kind: EntryKind::PeriodFee,
        step: Step::Move(vec![spent, earned]),
        usage: None,
        fee: None,
        reason: "spent".into(),
    };
    plane.app.journal.append(&fee).await.unwrap();
    plane.simulator().refund_at_desk(&paid.payment_id, 5_000).unwrap();
    assert!(plane.simulator().all_delivered(5_000).await);
    assert_eq!(posted().await, 0);
    let report = verify(&plane.app.store).await.unwrap();
    assert_eq!(report.balances[&"write_off:INR".parse().unwrap()], -40_000_000);
    assert_eq!(report.faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_or_loses_its_answer_makes_no_second_order() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let ask = async || {
        let request = plane.to(Method::POST, "/wallet/topups").bearer_auth(&buyer.token);
        request.header("idempotency-key", "one-top-up").json(&rupees("500")).send().await.unwrap()
    };
    for api in [Api::Down, Api::LosesAnswers] {
        plane.simulator().set_api(api);
        assert_eq!(code_of(ask().await).await, (503, "payment_provider_unavailable".into()));
    }
    plane.simulator().set_api(Api::Up);
    let answer = ask().await;
    assert_eq!(answer.status(), 201);
    let made: Value = answer.json().await.unwrap();
    assert_eq!(plane.app.store.query::<Order>(&Query::by("id")).await.unwrap().items.len(), 1);
    plane.simulator().pay(made["provider_order_id"].as_str().unwrap()).unwrap();
    until_balance(&plane, &buyer, "500.00").await;
    // The browser's word while the provider is away: it stands, and the credit follows.
    let (order, provider_order) = plane.begin_top_up(&buyer, "5").await;
    plane.simulator().hold_webhooks();
    let paid = plane.simulator().pay(&provider_order).unwrap();
    plane.simulator().lose_webhooks();
    plane.simulator().set_api(Api::Down);
    let word = json!({"payment_id": paid.payment_id, "signature": paid.signature});
    let path = format!("/wallet/topups/{order}/confirm");
    let told = plane.done(&buyer, Method::POST, &path, word, 200).await;
    assert_eq!((&told["status"], balance(&plane, &buyer).await.as_str()), (&json!("confirming"), "500.00"));
    plane.simulator().set_api(Api::Up);
    plane.pass_ms(6_000);
    reconcile(&plane.app).await.unwrap();
    assert_eq!((balance(&plane, &buyer).await.as_str(), entries(&plane).await), ("505.00", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_cannot_be_paid_are_refused_and_leave_nothing() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let amounts = [
        json!(12.5),
        json!(500),
        json!("-1"),
        json!("0"),
        json!("0.99"),
        json!("1.005"),
        json!("1.0000001"),
        json!("500000.01"),
        json!("9223372036854775807"),
        json!("1e3"),
    ];
    for amount in amounts {
        let body = json!({"amount": {"amount": amount, "currency": "INR"}});
        let answer = plane.call(&buyer, Method::POST, "/wallet/topups", body).await;
        let told = code_of(answer).await;
        assert!(
            matches!((told.0, &*told.1), (400, "request_malformed" | "validation_failed")),
            "{amount}: {told:?}"
        );
    }
    for body in [
        json!({"amount": {"amount": "500", "currency": "inr"}}),
        json!({"amount": {"amount": "500", "currency": "XAU"}}),
        json!({"amount": {"amount": "500", "currency": "INR"}, "price": "1"}),
        json!({"amount": {"amount": "500", "currency": "INR", "paid": true}}),
    ] {
        let answer = plane.call(&buyer, Method::POST, "/wallet/topups", body.clone()).await;
        assert_eq!(answer.status(), 400, "{body}");
    }
    assert!(plane.app.store.query::<Order>(&Query::by("id")).await.unwrap().items.is_empty());
    assert_eq!(entries(&plane).await, 0);
}
