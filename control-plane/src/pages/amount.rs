//! Amounts as people write them into a form, and bounds as they read them there. Pure. Next: `wallet`.

use apiclay_config::money::{Currency, Money};

use crate::http::Problem;

/// What is said of other commas.
const COMMAS: &str = "a comma parts thousands or lakhs only, as in 1,000.50 or 1,00,000; paise stand behind a \
    point, as in 99.50";
/// Digits between two commas of Western numbers, and before the first of either kind's last group.
const THOUSAND_DIGITS: usize = 3;
/// Digits between two commas of Indian ones.
const LAKH_DIGITS: usize = 2;

/// Rupees as people write them: `500`, `1,000.50`, `1,00,000`, `₹500`. A comma elsewhere than between groups is refused:
/// where it is meant as a decimal point, the amount without it would be a hundred times as much.
pub(super) fn amount_of(text: &str) -> Result<Money, Problem> {
    let text = text.trim().trim_start_matches('₹').trim_start();
    let plain = ungrouped(text).ok_or_else(|| Problem::field("/amount", "amount_invalid", COMMAS))?;
    let wire = serde_json::json!({ "amount": plain, "currency": Currency::INR });
    serde_json::from_value(wire)
        .map_err(|_| Problem::field("/amount", "amount_invalid", "an amount in rupees, such as 500 or 99.50"))
}

/// The same without its commas; none where they part no groups.
fn ungrouped(text: &str) -> Option<String> {
    if !text.contains(',') {
        return Some(text.to_owned());
    }
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let groups: Vec<&str> = whole.split(',').collect();
    let [first, between @ .., last] = groups.as_slice() else { return None };
    let are = |digits: usize| {
        (1..=digits).contains(&first.len()) && between.iter().all(|group| group.len() == digits)
    };
    let parted = last.len() == THOUSAND_DIGITS && (are(THOUSAND_DIGITS) || are(LAKH_DIGITS));
    let digits = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    if !parted || !digits || part.is_some_and(|part| part.contains(',')) {
        return None;
    }
    Some(text.replace(',', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_groups_of_either_kind_and_nothing_else() {
        let micro = |text: &str| amount_of(text).ok().map(|amount| amount.micro / 10_000);
        for (text, paise) in [
            ("500", 50_000),
            ("₹1,000.50", 100_050),
            ("1,00,000", 10_000_000),
            ("100,000", 10_000_000),
            ("12,34,567.89", 123_456_789),
            ("1,234,567", 123_456_700),
            (" ₹ 99.50 ", 9_950),
        ] {
            assert_eq!(micro(text), Some(paise), "{text}");
        }
        for wrong in [
            "99,50",
            "1,0000",
            "10,00,00",
            ",100",
            "1,,000",
            "1,000,00",
            "1000,000",
            "1.000,50",
            "1,00,0000",
            "1,a00",
            "",
        ] {
            assert_eq!(micro(wrong), None, "{wrong}");
        }
    }
}
