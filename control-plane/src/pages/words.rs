//! Numbers, money, times and limits as people read them. Pure.

use std::borrow::Borrow;

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};

use crate::plans::terms::{LimitInput, WindowInput};

/// `₹12.50`, `₹499`, `12.50 USD`.
pub(super) fn money(amount: &Money) -> String {
    let text = amount.to_string();
    let number = text.split(' ').next().unwrap_or_default();
    let short = number.strip_suffix(".00").unwrap_or(number);
    if amount.currency == Currency::INR {
        format!("₹{short}")
    } else {
        format!("{short} {}", amount.currency.as_str())
    }
}

/// `1,234,567`. Templates hand over numbers by reference or not.
pub(super) fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `400 calls a day`.
pub(super) fn limit(limit: &LimitInput) -> String {
    let calls = if limit.max == 1 { "call" } else { "calls" };
    let kind = if limit.hard { "" } else { " included" };
    format!("{} {calls}{kind} {}", count(limit.max), window(limit.window))
}

/// `a day`.
pub(super) fn window(window: WindowInput) -> &'static str {
    match window {
        WindowInput::Second => "a second",
        WindowInput::Minute => "a minute",
        WindowInput::Hour => "an hour",
        WindowInput::Day => "a day",
        WindowInput::Month => "a month",
    }
}

/// `24 Nov 2026, 14:05 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    written(at, "%-d %b %Y, %H:%M UTC")
}

/// `24 Nov 2026`.
pub(super) fn day(at: Timestamp) -> String {
    written(at, "%-d %b %Y")
}

/// By jiff's format; nothing for a time that no calendar has.
pub(super) fn written(at: Timestamp, format: &str) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.0);
    moment.map(|moment| moment.strftime(format).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_easily() {
        assert_eq!(count(0_u64), "0");
        assert_eq!(count(999_u64), "999");
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(money(&Money::new(499_000_000, Currency::INR)), "₹499");
        assert_eq!(money(&Money::new(250_000, Currency::INR)), "₹0.25");
        assert_eq!(moment(Timestamp(1_700_000_000_000)), "14 Nov 2023, 22:13 UTC");
    }
}
