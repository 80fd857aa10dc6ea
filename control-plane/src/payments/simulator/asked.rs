//! What a caller asks for, read by Razorpay's rules, and the documented answers where it breaks one. Pure. Next: `world`
//! and `refunds`.

use serde_json::Value;

/// Smallest amount of an order or a refund, in paise.
pub(super) const AMOUNT_MIN: i64 = 100;
/// Characters of a receipt.
const RECEIPT_MAX_CHARS: usize = 40;
/// Notes of one entity.
const NOTES_MAX: usize = 15;
/// Characters of a note.
const NOTE_MAX_CHARS: usize = 256;
/// Characters of an idempotency key, at least.
const KEY_MIN_CHARS: usize = 10;

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Of the answer.
    pub status: u16,
    /// `BAD_REQUEST_ERROR` and the like.
    pub code: &'static str,
    /// A sentence.
    pub description: String,
    /// Where in the course of things.
    pub step: &'static str,
    /// The word for it.
    pub reason: &'static str,
    /// The field that it is about.
    pub field: Option<&'static str>,
}

impl Fault {
    /// 400, by a rule of input.
    pub(super) fn input(field: Option<&'static str>, description: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: "BAD_REQUEST_ERROR",
            description: description.into(),
            step: "payment_initiation",
            reason: "input_validation_failed",
            field,
        }
    }

    /// 400: it is not there, which Razorpay does not answer with 404.
    pub(super) fn no_such_id() -> Self {
        Self::input(None, "The id provided does not exist")
    }

    /// A failure of Razorpay's own.
    pub(super) fn server(status: u16, code: &'static str) -> Self {
        Self {
            status,
            code,
            description:
                "We are facing some trouble completing your request at the moment. Please try again shortly."
                    .into(),
            reason: "server_error",
            ..Self::input(None, "")
        }
    }
}

/// An order that is asked for.
pub(super) struct AskedOrder {
    pub amount: i64,
    pub currency: String,
    pub receipt: Option<String>,
    pub notes: Value,
}

/// A refund that is asked for.
pub(super) struct AskedRefund {
    /// All that is left, where none is told.
    pub amount: Option<i64>,
    pub speed: String,
    pub receipt: Option<String>,
    pub notes: Value,
}

pub(super) fn order(body: &Value) -> Result<AskedOrder, Fault> {
    let amount = amount(body)?.ok_or_else(|| Fault::input(Some("amount"), "amount: is required."))?;
    if amount < AMOUNT_MIN {
        return Err(Fault {
            step: "order_creation",
            reason: "amount_less_than_minimum_amount",
            ..Fault::input(Some("amount"), "Order amount less than minimum amount allowed")
        });
    }
    let currency = match &body["currency"] {
        Value::Null => return Err(Fault::input(Some("currency"), "currency: is required.")),
        Value::String(code) if matches!(code.as_str(), "INR" | "USD" | "EUR" | "GBP" | "JPY") => code.clone(),
        _ => return Err(Fault::input(Some("currency"), "Currency is not supported")),
    };
    Ok(AskedOrder { amount, currency, receipt: receipt(body)?, notes: notes(body)? })
}

pub(super) fn refund(body: &Value) -> Result<AskedRefund, Fault> {
    let amount = amount(body)?;
    if amount.is_some_and(|amount| amount < AMOUNT_MIN) {
        return Err(Fault::input(Some("amount"), "The amount must be atleast INR 1.00"));
    }
    let speed = match &body["speed"] {
        Value::Null => "normal".to_owned(),
        Value::String(speed) if matches!(speed.as_str(), "normal" | "optimum") => speed.clone(),
        _ => return Err(Fault::input(Some("speed"), "The selected speed is invalid.")),
    };
    Ok(AskedRefund { amount, speed, receipt: receipt(body)?, notes: notes(body)? })
}

/// An amount, where one is told: of a capture too.
pub(super) fn amount(body: &Value) -> Result<Option<i64>, Fault> {
    match &body["amount"] {
        Value::Null => Ok(None),
        Value::Number(number) => number
            .as_i64()
            .map(Some)
            .ok_or_else(|| Fault::input(Some("amount"), "The amount must be an integer.")),
        _ => Err(Fault::input(Some("amount"), "The amount must be an integer.")),
    }
}

/// Checks an idempotency key.
pub(super) fn key(key: &str) -> Result<(), Fault> {
    let fine = key.len() >= KEY_MIN_CHARS
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fine { Ok(()) } else { Err(Fault::input(None, "The idempotency key is invalid.")) }
}

fn receipt(body: &Value) -> Result<Option<String>, Fault> {
    match &body["receipt"] {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= RECEIPT_MAX_CHARS => Ok(Some(text.clone())),
        Value::String(_) => {
            let long = format!("receipt: the length must be no more than {RECEIPT_MAX_CHARS}.");
            Err(Fault::input(Some("receipt"), long))
        }
        _ => Err(Fault::input(Some("receipt"), "expected string but provided another type")),
    }
}

fn notes(body: &Value) -> Result<Value, Fault> {
    let short = |text: &str| text.chars().count() <= NOTE_MAX_CHARS;
    match &body["notes"] {
        Value::Null => Ok(Value::Array(Vec::new())),
        Value::Array(items) if items.is_empty() => Ok(Value::Array(Vec::new())),
        Value::Object(fields) if fields.is_empty() => Ok(Value::Array(Vec::new())),
        Value::Object(fields) if fields.len() > NOTES_MAX => {
            let many = format!("Number of fields in notes should be less than or equal to {NOTES_MAX}");
            Err(Fault::input(Some("notes"), many))
        }
        Value::Object(fields)
            if fields.iter().all(|(name, text)| short(name) && text.as_str().is_none_or(short)) =>
        {
            Ok(body["notes"].clone())
        }
        Value::Object(_) => Err(Fault::input(Some("notes"), "notes: a value is too long.")),
        _ => Err(Fault::input(Some("notes"), "notes must be an array")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orders_are_held_against_the_documented_rules() {
        let fault = |body: Value| order(&body).err().map(|fault| fault.description);
        let fine = json!({"amount": 100, "currency": "INR", "receipt": "r", "notes": {"a": "b"}});
        assert_eq!(fault(fine), None);
        let many: serde_json::Map<_, _> = (0..=NOTES_MAX).map(|at| (at.to_string(), json!("n"))).collect();
        for (body, part) in [
            (json!({"currency": "INR"}), "required"),
            (json!({"amount": 99, "currency": "INR"}), "less than minimum"),
            (json!({"amount": 100.5, "currency": "INR"}), "integer"),
            (json!({"amount": "100", "currency": "INR"}), "integer"),
            (json!({"amount": 100}), "currency"),
            (json!({"amount": 100, "currency": "XYZ"}), "Currency"),
            (json!({"amount": 100, "currency": "INR", "receipt": "r".repeat(41)}), "receipt"),
            (json!({"amount": 100, "currency": "INR", "notes": many}), "notes"),
        ] {
            let description = fault(body.clone()).unwrap_or_default();
            assert!(description.contains(part), "{body}: {description:?}");
        }
    }

    #[test]
    fn empty_notes_come_back_as_an_empty_list() {
        for notes in [json!(null), json!({}), json!([])] {
            let asked = order(&json!({"amount": 100, "currency": "INR", "notes": notes}));
            assert_eq!(asked.ok().map(|asked| asked.notes), Some(json!([])));
        }
    }

    #[test]
    fn keys_have_ten_characters_of_few_kinds() {
        assert!(key("550e8400-e29b_41d4").is_ok());
        for bad in ["", "123456789", "refund:0001", "refund 0001"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
