//! The documents' own examples are read, and what is written has their form.

use serde_json::json;

use super::*;

fn money(minor: i64) -> apiclay_config::money::Money {
    from_minor(minor, Currency::INR).unwrap()
}

#[test]
fn an_order_with_empty_notes() {
    let order: Order = serde_json::from_value(json!({
        "id": "order_IluGWxBm9U8zJ8", "entity": "order", "amount": 50000, "amount_paid": 0, "amount_due": 50000,
        "currency": "INR", "receipt": "rcptid_11", "offer_id": null, "status": "created", "attempts": 0,
        "notes": [], "created_at": 1642662092
    }))
    .unwrap();
    assert_eq!(order.notes, Notes::default());
    let expected = ProviderOrder {
        id: "order_IluGWxBm9U8zJ8".into(),
        receipt: Some("rcptid_11".into()),
        amount: money(50_000),
        amount_paid: money(0),
        status: OrderStatus::Created,
    };
    assert_eq!(ProviderOrder::try_from(order), Ok(expected));
}

#[test]
fn notes_are_a_map_or_an_empty_list() {
    for (wire, count) in [(json!([]), 0), (json!({}), 0), (json!(null), 0), (json!({"a": "1", "b": 2}), 1)] {
        let notes: Notes = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(notes.0.len(), count, "{wire}");
    }
    for wire in [json!(["a"]), json!("a"), json!(1)] {
        assert!(serde_json::from_value::<Notes>(wire.clone()).is_err(), "{wire}");
    }
}

#[test]
fn a_captured_payment() {
    let payment: Payment = serde_json::from_value(json!({
        "id": "pay_G3P9vcIhRs3NV4", "entity": "payment", "amount": 1000, "currency": "INR", "status": "captured",
        "order_id": "order_GjCr5oKh4AVC51", "invoice_id": null, "international": false, "method": "card",
        "amount_refunded": 0, "refund_status": null, "captured": true, "card_id": "card_KOdY30ajbuyOYN",
        "email": "gaurav.kumar@example.com", "contact": "9000090000", "notes": [], "fee": 1, "tax": 0,
        "error_code": null, "created_at": 1605871409
    }))
    .unwrap();
    let payment = ProviderPayment::try_from(payment).unwrap();
    assert_eq!((payment.status, payment.captured), (PaymentStatus::Captured, true));
    assert_eq!((payment.amount, payment.amount_refunded), (money(1_000), money(0)));
    assert_eq!(payment.order_id.as_deref(), Some("order_GjCr5oKh4AVC51"));
}

#[test]
fn a_state_that_is_new_to_us_hides_no_other_payment() {
    let list: Collection<Payment> =
        serde_json::from_value(json!({"entity": "collection", "count": 2, "items": [
            {"id": "pay_1", "amount": 100, "currency": "INR", "status": "pending", "order_id": null},
            {"id": "pay_2", "amount": 100, "currency": "INR", "status": "captured", "order_id": "order_1"},
        ]}))
        .unwrap();
    let read: Vec<_> = list.items.into_iter().map(|p| ProviderPayment::try_from(p).unwrap()).collect();
    assert_eq!((read[0].status, read[0].captured), (PaymentStatus::Unknown, false));
    assert_eq!((read[1].status, read[1].captured), (PaymentStatus::Captured, true));
}

#[test]
fn a_refund_whose_currency_is_left_empty_is_of_its_payments() {
    let refund: Refund = serde_json::from_value(json!({
        "id": "rfnd_FP8QHiV938haTz", "entity": "refund", "amount": 500100, "receipt": "Receipt No. 31",
        "currency": "", "payment_id": "pay_29QQoUBi66xm2f", "notes": {}, "acquirer_data": {"arn": null},
        "created_at": 1597078866, "batch_id": null, "status": "processed", "speed_processed": "normal"
    }))
    .unwrap();
    assert_eq!(refund.clone().neutral(None), Err(Unfit::NoCurrency));
    let read = refund.clone().neutral(Some(Currency::INR)).unwrap();
    assert_eq!((read.amount, read.status, read.our_id), (money(500_100), RefundStatus::Processed, None));
    let dollars = Refund { currency: "USD".into(), ..refund };
    assert_eq!(dollars.neutral(Some(Currency::INR)), Err(Unfit::OtherCurrency));
}

#[test]
fn amounts_with_a_fraction_or_of_an_unknown_currency_are_not_read() {
    let order = |amount: Value, currency: &str| json!({"id": "order_1", "amount": amount, "amount_paid": 0, "currency": currency, "status": "created"});
    assert!(serde_json::from_value::<Order>(order(json!(100.5), "INR")).is_err());
    assert!(serde_json::from_value::<Order>(order(json!("100"), "INR")).is_err());
    let dinar: Order = serde_json::from_value(order(json!(1_000), "KWD")).unwrap();
    assert!(matches!(ProviderOrder::try_from(dinar), Err(Unfit::Amount(AmountError::Currency(_)))));
}

#[test]
fn a_refund_is_the_same_bytes_at_each_try_and_bears_our_name() {
    let refund = NewRefund { our_id: "refund-0001".into(), payment_id: "pay_1".into(), amount: money(1_250) };
    let sent = serde_json::to_string(&Refunding::of(&refund).unwrap()).unwrap();
    assert_eq!(
        sent,
        r#"{"amount":1250,"speed":"normal","notes":{"apiclay_refund":"refund-0001"},"receipt":"refund-0001"}"#
    );
}
