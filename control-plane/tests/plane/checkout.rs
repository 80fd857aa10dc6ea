//! The page that a top-up is paid on outside a demo: it alone lets the provider's checkout in, and all that the checkout
//! needs stands on it as data.

use apiclay_control_plane::payments::documents::Order;
use reqwest::Response;
use serde_json::json;

use crate::support::browsing::{self, browser};
use crate::support::market::{admin, who};
use crate::support::{Plane, demo, taking};

/// A page that is there.
async fn look(plane: &Plane, cookie: &str, path: &str) -> Response {
    let answer = browsing::look(plane, cookie, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer
}

fn policies(answer: &Response) -> (String, String) {
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    (header("content-security-policy"), header("cross-origin-opener-policy"))
}

fn assert_strict(answer: &Response) {
    let (content, opener) = policies(answer);
    assert!(!content.contains("razorpay") && !content.contains("unsafe"), "{content}");
    assert!(content.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{content}");
    assert_eq!(opener, "same-origin");
}

/// What stands behind `name` in the page.
fn data(html: &str, name: &str) -> String {
    let begin = format!("data-{name}=\"");
    html.split(begin.as_str())
        .nth(1)
        .unwrap_or_else(|| panic!("{name}: {html}"))
        .split('"')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_is_paid_in_the_provider_s_checkout_on_its_own_page() {
    let plane = taking().await;
    let buyer = admin(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "1000.50").await;
    let path = format!("/wallet/topups/{order}");
    let answer = look(&plane, &cookie, &path).await;
    let (content, opener) = policies(&answer);
    assert_eq!(opener, "same-origin-allow-popups");
    for part in [
        "default-src 'none'",
        "script-src 'self' https://checkout.razorpay.com https://cdn.razorpay.com",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: https://cdn.razorpay.com",
        "connect-src 'self' https://lumberjack.razorpay.com https://lumberjack-metrics.razorpay.com",
        "frame-src https://api.razorpay.com",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(content.split("; ").any(|known| known == part), "{part}: {content}");
    }
    let html = answer.text().await.unwrap();
    let scripts: Vec<_> = html.split("<script").skip(1).collect();
    assert_eq!(scripts.len(), 2);
    assert!(scripts[0].starts_with(" src=\"https://checkout.razorpay.com/v1/checkout.js\" defer></script>"));
    assert!(scripts[1].starts_with(" src=\"/assets/pay.js?v="), "no script stands in the page: {html}");
    let wanted = [
        ("key", "rzp_test_plane"),
        ("order", provider_order.as_str()),
        ("amount", "100050"),
        ("currency", "INR"),
        ("name", "ApiCLay"),
        ("confirm", &format!("/backend/v1{path}/confirm")),
        ("page", &path),
    ];
    for (name, value) in wanted {
        assert_eq!(data(&html, name), value, "{name}");
    }
    assert!(html.contains("<noscript><p>Razorpay's window needs scripts."), "{html}");

    // What the script does with the checkout's word.
    let paid = plane.simulator().pay(&provider_order).unwrap();
    let word = json!({"payment_id": paid.payment_id, "signature": paid.signature});
    let confirm = async |csrf: &str| {
        let root = plane.base.trim_end_matches("/backend/v1");
        let request = plane.http.post(format!("{root}{}", data(&html, "confirm"))).header("cookie", &cookie);
        request.header("x-csrf-token", csrf).json(&word).send().await.unwrap()
    };
    assert_eq!(confirm("another").await.status(), 403);
    assert_eq!(confirm(&data(&html, "csrf")).await.status(), 200);
    let known = plane.app.store.get::<Order>(&order).await.unwrap().unwrap().value;
    assert_eq!(known.credited.len(), 1);
    // Once it is paid the page lets nobody in.
    let answer = look(&plane, &cookie, &path).await;
    assert_strict(&answer);
    assert!(answer.text().await.unwrap().contains("It was paid"));
    // The wallet says what came in, and not under which of our names.
    let answer = look(&plane, &cookie, "/wallet").await;
    assert_strict(&answer);
    let html = answer.text().await.unwrap();
    assert!(html.contains("Top-up") && html.contains("1000.50") && !html.contains(&order), "{html}");
    assert_strict(&look(&plane, &cookie, "/").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_demo_nothing_of_the_provider_s_is_let_in() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let cookie = browser(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "1000.50").await;
    let answer = look(&plane, &cookie, &format!("/wallet/topups/{order}")).await;
    assert_strict(&answer);
    let html = answer.text().await.unwrap();
    assert!(html.contains(&format!("href=\"/demo/pay/{provider_order}\"")) && !html.contains("razorpay.com"));
}
