//! What of the calls that a price buys is left, and bounds what goes back of it: by a hard limit a month, or by the calls that cost
//! nothing more, counted since that price began, whatever calendar months it touches.

use apiclay_config::clock::Timestamp;
use apiclay_control_plane::plans::documents::PlanRevision;
use apiclay_control_plane::subscriptions::billing::bill_due;
use apiclay_control_plane::subscriptions::charge::{Becomes, Edition, Purpose};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browsing::{browser, form, look, read, send, to};
use crate::support::months::{DAY_MS, Shop, id_of, price, shop};
use crate::support::paying::rupees;
use crate::usage_days::called_with;

const MINUTE_MS: i64 = 60_000;

impl Shop {
    /// A plan at 300 a month with this hard limit of calls a month, and more.
    async fn limited(&self, slug: &str, max: u64, more: Value) -> String {
        let limits = json!([{"unit": "call", "window": "month", "max": max, "hard": true}]);
        let mut plan = json!({"slug": slug, "name": slug, "price": rupees("300"), "limits": limits});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/listings/{}/plans", self.listing);
        id_of(&self.plane.done(&self.vendor, Method::POST, &path, plan, 201).await)
    }

    /// Calls of now, on record; every tenth is not billed.
    async fn calls(&self, id: &str, seq: u64, calls: u128) {
        called_with(&self.plane, id, seq, self.plane.app.clock.now(), calls).await;
        self.plane.app.fold.fold_all().await.unwrap();
    }

    /// What goes back of the present month, why no more, and how many of its calls are left.
    async fn back(&self, id: &str) -> (Value, String, Value, Value) {
        let shown = self.preview(id, &self.free, "now").await;
        let why = shown["credit_bound_by"].as_str().unwrap().to_owned();
        (shown["credit"].clone(), why, shown["calls_left"].clone(), shown["calls"].clone())
    }

    /// Passes the time until a moment.
    fn pass_to(&self, moment: &str) {
        let moment: Timestamp = serde_json::from_value(json!(moment)).unwrap();
        self.plane.pass_ms(moment.0 - self.plane.app.clock.now().0);
    }

    async fn spent(&self, topped_up: f64) -> f64 {
        topped_up - self.balance().await.parse::<f64>().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hard_limit_has_let_through_is_not_given_back_with_the_time() {
    let shop = shop("1000").await;
    let ten = shop.limited("ten", 10, json!({})).await;
    let id = id_of(&shop.subscribe(&ten, 201).await);
    assert_eq!(shop.back(&id).await.1, "time_left");
    shop.calls(&id, 1, 5).await;
    assert_eq!(shop.back(&id).await, (rupees("150.00"), "calls_left".to_owned(), json!(5), json!(10)));
    let cookie = browser(&shop.plane, "bela").await;
    let page = look(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans")).await.text().await.unwrap();
    assert!(page.contains("5 of 10") && page.contains("at most ₹300"), "{page}");
    // In the next calendar month its counter has ten more; the price has bought ten.
    shop.plane.pass_ms(20 * DAY_MS);
    assert_eq!(shop.back(&id).await.1, "time_left");
    shop.calls(&id, 2, 5).await;
    assert_eq!(shop.back(&id).await, (rupees("0.00"), "calls_left".to_owned(), json!(0), json!(10)));
    let up = shop.preview(&id, &shop.large, "now").await;
    assert_eq!((&up["price"], &up["due_now"]), (&rupees("300.00"), &rupees("300.00")), "{up}");
    shop.post(&id, "change", json!({"plan_id": shop.free}), 200).await;
    assert_eq!(shop.balance().await, "700.00");
    shop.all_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_up_just_before_a_calendar_month_ends_is_not_given_back() {
    let shop = shop("1000").await;
    let ten = shop.limited("ten", 10, json!({})).await;
    shop.pass_to("2026-09-30T23:30:00Z");
    let id = id_of(&shop.subscribe(&ten, 201).await);
    shop.calls(&id, 1, 11).await;
    shop.plane.pass_ms(15 * MINUTE_MS);
    let (credit, why, ..) = shop.back(&id).await;
    assert_eq!((credit, why.as_str()), (rupees("0.00"), "calls_left"));
}

/// All that can be called cost nothing more, also where a price of calls begins after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_of_calls_that_cannot_be_made_or_begins_later_hides_no_used_calls() {
    let shop = shop("2000").await;
    let tiers = json!([{"up_to": 10, "amount": rupees("0")}, {"amount": rupees("0.25")}]);
    let tiers = json!({"usage_price": {"unit": "call", "tiers": tiers, "mode": "graduated"}});
    let included = json!({"usage_price": {"unit": "call", "amount": rupees("0.25"), "included": 50}});
    for (seq, plan) in [
        (1, shop.limited("tiers", 10, tiers.clone()).await),
        (2, shop.limited("first-free", 1_000, tiers).await),
        (3, shop.limited("included", 10, included).await),
    ] {
        let id = id_of(&shop.subscribe(&plan, 201).await);
        shop.calls(&id, seq, 11).await;
        shop.plane.pass_ms(DAY_MS);
        assert_eq!(shop.back(&id).await, (rupees("0.00"), "calls_left".to_owned(), json!(0), json!(10)));
    }
}

/// Each price pays for its own share of its calls: who goes and comes back pays for what was used, once.
#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_pays_for_what_was_used_once() {
    let shop = shop("5000").await;
    let ten = shop.limited("ten", 10, json!({})).await;
    let id = id_of(&shop.subscribe(&ten, 201).await);
    let change = async |plan: &str| {
        shop.plane.pass_ms(MINUTE_MS);
        shop.post(&id, "change", json!({"plan_id": plan}), 200).await
    };
    shop.calls(&id, 1, 6).await;
    change(&shop.large).await;
    shop.calls(&id, 2, 9).await;
    change(&ten).await;
    let (_, why, left, of) = shop.back(&id).await;
    assert_eq!((why.as_str(), left, of), ("time_left", json!(10), json!(10)));
    shop.calls(&id, 3, 4).await;
    change(&shop.free).await;
    // Six tenths of a month and four of another, and a large plan's minute.
    let spent = shop.spent(5000.0).await;
    assert!((300.0..300.1).contains(&spent), "{spent}");
    // A day before its end a price buys as many calls, and three of ten are three tenths of what it costs.
    shop.pass_to("2026-10-20T14:13:20Z");
    change(&ten).await;
    shop.calls(&id, 4, 3).await;
    change(&shop.free).await;
    let more = shop.spent(5000.0).await - spent;
    assert!((2.9..3.1).contains(&more), "{more}");
    shop.all_sound().await;
}

/// Also calls of the minute in which it is renewed, and of a renewal with another plan.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_begins_with_all_calls_and_each_counts_that_is_made_in_it() {
    let shop = shop("5000").await;
    let ten = shop.limited("ten", 10, json!({})).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.post(&id, "change", json!({"plan_id": ten, "when": "period_end"}), 200).await;
    for seq in [1, 3] {
        let ends_at = shop.stored(&id).await.value.paid.unwrap().period.ends_at;
        shop.plane.pass_ms(ends_at.0 - MINUTE_MS - shop.plane.app.clock.now().0);
        shop.calls(&id, seq, 6).await;
        shop.plane.pass_ms(MINUTE_MS);
        bill_due(&shop.plane.app).await.unwrap();
        assert_eq!(shop.back(&id).await.1, "time_left");
        shop.calls(&id, seq + 1, 11).await;
        shop.plane.pass_ms(MINUTE_MS);
        assert_eq!(shop.back(&id).await, (rupees("0.00"), "calls_left".to_owned(), json!(0), json!(10)));
    }
    shop.all_sound().await;
}

/// Who calls while he reads what a change costs has it for what it costs then, as far as the page said.
#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_whose_calls_go_on_can_change_his_plan() {
    let shop = shop("2000").await;
    let thousand = shop.limited("thousand", 1_000, json!({})).await;
    let id = id_of(&shop.subscribe(&thousand, 201).await);
    shop.calls(&id, 1, 900).await;
    let cookie = browser(&shop.plane, "bela").await;
    let (page, path) = (format!("/subscriptions/{id}/plans"), format!("/subscriptions/{id}/change"));
    let shown = look(&shop.plane, &cookie, &page).await.text().await.unwrap();
    // 190 of 1,000 calls are left, and 20 may be made until he says yes.
    let said = read(&shown);
    assert!(said.contains("₹843 for the rest of this month, at most ₹849"), "{said}");
    let fields = form(&shown, &path, &shop.large);
    shop.calls(&id, 2, 23).await;
    assert_eq!(send(&shop.plane, &cookie, &path, &fields).await.status(), 409, "21 are more");
    let shown = look(&shop.plane, &cookie, &page).await.text().await.unwrap();
    let fields = form(&shown, &path, &shop.large);
    shop.calls(&id, 3, 11).await;
    let done = send(&shop.plane, &cookie, &path, &fields).await;
    assert_eq!(to(&done), format!("/subscriptions/{id}?done=plan_changed"));
    // 159 are left: what it was then is charged, and no more.
    assert_eq!(shop.balance().await, "847.70");
    shop.all_sound().await;
}

/// They are deducted from the old price: what was made before a change is never deducted from the new one as well.
#[tokio::test(flavor = "multi_thread")]
async fn calls_between_a_preview_and_its_change_are_not_deducted_from_the_new_price() {
    let shop = shop("2000").await;
    let ten = shop.limited("ten", 10, json!({})).await;
    let hundred = shop.limited("hundred", 100, json!({"price": rupees("600")})).await;
    let id = id_of(&shop.subscribe(&ten, 201).await);
    let previewed_at = shop.preview(&id, &hundred, "now").await["previewed_at"].clone();
    shop.plane.pass_ms(8 * MINUTE_MS);
    shop.calls(&id, 1, 5).await;
    shop.plane.pass_ms(MINUTE_MS);
    shop.post(&id, "change", json!({"plan_id": hundred, "previewed_at": previewed_at}), 200).await;
    let (.., left, calls) = shop.back(&id).await;
    assert_eq!((left, calls), (json!(100), json!(100)));
}

/// An edition that is gone keeps nobody from what he has paid for, be it the one before or the one after.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_edition_keeps_no_change_and_no_renewal_from_being_finished() {
    let shop = shop("5000").await;
    let app = &shop.plane.app;
    let large = Edition { plan: shop.large.parse().unwrap(), revision: 1 };
    for (renews, missing) in [(false, &shop.small), (true, &shop.small), (false, &shop.large)] {
        let id = id_of(&shop.subscribe(&shop.small, 201).await);
        let mut found = shop.stored(&id).await;
        if renews {
            found.value.next_edition = Some(large);
        } else {
            let becomes = Becomes { edition: large, ..found.value.as_it_is() };
            found.value.charge(Purpose::Change, (price(600), 0), becomes, app.clock.now());
        }
        app.store.replace(&found.value, found.version).await.unwrap();
        let missing = PlanRevision::id_of(missing.parse().unwrap(), 1);
        let kept = app.store.get::<PlanRevision>(&missing).await.unwrap().unwrap().value;
        assert!(app.store.delete::<PlanRevision>(&missing).await.unwrap());
        shop.days_later(if renews { 31 } else { 1 }).await;
        let after = shop.stored(&id).await.value;
        assert_eq!((after.edition(), after.charging), (large, None));
        app.store.insert(&kept).await.unwrap();
        shop.post(&id, "cancel", json!({"when": "now"}), 200).await;
    }
    shop.sound().await;
}
