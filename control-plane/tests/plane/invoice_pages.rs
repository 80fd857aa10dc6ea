//! Invoices as their buyer reads them: a list, an invoice with its lines, a credit note, and nothing for anybody else.

use apiclay_control_plane::invoices::run::issue_due;
use apiclay_control_plane::subscriptions::billing::bill_due;
use reqwest::Method;
use serde_json::json;

use crate::support::browsing::{browser, look, page_as, read};
use crate::support::months::{DAY_MS, Shop, id_of, shop};
use crate::support::paying::rupees;

/// The page's addresses that begin like this, in their order.
fn links(html: &str, begin: &str) -> Vec<String> {
    html.split('"').filter(|part| part.starts_with(begin)).map(str::to_owned).collect()
}

/// A buyer who was charged for a month in September and for a change within it, some days into October.
async fn after_september() -> Shop {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.plane.pass_ms(3 * DAY_MS);
    // 600 rupees more a month, for 27 of 30 days.
    shop.post(&id, "change", json!({"plan_id": shop.large}), 200).await;
    shop.plane.pass_ms(9 * DAY_MS);
    bill_due(&shop.plane.app).await.unwrap();
    assert_eq!(issue_due(&shop.plane.app).await.unwrap(), 1);
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_says_what_was_charged_line_by_line_and_that_nothing_is_due() {
    let shop = after_september().await;
    let plane = &shop.plane;
    let cookie = browser(plane, "bela").await;
    let list = page_as(plane, &cookie, "/invoices", "invoices").await;
    let told = read(&list);
    assert!(told.contains("INV-2026-000001 September 2026 ₹840.00"), "{told}");
    let [path] = links(&list, "/invoices/").try_into().unwrap();

    let told = read(&page_as(plane, &cookie, &path, "invoice").await);
    for said in [
        "Invoice INV-2026-000001",
        "For September 2026",
        "Issued 3 Oct 2026 by 127.0.0.1",
        "To bela, bela@example.com",
        "21 Sep 2026 to 21 Oct 2026 Weather · small · Acme ₹300.00",
        "Change of plan within 21 Sep 2026 to 21 Oct 2026 Weather · large · Acme ₹540.00",
        "Total ₹840.00",
        "nothing is due",
    ] {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_note_names_the_invoice_that_it_credits_and_why() {
    let shop = after_september().await;
    let plane = &shop.plane;
    let cookie = browser(plane, "bela").await;
    let [invoice] =
        links(&page_as(plane, &cookie, "/invoices", "invoices-one").await, "/invoices/").try_into().unwrap();
    let issued = plane.done(&shop.buyer, Method::GET, &invoice, json!(null), 200).await;
    let body = json!({"line": 1, "amount": rupees("100.50"), "vendor_id": issued["lines"][0]["vendor_id"],
        "reason": "The API was down <on> Sunday"});
    plane.pass_ms(1);
    let asked =
        plane.to(Method::POST, &format!("/admin{invoice}/credit-notes")).bearer_auth(&shop.boss.token);
    assert_eq!(asked.header("idempotency-key", "once").json(&body).send().await.unwrap().status(), 201);

    let list = page_as(plane, &cookie, "/invoices", "invoices-two").await;
    let told = read(&list);
    assert!(told.contains("CN-2026-000001 Credit on INV-2026-000001 −₹100.50"), "{told}");
    let [note, credited] = links(&list, "/invoices/").try_into().unwrap();
    assert_eq!(credited, invoice, "the newest first");

    let shown = page_as(plane, &cookie, &note, "credit-note").await;
    assert!(links(&shown, "/invoices/").contains(&invoice), "it leads to what it credits");
    let told = read(&shown);
    for said in [
        "Credit note CN-2026-000001",
        "Credits INV-2026-000001",
        "Line 21 Sep 2026 to 21 Oct 2026, Weather · small · Acme",
        "Why The API was down &#60;on&#62; Sunday",
        "Total −₹100.50",
        "went back to your prepaid wallet",
    ] {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_of_somebody_else_is_not_there() {
    let shop = after_september().await;
    let plane = &shop.plane;
    let list = page_as(plane, &browser(plane, "bela").await, "/invoices", "invoices-mine").await;
    let [path] = links(&list, "/invoices/").try_into().unwrap();
    let other = browser(plane, "vera").await;
    let told = read(&page_as(plane, &other, "/invoices", "invoices-empty").await);
    assert!(told.contains("No invoices yet"), "{told}");
    for path in [path.as_str(), "/invoices/inv_00000000000000000000000000"] {
        let answer = look(plane, &other, path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!answer.text().await.unwrap().contains("INV-2026"), "{path}");
    }
    // Nor is it for nobody: who is signed out is led to the sign-in.
    assert_eq!(look(plane, "", &path).await.status(), 303);
}
