//! Money: whole micro-units of one currency, checked arithmetic, and a decimal string on the wire. Never a float.
//! Plans, wallets and the journal hold it; only a payment provider's adapter rounds it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Micro-units in one unit of currency: six decimal places.
pub const MICRO_PER_UNIT: i64 = 1_000_000;
/// Decimal places an amount may have.
const DECIMALS_MAX: usize = 6;

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Indian rupee.
    pub const INR: Self = Self(*b"INR");
    /// ISO 4217's code where no currency is involved. The books count calls in it, whole; nothing is priced in it.
    pub const CALLS: Self = Self(*b"XXX");

    /// The code's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII capitals get in, so this never takes the default.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Currency {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        match text.as_bytes() {
            code @ [a, b, c] if code.iter().all(u8::is_ascii_uppercase) => Ok(Self([*a, *b, *c])),
            _ => Err(InvalidMoney::Currency),
        }
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What is wrong with an amount.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMoney {
    /// Not a decimal string.
    #[error("an amount is a decimal string such as \"12.50\", with at most six places")]
    Amount,
    /// Beyond 64 bits of micro-units.
    #[error("the amount is too large")]
    TooLarge,
    /// Not three capital letters.
    #[error("a currency is an ISO 4217 code of three capital letters, such as INR")]
    Currency,
}

/// An amount in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Micro-units, may be negative.
    pub micro: i64,
    /// The currency they are of.
    pub currency: Currency,
}

impl Money {
    /// `micro` micro-units of `currency`.
    #[must_use]
    pub const fn new(micro: i64, currency: Currency) -> Self {
        Self { micro, currency }
    }

    /// The sum, unless the currencies differ or it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        Some(Self { micro: self.micro.checked_add(other.micro)?, ..self })
    }

    /// Whether nothing is owed.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.micro == 0
    }
}

/// Reads `12`, `12.5`, `-0.000001`; nothing else: no exponent, no sign but a minus, no blanks.
fn parse_micro(text: &str) -> Result<i64, InvalidMoney> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(InvalidMoney::Amount),
        Some((whole, fraction)) => (whole, fraction),
        None => (digits, ""),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > DECIMALS_MAX {
        return Err(InvalidMoney::Amount);
    }
    let mut micro: i64 = 0;
    let padding = std::iter::repeat_n(b'0', DECIMALS_MAX - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        micro = micro
            .checked_mul(10)
            .and_then(|m| m.checked_add(i64::from(digit - b'0')))
            .ok_or(InvalidMoney::TooLarge)?;
    }
    Ok(if negative { -micro } else { micro })
}

/// The decimal string, with two places at least.
fn write_micro(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    let magnitude = micro.unsigned_abs();
    let per_unit = MICRO_PER_UNIT.unsigned_abs();
    let mut fraction = format!("{:06}", magnitude % per_unit);
    while fraction.len() > 2 && fraction.ends_with('0') {
        fraction.pop();
    }
    format!("{sign}{}.{fraction}", magnitude / per_unit)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", write_micro(self.micro), self.currency.as_str())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    amount: String,
    currency: Currency,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire { amount: write_micro(self.micro), currency: self.currency }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self { micro: parse_micro(&wire.amount).map_err(D::Error::custom)?, currency: wire.currency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, micro) in [("0", 0), ("12.50", 12_500_000), ("-0.000001", -1), ("500", 500_000_000)] {
            assert_eq!(parse_micro(text), Ok(micro), "{text}");
        }
        assert_eq!(write_micro(250_000), "0.25");
        assert_eq!(write_micro(-1), "-0.000001");
        assert_eq!(write_micro(i64::MIN), "-9223372036854.775808");
    }

    #[test]
    fn floats_signs_and_overflow_are_refused() {
        for text in ["", ".", "1.", ".5", "+1", "1e3", " 1", "0.0000001", "1,5", "١"] {
            assert_eq!(parse_micro(text), Err(InvalidMoney::Amount), "{text}");
        }
        assert_eq!(parse_micro("9223372036854.775808"), Err(InvalidMoney::TooLarge));
        assert!(serde_json::from_str::<Money>(r#"{"amount":1.5,"currency":"INR"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount":"1","currency":"inr"}"#).is_err());
    }
}
