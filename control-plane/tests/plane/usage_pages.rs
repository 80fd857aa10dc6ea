//! What a subscription's page says is used: of trials and quotas what counts against them, and the units of a metered plan.

use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{BatchId, Ending, Event, Units, UnitsFrom, UsageBatch};
use apiclay_control_plane::usage::ingest;
use reqwest::Method;
use serde_json::json;

use crate::folding::from;
use crate::support::browsing::{browser, told};
use crate::support::market::{admin, on_sale, who};
use crate::support::paying::rupees;
use crate::support::{NOW, Plane, demo, leases, months};

/// A batch of calls of a subscription: with what each used, and whether it is billed.
pub async fn called(plane: &Plane, seq: u64, subscription: &str, calls: &[(Units, bool)]) {
    let subscription: SubscriptionId = subscription.parse().unwrap();
    let event = |(n, (units, billable)): (u128, &(Units, bool))| Event {
        request: RequestId::from_u128(u128::from(seq) << 64 | n),
        subscription,
        credential: CredentialId::from_u128(1),
        route: RouteId::from_u128(1),
        plan_revision: 1,
        at: NOW,
        duration_us: 500,
        status: if *billable { 200 } else { 502 },
        tries: 1,
        ending: Ending::Complete,
        billable: *billable,
        kept: *billable,
        leases: [0; 5],
        units: *units,
        bytes_in: 1,
        bytes_out: 1,
    };
    let events: Vec<Event> = (0..).zip(calls).map(event).collect();
    let batch = UsageBatch::pack(BatchId { from: from(), seq }, Vec::new(), &events).unwrap();
    ingest::take(&plane.app.store, &plane.app.fold, "gw-1", batch).await.unwrap();
    plane.app.fold.fold_all().await.unwrap();
}

/// So many calls that are billed, and so many that are not.
pub fn calls(billed: usize, not: usize) -> Vec<(Units, bool)> {
    [vec![(Units::CALL, true); billed], vec![(Units::CALL, false); not]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_count_what_the_gateway_counts_and_a_trial_is_one_for_all_of_a_listing() {
    let shop = months::shop("1000").await;
    let trial = json!({"slug": "tried", "name": "tried", "price": rupees("0"), "trial": {"calls": 10},
        "usage_price": {"unit": "call", "amount": rupees("0.25")}});
    let plans = format!("/listings/{}/plans", shop.listing);
    let tried = shop.plane.done(&shop.vendor, Method::POST, &plans, trial, 201).await;
    let tried = tried["id"].as_str().unwrap().to_owned();
    let ended = months::id_of(&shop.subscribe(&shop.free, 201).await);
    called(&shop.plane, 1, &ended, &calls(3, 2)).await;
    let cookie = browser(&shop.plane, "bela").await;
    let page = |id: &str| format!("/subscriptions/{id}");
    let said = told(&shop.plane, &cookie, &page(&ended)).await;
    assert!(said.contains("Trial 3 of 10 calls") && said.contains("3 of 400 calls"), "{said}");
    shop.post(&ended, "cancel", json!({}), 200).await;
    // The same trial, under another plan and another subscription.
    let again = months::id_of(&shop.subscribe(&tried, 201).await);
    called(&shop.plane, 2, &again, &calls(5, 1)).await;
    let said = told(&shop.plane, &cookie, &page(&again)).await;
    assert!(said.contains("Trial 8 of 10 calls"), "{said}");
    // What comes after it is paid for, and no trial any more.
    called(&shop.plane, 3, &again, &calls(7, 0)).await;
    let said = told(&shop.plane, &cookie, &page(&again)).await;
    assert!(!said.contains("of 10 calls"), "{said}");
    // Where nothing is paid for, it says why calls are refused.
    let free = months::id_of(&shop.subscribe(&shop.free, 201).await);
    let said = told(&shop.plane, &cookie, &page(&free)).await;
    assert!(said.contains("Trial, used up 10 of 10 calls"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metered_plan_shows_its_units_and_those_that_nobody_said() {
    let unit = json!({"unit": {"name": "token", "header": "x-tokens", "units_max_per_call": 1000, "units_default": 5},
        "amount": rupees("0.01")});
    let shop = leases::shop_at("100", unit).await;
    let said_units = |count| Units { count, from: UnitsFrom::Reported, capped: false };
    let calls = [
        (said_units(1_200), true),
        (Units { count: 5, from: UnitsFrom::Default, capped: false }, true),
        (Units { count: 1_000, from: UnitsFrom::Reported, capped: true }, true),
        (said_units(70), false),
    ];
    called(&shop.plane, 1, &shop.subscription, &calls).await;
    let cookie = browser(&shop.plane, "bela").await;
    let said = told(&shop.plane, &cookie, &format!("/subscriptions/{}", shop.subscription)).await;
    assert!(said.contains("4 calls, 2,205 tokens in the last 24 hours"), "{said}");
    assert!(said.contains("1 call did not say how many tokens"), "{said}");
    assert!(said.contains("1 call was charged the most"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_by_days_is_no_rate() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plan = json!({"slug": "days", "name": "days", "price": rupees("99"), "trial": {"days": 14}});
    let made =
        plane.done(&vendor, Method::POST, &format!("/listings/{}/plans", sold.listing), plan, 201).await;
    let body = json!({"plan_id": made["id"]});
    let id = months::id_of(&plane.done(&buyer, Method::POST, "/subscriptions", body, 201).await);
    let cookie = browser(&plane, "bela").await;
    let said = told(&plane, &cookie, &format!("/subscriptions/{id}")).await;
    assert!(said.contains("Trial until 5 Oct 2026") && !said.contains("Rate"), "{said}");
}
