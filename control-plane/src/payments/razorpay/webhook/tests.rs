//! Events in the documents' own form, and what must not pass for one.

use apiclay_config::money::{Currency, Money};
use serde_json::json;

use super::*;
use crate::payments::provider::RefundStatus;

fn payment_json(status: &str, captured: bool) -> Value {
    json!({
        "id": "pay_DESlfW9H8K9uqM", "entity": "payment", "amount": 50000, "currency": "INR", "status": status,
        "order_id": "order_DESlLckIVRkHWj", "method": "card", "amount_refunded": 0, "refund_status": null,
        "captured": captured, "card_id": "card_1", "card": {"last4": "1111"}, "email": "gaurav.kumar@example.com",
        "contact": "+919876543210", "notes": [], "fee": 2, "tax": 0, "created_at": 1567674599
    })
}

fn event(name: &str, payload: &Value) -> Value {
    json!({
        "entity": "event", "account_id": "acc_BFQ7uQEaa7j2z7", "event": name, "contains": ["payment"],
        "payload": payload, "created_at": 1567674606
    })
}

fn refund_event(payment: &Value) -> Value {
    let refund = json!({
        "id": "rfnd_FS8TWyPrCsa0OB", "entity": "refund", "amount": 20000, "currency": "INR",
        "payment_id": "pay_DESlfW9H8K9uqM", "notes": {"apiclay_refund": "refund-0001"}, "receipt": null,
        "acquirer_data": {"arn": null}, "created_at": 1597734071, "status": "processed"
    });
    event("refund.processed", &json!({"refund": {"entity": refund}, "payment": payment}))
}

fn signed(body: &Value) -> Result<ProviderEvent, WebhookError> {
    let secret = SecretString::from("webhook secret");
    let raw = body.to_string();
    read([&secret], raw.as_bytes(), &signature::sign(&secret, raw.as_bytes()), Some("HDJ3k2l1m0n9o8"))
}

#[test]
fn a_capture_is_read_and_what_is_kept_of_it_bears_no_person() {
    let event =
        signed(&event("payment.captured", &json!({"payment": {"entity": payment_json("captured", true)}})));
    let event = event.unwrap();
    let Happened::PaymentCaptured(payment) = &event.happened else { panic!("{:?}", event.happened) };
    assert_eq!(payment.amount, Money::new(500_000_000, Currency::INR));
    assert_eq!((event.id.as_deref(), event.at), (Some("HDJ3k2l1m0n9o8"), Some(Timestamp(1_567_674_606_000))));
    let kept = event.record.to_string();
    for private in ["gaurav", "9876543210", "1111", "card_1"] {
        assert!(!kept.contains(private), "{kept}");
    }
    assert_eq!(happened(&event.record), event.happened);
    assert_eq!(event.body_digest.len(), 64);
}

#[test]
fn a_capture_of_what_is_not_captured_is_kept_and_not_believed() {
    for (status, captured) in
        [("failed", false), ("authorized", true), ("captured", false), ("refunded", false)]
    {
        let payload = json!({"payment": {"entity": payment_json(status, captured)}});
        let read = signed(&event("payment.captured", &payload)).unwrap();
        assert!(matches!(read.happened, Happened::Unreadable { .. }), "{status}: {:?}", read.happened);
    }
}

#[test]
fn an_order_paid_by_another_orders_payment_is_not_believed() {
    let paid = |order: &str| {
        let order =
            json!({"id": order, "amount": 50000, "amount_paid": 50000, "currency": "INR", "status": "paid"});
        let payment = json!({"entity": payment_json("captured", true)});
        signed(&event("order.paid", &json!({"order": {"entity": order}, "payment": payment})))
            .unwrap()
            .happened
    };
    assert!(matches!(paid("order_DESlLckIVRkHWj"), Happened::OrderPaid { .. }));
    assert!(matches!(paid("order_another"), Happened::Unreadable { .. }));
}

#[test]
fn a_refund_is_found_by_our_name_and_says_whether_the_money_was_ours() {
    let with_payment = signed(&refund_event(&json!({"entity": payment_json("refunded", false)}))).unwrap();
    let Happened::RefundProcessed(told) = with_payment.happened else {
        panic!("{:?}", with_payment.happened)
    };
    assert_eq!(told.refund.our_id.as_deref(), Some("refund-0001"));
    assert_eq!(told.refund.amount, Money::new(200_000_000, Currency::INR));
    assert_eq!(told.refund.status, RefundStatus::Processed);
    assert_eq!(told.payment.map(|payment| payment.captured), Some(false));
    let alone = signed(&refund_event(&Value::Null)).unwrap();
    assert!(matches!(alone.happened, Happened::RefundProcessed(RefundEvent { payment: None, .. })));
}

#[test]
fn events_we_have_no_use_for_and_events_we_cannot_read_are_kept_apart() {
    let other = signed(&event("payment.dispute.created", &json!({}))).unwrap();
    assert_eq!(other.happened, Happened::Other("payment.dispute.created".into()));
    let half = signed(&event("payment.captured", &json!({"payment": {}}))).unwrap();
    let Happened::Unreadable { name, why } = half.happened else { panic!("{:?}", half.happened) };
    assert_eq!(name, "payment.captured");
    assert!(!why.is_empty());
    let nameless = signed(&json!({"payload": {}})).unwrap();
    assert!(matches!(nameless.happened, Happened::Unreadable { .. }));
}

#[test]
fn what_is_no_object_too_long_or_unsigned_is_refused() {
    assert!(matches!(signed(&json!([])), Err(WebhookError::NotJson)));
    assert!(matches!(signed(&json!({"a": "a".repeat(WEBHOOK_MAX_BYTES)})), Err(WebhookError::TooLong)));
    let secret = SecretString::from("webhook secret");
    let raw = event("payment.captured", &json!({})).to_string();
    let other = signature::sign(&SecretString::from("another"), raw.as_bytes());
    assert!(matches!(read([&secret], raw.as_bytes(), &other, None), Err(WebhookError::Signature)));
}

#[test]
fn an_event_id_that_is_none_is_left_out() {
    for id in ["", "a b", "a\u{7f}", &"a".repeat(NAME_MAX_CHARS + 1)] {
        assert!(!is_event_id(id), "{id}");
    }
    assert!(is_event_id("GKgNDLQVFOKGjM"));
}
