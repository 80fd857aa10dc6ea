//! What goes back of a month, by a change of plan and by a credit note, in either order and at once: never more than was
//! charged for it, and not for included calls that were used. The journal and the invoices are verified after each story.

use apiclay_control_plane::invoices::run::issue_due;
use apiclay_control_plane::invoices::verify::verify as verify_invoices;
use apiclay_control_plane::subscriptions::billing::bill_due;
use apiclay_control_plane::subscriptions::charge::{Becomes, Paid, Purpose};
use apiclay_control_plane::subscriptions::documents::Subscription;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browsing::{browser, page_as};
use crate::support::leases::{self, EPOCH};
use crate::support::market::{code_of, gateway};
use crate::support::months::{DAY_MS, Shop, id_of, price, shop};
use crate::support::paying::rupees;
use crate::support::{Plane, body_of};

/// A month at 300 since the 21st of September, which is invoiced, and the invoice; 30 days long, 18 of them left.
async fn invoiced() -> (Shop, String, String) {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.plane.pass_ms(12 * DAY_MS);
    bill_due(&shop.plane.app).await.unwrap();
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 1);
    let listed = shop.plane.done(&shop.buyer, Method::GET, "/invoices", json!(null), 200).await;
    let invoice = listed["items"][0]["id"].as_str().unwrap().to_owned();
    (shop, id, invoice)
}

impl Shop {
    /// Gives money of an invoice's first line back, under a key of its own.
    async fn credit(&self, plane: &Plane, invoice: &str, amount: &str) -> reqwest::Response {
        let body = json!({"line": 1, "amount": rupees(amount), "reason": "The API was down"});
        let path = format!("/admin/invoices/{invoice}/credit-notes");
        let asked = plane.to(Method::POST, &path).bearer_auth(&self.boss.token);
        asked.header("idempotency-key", format!("{invoice}-{amount}")).json(&body).send().await.unwrap()
    }

    pub async fn all_sound(&self) {
        self.sound().await;
        assert_eq!(verify_invoices(&self.plane.app.store).await.unwrap().faults, Vec::<String>::new());
    }

    /// A plan at so much a month with ten calls included, and a lease's view of this shop under a subscription to it.
    async fn with_included(self, slug: &str, price: &str) -> (Self, String) {
        let usage = json!({"unit": "call", "amount": rupees("0.25"), "included": 10});
        let plan = json!({"slug": slug, "name": slug, "price": rupees(price), "usage_price": usage});
        let path = format!("/listings/{}/plans", self.listing);
        let plan = self.plane.done(&self.vendor, Method::POST, &path, plan, 201).await;
        let plan = plan["id"].as_str().unwrap().to_owned();
        (self, plan)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_has_given_back_is_credited_no_more() {
    let (shop, id, invoice) = invoiced().await;
    shop.post(&id, "change", json!({"plan_id": shop.free}), 200).await;
    assert_eq!(shop.balance().await, "880.00", "18 of 30 days went back");
    let refused = shop.credit(&shop.plane, &invoice, "120.01").await;
    assert_eq!(code_of(refused).await, (409, "refund_too_large".to_owned()));
    assert_eq!(shop.credit(&shop.plane, &invoice, "120").await.status(), 201);
    assert_eq!(shop.balance().await, "1000.00");
    let refused = shop.credit(&shop.plane, &invoice, "0.01").await;
    assert_eq!(code_of(refused).await.1, "refund_too_large");
    shop.all_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_gives_back_no_more_than_credit_notes_have_left() {
    let (shop, id, invoice) = invoiced().await;
    assert_eq!(shop.credit(&shop.plane, &invoice, "250").await.status(), 201);
    assert_eq!(shop.balance().await, "950.00");
    let shown = shop.preview(&id, &shop.free, "now").await;
    assert_eq!((&shown["credit"], &shown["due_now"]), (&rupees("50.00"), &rupees("-50.00")), "{shown}");
    // Up: what is left of the old month is worth no more either, and the new one costs its part.
    let shown = shop.preview(&id, &shop.large, "now").await;
    assert_eq!((&shown["price"], &shown["credit"]), (&rupees("540.00"), &rupees("50.00")), "{shown}");
    let agreed =
        json!({"plan_id": shop.large, "previewed_at": shown["previewed_at"], "due_now": shown["due_now"]});
    shop.post(&id, "change", agreed, 200).await;
    assert_eq!(shop.balance().await, "460.00");
    shop.post(&id, "change", json!({"plan_id": shop.free}), 200).await;
    assert_eq!(shop.balance().await, "1000.00", "all of the month, and no more");
    shop.all_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_a_credit_note_at_once_give_back_no_more_than_was_charged() {
    let (shop, id, invoice) = invoiced().await;
    let second = shop.plane.second().await;
    let path = format!("/subscriptions/{id}/change");
    let change = shop.plane.call(&shop.buyer, Method::POST, &path, json!({"plan_id": shop.free}));
    let (changed, credited) = tokio::join!(change, shop.credit(&second, &invoice, "300"));
    let told = [changed.status().as_u16(), credited.status().as_u16()];
    bill_due(&shop.plane.app).await.unwrap();
    let balance: f64 = shop.balance().await.parse().unwrap();
    assert!(balance <= 1000.0, "{told:?} {balance}");
    // One of both may have come second and be refused; whoever is refused is told so.
    assert!(told.iter().any(|status| *status < 300), "{told:?}");
    assert_eq!(shop.stored(&id).await.value.charging, None);
    shop.all_sound().await;
}

/// A view of the same shop by which a gateway takes calls.
async fn calling(shop: Shop, id: &str, plan: &str) -> leases::Shop {
    let gateway = gateway(&shop.plane, "gw-1").await;
    let Shop { plane, buyer, .. } = shop;
    let (subscription, plan) = (id.to_owned(), plan.to_owned());
    leases::Shop { plane, buyer, subscription, plan, vendor: String::new(), gateway }
}

/// Takes so many included calls and has them on record; `last` is the last lease's number, and its batch's.
async fn use_calls(shop: &leases::Shop, last: &mut u32, calls: u64) {
    let mut left = calls;
    while left > 0 {
        *last += 1;
        let got = shop.lease(*last, 3).await.min(left);
        assert!(got > 0, "{left} of {calls} are not to be had");
        shop.batch((EPOCH, u64::from(*last)), *last, got.into(), got.into()).await;
        shop.close(*last, u32::try_from(got).unwrap(), u64::from(*last)).await;
        shop.settle().await;
        left -= got;
    }
}

async fn preview(shop: &leases::Shop, plan: &str) -> Value {
    let path = format!("/subscriptions/{}/change-preview?plan_id={plan}", shop.subscription);
    shop.plane.done(&shop.buyer, Method::GET, &path, json!(null), 200).await
}

async fn change(shop: &leases::Shop, plan: &str, shown: &Value) -> reqwest::Response {
    let body = json!({"plan_id": plan, "previewed_at": shown["previewed_at"], "due_now": shown["due_now"]});
    let path = format!("/subscriptions/{}/change", shop.subscription);
    shop.plane.call(&shop.buyer, Method::POST, &path, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_included_calls_were_used_is_not_given_back_with_the_time() {
    let (shop, plan) = shop("1000").await.with_included("incl", "300").await;
    let id = id_of(&shop.subscribe(&plan, 201).await);
    let (free, small) = (shop.free.clone(), shop.small.clone());
    let (shop, mut last) = (calling(shop, &id, &plan).await, 0);
    use_calls(&shop, &mut last, 6).await;
    // All of the time is left, and four of ten calls.
    let shown = preview(&shop, &free).await;
    assert_eq!(shown["due_now"], rupees("-120.00"), "{shown}");
    assert_eq!(shown["credit_bound_by"], "included_units", "{shown}");
    assert_eq!((shown["included_left"].as_u64(), shown["included"].as_u64()), (Some(4), Some(10)), "{shown}");
    assert_eq!(preview(&shop, &small).await["due_now"], rupees("180.00"));
    let cookie = browser(&shop.plane, "bela").await;
    let page = page_as(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans"), "plans-included").await;
    assert!(page.contains("included part that is unused: 4 of 10."), "{page}");
    // One more is taken: what was shown is not what is due, and nothing is done.
    use_calls(&shop, &mut last, 1).await;
    assert_eq!(code_of(change(&shop, &free, &shown).await).await, (409, "amount_changed".to_owned()));
    let shown = preview(&shop, &free).await;
    assert_eq!(shown["due_now"], rupees("-90.00"));
    assert_eq!(change(&shop, &free, &shown).await.status(), 200);
    assert!(leases::is(&shop.wallet().await, "790.00", "0.00"), "{:?}", shop.wallet().await);
    // What went back can be had no more, also by who comes back.
    shop.plane.pass_ms(1);
    let back = preview(&shop, &plan).await;
    assert_eq!(change(&shop, &plan, &back).await.status(), 200);
    let report = apiclay_control_plane::ledger::verify::verify(&shop.plane.app.store).await.unwrap();
    assert_eq!((report.faults, report.open_holds), (vec![], vec![]));
    let left = report.balances.iter().filter(|(account, _)| account.to_string().starts_with("included:"));
    assert_eq!(left.map(|(_, calls)| *calls).sum::<i128>(), 0, "the three that were given back for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_sent_again_is_charged_once() {
    let (shop, small) = shop("2000").await.with_included("small-ten", "300").await;
    let (shop, large) = shop.with_included("large-ten", "900").await;
    let id = id_of(&shop.subscribe(&small, 201).await);
    let (shop, mut last) = (calling(shop, &id, &small).await, 0);
    use_calls(&shop, &mut last, 6).await;
    // Its answer was lost, and its key is another: 900, less four tenths of 300.
    for _ in 0..2 {
        let path = format!("/subscriptions/{id}/change");
        shop.plane.done(&shop.buyer, Method::POST, &path, json!({"plan_id": large}), 200).await;
        assert!(leases::is(&shop.wallet().await, "920.00", "0.00"), "{:?}", shop.wallet().await);
    }
    let shown = preview(&shop, &large).await;
    assert_eq!((&shown["due_now"], &shown["credit_bound_by"]), (&rupees("0.00"), &json!(null)), "{shown}");
}

/// What was used under one price is deducted by the change from it, and by no later one.
#[tokio::test(flavor = "multi_thread")]
async fn included_calls_that_were_used_are_deducted_once() {
    let (shop, small) = shop("2000").await.with_included("small-ten", "300").await;
    let (shop, large) = shop.with_included("large-ten", "900").await;
    let id = id_of(&shop.subscribe(&small, 201).await);
    let free = shop.free.clone();
    let (mut shop, mut last) = (calling(shop, &id, &small).await, 0);
    use_calls(&shop, &mut last, 6).await;
    let shown = preview(&shop, &large).await;
    assert_eq!(shown["due_now"], rupees("780.00"), "{shown}");
    assert_eq!(change(&shop, &large, &shown).await.status(), 200);
    shop.plan = large;
    let shown = preview(&shop, &small).await;
    assert_eq!((shown["included_left"].as_u64(), shown["included"].as_u64()), (Some(4), Some(4)), "{shown}");
    assert_eq!(shown["credit_bound_by"], "time_left", "nothing was used at this price: {shown}");
    // Two of the four, at 900.
    use_calls(&shop, &mut last, 2).await;
    let shown = preview(&shop, &small).await;
    assert_eq!((&shown["credit"], &shown["credit_bound_by"]), (&rupees("450.00"), &json!("included_units")));
    assert_eq!(change(&shop, &small, &shown).await.status(), 200);
    shop.plan = small;
    use_calls(&shop, &mut last, 2).await;
    shop.plane.pass_ms(60_000);
    assert_eq!(preview(&shop, &free).await["credit"], rupees("0.00"), "all ten are used");
}

/// Units that a gateway held at a change count as used, and can be used when it hands them back, whatever follows.
#[tokio::test(flavor = "multi_thread")]
async fn included_calls_that_were_held_at_a_change_are_taken_by_no_later_one() {
    let (shop, small) = shop("2000").await.with_included("small-ten", "300").await;
    let (shop, large) = shop.with_included("large-ten", "900").await;
    let id = id_of(&shop.subscribe(&small, 201).await);
    let (mut shop, mut last) = (calling(shop, &id, &small).await, 1);
    let held = shop.lease(1, 3).await;
    assert!((1..10).contains(&held), "{held}");
    let shown = preview(&shop, &large).await;
    assert_eq!(change(&shop, &large, &shown).await.status(), 200);
    shop.close(1, 0, 0).await;
    shop.settle().await;
    let shown = preview(&shop, &small).await;
    assert_eq!(shown["included_left"], shown["included"], "{shown}");
    assert_eq!(change(&shop, &small, &shown).await.status(), 200);
    shop.plan = small;
    let before = shop.wallet().await;
    use_calls(&shop, &mut last, 10).await;
    assert_eq!(shop.wallet().await, before, "all ten are included still");
}

/// Free calls of a month stand beside those that were paid for, whichever came first.
#[tokio::test(flavor = "multi_thread")]
async fn a_free_plan_in_place_of_a_paid_one_has_included_calls_of_its_own() {
    let (shop, paid) = shop("2000").await.with_included("paid-ten", "300").await;
    let (shop, taste) = shop.with_included("taste", "0").await;
    let id = id_of(&shop.subscribe(&paid, 201).await);
    let (mut shop, mut last) = (calling(shop, &id, &paid).await, 0);
    use_calls(&shop, &mut last, 6).await;
    let shown = preview(&shop, &taste).await;
    assert_eq!(change(&shop, &taste, &shown).await.status(), 200);
    shop.plan = taste.clone();
    use_calls(&shop, &mut last, 10).await;
    let used = shop.wallet().await;
    assert!(leases::is(&used, "1820.00", "0.00"), "none of them costs anything: {used:?}");
    // The next month of the paid plan has its ten, whatever the account uses of free ones.
    let back = preview(&shop, &paid).await;
    assert_eq!(change(&shop, &paid, &back).await.status(), 200);
    shop.plan = paid.clone();
    let second = shop.plane.done(&shop.buyer, Method::POST, "/subscriptions", json!({"plan_id": taste}), 201);
    let second = id_of(&second.await);
    shop.plane.pass_ms(31 * DAY_MS);
    bill_due(&shop.plane.app).await.unwrap();
    let mut other = leases::Shop { subscription: second, plan: taste, ..shop };
    use_calls(&other, &mut last, 10).await;
    (other.subscription, other.plan) = (id, paid);
    let before = other.wallet().await;
    use_calls(&other, &mut last, 10).await;
    assert_eq!(other.wallet().await, before);
}

/// A change stands in the subscription, and before it is in the journal a gateway gets a lease of units that it gives back for.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_declined_where_a_lease_has_taken_units_that_it_gives_back_for() {
    let (shop, plan) = shop("1000").await.with_included("incl", "300").await;
    let id = id_of(&shop.subscribe(&plan, 201).await);
    let shop = calling(shop, &id, &plan).await;
    let mut found = shop.plane.app.store.get::<Subscription>(&id).await.unwrap().unwrap();
    let becomes = Becomes {
        edition: found.value.edition(),
        pays: true,
        paid: found.value.paid.map(|paid| Paid { included: 0, taken_units: 10, ..paid }),
        trial_ends_at: None,
    };
    found.value.charge(Purpose::Change, (price(-300), 0), becomes, shop.plane.app.clock.now());
    found.value.charging.as_mut().unwrap().takes_units = 10;
    assert_eq!(shop.lease(1, 1).await, 1);
    shop.plane.app.store.replace(&found.value, found.version).await.unwrap();
    shop.plane.pass_ms(60_000);
    bill_due(&shop.plane.app).await.unwrap();
    let after = shop.plane.app.store.get::<Subscription>(&id).await.unwrap().unwrap().value;
    assert_eq!((after.charging, after.paid.unwrap().included), (None, 10));
    assert!(leases::is(&shop.wallet().await, "700.00", "0.00"), "{:?}", shop.wallet().await);
    let report = apiclay_control_plane::ledger::verify::verify(&shop.plane.app.store).await.unwrap();
    assert_eq!((report.faults, report.open_holds.len()), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_plan_bought_again_goes_on_with_the_included_calls_that_are_left() {
    let (shop, plan) = shop("0").await.with_included("taste", "0").await;
    let id = id_of(&shop.subscribe(&plan, 201).await);
    let (mut shop, mut last) = (calling(shop, &id, &plan).await, 0);
    use_calls(&shop, &mut last, 7).await;
    let cancel = format!("/subscriptions/{}/cancel", shop.subscription);
    shop.plane.pass_ms(DAY_MS);
    shop.plane.done(&shop.buyer, Method::POST, &cancel, json!({}), 200).await;
    let again = shop.plane.done(&shop.buyer, Method::POST, "/subscriptions", json!({"plan_id": plan}), 201);
    shop.subscription = id_of(&again.await);
    use_calls(&shop, &mut last, 3).await;
    assert_eq!(shop.lease(40, 3).await, 0, "ten are included, whoever ends and buys again");
    let told = apiclay_control_plane::usage::books::verify(&shop.plane.app.store, shop.plane.app.clock.now());
    assert_eq!(told.await.unwrap().faults, []);
    // A new window, counted from when the first one began, and not from when it was bought again.
    shop.plane.pass_ms(29 * DAY_MS);
    assert_eq!(shop.lease(41, 3).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_a_free_plan_with_a_trial_by_days_opens_it_also_at_the_months_end() {
    let shop = shop("300").await;
    let plan = json!({"slug": "days", "name": "Days", "price": rupees("0"), "trial": {"days": 14}});
    let path = format!("/listings/{}/plans", shop.listing);
    let plan = shop.plane.done(&shop.vendor, Method::POST, &path, plan, 201).await["id"].clone();
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.post(&id, "change", json!({"plan_id": plan, "when": "period_end"}), 200).await;
    assert_eq!(shop.stored(&id).await.value.trial_ends_at, None, "not before it takes place");
    shop.days_later(31).await;
    let now = shop.plane.app.clock.now();
    let changed = shop.stored(&id).await.value;
    assert_eq!((json!(changed.plan), changed.trial_ends_at), (plan.clone(), Some(now.plus_ms(14 * DAY_MS))));
    // Once an account and listing: who comes again finds the same end.
    shop.post(&id, "change", json!({"plan_id": shop.by_the_call}), 200).await;
    shop.days_later(3).await;
    shop.post(&id, "change", json!({"plan_id": plan}), 200).await;
    assert_eq!(shop.stored(&id).await.value.trial_ends_at, Some(now.plus_ms(14 * DAY_MS)));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_given_back_under_a_key_alone_and_once_under_each() {
    let (shop, _, invoice) = invoiced().await;
    let body = json!({"line": 1, "amount": rupees("10"), "reason": "x"});
    let path = format!("/admin/invoices/{invoice}/credit-notes");
    let keyless = shop.plane.call(&shop.boss, Method::POST, &path, body).await;
    assert_eq!(keyless.status(), 400);
    let told = body_of(keyless).await;
    assert_eq!(told["code"], "request_malformed");
    assert!(told["detail"].as_str().unwrap().contains("Idempotency-Key"), "{told}");
    let first = shop.credit(&shop.plane, &invoice, "10").await;
    let again = shop.credit(&shop.plane, &invoice, "10").await;
    assert_eq!((first.status().as_u16(), again.status().as_u16()), (201, 201));
    assert_eq!(body_of(first).await, body_of(again).await);
    assert_eq!(shop.balance().await, "710.00");
    shop.all_sound().await;
}
