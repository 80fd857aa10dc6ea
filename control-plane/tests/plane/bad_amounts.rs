//! Amounts that are none, at every place where the API takes one: each a problem, and nothing of it in the journal.

use std::collections::BTreeMap;

use apiclay_config::ids::RequestId;
use apiclay_control_plane::invoices::run::issue_due;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::subscriptions::billing::bill_due;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::Who;
use crate::support::months::{DAY_MS, Shop, id_of, shop};
use crate::support::paying::rupees;

/// A place that takes an amount.
struct Place<'a> {
    who: &'a Who,
    method: Method,
    path: String,
    /// The rest of its body.
    body: Value,
    field: &'static str,
    /// Whether it does without.
    optional: bool,
    /// A currency that is one, and cannot be had there.
    wrong_currency: Option<&'static str>,
}

/// Whole values of a field that names an amount.
fn amounts_that_are_none() -> Vec<Value> {
    let inr = |amount: Value| json!({"amount": amount, "currency": "INR"});
    let mut all: Vec<Value> = [
        json!(1.5),
        json!(5),
        json!(-5),
        json!("-1"),
        // The first amount beyond 64 bits of micro-units, and of whole ones.
        json!("9223372036854.775808"),
        json!("9223372036854775808"),
        json!("1.0000001"),
        json!("1e3"),
        json!("1,5"),
        json!("+1"),
        json!(" 1"),
        json!("much"),
        json!(""),
        json!(null),
        json!(true),
        json!(["1"]),
        json!({"$gt": ""}),
    ]
    .into_iter()
    .map(inr)
    .collect();
    all.extend([
        json!({"amount": "1", "currency": "inr"}),
        json!({"amount": "1", "currency": "RUPEES"}),
        json!({"amount": "1", "currency": null}),
        json!({"amount": "1"}),
        json!({"currency": "INR"}),
        json!({"amount": "1", "currency": "INR", "micro": 1}),
        json!({}),
        json!("1"),
        json!(1),
        json!([]),
    ]);
    all
}

fn places<'a>(shop: &'a Shop, subscription: &str, order: &str, invoice: &str) -> Vec<Place<'a>> {
    let of = |who: &'a Who, method: Method, path: &str, field: &'static str, body: Value| Place {
        who,
        method,
        path: path.to_owned(),
        body,
        field,
        optional: false,
        wrong_currency: None,
    };
    let notes = format!("/admin/invoices/{invoice}/credit-notes");
    let plans = format!("/listings/{}/plans", shop.listing);
    let change = format!("/subscriptions/{subscription}/change");
    let (refund, note) = (json!({"order_id": order, "reason": "x"}), json!({"line": 1, "reason": "x"}));
    let (plan, large) = (json!({"slug": "p", "name": "P"}), json!({"plan_id": &shop.large}));
    vec![
        Place {
            wrong_currency: Some("XAU"),
            ..of(&shop.buyer, Method::POST, "/wallet/topups", "amount", json!({}))
        },
        Place {
            optional: true,
            wrong_currency: Some("USD"),
            ..of(&shop.boss, Method::POST, "/admin/refunds", "amount", refund)
        },
        Place { wrong_currency: Some("USD"), ..of(&shop.boss, Method::POST, &notes, "amount", note) },
        of(&shop.buyer, Method::PUT, "/wallet/budget", "amount", json!({"hard_stop": false})),
        of(&shop.vendor, Method::POST, &plans, "price", plan),
        Place {
            optional: true,
            ..of(&shop.vendor, Method::PATCH, &format!("/plans/{}", shop.small), "price", json!({}))
        },
        Place {
            optional: true,
            wrong_currency: Some("USD"),
            ..of(&shop.buyer, Method::POST, &change, "due_now", large)
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_that_is_none_is_a_problem_wherever_it_is_taken_and_writes_nothing() {
    let shop = shop("0").await;
    let plane = &shop.plane;
    let (order, provider_order) = plane.begin_top_up(&shop.buyer, "5000").await;
    plane.simulator().pay(&provider_order).unwrap();
    assert!(plane.simulator().all_delivered(5_000).await);
    let subscription = id_of(&shop.subscribe(&shop.small, 201).await);
    plane.pass_ms(12 * DAY_MS);
    bill_due(&plane.app).await.unwrap();
    assert_eq!(issue_due(&plane.app).await.unwrap(), 1);
    let listed = plane.done(&shop.buyer, Method::GET, "/invoices", json!(null), 200).await;
    let invoice = listed["items"][0]["id"].as_str().unwrap().to_owned();

    let entries = async || {
        let report = verify(&plane.app.store).await.unwrap();
        assert_eq!(report.faults, []);
        (report.entries, report.balances)
    };
    let before = entries().await;
    let mut tried = BTreeMap::new();
    for place in places(&shop, &subscription, &order, &invoice) {
        let mut wrong: Vec<Option<Value>> = amounts_that_are_none().into_iter().map(Some).collect();
        wrong.extend(place.wrong_currency.map(|currency| Some(json!({"amount": "1", "currency": currency}))));
        if !place.optional {
            wrong.extend([None, Some(json!(null))]);
        }
        for amount in wrong {
            let mut body = place.body.clone();
            body.as_object_mut().unwrap().extend(amount.map(|amount| (place.field.to_owned(), amount)));
            let asked = plane.to(place.method.clone(), &place.path).bearer_auth(&place.who.token);
            let key = RequestId::generate().to_string();
            let answer = asked.header("idempotency-key", key).json(&body).send().await.unwrap();
            let status = answer.status();
            assert!(status.is_client_error(), "{} {}: {body}: {status}", place.method, place.path);
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{body}");
            // What is wrong is the body, and not who asks or where.
            assert!(
                matches!(status.as_u16(), 400 | 409 | 422),
                "{} {}: {body}: {status}",
                place.method,
                place.path
            );
            *tried.entry(place.path.clone()).or_insert(0) += 1;
        }
        assert_eq!(entries().await, before, "{} {}", place.method, place.path);
    }
    assert_eq!(tried.len(), 7);
    assert!(tried.values().all(|tried| *tried >= 27), "{tried:?}");
    // A right one is taken at each of them: what was refused was the amount.
    for place in places(&shop, &subscription, &order, &invoice) {
        let mut body = place.body.clone();
        let amount = if place.field == "due_now" { "900" } else { "1" };
        body.as_object_mut().unwrap().insert(place.field.to_owned(), rupees(amount));
        let asked = plane.to(place.method.clone(), &place.path).bearer_auth(&place.who.token);
        let key = RequestId::generate().to_string();
        let answer = asked.header("idempotency-key", key).json(&body).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{} {}: {}",
            place.method,
            place.path,
            answer.text().await.unwrap()
        );
    }
    assert_ne!(entries().await, before);
}
