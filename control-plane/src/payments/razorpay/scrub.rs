//! What an event tells of a card or of a person is taken out before the event is stored: we need none of it, and what is
//! not there cannot leak. What names the business fact (ids, amounts, states, our notes) stays, so that a replay reads the
//! same. Next: `webhook`.

use serde_json::Value;

use super::wire::REFUND_NOTE;

/// Fields that are taken out wherever they stand, and every field whose name goes on behind one of these and `_`.
const FIELDS: [&str; 34] = [
    "account_number",
    "acquirer_data",
    "address",
    "auth_code",
    "bank",
    "beneficiary",
    "billing_address",
    "card",
    "cardholder",
    "contact",
    "customer",
    "cvv",
    "device",
    "email",
    "emi",
    "expiry",
    "ifsc",
    "iin",
    "ip",
    "issuer",
    "last4",
    "mobile",
    "network",
    "pan",
    "payer",
    "phone",
    "recurring_details",
    "rrn",
    "shipping_address",
    "token",
    "tokens",
    "upi",
    "vpa",
    "wallet",
];
/// What stands in the place of a card's number.
const REDACTED: &str = "[card number]";
/// No amount that we can hold has more of its currency's smallest units: 64 bits of micro-units, 10 000 in each.
const AMOUNT_MAX: u64 = i64::MAX as u64 / 10_000;
/// Digits of a card's number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// The same without what belongs to a card or a person, at any depth. Of texts, a card's number goes, written in one piece.
#[must_use]
pub fn without_card_data(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(name, _)| !is_private(name))
                .map(|(name, inner)| {
                    // A name, ours or the provider's, is never a card's number, however many digits it has.
                    let kept = if is_name(name, inner) { inner.clone() } else { without_card_data(inner) };
                    (name.clone(), kept)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_card_data).collect()),
        Value::String(text) => Value::String(without_card_number(text)),
        // A card's number could come as a number too. Shorter ones could be an amount, which must stay what it is.
        Value::Number(number) if number.as_u64().is_some_and(|n| n > AMOUNT_MAX) => {
            if is_card_number(&number.to_string()) { Value::from(REDACTED) } else { value.clone() }
        }
        other => other.clone(),
    }
}

fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FIELDS.iter().any(|field| {
        name.strip_prefix(field).is_some_and(|behind| behind.is_empty() || behind.starts_with('_'))
    })
}

fn is_name(name: &str, value: &Value) -> bool {
    let names = ["id", "order_id", "payment_id", "refund_id", "receipt", "account_id", REFUND_NOTE];
    value.is_string() && names.contains(&name)
}

/// In place of each run of digits that is a card's number.
fn without_card_number(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (put, over) = match digits {
            0 => (&rest[..next.len_utf8()], next.len_utf8()),
            run if is_card_number(&rest[..run]) => (REDACTED, run),
            run => (&rest[..run], run),
        };
        shown.push_str(put);
        rest = &rest[over..];
    }
    shown
}

/// By length and the check digit that card numbers end in (Luhn).
fn is_card_number(digits: &str) -> bool {
    if !CARD_DIGITS.contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) if doubled > 9 => doubled - 9,
                (_, doubled) => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_belongs_to_a_card_or_a_person_goes_at_any_depth() {
        let payment = json!({
            "id": "pay_1", "amount": 100, "method": "card", "card_id": "card_1", "Card": {"last4": "1111"},
            "vpa": "a@upi", "bank": "HDFC", "bank_account": {"ifsc": "X"}, "email": "a@b.in", "contact": "+91",
            "token_id": "token_1", "tokens": [1], "wallet": "w", "acquirer_data": {"rrn": "1"}, "upi": {},
            "notes": {"email": "a@b.in", "apiclay_refund": "refund-0001"},
        });
        let event = json!({"contains": ["payment"], "payload": {"payment": {"entity": payment}}, "list": [[{"cvv": 1}]]});
        let kept = json!({
            "id": "pay_1", "amount": 100, "method": "card", "notes": {"apiclay_refund": "refund-0001"},
        });
        let expected =
            json!({"contains": ["payment"], "payload": {"payment": {"entity": kept}}, "list": [[{}]]});
        assert_eq!(without_card_data(&event), expected);
    }

    #[test]
    fn names_that_only_begin_alike_stay() {
        let value =
            json!({"contains": 1, "ips_note": 2, "carded": 3, "tokenless": 4, "banking": 5, "emissary": 6});
        assert_eq!(without_card_data(&value), value);
    }

    #[test]
    fn card_numbers_go_from_texts_and_other_digits_stay() {
        let said = json!({"description": "for 4111111111111111, order 4111111111111112", "n": 4_111_111_111_111_111_u64});
        let shown = json!({"description": "for [card number], order 4111111111111112", "n": REDACTED});
        assert_eq!(without_card_data(&said), shown);
        let id = json!({"id": "4111111111111111", "created_at": 1_567_674_606, "amount": 30_569_309_025_904_i64, "most": AMOUNT_MAX});
        assert_eq!(without_card_data(&id), id);
        let ours = json!({"notes": {"apiclay_refund": "4111111111111111"}});
        assert_eq!(without_card_data(&ours), ours);
        assert_eq!(without_card_data(&json!({"id": {"card": 1, "n": 2}})), json!({"id": {"n": 2}}));
    }

    #[test]
    fn twice_is_the_same_as_once() {
        let value = json!({"a": {"card": 1, "b": "4111111111111111"}});
        let once = without_card_data(&value);
        assert_ne!(once, value);
        assert_eq!(without_card_data(&once), once);
    }
}
