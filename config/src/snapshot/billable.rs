//! Statuses as plans name them, in OpenAPI's form: one, `404`, or a whole class, `2XX`. The gateway compiles them into a table;
//! next: its phase settle.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Statuses that one plan names at most.
pub const STATUS_RANGES_MAX: usize = 50;
/// The statuses that there are (RFC 9110, section 15).
const STATUSES: std::ops::RangeInclusive<u16> = 100..=599;
/// Statuses of a class.
const CLASS_STATUSES: u16 = 100;

/// One status or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusRange {
    /// `404`.
    One(u16),
    /// `4XX`, by its first digit.
    Class(u8),
}

/// Text that is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is three digits from 100 to 599, as 404, or a class of them, as 2XX")]
pub struct StatusRangeError;

impl StatusRange {
    /// Whether it names this status.
    #[must_use]
    pub const fn contains(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => status / CLASS_STATUSES == class as u16,
        }
    }
}

impl FromStr for StatusRange {
    type Err = StatusRangeError;

    fn from_str(text: &str) -> Result<Self, StatusRangeError> {
        match text.as_bytes() {
            [class @ b'1'..=b'5', b'X' | b'x', b'X' | b'x'] => Ok(Self::Class(class - b'0')),
            [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
                let status = text.parse().ok().filter(|status| STATUSES.contains(status));
                status.map(Self::One).ok_or(StatusRangeError)
            }
            _ => Err(StatusRangeError),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}XX"),
        }
    }
}

impl Serialize for StatusRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_or_a_class_is_read_and_nothing_else() {
        for (text, range, inside, outside) in [
            ("404", StatusRange::One(404), 404, 405),
            ("100", StatusRange::One(100), 100, 101),
            ("2XX", StatusRange::Class(2), 299, 300),
            ("5xx", StatusRange::Class(5), 500, 499),
        ] {
            assert_eq!(text.parse(), Ok(range));
            assert_eq!(range.to_string(), text.to_uppercase());
            assert!(range.contains(inside) && !range.contains(outside), "{text}");
        }
        for text in
            ["", "4", "40", "4040", "4X", "4X4", "44X", "XXX", "0XX", "6XX", "099", "600", "+40", "é4"]
        {
            assert_eq!(text.parse::<StatusRange>(), Err(StatusRangeError), "{text}");
        }
        let told: Vec<StatusRange> = serde_json::from_str(r#"["2xx","404"]"#).unwrap();
        assert_eq!(serde_json::to_string(&told).unwrap(), r#"["2XX","404"]"#);
        assert!(serde_json::from_str::<StatusRange>("404").is_err());
    }
}
