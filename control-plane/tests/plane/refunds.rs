//! An admin gives money of a top-up back: once, never more than was captured, and never out of a wallet that has it no
//! more; whoever asks at once, and whatever the provider answers.

use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::ledger::{Amount, EntryKind, Proposal, Step};
use apiclay_control_plane::payments::documents::Order;
use apiclay_control_plane::payments::reconcile::reconcile;
use apiclay_control_plane::payments::refunds::Refund;
use apiclay_control_plane::payments::simulator::Api;
use apiclay_control_plane::store::Query;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, who};
use crate::support::{Plane, demo};

const MINUTE_MS: i64 = 60_000;

/// A paid top-up: its id, and the payment's name.
async fn topped_up(plane: &Plane, buyer: &Who, amount: &str) -> (String, String) {
    let (order, provider_order) = plane.begin_top_up(buyer, amount).await;
    let paid = plane.simulator().pay(&provider_order).unwrap();
    let confirm = format!("/wallet/topups/{order}/confirm");
    let word = json!({"payment_id": paid.payment_id, "signature": paid.signature});
    let shown = plane.done(buyer, Method::POST, &confirm, word, 200).await;
    assert_eq!(shown["status"], "paid");
    (order, paid.payment_id)
}

fn of(order: &str, amount: Option<&str>) -> Value {
    let mut body = json!({"order_id": order, "reason": "the buyer asked for it"});
    if let Some(amount) = amount {
        body["amount"] = json!({"amount": amount, "currency": "INR"});
    }
    body
}

async fn gives(plane: &Plane, boss: &Who, body: &Value) -> Response {
    plane.ask_to_give_back(boss, body).await
}

/// Balance and held of a wallet; the books are whole.
async fn wallet(plane: &Plane, buyer: &Who) -> (i64, i64) {
    let report = verify(&plane.app.store).await.unwrap();
    assert_eq!(report.faults, []);
    let head = plane.app.journal.head(&format!("wallet:{}:INR", buyer.account)).await.unwrap();
    assert!(head.posted - head.pending >= 0, "{head:?}");
    (head.posted / 1_000_000, head.pending / 1_000_000)
}

async fn refunds(plane: &Plane) -> Vec<Refund> {
    let found = plane.app.store.query::<Refund>(&Query::by("id")).await.unwrap();
    found.items.into_iter().map(|found| found.value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_goes_back_in_part_and_then_in_whole() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    let (order, payment) = topped_up(&plane, &buyer, "500").await;
    assert_eq!(gives(&plane, &buyer, &of(&order, None)).await.status(), 403);
    let part = plane.give_back(&boss, &of(&order, Some("120.50")), 201).await;
    assert_eq!((&part["state"], &part["failure"]), (&json!("processed"), &json!(null)));
    let id = part["id"].as_str().unwrap();
    assert!(id.starts_with("rfd_"));
    // Ids under a key are in the order of the clock's milliseconds.
    plane.pass_ms(1);
    let rest = plane.give_back(&boss, &of(&order, None), 201).await;
    assert_eq!(rest["amount"], json!({"amount": "379.50", "currency": "INR"}));
    assert_eq!((&rest["payment_id"], &rest["by"]), (&json!(payment), &json!(boss.account)));
    assert!(plane.simulator().all_delivered(5_000).await);
    assert_eq!(wallet(&plane, &buyer).await, (0, 0));
    for body in [of(&order, None), of(&order, Some("1"))] {
        assert_eq!(code_of(gives(&plane, &boss, &body).await).await, (409, "refund_too_large".into()));
    }
    assert_eq!(plane.app.journal.by_fact(&format!("refund:{id}")).await.unwrap().unwrap().lines, []);
    // Seen by admins alone, the newest first; the buyer sees it in his wallet.
    let path = format!("/admin/refunds/{id}");
    assert_eq!(plane.done(&boss, Method::GET, &path, json!(null), 200).await, part);
    assert_eq!(plane.call(&buyer, Method::GET, &path, json!(null)).await.status(), 403);
    let listed = plane.done(&boss, Method::GET, "/admin/refunds", json!(null), 200).await;
    assert_eq!(listed["items"], json!([rest, part]));
    assert_eq!(plane.call(&buyer, Method::GET, "/admin/refunds", json!(null)).await.status(), 403);
    let none = "/admin/refunds/rfd_00000000000000000000000000";
    assert_eq!(plane.call(&boss, Method::GET, none, json!(null)).await.status(), 404);
    let shown = plane.done(&buyer, Method::GET, "/wallet/entries", json!(null), 200).await;
    let kinds: Vec<_> = shown["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["refund", "refund", "top_up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_over_two_control_planes_one_goes_back() {
    let plane = demo().await;
    let second = plane.second().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    for round in 1..=5 {
        let (order, _) = topped_up(&plane, &buyer, "100").await;
        let body = of(&order, if round % 2 == 0 { None } else { Some("60") });
        let both = tokio::join!(gives(&plane, &boss, &body), gives(&second, &boss, &body));
        let mut told = [both.0.status().as_u16(), both.1.status().as_u16()];
        told.sort_unstable();
        assert_eq!(told, [201, 409], "{round}");
    }
    assert!(plane.simulator().all_delivered(5_000).await);
    assert_eq!(wallet(&plane, &buyer).await, (120, 0));
    assert!(refunds(&plane).await.iter().all(|refund| refund.due_at.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_the_same_refund() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    let (order, _) = topped_up(&plane, &buyer, "100").await;
    let ask = async |body: &Value| {
        let request = plane.to(Method::POST, "/admin/refunds").bearer_auth(&boss.token);
        request.header("idempotency-key", "one-refund").json(body).send().await.unwrap()
    };
    let body = of(&order, None);
    let without = plane.call(&boss, Method::POST, "/admin/refunds", body.clone()).await;
    assert_eq!(code_of(without).await, (400, "request_malformed".into()));
    assert_eq!((refunds(&plane).await.len(), wallet(&plane, &buyer).await), (0, (100, 0)));
    let first: Value = ask(&body).await.json().await.unwrap();
    for _ in 0..3 {
        let again = ask(&body).await;
        assert_eq!(again.status(), 201);
        assert_eq!(again.json::<Value>().await.unwrap(), first);
    }
    assert_eq!(code_of(ask(&of(&order, Some("1"))).await).await, (409, "idempotency_key_reused".into()));
    assert_eq!((refunds(&plane).await.len(), wallet(&plane, &buyer).await), (1, (0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_was_spent_is_not_given_back() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    let (order, _) = topped_up(&plane, &buyer, "100").await;
    let wallet_of = format!("wallet:{}:INR", buyer.account);
    let spent = Amount { account: wallet_of.parse().unwrap(), micro: -30_000_000 };
    let earned =
        Amount { account: "vendor:ven_00000000000000000000000001:INR".parse().unwrap(), micro: 30_000_000 };
    let fee = Proposal {
        facts: vec!["test:spent".into()],
        kind: EntryKind::PeriodFee,
        step: Step::Move(vec![spent, earned]),
        usage: None,
        fee: None,
        reason: "spent".into(),
    };
    plane.app.journal.append(&fee).await.unwrap();
    assert_eq!(code_of(gives(&plane, &boss, &of(&order, None)).await).await, (409, "wallet_short".into()));
    assert_eq!(wallet(&plane, &buyer).await, (70, 0));
    // What was reserved for it is free again: what there is goes back, and no more.
    assert_eq!(gives(&plane, &boss, &of(&order, Some("70"))).await.status(), 201);
    assert_eq!(
        code_of(gives(&plane, &boss, &of(&order, Some("1"))).await).await,
        (409, "wallet_short".into())
    );
    assert_eq!(
        code_of(gives(&plane, &boss, &of(&order, Some("31"))).await).await,
        (409, "refund_too_large".into())
    );
    assert!(plane.simulator().all_delivered(5_000).await);
    assert_eq!(wallet(&plane, &buyer).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_does_not_answer_goes_on_by_itself() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    for (at, api) in [Api::Down, Api::LosesAnswers].into_iter().enumerate() {
        let (order, _) = topped_up(&plane, &buyer, "100").await;
        let boss = Who { token: fresh(&plane, at, &boss).await, account: boss.account.clone() };
        plane.simulator().set_api(api);
        let made = plane.give_back(&boss, &of(&order, None), 201).await;
        assert_eq!(made["state"], "held");
        plane.simulator().set_api(Api::Up);
        reconcile(&plane.app).await.unwrap();
        let path = format!("/admin/refunds/{}", made["id"].as_str().unwrap());
        assert_eq!(
            plane.done(&boss, Method::GET, &path, json!(null), 200).await["state"],
            "held",
            "too early"
        );
        assert_eq!(wallet(&plane, &buyer).await, (100, 100));
        plane.pass_ms(2 * MINUTE_MS);
        reconcile(&plane.app).await.unwrap();
        assert_eq!(plane.done(&boss, Method::GET, &path, json!(null), 200).await["state"], "processed");
        assert!(plane.simulator().all_delivered(5_000).await);
        assert_eq!(wallet(&plane, &buyer).await, (0, 0));
    }
}

/// Tokens grow old by the clock that tests set.
async fn fresh(plane: &Plane, at: usize, boss: &Who) -> String {
    if at == 0 {
        return boss.token.clone();
    }
    let person = crate::support::Person {
        email: "boss@example.com".into(),
        username: "boss".into(),
        id: boss.account.clone(),
    };
    plane.access(&person).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_back_is_refused_and_leaves_nothing() {
    let plane = demo().await;
    let (buyer, boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    let (order, _) = topped_up(&plane, &buyer, "500").await;
    let (unpaid, _) = plane.begin_top_up(&buyer, "5").await;
    let none = "ord_00000000000000000000000000";
    for (body, wanted) in [
        (of(&unpaid, None), (409, "state_conflict")),
        (of(&unpaid, Some("5")), (409, "state_conflict")),
        (of(none, None), (404, "not_found")),
        (of("rfd_00000000000000000000000000", None), (400, "request_malformed")),
        (of(&order, Some("500.01")), (409, "refund_too_large")),
        (of(&order, Some("9223372036854")), (409, "refund_too_large")),
        (of(&order, Some("9223372036854775807")), (400, "request_malformed")),
        (of(&order, Some("0")), (400, "validation_failed")),
        (of(&order, Some("0.99")), (400, "validation_failed")),
        (of(&order, Some("1.005")), (400, "validation_failed")),
        (of(&order, Some("-1")), (400, "validation_failed")),
        (json!({"order_id": order, "reason": ""}), (400, "validation_failed")),
        (json!({"order_id": order, "reason": "a\nb"}), (400, "validation_failed")),
        (json!({"order_id": order}), (400, "request_malformed")),
        (json!({"order_id": order, "reason": "r", "payment_id": "pay_1"}), (400, "request_malformed")),
        (
            json!({"order_id": order, "reason": "r", "amount": {"amount": "1", "currency": "USD"}}),
            (400, "validation_failed"),
        ),
        (json!({"order_id": order, "reason": "r", "amount": 5}), (400, "request_malformed")),
        (
            json!({"order_id": order, "reason": "r", "amount": {"amount": 1.5, "currency": "INR"}}),
            (400, "request_malformed"),
        ),
    ] {
        let told = code_of(gives(&plane, &boss, &body).await).await;
        let malformed = told.0 == 400 && wanted.0 == 400;
        assert!(malformed || (told.0, told.1.as_str()) == wanted, "{body}: {told:?}");
    }
    assert!(refunds(&plane).await.is_empty());
    let known = plane.app.store.get::<Order>(&order).await.unwrap().unwrap().value;
    assert!(known.reserved.is_empty());
    assert_eq!(wallet(&plane, &buyer).await, (500, 0));
}
