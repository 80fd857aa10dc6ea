//! What a subscription's page says of how it stands: a trial that is over, money or a budget that does not suffice, and what
//! its end and a change of plan mean.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browsing::{browser, told};
use crate::support::leases;
use crate::support::months::{DAY_MS, Shop, id_of, shop};
use crate::support::paying::rupees;
use crate::usage_pages::{called, calls};

async fn plan(shop: &Shop, slug: &str, price: &str, more: Value) -> String {
    let mut plan = json!({"slug": slug, "name": slug, "price": rupees(price)});
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/listings/{}/plans", shop.listing);
    id_of(&shop.plane.done(&shop.vendor, Method::POST, &path, plan, 201).await)
}

async fn said(shop: &Shop, cookie: &str, id: &str) -> String {
    told(&shop.plane, cookie, &format!("/subscriptions/{id}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_over_is_not_called_active_and_what_to_do_is_said() {
    let shop = shop("1000").await;
    let days = plan(&shop, "days", "99", json!({"trial": {"days": 3}})).await;
    let free = id_of(&shop.subscribe(&shop.free, 201).await);
    let days = id_of(&shop.subscribe(&days, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let list = async || told(&shop.plane, &cookie, "/subscriptions").await;
    for id in [&free, &days] {
        let said = said(&shop, &cookie, id).await;
        assert!(said.contains("Active") && !said.contains("Trial over"), "{said}");
    }
    let said_of_days = said(&shop, &cookie, &days).await;
    assert!(said_of_days.contains("A first month begins now and ends your trial."), "{said_of_days}");
    assert_eq!(list().await.matches("Active").count(), 2);

    called(&shop.plane, 1, &free, &calls(10, 0)).await;
    let said_of_free = said(&shop, &cookie, &free).await;
    assert!(said_of_free.contains("Trial over") && !said_of_free.contains("Active"), "{said_of_free}");
    assert!(said_of_free.contains("Change the plan to go on."), "{said_of_free}");
    let all = list().await;
    assert_eq!((all.matches("Trial over").count(), all.matches("Active").count()), (1, 1), "{all}");

    shop.plane.pass_ms(4 * DAY_MS);
    let said_of_days = said(&shop, &cookie, &days).await;
    assert!(said_of_days.contains("Trial over") && said_of_days.contains("Pay for a month to go on."));
    assert!(said_of_days.contains("A first month begins now.") && !said_of_days.contains("ends your trial"));
    assert_eq!(list().await.matches("Trial over").count(), 2);
    shop.post(&days, "resume", json!({}), 200).await;
    let said_of_days = said(&shop, &cookie, &days).await;
    assert!(said_of_days.contains("Active") && !said_of_days.contains("Trial over"), "{said_of_days}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_by_days_whose_calls_are_used_up_is_not_said_to_last() {
    let shop = shop("0").await;
    let both = plan(&shop, "both", "99", json!({"trial": {"days": 14, "calls": 2}})).await;
    let id = id_of(&shop.subscribe(&both, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let before = said(&shop, &cookie, &id).await;
    assert!(before.contains("Trial until 5 Oct 2026"), "{before}");
    called(&shop.plane, 1, &id, &calls(10, 0)).await;
    let after = said(&shop, &cookie, &id).await;
    // The plans of a listing share the largest trial by calls; the free one, which nobody holds here, is none.
    assert!(after.contains("Trial over") && !after.contains("until 5 Oct"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_s_end_is_told_with_what_is_charged_until_then() {
    let shop = shop("2000").await;
    let usage = json!({"usage_price": {"unit": "call", "amount": rupees("0.25")}});
    let both = plan(&shop, "both", "100", usage).await;
    let cookie = browser(&shop.plane, "bela").await;
    let (both, month) =
        (id_of(&shop.subscribe(&both, 201).await), id_of(&shop.subscribe(&shop.small, 201).await));
    for (id, charged) in [(&both, true), (&month, false)] {
        shop.post(id, "cancel", json!({}), 200).await;
        let notice = format!("/subscriptions/{id}?done=cancels_at_end");
        let said = told(&shop.plane, &cookie, &notice).await;
        assert!(said.contains("It ends with its month; no further month is charged."), "{said}");
        assert!(said.contains("it ends then, and no further month is charged"), "{said}");
        assert_eq!(said.contains("Calls are charged until then."), charged, "{said}");
        let plans = told(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans")).await;
        assert!(plans.contains("This subscription ends with its month"), "{plans}");
    }
    shop.post(&month, "resume", json!({}), 200).await;
    let plans = told(&shop.plane, &cookie, &format!("/subscriptions/{month}/plans")).await;
    assert!(!plans.contains("This subscription ends with its month"), "{plans}");
    assert!(plans.contains("fewer count at once") && !plans.contains("quotas go on as they are"), "{plans}");
    // What happens then happens at a moment, and in a zone.
    assert!(plans.contains("Change on 21 Oct 2026, "), "{plans}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_stops_calls_is_told_where_they_are_refused() {
    let shop = leases::shop("100").await;
    let cookie = browser(&shop.plane, "bela").await;
    let page = format!("/subscriptions/{}", shop.subscription);
    let budget = async |amount: &str, hard_stop: bool| {
        let body = json!({"amount": rupees(amount), "hard_stop": hard_stop});
        shop.plane.done(&shop.buyer, Method::PUT, "/wallet/budget", body, 200).await;
        told(&shop.plane, &cookie, &page).await
    };
    assert!(!budget("0.20", false).await.contains("your budget stops it"), "it stops nothing");
    let said = budget("0.20", true).await;
    assert!(said.contains("Free in your wallet ₹100 · your budget stops it"), "{said}");
    assert!(!budget("0.25", true).await.contains("your budget stops it"), "one call is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_month_that_cannot_be_paid_is_told_before_it_is_due() {
    let shop = shop("900").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    assert!(!said(&shop, &cookie, &id).await.contains("add money"));
    // The plan that follows costs more than is left.
    shop.post(&id, "change", json!({"plan_id": shop.large, "when": "period_end"}), 200).await;
    let short = said(&shop, &cookie, &id).await;
    assert!(short.contains("Free in your wallet ₹600 · add money"), "{short}");
    shop.post(&id, "cancel", json!({}), 200).await;
    assert!(!said(&shop, &cookie, &id).await.contains("add money"), "no month follows");
    shop.post(&id, "resume", json!({}), 200).await;
    // It is due in another calendar month than a budget of this one is for.
    let body = json!({"amount": rupees("300"), "hard_stop": true});
    shop.plane.done(&shop.buyer, Method::PUT, "/wallet/budget", body, 200).await;
    assert!(!said(&shop, &cookie, &id).await.contains("budget stops it"));
    shop.days_later(12).await;
    let body = json!({"amount": rupees("200"), "hard_stop": true});
    shop.plane.done(&shop.buyer, Method::PUT, "/wallet/budget", body, 200).await;
    assert!(said(&shop, &cookie, &id).await.contains("budget stops it"));
}
