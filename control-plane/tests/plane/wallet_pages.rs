//! The wallet's page: what waits to be paid and what is being confirmed, amounts as people write them, movements by names.

use apiclay_control_plane::payments::documents::{Order, TopUpStatus};
use apiclay_control_plane::payments::simulator::Faults;
use apiclay_control_plane::store::Query;
use reqwest::Method;
use serde_json::json;

use crate::support::browsing::{browser, form, look, read, send, to, told};
use crate::support::leases::{EPOCH, shop};
use crate::support::market::who;
use crate::support::months;
use crate::support::{Plane, demo};

/// The wallet's page after its form for this path was sent with this amount: status and text.
async fn sent(plane: &Plane, cookie: &str, path: &str, field: &str, amount: &str) -> (u16, String) {
    let page = look(plane, cookie, "/wallet").await.text().await.unwrap();
    let mut fields = form(&page, path, "");
    fields.push((field.to_owned(), amount.to_owned()));
    let answer = send(plane, cookie, path, &fields).await;
    let status = answer.status().as_u16();
    let html = answer.text().await.unwrap();
    (status, if html.contains("<main") { read(&html) } else { html })
}

/// What stands between these two.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let after = text.split(from).nth(1).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    after.split(to).next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_top_up_that_waits_is_reached_and_one_being_confirmed_is_not_paid_twice() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (first, _) = plane.begin_top_up(&buyer, "101").await;
    for _ in 0..6 {
        plane.top_up(&buyer, "7").await;
    }
    let mut known =
        plane.app.store.get::<Order>(&plane.begin_top_up(&buyer, "102").await.0).await.unwrap().unwrap();
    known.value.status = TopUpStatus::Confirming;
    plane.app.store.replace(&known.value, known.version).await.unwrap();
    let cookie = browser(&plane, "bela").await;
    let said = told(&plane, &cookie, "/wallet").await;
    assert!(between(&said, "Not paid yet", "Movements").contains("₹101"), "{said}");
    assert!(!between(&said, "Not paid yet", "Movements").contains("₹102"), "{said}");
    assert!(between(&said, "Being confirmed", "Movements").contains("₹102"), "{said}");
    let html = look(&plane, &cookie, "/wallet").await.text().await.unwrap();
    assert!(html.contains(&format!("href=\"/wallet/topups/{first}\"")));
    let asked =
        look(&plane, &cookie, &format!("/wallet/topups/{}", known.value.id)).await.text().await.unwrap();
    assert!(!asked.contains("/demo/pay/"), "it can be paid once more: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_whose_credit_stands_in_the_wallet_does_not_wait_beside_it() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "250").await;
    let before = plane.app.store.get::<Order>(&order).await.unwrap().unwrap().value;
    plane.simulator().pay(&provider_order).unwrap();
    assert!(plane.simulator().all_delivered(5_000).await);
    // As a writer leaves it who died between the journal and the order.
    let paid = plane.app.store.get::<Order>(&order).await.unwrap().unwrap();
    plane.app.store.replace(&before, paid.version).await.unwrap();
    let cookie = browser(&plane, "bela").await;
    let said = told(&plane, &cookie, "/wallet").await;
    assert!(said.contains("+₹250") && !said.contains("Not paid yet"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comma_parts_thousands_or_lakhs_and_is_never_passed_over() {
    let plane = demo().await;
    who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    for wrong in
        ["99,50", "1,0000", "10,00,00", ",100", "1,,000", "1,000,00", "1000,000", "1.000,50", "1,00,0000"]
    {
        let (status, said) = sent(&plane, &cookie, "/wallet/topups", "amount", wrong).await;
        assert_eq!(status, 422, "{wrong}: {said}");
        assert!(said.contains("99.50") && said.contains("comma"), "{wrong}: {said}");
    }
    for right in ["500", "₹1,000.50", "1,00,000", "100,000", "12,34.50", "₹ 4,99,999.99"] {
        let (status, said) = sent(&plane, &cookie, "/wallet/topups", "amount", right).await;
        assert_eq!(status == 303, right != "12,34.50", "{right}: {status} {said}");
    }
    let said = told(&plane, &cookie, "/wallet").await;
    for amount in ["₹500", "₹1000.50", "₹100000", "₹499999.99"] {
        assert!(said.contains(amount), "{amount}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_out_of_bounds_is_told_the_bounds_in_rupees_and_a_fault_stands_at_its_own_form() {
    let plane = demo().await;
    who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    for amount in ["0.50", "500,001"] {
        let (status, said) = sent(&plane, &cookie, "/wallet/topups", "amount", amount).await;
        assert_eq!(status, 422, "{amount}");
        let form = between(&said, "Add money", "Go on to pay");
        assert_eq!(form.matches("From ₹1 to ₹500,000").count(), 2, "hint and fault: {form}");
        assert!(!said.contains("smallest units"), "{said}");
    }
    let (status, said) = sent(&plane, &cookie, "/wallet/budget", "budget", "1,2").await;
    assert_eq!(status, 422);
    assert!(!between(&said, "Add money", "Budget").contains("comma"), "{said}");
    assert!(between(&said, "Rupees a month", "Movements").contains("comma"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn movements_are_told_by_names_and_a_day_s_calls_stand_in_one_row() {
    let shop = shop("20").await;
    for serial in 1..=3 {
        shop.lease(serial, 4).await;
        shop.batch((EPOCH, u64::from(serial)), serial, 3, 3).await;
        shop.close(serial, 3, u64::from(serial)).await;
        shop.settle().await;
    }
    let cookie = browser(&shop.plane, "bela").await;
    let said = told(&shop.plane, &cookie, "/wallet").await;
    assert!(!said.contains("sub_"), "{said}");
    let movements = said.split("Movements").nth(1).unwrap();
    assert_eq!(movements.matches("Weather").count(), 1, "{movements}");
    assert!(movements.contains("9 calls · Weather, Calls") && movements.contains("−₹2.25"), "{movements}");
    assert!(movements.contains("+₹20"), "{movements}");
    let said = told(&shop.plane, &cookie, "/wallet?show=top_ups").await;
    let movements = said.split("Movements").nth(1).unwrap();
    assert!(movements.contains("+₹20") && !movements.contains("Weather"), "{movements}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_and_a_change_are_told_by_their_plans_and_an_invoice_names_no_id() {
    let shop = months::shop("2000").await;
    let id = months::id_of(&shop.subscribe(&shop.small, 201).await);
    shop.post(&id, "change", json!({"plan_id": shop.large}), 200).await;
    let cookie = browser(&shop.plane, "bela").await;
    let said = told(&shop.plane, &cookie, "/wallet").await;
    assert!(!said.contains("sub_"), "{said}");
    assert!(said.contains("Weather, small · 21 Sep 2026 to 21 Oct 2026"), "{said}");
    assert!(said.contains("Change to Weather, large"), "{said}");
    shop.days_later(12).await;
    apiclay_control_plane::invoices::run::issue_due(&shop.plane.app).await.unwrap();
    let html = look(&shop.plane, &cookie, "/invoices").await.text().await.unwrap();
    let path = html.split('"').find(|part| part.starts_with("/invoices/")).unwrap().to_owned();
    let said = told(&shop.plane, &cookie, &path).await;
    assert!(!said.contains("acc_") && said.contains("bela@example.com"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_costs_nobody_what_he_typed() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    plane.simulator().set_faults(Faults { api_down_per_mille: 1_000, ..Faults::default() });
    let orders =
        async || plane.app.store.query::<Order>(&Query::by("id").limit(100)).await.unwrap().items.len();
    for _ in 0..22 {
        let (status, said) = sent(&plane, &cookie, "/wallet/topups", "amount", "123.45").await;
        assert_eq!(status, 503, "{said}");
        assert!(between(&said, "Add money", "Amount in rupees").contains("does not answer"), "{said}");
    }
    let page = look(&plane, &cookie, "/wallet").await.text().await.unwrap();
    let mut fields = form(&page, "/wallet/topups", "");
    fields.push(("amount".to_owned(), "123.45".to_owned()));
    let again = send(&plane, &cookie, "/wallet/topups", &fields).await.text().await.unwrap();
    assert!(again.contains("value=\"123.45\""), "{again}");
    assert_eq!(form(&again, "/wallet/topups", ""), form(&page, "/wallet/topups", ""), "the same form again");
    let before = orders().await;
    // What waits for the provider's answer alone takes no place of one that can be paid.
    plane.simulator().set_faults(Faults::default());
    let paid = send(&plane, &cookie, "/wallet/topups", &fields).await;
    assert!(to(&paid).starts_with("/wallet/topups/ord_"));
    assert_eq!(orders().await, before);
    plane.begin_top_up(&buyer, "5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_s_form_that_is_sent_twice_makes_one_order_and_with_another_amount_another() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    let page = look(&plane, &cookie, "/wallet").await.text().await.unwrap();
    assert_eq!(page.matches("inputmode=\"decimal\"").count(), 2, "{page}");
    let hidden = form(&page, "/wallet/topups", "");
    let with = |amount: &str| [hidden.clone(), vec![("amount".to_owned(), amount.to_owned())]].concat();
    let press = async |amount: &str| to(&send(&plane, &cookie, "/wallet/topups", &with(amount)).await);
    let first = press("500").await;
    assert_eq!(press("500").await, first);
    assert_ne!(press("600").await, first);
    let (one, other) = tokio::join!(press("700"), press("700"));
    assert_eq!(one, other);
    let list = plane.done(&buyer, Method::GET, "/wallet/topups", json!(null), 200).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    // Another's form with the same hidden field is another's order.
    who(&plane, "vera").await;
    let other = browser(&plane, "vera").await;
    let theirs = look(&plane, &other, "/wallet").await.text().await.unwrap();
    let mut fields = form(&theirs, "/wallet/topups", "");
    let once = |fields: &[(String, String)]| fields.iter().position(|(name, _)| name == "once").unwrap();
    let at = once(&fields);
    fields[at] = hidden[once(&hidden)].clone();
    fields.push(("amount".to_owned(), "500".to_owned()));
    let order = to(&send(&plane, &other, "/wallet/topups", &fields).await);
    assert_ne!(order, first);
    assert_eq!(look(&plane, &other, &order).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_an_amount_is_told_in_the_page_s_words_and_a_paid_top_up_was_paid() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    let (status, said) = sent(&plane, &cookie, "/wallet/topups", "amount", "99.999").await;
    assert_eq!(status, 422);
    assert!(said.contains("two decimals") && !said.contains("smallest unit"), "{said}");
    for amount in ["0", "1000000001"] {
        let (status, said) = sent(&plane, &cookie, "/wallet/budget", "budget", amount).await;
        assert_eq!(status, 422, "{amount}");
        assert!(said.contains("More than ₹0, and at most ₹1,000,000,000."), "{amount}: {said}");
    }
    plane.top_up(&buyer, "250").await;
    let order = plane.app.store.query::<Order>(&Query::by("id")).await.unwrap().items.remove(0).value;
    let said = told(&plane, &cookie, &format!("/wallet/topups/{}", order.id)).await;
    assert!(said.contains("It was paid and credited to your wallet."), "{said}");
}
