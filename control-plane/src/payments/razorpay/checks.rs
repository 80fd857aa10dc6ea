//! What Razorpay's documents say may be sent, checked before it is: what is refused here has done nothing anywhere. Pure.
//! Next: `client`.

use std::collections::BTreeMap;

use apiclay_config::money::Money;

use crate::payments::minor::to_minor;
use crate::payments::provider_error::Unsendable;

/// Characters of a receipt.
pub const RECEIPT_MAX_CHARS: usize = 40;
/// Notes of one entity.
pub const NOTES_MAX: usize = 15;
/// Characters of one note's name, and of its text.
pub const NOTE_MAX_CHARS: usize = 256;
/// Characters of a refund's idempotency key, at least.
pub const REFUND_KEY_MIN_CHARS: usize = 10;
/// Characters of one of Razorpay's names (`order_DESlLckIVRkHWj`); theirs have 20.
const ID_MAX_CHARS: usize = 64;

/// The amount in whole smallest units, more than nothing.
///
/// # Errors
/// Where it is not.
pub fn positive_minor(amount: Money) -> Result<i64, Unsendable> {
    match to_minor(amount)? {
        0 => Err(Unsendable::Nothing),
        minor => Ok(minor),
    }
}

/// Checks one of Razorpay's names before it becomes part of an address: some come from browsers.
///
/// # Errors
/// Where it cannot be one.
pub fn check_id<'a>(what: &'static str, id: &'a str) -> Result<&'a str, Unsendable> {
    let fine = (1..=ID_MAX_CHARS).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fine { Ok(id) } else { Err(Unsendable::NotAnId(what)) }
}

/// Checks our name for an order.
///
/// # Errors
/// Where it is empty or too long.
pub fn check_receipt(receipt: &str) -> Result<&str, Unsendable> {
    if receipt.is_empty() || receipt.chars().count() > RECEIPT_MAX_CHARS {
        return Err(Unsendable::OurName("a receipt has 1 to 40 characters"));
    }
    Ok(receipt)
}

/// Checks what is kept beside an order.
///
/// # Errors
/// Where it is too much.
pub fn check_notes(notes: &BTreeMap<String, String>) -> Result<(), Unsendable> {
    let fits = |text: &String| text.chars().count() <= NOTE_MAX_CHARS;
    if notes.len() > NOTES_MAX || !notes.iter().all(|(name, text)| fits(name) && fits(text)) {
        return Err(Unsendable::Notes);
    }
    Ok(())
}

/// Checks our name for a refund, which is its idempotency key too.
///
/// # Errors
/// Where Razorpay would not take it.
pub fn check_refund_key(our_id: &str) -> Result<&str, Unsendable> {
    let fine = (REFUND_KEY_MIN_CHARS..=RECEIPT_MAX_CHARS).contains(&our_id.len())
        && our_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fine {
        Ok(our_id)
    } else {
        Err(Unsendable::OurName("a refund's name is 10 to 40 letters, digits, hyphens and underscores"))
    }
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::Currency;

    use super::*;
    use crate::payments::minor::AmountError;

    #[test]
    fn only_names_become_part_of_an_address() {
        assert_eq!(check_id("an order", "order_DESlLckIVRkHWj"), Ok("order_DESlLckIVRkHWj"));
        for id in ["", ".", "..", "a/b", "a?b", "a%2e", "a b", "é", &"a".repeat(ID_MAX_CHARS + 1)] {
            assert_eq!(check_id("an order", id), Err(Unsendable::NotAnId("an order")), "{id}");
        }
    }

    #[test]
    fn refunds_names_are_idempotency_keys() {
        assert!(check_refund_key("refund-_001").is_ok());
        for key in ["short-key", "refund:0001", "refund 0001", "réfund-0001", &"a".repeat(41)] {
            assert!(check_refund_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn receipts_and_notes_have_bounds() {
        assert!(check_receipt(&"é".repeat(RECEIPT_MAX_CHARS)).is_ok());
        assert!(check_receipt(&"a".repeat(RECEIPT_MAX_CHARS + 1)).is_err());
        assert!(check_receipt("").is_err());
        let notes = |count: usize, chars: usize| -> BTreeMap<String, String> {
            (0..count).map(|at| (at.to_string(), "n".repeat(chars))).collect()
        };
        assert_eq!(check_notes(&notes(NOTES_MAX, NOTE_MAX_CHARS)), Ok(()));
        assert_eq!(check_notes(&notes(NOTES_MAX + 1, 1)), Err(Unsendable::Notes));
        assert_eq!(check_notes(&notes(1, NOTE_MAX_CHARS + 1)), Err(Unsendable::Notes));
    }

    #[test]
    fn what_is_sent_is_more_than_nothing_and_exact() {
        assert_eq!(positive_minor(Money::new(0, Currency::INR)), Err(Unsendable::Nothing));
        assert_eq!(positive_minor(Money::new(20_000, Currency::INR)), Ok(2));
        let odd = Money::new(5_000, Currency::INR);
        assert_eq!(positive_minor(odd), Err(Unsendable::Amount(AmountError::Fraction(odd))));
    }
}
