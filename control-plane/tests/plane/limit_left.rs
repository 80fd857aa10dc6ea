//! What of a hard limit a month is left, and bounds what goes back: by its own counter, which has no call that was made under a
//! plan without such a limit or by other clocks.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};
use apiclay_control_plane::subscriptions::billing::bill_due;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::NOW;
use crate::support::browsing::{browser, page_as};
use crate::support::months::{DAY_MS, Shop, id_of, shop};
use crate::support::paying::rupees;
use crate::usage_days::called_with;

impl Shop {
    /// A plan at so much a month with these limits, and more.
    async fn plan(&self, slug: &str, price: &str, max: (&str, u64), more: Value) -> String {
        let limits = json!([{"unit": "call", "window": max.0, "max": max.1, "hard": true}]);
        let mut plan = json!({"slug": slug, "name": slug, "price": rupees(price), "limits": limits});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/listings/{}/plans", self.listing);
        id_of(&self.plane.done(&self.vendor, Method::POST, &path, plan, 201).await)
    }

    /// Calls of now, on record; the tenth is not billed.
    async fn calls(&self, id: &str, seq: u64, calls: u128) {
        called_with(&self.plane, id, seq, self.plane.app.clock.now(), calls).await;
        self.plane.app.fold.fold_all().await.unwrap();
    }

    /// What is left of the present plan's limit, and of how many.
    async fn limit_left(&self, id: &str) -> (Option<u64>, Option<u64>) {
        let shown = self.preview(id, &self.large, "now").await;
        (shown["limit_left"].as_u64(), shown["limit"].as_u64())
    }
}

/// A plan that has all of its calls in a hard limit: they come anew with each calendar month, of which this paid month has two.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hard_limit_has_let_through_is_not_given_back_with_the_time() {
    let shop = shop("1000").await;
    let ten = shop.plan("ten", "300", ("month", 10), json!({})).await;
    let id = id_of(&shop.subscribe(&ten, 201).await);
    assert_eq!(shop.preview(&id, &shop.free, "now").await["credit_bound_by"], "time_left");
    // Of eleven ten are billed.
    shop.calls(&id, 1, 11).await;
    let shown = shop.preview(&id, &shop.free, "now").await;
    let october: Timestamp = serde_json::from_value(json!("2026-10-01T00:00:00Z")).unwrap();
    let after_ms = NOW.plus_ms(30 * DAY_MS).0 - october.0;
    let credit = Money::new(300_000_000 * after_ms / (30 * DAY_MS), Currency::INR);
    assert_eq!((&shown["credit"], &shown["credit_bound_by"]), (&json!(credit), &json!("monthly_limit")));
    assert_eq!((&shown["limit"], &shown["limit_left"]), (&json!(10), &json!(0)), "{shown}");
    let cookie = browser(&shop.plane, "bela").await;
    let page = page_as(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans"), "plans-limited").await;
    assert!(page.contains("0 of 10"), "{page}");
    // In October there are ten more, and half of them are used.
    shop.plane.pass_ms(14 * DAY_MS);
    assert_eq!(shop.preview(&id, &shop.free, "now").await["credit_bound_by"], "time_left");
    shop.calls(&id, 2, 5).await;
    let half = json!(Money::new(credit.micro / 2, Currency::INR));
    assert_eq!(shop.preview(&id, &shop.free, "now").await["credit"], half);
    shop.calls(&id, 3, 5).await;
    let shown = shop.preview(&id, &shop.free, "now").await;
    assert_eq!((&shown["due_now"], &shown["limit_left"]), (&rupees("0.00"), &json!(0)), "{shown}");
    // There and back the used calls are deducted once.
    let balance = shop.balance().await;
    shop.post(&id, "change", json!({"plan_id": shop.large}), 200).await;
    shop.post(&id, "change", json!({"plan_id": ten}), 200).await;
    shop.post(&id, "change", json!({"plan_id": shop.free}), 200).await;
    assert_eq!(shop.balance().await, balance);
    shop.all_sound().await;
}

/// The month's counter has no call that was made under a plan without such a limit, or by other clocks, and has all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_has_what_its_own_counter_has_not() {
    let shop = shop("5000").await;
    let daily = shop.plan("daily", "0", ("day", 100), json!({})).await;
    let ten = shop.plan("ten", "300", ("month", 10), json!({})).await;
    let there = shop.plan("there", "300", ("month", 10), json!({"zone": "Asia/Kolkata"})).await;
    let id = id_of(&shop.subscribe(&daily, 201).await);
    let change = async |plan: &str| shop.post(&id, "change", json!({"plan_id": plan}), 200).await;
    // Eighteen of no such limit, which had all ten still.
    shop.calls(&id, 1, 9).await;
    shop.calls(&id, 2, 9).await;
    change(&ten).await;
    assert_eq!(shop.limit_left(&id).await, (Some(10), Some(10)));
    shop.calls(&id, 3, 6).await;
    assert_eq!(shop.limit_left(&id).await, (Some(4), Some(10)));
    // There and back, with calls in between that are none of this counter's.
    change(&daily).await;
    assert_eq!(shop.limit_left(&id).await, (None, None), "nothing is paid for");
    shop.calls(&id, 4, 9).await;
    change(&ten).await;
    assert_eq!(shop.limit_left(&id).await, (Some(4), Some(4)));
    change(&there).await;
    shop.calls(&id, 5, 7).await;
    assert_eq!(shop.limit_left(&id).await, (Some(3), Some(10)), "a counter of its own");
    change(&ten).await;
    shop.calls(&id, 6, 4).await;
    let shown = shop.preview(&id, &daily, "now").await;
    assert_eq!((&shown["limit_left"], &shown["credit_bound_by"]), (&json!(0), &json!("monthly_limit")));
    change(&there).await;
    assert_eq!(shop.limit_left(&id).await, (Some(3), Some(3)));
    shop.all_sound().await;
}

/// Also where another plan begins with the next month, and where the same goes on within a calendar month and a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_begins_with_what_the_counter_has_left() {
    let shop = shop("5000").await;
    let ten = shop.plan("ten", "300", ("month", 10), json!({})).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.post(&id, "change", json!({"plan_id": ten, "when": "period_end"}), 200).await;
    let renewed = async |seq| {
        let ends_at = shop.stored(&id).await.value.paid.unwrap().period.ends_at;
        shop.plane.pass_ms(ends_at.0 - shop.plane.app.clock.now().0 - 1);
        shop.calls(&id, seq, 6).await;
        shop.plane.pass_ms(1);
        bill_due(&shop.plane.app).await.unwrap();
    };
    renewed(1).await;
    assert_eq!(
        shop.limit_left(&id).await,
        (Some(10), Some(10)),
        "six were made under a plan without a limit"
    );
    renewed(2).await;
    assert_eq!(shop.limit_left(&id).await, (Some(4), Some(4)), "six are the month's before");
    shop.all_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_plan_whose_calls_cost_bounds_nothing() {
    let shop = shop("1000").await;
    let usage = json!({"usage_price": {"unit": "call", "amount": rupees("0.25")}});
    let plan = shop.plan("ten", "300", ("month", 10), usage).await;
    let id = id_of(&shop.subscribe(&plan, 201).await);
    shop.calls(&id, 1, 9).await;
    let shown = shop.preview(&id, &shop.free, "now").await;
    assert_eq!((&shown["credit_bound_by"], &shown["limit"]), (&json!("time_left"), &json!(null)), "{shown}");
}
