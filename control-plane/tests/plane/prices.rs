//! Prices of usage as the API takes and shows them: one amount or tiers, units that are included, and what a month comes to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{admin, on_sale, who};
use crate::support::{assert_problem, demo};

fn money(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR"})
}

fn plan(slug: &str, usage_price: &Value) -> Value {
    json!({"slug": slug, "name": "Calls", "price": money("10"), "usage_price": usage_price})
}

fn tiers(mode: &str) -> Value {
    json!({"unit": "call", "mode": mode, "included": 100, "tiers": [
        {"up_to": 1000, "amount": money("0.25")},
        {"up_to": 5000, "amount": money("0.2")},
        {"up_to": null, "amount": money("0.1")}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_are_kept_as_given_and_what_a_month_comes_to_is_told_to_anybody() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plans = format!("/listings/{}/plans", sold.listing);
    let post = Method::POST;
    let made = plane.done(&vendor, post.clone(), &plans, plan("graduated", &tiers("graduated")), 201).await;
    let mut kept = tiers("graduated");
    kept["tiers"][2].as_object_mut().unwrap().remove("up_to");
    kept["tiers"][1]["amount"] = money("0.20");
    kept["tiers"][2]["amount"] = money("0.10");
    assert_eq!(made["usage_price"], kept);
    let volume = plane.done(&vendor, post, &plans, plan("volume", &tiers("volume")), 201).await;

    let preview = async |plan: &Value, usage: &str| {
        let path = format!("/plans/{}/preview?usage={usage}", plan["id"].as_str().unwrap());
        plane.to(Method::GET, &path).send().await.unwrap()
    };
    for (plan, usage, by_tier, total) in [
        (&made, 0, vec![], "10.00"),
        (&made, 100, vec![], "10.00"),
        (&made, 101, vec![(1, "0.25", "0.25")], "10.25"),
        (&made, 1_100, vec![(1_000, "0.25", "250.00")], "260.00"),
        (
            &made,
            6_100,
            vec![(1_000, "0.25", "250.00"), (4_000, "0.20", "800.00"), (1_000, "0.10", "100.00")],
            "1160.00",
        ),
        (&volume, 1_100, vec![(1_000, "0.25", "250.00")], "260.00"),
        (&volume, 1_101, vec![(1_001, "0.20", "200.20")], "210.20"),
        (&volume, 10_100, vec![(10_000, "0.10", "1000.00")], "1010.00"),
    ] {
        let answer = preview(plan, &usage.to_string()).await;
        assert_eq!(answer.status(), 200);
        let told: Value = answer.json().await.unwrap();
        let items: Vec<Value> = by_tier
            .iter()
            .map(|(units, price, amount)| json!({"units": units, "price": money(price), "amount": money(amount)}))
            .collect();
        assert_eq!(told["tiers"], json!(items), "{usage}: {told}");
        assert_eq!((&told["total"], &told["price"]), (&money(total), &money("10.00")), "{usage}: {told}");
        assert_eq!(told["included"], json!(usage.min(100)), "{told}");
    }
    for wrong in ["", "-1", "1.5", "x", "1&more=1", "99999999999999999999"] {
        assert_problem(preview(&made, wrong).await, 400, "request_malformed").await;
    }
    assert_eq!(preview(&made, "4294967296").await.status(), 400);

    let page = plane.http.get(format!("{}/l/acme/weather", plane.base.replace("/backend/v1", "")));
    let page = page.send().await.unwrap().text().await.unwrap();
    for words in ["from ₹0.10 a call", "1 to 1,000 more calls a month: ₹0.25 each", "all at ₹0.20"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    // What is sold no more has no preview; a price by the call can go back to one amount.
    let path = format!("/plans/{}", made["id"].as_str().unwrap());
    let flat = json!({"usage_price": {"unit": "call", "amount": money("0.25")}});
    let changed = plane.done(&vendor, Method::PATCH, &path, flat.clone(), 200).await;
    assert_eq!((&changed["usage_price"], &changed["revision"]), (&flat["usage_price"], &json!(2)));
    plane.done(&vendor, Method::POST, &format!("{path}/retire"), json!({}), 200).await;
    assert_eq!(preview(&made, "1").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_that_cannot_be_reckoned_with_are_refused_where_they_are_wrong() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/plans", sold.listing);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut usage = tiers("graduated");
        change(&mut usage);
        plan("wrong", &usage)
    };
    for (body, pointer) in [
        (with(&|it| it["amount"] = money("1")), "/usage_price"),
        (with(&|it| drop(it.as_object_mut().unwrap().remove("mode"))), "/usage_price/mode"),
        (with(&|it| it["tiers"] = json!([])), "/usage_price/tiers"),
        (with(&|it| it["included"] = json!(0)), "/usage_price/included"),
        (with(&|it| it["tiers"][1]["up_to"] = json!(1000)), "/usage_price/tiers/1/up_to"),
        (with(&|it| it["tiers"][2]["up_to"] = json!(9000)), "/usage_price/tiers/2/up_to"),
        (with(&|it| it["tiers"][2]["amount"] = money("0")), "/usage_price/tiers/2/amount/amount"),
        (with(&|it| it["tiers"][1]["amount"]["currency"] = json!("USD")), "/usage_price/tiers"),
        (plan("wrong", &json!({"unit": "call"})), "/usage_price"),
    ] {
        let told = plane.done(&vendor, Method::POST, &path, body, 400).await;
        assert_eq!(told["errors"][0]["pointer"], pointer, "{told}");
    }
    for (field, value) in [
        ("mode", json!("stairs")),
        ("unit", json!("byte")),
        ("included", json!(-1)),
        ("included", json!(1.5)),
        ("tiers", json!({"up_to": 1})),
        ("tiers", json!([{"up_to": "1", "amount": money("1")}])),
        ("tiers", json!([{"up_to": 1, "amount": money("1"), "flat": 1}])),
        ("flat", json!(1)),
    ] {
        let body = with(&|it| it[field] = value.clone());
        plane.done(&vendor, Method::POST, &path, body, 400).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn which_answers_are_billed_is_a_part_of_a_plans_revision_and_said_where_it_is_sold() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plans = format!("/listings/{}/plans", sold.listing);
    let flat = json!({"unit": "call", "amount": money("0.25")});
    let with = |statuses: Value| {
        let mut plan = plan("named", &flat);
        plan["billable_statuses"] = statuses;
        plan
    };
    for (statuses, pointer) in [
        (json!([]), "/billable_statuses"),
        (json!(["2XX", "2xx"]), "/billable_statuses/1"),
        (json!(["2XX", "6XX"]), "/billable_statuses/1"),
        (json!([404]), "/billable_statuses/0"),
        (json!("2XX"), "/billable_statuses"),
    ] {
        let told = plane.done(&vendor, Method::POST, &plans, with(statuses), 400).await;
        assert_eq!(told["errors"][0]["pointer"], pointer, "{told}");
    }
    let made = plane.done(&vendor, Method::POST, &plans, with(json!(["2xx", "3XX", "404"])), 201).await;
    assert_eq!(made["billable_statuses"], json!(["2XX", "3XX", "404"]));
    let page = plane.http.get(format!("{}/l/acme/weather", plane.base.replace("/backend/v1", "")));
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Only answers with status 2XX, 3XX or 404 count"), "{page}");

    let path = format!("/plans/{}", made["id"].as_str().unwrap());
    let renamed = plane.done(&vendor, Method::PATCH, &path, json!({"name": "Named"}), 200).await;
    assert_eq!(
        (&renamed["billable_statuses"], &renamed["revision"]),
        (&made["billable_statuses"], &json!(1))
    );
    let silent = plane.done(&vendor, Method::PATCH, &path, json!({"billable_statuses": null}), 200).await;
    assert_eq!((&silent["billable_statuses"], &silent["revision"]), (&Value::Null, &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_may_count_what_the_upstream_says_a_call_used() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plans = format!("/listings/{}/plans", sold.listing);
    let token = json!({"name": "token", "json_pointer": "/usage/total_tokens", "units_max_per_call": 4000,
        "units_default": 100});
    let with = |field: &str, value: Value| {
        let mut unit = token.clone();
        unit[field] = value;
        plan("tokens", &json!({"unit": unit, "amount": money("0.01")}))
    };
    for (body, pointer) in [
        (with("json_pointer", json!("usage")), "/usage_price/unit/json_pointer"),
        (with("header", json!("x-units")), "/usage_price/unit"),
        (with("units_default", json!(4001)), "/usage_price/unit/units_default"),
        (with("units_max_per_call", json!(0)), "/usage_price/unit/units_max_per_call"),
        (with("name", json!("Token")), "/usage_price/unit/name"),
        (with("more", json!(1)), "/usage_price/unit/more"),
        (with("units_default", json!("1")), "/usage_price/unit/units_default"),
    ] {
        let told = plane.done(&vendor, Method::POST, &plans, body, 400).await;
        assert_eq!(told["errors"][0]["pointer"], pointer, "{told}");
    }
    let made = plane.done(&vendor, Method::POST, &plans, with("name", json!("token")), 201).await;
    assert_eq!(made["usage_price"]["unit"], token);
    let path = format!("/plans/{}/preview?usage=5000", made["id"].as_str().unwrap());
    let told: Value = plane.to(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    assert_eq!((&told["unit"], &told["usage_amount"]), (&token, &money("50.00")));
    let page = plane.http.get(format!("{}/l/acme/weather", plane.base.replace("/backend/v1", "")));
    let page = page.send().await.unwrap().text().await.unwrap();
    for words in ["₹0.01 a token", "A call is 4,000 tokens at most, and 100 where its answer does not say"]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
}
