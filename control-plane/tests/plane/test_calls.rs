//! One call to a listing's upstream before anybody buys: through the one door out, with the vendor's secrets and without
//! showing them, little time and few bytes, no redirect.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{OnSale, Who, admin, code_of, on_sale, who};
use crate::support::{Plane, demo};

const SECRET: &str = "Bearer s3cr3t-of-acme";

/// An upstream that shows what it got.
async fn upstream() -> SocketAddr {
    let echo = async |headers: HeaderMap| {
        let got = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let token = got.as_deref().and_then(|got| got.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
        let set = [("x-echo", got.clone().unwrap_or_default()), ("set-cookie", "a=b".to_owned())];
        (
            StatusCode::IM_A_TEAPOT,
            set,
            json!({"got": got, "token": token, "agreed": token == "s3cr3t-of-acme"}).to_string(),
        )
    };
    let away = async || (StatusCode::FOUND, [("location", "/base/now/pune")]);
    let router = Router::new()
        .route("/base/now/pune", get(echo))
        .route("/base/away", get(away))
        .route("/base/long", get(async || "x".repeat(1_000_000)))
        .route("/base/never", get(std::future::pending::<String>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn market(plane: &Plane, url: &str) -> (Who, OnSale) {
    let (vendor, boss) = (who(plane, "vera").await, admin(plane, "boss").await);
    let sold = on_sale(plane, &vendor, &boss, "acme").await;
    let put = format!("/listings/{}/upstream", sold.listing);
    plane.done(&vendor, Method::PUT, &put, json!({"targets": [{"url": url, "weight": 1}]}), 200).await;
    (vendor, sold)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_calls_the_upstream_with_the_secrets_and_shows_none() {
    let plane = demo().await;
    let (vendor, sold) = market(&plane, &format!("http://{}/base", upstream().await)).await;
    let secret = json!({"header": "authorization", "value": SECRET});
    plane.done(&vendor, Method::PUT, &format!("/listings/{}/secrets/token", sold.listing), secret, 204).await;
    let test = format!("/listings/{}/test", sold.listing);
    let shown = plane.done(&vendor, Method::POST, &test, json!({"path": "/now/pune?unit=c"}), 200).await;
    assert_eq!(shown["status"], 418);
    let body: Value = serde_json::from_str(shown["body_start"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({"got": "[secret]", "token": "[secret]", "agreed": true}));
    let header = |name: &str| {
        let all = shown["headers"].as_array().unwrap();
        all.iter().find(|header| header["name"] == name).map(|header| header["value"].clone())
    };
    assert_eq!((header("x-echo"), header("set-cookie")), (Some(json!("[secret]")), None));
    assert!(
        shown["duration_ms"].as_u64().unwrap() < 5_000 && !shown.to_string().contains("s3cr3t"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_follows_no_redirect_and_shows_few_bytes() {
    let plane = demo().await;
    let (vendor, sold) = market(&plane, &format!("http://{}/base/", upstream().await)).await;
    let test = format!("/listings/{}/test", sold.listing);
    let shown = plane.done(&vendor, Method::POST, &test, json!({"path": "/away"}), 200).await;
    assert_eq!(shown["status"], 302);
    let shown =
        plane.done(&vendor, Method::POST, &test, json!({"method": "GET", "path": "/long"}), 200).await;
    let (start, truncated) = (shown["body_start"].as_str().unwrap(), &shown["body_truncated"]);
    assert_eq!((start.len(), truncated), (16 * 1024, &json!(true)));
    for wrong in [
        json!({"path": "now"}),
        json!({"path": "/a b"}),
        json!({"path": "/a#b"}),
        json!({"path": "/", "method": "TRACE"}),
        json!({"path": "/", "url": "http://127.0.0.1"}),
        json!({}),
    ] {
        plane.done(&vendor, Method::POST, &test, wrong, 400).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_what_does_not_answer_says_what_to_do() {
    let plane = demo().await;
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (vendor, sold) = market(&plane, &format!("http://{nobody}")).await;
    let test = format!("/listings/{}/test", sold.listing);
    let answer = plane.call(&vendor, Method::POST, &test, json!({"path": "/"})).await;
    assert_eq!(code_of(answer).await, (502, "upstream_unreachable".to_owned()));
    let slow = json!({"targets": [{"url": format!("http://{}/base", upstream().await), "weight": 1}]});
    plane.done(&vendor, Method::PUT, &format!("/listings/{}/upstream", sold.listing), slow, 200).await;
    let answer = plane.call(&vendor, Method::POST, &test, json!({"path": "/never"})).await;
    assert_eq!(code_of(answer).await, (504, "upstream_timeout".to_owned()));
    // A name may lead elsewhere since the upstream was set: the door is asked again.
    let mut stored = plane
        .app
        .store
        .get::<apiclay_control_plane::catalog::documents::Listing>(&sold.listing)
        .await
        .unwrap()
        .unwrap();
    stored.value.upstream.as_mut().unwrap().targets[0].url = "http://169.254.169.254".to_owned();
    plane.app.store.replace(&stored.value, stored.version).await.unwrap();
    let answer = plane.call(&vendor, Method::POST, &test, json!({"path": "/latest"})).await;
    assert_eq!(code_of(answer).await, (422, "target_refused".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_for_those_who_build() {
    use apiclay_control_plane::vendors::role::Role;
    let plane = demo().await;
    let (_, sold) = market(&plane, &format!("http://{}/base", upstream().await)).await;
    let test = format!("/listings/{}/test", sold.listing);
    for (name, role, given) in
        [("dev", Some(Role::Developer), 200), ("vik", Some(Role::Viewer), 403), ("eve", None, 404)]
    {
        let who = who(&plane, name).await;
        if let Some(role) = role {
            crate::support::market::make_member(&plane, "acme", &who, role).await;
        }
        plane.done(&who, Method::POST, &test, json!({"path": "/now/pune"}), given).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_tests_once_at_a_time_and_keeps_nobody_else_waiting() {
    let plane = demo().await;
    let url = format!("http://{}/base", upstream().await);
    let (vendor, sold) = market(&plane, &url).await;
    let (other, boss) = (who(&plane, "omar").await, admin(&plane, "bea").await);
    let others = on_sale(&plane, &other, &boss, "other").await;
    let put = format!("/listings/{}/upstream", others.listing);
    plane.done(&other, Method::PUT, &put, json!({"targets": [{"url": url, "weight": 1}]}), 200).await;
    let of = |listing: &str| format!("/listings/{listing}/test");
    let never = async || {
        let answer = plane.call(&vendor, Method::POST, &of(&sold.listing), json!({"path": "/never"})).await;
        let again_in = answer.headers().contains_key("retry-after");
        (code_of(answer).await, again_in)
    };
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        plane.done(&other, Method::POST, &of(&others.listing), json!({"path": "/now/pune"}), 200).await
    };
    let tests = futures_util::future::join_all((0..10).map(|_| never()));
    let (answers, _) = tokio::join!(tests, meanwhile);
    let refused = ((429, "rate_limited".to_owned()), true);
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 9, "{answers:?}");
    assert!(answers.contains(&((504, "upstream_timeout".to_owned()), false)), "{answers:?}");
    plane.done(&vendor, Method::POST, &of(&sold.listing), json!({"path": "/now/pune"}), 200).await;
}
