//! Answers that are not Razorpay's, or not what was asked for: whatever stands in between can answer too. And the
//! settings without which there is no client.

use axum::Json;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};

use super::*;
use crate::payments::provider::NewRefund;
use crate::payments::provider_error::ProviderError;
use crate::payments::razorpay::SettingsError;

async fn answered_by<F>(answer: F) -> Razorpay
where
    F: Fn() -> Response + Clone + Send + Sync + 'static,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = move || std::future::ready(answer());
    let url = serve(Router::new().fallback(answer)).await;
    client(url.as_str(), KEY_SECRET, WEBHOOK_SECRET, None)
}

async fn is_malformed(provider: &Razorpay) -> bool {
    let answer = provider.create_order(&new_order("topup-1", 500)).await;
    match answer {
        Err(error @ ProviderError::Malformed { .. }) => error.leaves_it_open(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Desk::open().await;
    let target = format!("{}/v1/orders", elsewhere.simulator.base_url());
    let provider = answered_by(move || Redirect::temporary(&target).into_response()).await;
    assert!(is_malformed(&provider).await);
    assert_eq!(elsewhere.provider.order_by_receipt("topup-1").await.unwrap(), None);
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_decides_nothing() {
    for status in [200, 400, 403, 404] {
        let status = StatusCode::from_u16(status).unwrap();
        let provider = answered_by(move || (status, "<html>Access denied</html>").into_response()).await;
        assert!(is_malformed(&provider).await, "{status}");
    }
}

#[tokio::test]
async fn more_than_is_read_is_not_read() {
    let padded = |bytes: usize| {
        let body = order_json().to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let most = padded(1024 * 1024);
    let provider = answered_by(move || most.clone().into_response()).await;
    assert_eq!(provider.create_order(&new_order("topup-1", 500)).await.unwrap().id, "order_1");
    let more = padded(1024 * 1024 + 1);
    let provider = answered_by(move || more.clone().into_response()).await;
    assert!(is_malformed(&provider).await);
}

#[tokio::test]
async fn only_a_400_says_no() {
    let said = |status: u16, code: &'static str| async move {
        let error = json!({"error": {"code": code, "description": "no".repeat(1_000)}});
        let status = StatusCode::from_u16(status).unwrap();
        let provider = answered_by(move || (status, Json(error.clone())).into_response()).await;
        provider.payments_of("order_1").await.unwrap_err()
    };
    let no = said(400, "BAD_REQUEST_ERROR").await;
    let ProviderError::Refused { description, .. } = &no else { panic!("{no:?}") };
    assert_eq!(description.len(), 300);
    assert!(matches!(said(400, "GATEWAY_ERROR").await, ProviderError::Unavailable { .. }));
    assert!(matches!(said(401, "BAD_REQUEST_ERROR").await, ProviderError::Keys));
    for status in [403, 404, 422] {
        assert!(
            matches!(said(status, "BAD_REQUEST_ERROR").await, ProviderError::Malformed { .. }),
            "{status}"
        );
    }
}

#[tokio::test]
async fn busy_is_no_refusal() {
    for status in [408, 409, 429, 500, 502, 504] {
        let status = StatusCode::from_u16(status).unwrap();
        let error = json!({"error": {"code": "BAD_REQUEST_ERROR", "description": "no"}});
        let provider = answered_by(move || (status, Json(error.clone())).into_response()).await;
        let told = provider.create_order(&new_order("topup-1", 500)).await;
        assert!(matches!(told, Err(ProviderError::Unavailable { .. })), "{status}: {told:?}");
    }
}

fn order_json() -> Value {
    json!({
        "id": "order_1", "entity": "order", "amount": 50000, "amount_paid": 0, "currency": "INR",
        "receipt": "topup-1", "status": "created", "notes": [], "created_at": 1
    })
}

#[tokio::test]
async fn an_order_of_another_amount_currency_or_receipt_is_not_taken() {
    let provider = answered_by(|| Json(order_json()).into_response()).await;
    assert_eq!(provider.create_order(&new_order("topup-1", 500)).await.unwrap().id, "order_1");
    for (field, value) in [
        ("amount", json!(50_001)),
        ("currency", json!("USD")),
        ("receipt", json!("topup-2")),
        ("receipt", json!(null)),
    ] {
        let mut other = order_json();
        other[field] = value;
        let provider = answered_by(move || Json(other.clone()).into_response()).await;
        assert!(is_malformed(&provider).await, "{field}");
    }
}

#[tokio::test]
async fn another_orders_payment_and_another_refund_are_not_taken() {
    let payment =
        json!({"id": "pay_1", "amount": 100, "currency": "INR", "status": "captured", "order_id": "order_2"});
    let list = json!({"entity": "collection", "count": 1, "items": [payment]});
    let provider = answered_by(move || Json(list.clone()).into_response()).await;
    let payments = provider.payments_of("order_1").await;
    assert!(matches!(payments, Err(ProviderError::Malformed { .. })), "{payments:?}");
    assert_eq!(provider.payments_of("order_2").await.unwrap().len(), 1);

    let asked = NewRefund { our_id: "refund-0001".into(), payment_id: "pay_1".into(), amount: rupees(1) };
    let answer = |payment: &str, amount: i64, name: &str| {
        let notes = json!({"apiclay_refund": name});
        json!({"id": "rfnd_1", "amount": amount, "currency": "INR", "payment_id": payment, "notes": notes, "status": "processed"})
    };
    for (refund, fine) in [
        (answer("pay_1", 100, "refund-0001"), true),
        (answer("pay_2", 100, "refund-0001"), false),
        (answer("pay_1", 101, "refund-0001"), false),
        (answer("pay_1", 100, "refund-0002"), false),
    ] {
        let provider = answered_by(move || Json(refund.clone()).into_response()).await;
        let made = provider.refund(&asked).await;
        assert_eq!(made.is_ok(), fine, "{made:?}");
        assert!(fine || matches!(made, Err(ProviderError::Malformed { .. })), "{made:?}");
    }
}

#[tokio::test]
async fn an_endless_list_of_refunds_is_not_taken_for_a_whole_one() {
    let refund =
        json!({"id": "rfnd_1", "amount": 100, "currency": "", "payment_id": "pay_1", "status": "processed"});
    let page = json!({"entity": "collection", "count": 100, "items": vec![refund; 100]});
    let provider = answered_by(move || Json(page.clone()).into_response()).await;
    let listed = provider.refunds_of("pay_1", Currency::INR).await;
    assert!(matches!(listed, Err(ProviderError::Malformed { .. })), "{listed:?}");
}

#[test]
fn without_secrets_or_in_the_clear_there_is_no_client() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api = razorpay::client::API_URL;
    for (key, webhook, previous) in [("", "w", None), ("k", "", None), ("k", "w", Some(""))] {
        let made = Razorpay::new(settings(api, key, webhook, previous));
        assert!(matches!(made, Err(SettingsError::Empty(_))), "{key:?} {webhook:?} {previous:?}");
    }
    for url in ["http://api.razorpay.com", "http://localhost:1", "http://10.0.0.1"] {
        let made = Razorpay::new(settings(url, "k", "w", None));
        assert!(matches!(made, Err(SettingsError::InTheClear)), "{url}");
    }
    let made = Razorpay::new(settings(api, "a secret key", "a secret hook", Some("an old one"))).unwrap();
    let shown = format!("{made:?}");
    for secret in ["a secret key", "a secret hook", "an old one"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
