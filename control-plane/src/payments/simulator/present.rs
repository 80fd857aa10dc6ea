//! Orders, payments, refunds and events as Razorpay writes them. Not with the client's types: a mistake there would be made
//! here too, and none would see it. A payment comes with a pretend payer, card and all, which must not get into our store.
//! Next: `api`, which answers with it, and `deliver`, which signs it.

use serde_json::{Value, json};

use super::asked::Fault;
use super::entities::{Order, Payment, PaymentState, Refund};

/// The account that events are of.
const ACCOUNT_ID: &str = "acc_Simulated00001";

pub(super) fn order(order: &Order) -> Value {
    json!({
        "id": order.id,
        "entity": "order",
        "amount": order.amount,
        "amount_paid": order.amount_paid,
        "amount_due": order.amount - order.amount_paid,
        "currency": order.currency,
        "receipt": order.receipt,
        "offer_id": null,
        "status": order.state.as_str(),
        "attempts": order.attempts,
        "notes": order.notes,
        "created_at": order.created_at_s,
    })
}

pub(super) fn payment(payment: &Payment) -> Value {
    let failed = payment.state == PaymentState::Failed;
    let refund_status = match payment.amount_refunded {
        0 => None,
        all if all == payment.amount => Some("full"),
        _ => Some("partial"),
    };
    // Razorpay's share is told of what was taken: 2 % and the tax on it.
    let fee = payment.captured.then(|| payment.amount * 236 / 10_000);
    json!({
        "id": payment.id,
        "entity": "payment",
        "amount": payment.amount,
        "currency": payment.currency,
        "status": payment.state.as_str(),
        "order_id": payment.order_id,
        "invoice_id": null,
        "international": false,
        "method": "card",
        "amount_refunded": payment.amount_refunded,
        "refund_status": refund_status,
        "captured": payment.captured,
        "description": "A pretend payment and/or a test",
        "card_id": "card_Simulated00001",
        "card": {
            "id": "card_Simulated00001", "entity": "card", "name": "Pretend Buyer", "last4": "1111",
            "network": "Visa", "type": "credit", "issuer": "HDFC", "international": false, "emi": false,
        },
        "bank": null,
        "wallet": null,
        "vpa": null,
        "email": "pretend.buyer@example.com",
        "contact": "+919876543210",
        "token_id": "token_Simulated0001",
        "notes": [],
        "fee": fee,
        "tax": fee.map(|fee| fee * 18 / 118),
        "error_code": failed.then_some("BAD_REQUEST_ERROR"),
        "error_description": failed.then_some("Payment failed"),
        "error_source": failed.then_some("customer"),
        "error_step": failed.then_some("payment_authentication"),
        "error_reason": failed.then_some("payment_failed"),
        "acquirer_data": {"auth_code": "064381", "arn": "74119663031031075351326"},
        "created_at": payment.created_at_s,
    })
}

pub(super) fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "entity": "refund",
        "amount": refund.amount,
        "currency": refund.currency,
        "payment_id": refund.payment_id,
        "notes": refund.notes,
        "receipt": refund.receipt,
        "acquirer_data": {"arn": null},
        "created_at": refund.created_at_s,
        "batch_id": null,
        "status": refund.state.as_str(),
        "speed_processed": "normal",
        "speed_requested": refund.speed,
    })
}

pub(super) fn collection(items: &[Value]) -> Value {
    json!({"entity": "collection", "count": items.len(), "items": items})
}

pub(super) fn fault(fault: &Fault) -> Value {
    let mut error = json!({
        "code": fault.code,
        "description": fault.description,
        "source": "business",
        "step": fault.step,
        "reason": fault.reason,
        "metadata": {},
    });
    if let Some(field) = fault.field {
        error["field"] = json!(field);
    }
    json!({"error": error})
}

/// An event's body. `entities` by their names.
pub(super) fn event(name: &str, entities: Vec<(&'static str, Value)>, now_s: i64) -> Vec<u8> {
    let contains: Vec<_> = entities.iter().map(|(name, _)| *name).collect();
    let payload: serde_json::Map<_, _> =
        entities.into_iter().map(|(name, entity)| (name.to_owned(), json!({"entity": entity}))).collect();
    let body = json!({
        "entity": "event",
        "account_id": ACCOUNT_ID,
        "event": name,
        "contains": contains,
        "payload": payload,
        "created_at": now_s,
    });
    as_php_writes(&body).into_bytes()
}

/// With `/` as `\/`, as PHP writes it and serde does not: who verifies what he wrote anew finds out. A `/` stands in
/// texts only, never between them.
fn as_php_writes(value: &Value) -> String {
    value.to_string().replace('/', "\\/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_means_the_same_and_is_not_what_serde_writes() {
        let raw = event("payment.captured", vec![("payment", json!({"id": "a/b"}))], 7);
        let read: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(read["payload"]["payment"]["entity"]["id"], "a/b");
        assert_eq!((&read["contains"], &read["created_at"]), (&json!(["payment"]), &json!(7)));
        assert_ne!(serde_json::to_vec(&read).unwrap(), raw);
    }
}
