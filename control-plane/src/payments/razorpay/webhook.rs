//! What Razorpay tells by itself. The signature is held against the bytes as they came, for the same JSON written anew is
//! not what was signed; then all that belongs to a card or a person is taken out, and only what is left is read: whatever
//! is stored can be read again to the same. Next: stored, then acted on by the fact's own key.

use apiclay_config::clock::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::scrub::without_card_data;
use super::signature;
use super::wire::{Order, Payment, Refund, Unfit};
use crate::payments::provider::{
    Happened, PaymentStatus, ProviderEvent, ProviderOrder, ProviderPayment, RefundEvent,
};
use crate::payments::provider_error::{WEBHOOK_MAX_BYTES, WebhookError};

/// Characters of an event's id, and of its name.
const NAME_MAX_CHARS: usize = 100;

/// Verifies and reads an event. `secrets` are those that are accepted now.
///
/// # Errors
/// Where it is not signed, too long, or no JSON object.
pub fn read<'a>(
    secrets: impl IntoIterator<Item = &'a SecretString>,
    raw: &[u8],
    signature: &str,
    event_id: Option<&str>,
) -> Result<ProviderEvent, WebhookError> {
    if raw.len() > WEBHOOK_MAX_BYTES {
        return Err(WebhookError::TooLong);
    }
    if !signature::holds(secrets, raw, signature) {
        return Err(WebhookError::Signature);
    }
    let body: Value = serde_json::from_slice(raw).map_err(|_| WebhookError::NotJson)?;
    if !body.is_object() {
        return Err(WebhookError::NotJson);
    }
    let record = without_card_data(&body);
    let seconds = record["created_at"].as_i64();
    Ok(ProviderEvent {
        id: event_id.filter(|id| is_event_id(id)).map(str::to_owned),
        body_digest: signature::digest(raw),
        at: seconds.and_then(|seconds| seconds.checked_mul(1_000)).map(Timestamp),
        happened: happened(&record),
        record,
    })
}

/// What a stored event says.
#[must_use]
pub fn happened(record: &Value) -> Happened {
    let name: String = record["event"].as_str().unwrap_or_default().chars().take(NAME_MAX_CHARS).collect();
    let read = match name.as_str() {
        "payment.authorized" => payment(record).map(Happened::PaymentAuthorized),
        "payment.captured" => taken(record).map(Happened::PaymentCaptured),
        "payment.failed" => payment(record).map(Happened::PaymentFailed),
        "order.paid" => order_paid(record),
        "refund.created" => refund(record).map(Happened::RefundCreated),
        "refund.processed" => refund(record).map(Happened::RefundProcessed),
        "refund.failed" => refund(record).map(Happened::RefundFailed),
        "" => Err(Unread::Nameless),
        _ => Ok(Happened::Other(name.clone())),
    };
    read.unwrap_or_else(|why| Happened::Unreadable { name, why: why.in_words() })
}

/// Why an event that should be known is not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("it has no name")]
    Nameless,
    #[error("it is not of the documented form")]
    Form(#[from] serde_json::Error),
    #[error("it tells an amount that cannot be taken")]
    Amount(#[from] Unfit),
    #[error("{0}")]
    Contradiction(&'static str),
}

impl Unread {
    /// With what lies beneath, for it is stored and has no source there.
    fn in_words(&self) -> String {
        match self {
            Self::Form(source) => format!("{self}: {source}"),
            Self::Amount(source) => format!("{self}: {source}"),
            Self::Nameless | Self::Contradiction(_) => self.to_string(),
        }
    }
}

fn entity<'a, T: Deserialize<'a>>(record: &'a Value, name: &str) -> Result<T, Unread> {
    Ok(T::deserialize(&record["payload"][name]["entity"])?)
}

fn payment(record: &Value) -> Result<ProviderPayment, Unread> {
    Ok(ProviderPayment::try_from(entity::<Payment>(record, "payment")?)?)
}

/// A payment that was taken, also where it has been given back since.
fn taken(record: &Value) -> Result<ProviderPayment, Unread> {
    let payment = payment(record)?;
    match payment.status {
        PaymentStatus::Captured | PaymentStatus::Refunded if payment.captured => Ok(payment),
        _ => Err(Unread::Contradiction("it tells of a capture, and of a payment that is not captured")),
    }
}

fn order_paid(record: &Value) -> Result<Happened, Unread> {
    let order = ProviderOrder::try_from(entity::<Order>(record, "order")?)?;
    let payment = taken(record)?;
    if payment.order_id.as_ref() != Some(&order.id) {
        return Err(Unread::Contradiction("it tells of an order, and of another order's payment"));
    }
    Ok(Happened::OrderPaid { order, payment })
}

fn refund(record: &Value) -> Result<RefundEvent, Unread> {
    let payment = match &record["payload"]["payment"] {
        Value::Null => None,
        _ => Some(payment(record)?),
    };
    let currency = payment.as_ref().map(|payment| payment.amount.currency);
    let refund = entity::<Refund>(record, "refund")?.neutral(currency)?;
    if payment.as_ref().is_some_and(|payment| payment.id != refund.payment_id) {
        return Err(Unread::Contradiction("it tells of a refund, and of another payment than the refund's"));
    }
    Ok(RefundEvent { refund, payment })
}

fn is_event_id(id: &str) -> bool {
    (1..=NAME_MAX_CHARS).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
