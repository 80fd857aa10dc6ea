//! Buying by the pages: what is charged is what the page showed, and where it can be no more, the page comes again and says why.

use reqwest::Method;
use serde_json::json;

use crate::support::browsing::{browser, form, look, read, send, to, told};
use crate::support::months::{Shop, id_of, shop};
use crate::support::paying::rupees;

const LISTING: &str = "/l/acme/weather";

async fn html(shop: &Shop, cookie: &str, path: &str) -> String {
    look(&shop.plane, cookie, path).await.text().await.unwrap()
}

async fn reprice(shop: &Shop, plan: &str, change: serde_json::Value) {
    shop.plane.done(&shop.vendor, Method::PATCH, &format!("/plans/{plan}"), change, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_subscribes_at_a_price_that_the_page_did_not_show() {
    let shop = shop("1000").await;
    let cookie = browser(&shop.plane, "bela").await;
    let page = html(&shop, &cookie, LISTING).await;
    assert!(page.contains("Subscribe for ₹300"), "{page}");
    let calls_price = json!({"usage_price": {"unit": "call", "amount": rupees("25")}});
    reprice(&shop, &shop.small, json!({"price": rupees("500")})).await;
    reprice(&shop, &shop.by_the_call, calls_price).await;
    for plan in [&shop.small, &shop.by_the_call] {
        let answer = send(&shop.plane, &cookie, "/subscriptions", &form(&page, "/subscriptions", plan)).await;
        let back = to(&answer);
        assert_eq!(back, format!("{LISTING}?done=plan_revised"));
        let said = told(&shop.plane, &cookie, &back).await;
        assert!(said.contains("Nothing was charged") && said.contains("Subscribe for ₹500"), "{said}");
    }
    let mine = shop.plane.done(&shop.buyer, Method::GET, "/subscriptions", json!(null), 200).await;
    assert_eq!((mine["items"].clone(), shop.balance().await), (json!([]), "1000.00".to_owned()));
    // Asked again with what it shows now, it is had.
    let page = html(&shop, &cookie, LISTING).await;
    let fields = form(&page, "/subscriptions", &shop.small);
    assert!(to(&send(&shop.plane, &cookie, "/subscriptions", &fields).await).ends_with("?done=subscribed"));
    assert_eq!(shop.balance().await, "500.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_which_edition_it_read_buys_that_or_nothing() {
    let shop = shop("1000").await;
    reprice(&shop, &shop.small, json!({"price": rupees("500")})).await;
    let buy = async |revision: u32, status| {
        let body = json!({"plan_id": shop.small, "plan_revision": revision});
        shop.plane.done(&shop.buyer, Method::POST, "/subscriptions", body, status).await
    };
    assert_eq!(buy(1, 409).await["code"], "amount_changed");
    assert_eq!(shop.balance().await, "1000.00");
    assert_eq!(buy(2, 201).await["plan_revision"], 2);
    assert_eq!(shop.balance().await, "500.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_on_costs_what_was_shown_or_nothing() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.days_later(31).await;
    shop.days_later(3).await;
    shop.top_up("1000").await;
    let refused = shop.post(&id, "resume", json!({"due_now": rupees("299.99")}), 409).await;
    assert_eq!(refused["code"], "amount_changed");
    let cookie = browser(&shop.plane, "bela").await;
    let (page, path) = (format!("/subscriptions/{id}"), format!("/subscriptions/{id}/resume"));
    let mut fields = form(&html(&shop, &cookie, &page).await, &path, "Pay ₹300 and go on");
    let due = fields.iter_mut().find(|(name, _)| name == "due_now").unwrap();
    assert_eq!(std::mem::replace(&mut due.1, "299990000".to_owned()), "300000000");
    let answer = send(&shop.plane, &cookie, &path, &fields).await;
    assert_eq!(answer.status(), 409);
    let said = read(&answer.text().await.unwrap());
    assert!(said.contains("not what was shown") && said.contains("Pay ₹300 and go on"), "{said}");
    assert_eq!(shop.balance().await, "1000.00");
    let fields = form(&html(&shop, &cookie, &page).await, &path, "Pay ₹300 and go on");
    assert_eq!(to(&send(&shop.plane, &cookie, &path, &fields).await), format!("{page}?done=resumed"));
    assert_eq!(shop.balance().await, "700.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_can_be_had_no_more_as_shown_shows_the_plans_again_and_why() {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let (page, path) = (format!("/subscriptions/{id}/plans"), format!("/subscriptions/{id}/change"));
    let shown = html(&shop, &cookie, &page).await;
    let fields = form(&shown, &path, &shop.large);
    shop.plane.pass_ms(11 * 60_000);
    let answer = send(&shop.plane, &cookie, &path, &fields).await;
    assert_eq!(answer.status(), 409);
    let again = answer.text().await.unwrap();
    let said = read(&again);
    assert!(said.contains("Change the plan") && said.contains("no longer stands"), "{said}");
    // What it shows now can be had; and a plan that is sold no more is said to be.
    shop.plane
        .done(&shop.vendor, Method::POST, &format!("/plans/{}/retire", shop.large), json!({}), 200)
        .await;
    let answer = send(&shop.plane, &cookie, &path, &form(&again, &path, &shop.large)).await;
    assert_eq!(answer.status(), 404);
    let said = read(&answer.text().await.unwrap());
    assert!(said.contains("Change the plan") && said.contains("not on sale any more"), "{said}");
    let done = send(&shop.plane, &cookie, &path, &form(&again, &path, &shop.free)).await;
    assert_eq!(to(&done), format!("/subscriptions/{id}?done=plan_changed"));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_for_a_listing_that_cannot_be_called_does_not_go_on() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let suspend = format!("/admin/listings/{}/suspend", shop.listing);
    shop.plane.done(&shop.boss, Method::POST, &suspend, json!({"reason": "it was asked for"}), 200).await;
    shop.days_later(31).await;
    shop.top_up("1000").await;
    let refused = shop.post(&id, "resume", json!({}), 409).await;
    assert_eq!(refused["code"], "state_conflict");
    assert!(refused["detail"].as_str().unwrap().contains("cannot be called at the moment"), "{refused}");
    let cookie = browser(&shop.plane, "bela").await;
    let (page, path) = (format!("/subscriptions/{id}"), format!("/subscriptions/{id}/resume"));
    let fields = form(&html(&shop, &cookie, &page).await, &path, "Pay ₹300 now");
    let answer = send(&shop.plane, &cookie, &path, &fields).await;
    assert_eq!(answer.status(), 409);
    let said = read(&answer.text().await.unwrap());
    assert!(said.contains("cannot be called at the moment") && said.contains("Pay ₹300 now"), "{said}");
    assert_eq!(shop.balance().await, "1000.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_only_forms_are_sent_to_leads_to_its_subscription() {
    let shop = shop("0").await;
    let id = id_of(&shop.subscribe(&shop.free, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    for act in ["resume", "change", "cancel", "keys", "keys/key_1/rotate", "keys/key_1/revoke"] {
        let answer = look(&shop.plane, &cookie, &format!("/subscriptions/{id}/{act}")).await;
        assert_eq!(to(&answer), format!("/subscriptions/{id}"), "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_too_little_stays_where_he_is_and_learns_how_much_it_takes() {
    let shop = shop("100").await;
    let cookie = browser(&shop.plane, "bela").await;
    let shown = html(&shop, &cookie, LISTING).await;
    let fields = form(&shown, "/subscriptions", &shop.small);
    let refused = async |cookie: &str, path: &str, fields: &[(String, String)]| {
        let answer = send(&shop.plane, cookie, path, fields).await;
        assert_eq!(answer.status(), 402);
        let html = answer.text().await.unwrap();
        let notice = html.split("role=\"status\"").nth(1).unwrap().split("</p>").next().unwrap();
        assert!(notice.contains("href=\"/wallet\""), "{notice}");
        read(&html)
    };
    let said = refused(&cookie, "/subscriptions", &fields).await;
    assert!(said.contains("too little") && said.contains("top up 200.00 INR or more"), "{said}");
    assert!(said.contains("Subscribe for ₹300"), "the listing again: {said}");

    let id = id_of(&shop.subscribe(&shop.free, 201).await);
    let (page, path) = (format!("/subscriptions/{id}/plans"), format!("/subscriptions/{id}/change"));
    let fields = form(&html(&shop, &cookie, &page).await, &path, &shop.small);
    let said = refused(&cookie, &path, &fields).await;
    assert!(said.contains("top up 200.00 INR or more") && said.contains("Change the plan"), "{said}");
    let budget = json!({"amount": rupees("10"), "hard_stop": true});
    shop.top_up("1000").await;
    shop.plane.done(&shop.buyer, Method::PUT, "/wallet/budget", budget, 200).await;
    let said = refused(&cookie, &path, &fields).await;
    assert!(said.contains("left of the budget") && said.contains("Change the plan"), "{said}");
    shop.plane.done(&shop.buyer, Method::DELETE, "/wallet/budget", json!(null), 204).await;
    assert_eq!(shop.balance().await, "1100.00");

    // Going on with what has stopped.
    let id = id_of(&shop.subscribe(&shop.large, 201).await);
    shop.days_later(31).await;
    let cookie = browser(&shop.plane, "bela").await;
    let (page, path) = (format!("/subscriptions/{id}"), format!("/subscriptions/{id}/resume"));
    let fields = form(&html(&shop, &cookie, &page).await, &path, "Pay ₹900 now");
    let said = refused(&cookie, &path, &fields).await;
    assert!(said.contains("top up 700.00 INR or more") && said.contains("Pay ₹900 now"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_one_s_subscription_changes_to_is_one_s_own_already() {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let before = html(&shop, &cookie, LISTING).await;
    let fields = form(&before, "/subscriptions", &shop.large);
    shop.post(&id, "change", json!({"plan_id": shop.large, "when": "period_end"}), 200).await;
    let after = html(&shop, &cookie, LISTING).await;
    assert!(!after.contains(&format!("name=\"plan\" value=\"{}\"", shop.large)), "{after}");
    assert_eq!(after.matches(&format!("href=\"/subscriptions/{id}\"")).count(), 2, "{after}");
    let answer = send(&shop.plane, &cookie, "/subscriptions", &fields).await;
    assert_eq!(to(&answer), format!("/subscriptions/{id}?done=already_subscribed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_plan_that_is_only_to_be_tried_says_that_it_ends() {
    let shop = shop("0").await;
    let plan = json!({"slug": "taste", "name": "Taste", "price": rupees("0"), "trial": {"calls": 5},
        "concurrency_max": 1});
    let path = format!("/listings/{}/plans", shop.listing);
    shop.plane.done(&shop.vendor, Method::POST, &path, plan.clone(), 201).await;
    let mut bare = plan;
    (bare["slug"], bare["concurrency_max"]) = (json!("bare"), json!(null));
    shop.plane.done(&shop.vendor, Method::POST, &path, bare, 201).await;
    let said = told(&shop.plane, "", LISTING).await;
    assert_eq!(said.matches("5 calls to try it, then it ends").count(), 2, "{said}");
    assert!(said.contains("1 call at a time") && !said.contains("to try it, free"), "{said}");
    // As the three that have neither limit nor trial say.
    assert_eq!(said.matches("No limit on calls").count(), 3, "{said}");
}
