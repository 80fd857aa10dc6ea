//! Razorpay's signatures: HMAC-SHA256 in hexadecimal. Of a webhook over the raw body under the webhook's secret; of a
//! finished checkout over `order|payment` under the key's secret. Compared in constant time. Next: `webhook`, `client`.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Bytes of a signature, before they are written in hexadecimal.
const SIGNATURE_BYTES: usize = 32;

/// The signature of a message.
#[must_use]
pub fn sign(secret: &SecretString, message: &[u8]) -> String {
    in_hex(&mac(secret, message).finalize().into_bytes())
}

/// Whether a signature is that of this message under one of these secrets.
#[must_use]
pub fn holds<'a>(
    secrets: impl IntoIterator<Item = &'a SecretString>,
    message: &[u8],
    signature: &str,
) -> bool {
    let Some(claimed) = from_hex(signature) else { return false };
    secrets.into_iter().any(|secret| mac(secret, message).verify_slice(&claimed).is_ok())
}

/// What a finished checkout is signed over. A subscription's is the other way round, so that neither passes for the other.
#[must_use]
pub fn checkout_message(order_id: &str, payment_id: &str) -> String {
    format!("{order_id}|{payment_id}")
}

/// SHA-256 in hexadecimal.
#[must_use]
pub(super) fn digest(bytes: &[u8]) -> String {
    in_hex(&Sha256::digest(bytes))
}

#[expect(clippy::expect_used, reason = "an HMAC takes a key of any length")]
fn mac(secret: &SecretString, message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
    mac.update(message);
    mac
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != SIGNATURE_BYTES * 2 {
        return None;
    }
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    /// RFC 4231, cases 1, 2 and 4.
    #[test]
    fn known_vectors() {
        let ascending: String = (1..=25).map(char::from).collect();
        let cases: [(&str, &[u8], &str); 3] = [
            (
                &"\u{0b}".repeat(20),
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                "Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&ascending, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        ];
        for (key, message, expected) in cases {
            assert_eq!(sign(&secret(key), message), expected);
            assert!(holds([&secret(key)], message, expected));
            assert!(holds([&secret(key)], message, &expected.to_uppercase()));
        }
    }

    #[test]
    fn any_other_bit_secret_or_form_does_not_hold() {
        let good = sign(&secret("one"), b"message");
        assert!(holds([&secret("two"), &secret("one")], b"message", &good));
        assert!(!holds([&secret("two")], b"message", &good));
        assert!(!holds([], b"message", &good));
        assert!(!holds([&secret("one")], b"messagf", &good));
        for at in 0..good.len() {
            let mut other = good.clone();
            let flipped = if &good[at..=at] == "0" { "1" } else { "0" };
            other.replace_range(at..=at, flipped);
            assert!(!holds([&secret("one")], b"message", &other), "digit {at}");
        }
        for text in ["", &good[..63], &format!("{good}0"), &format!("{}é", &good[..62]), &"g".repeat(64)] {
            assert!(!holds([&secret("one")], b"message", text), "{text}");
        }
    }

    #[test]
    fn a_checkout_is_signed_over_order_and_payment_in_this_order() {
        assert_eq!(checkout_message("order_1", "pay_2"), "order_1|pay_2");
    }
}
