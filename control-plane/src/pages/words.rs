//! Numbers, money, times and limits as people read them. Pure.

use std::borrow::Borrow;

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};
use apiclay_config::snapshot::StatusRange;

use crate::plans::terms::{LimitInput, TierMode, Trial, UsagePrice, WindowInput};

/// `₹12.50`, `₹499`, `12.50 USD`.
pub(super) fn money(amount: &Money) -> String {
    let text = amount.to_string();
    let number = number_of(&text);
    with_sign(number.strip_suffix(".00").unwrap_or(number), amount.currency)
}

/// `₹12.50`, `₹499.00`, for columns.
pub(super) fn money_whole(amount: &Money) -> String {
    with_sign(number_of(&amount.to_string()), amount.currency)
}

/// `₹1`, `₹500,000`: whole numbers with their thousands parted, for bounds; others as [`money`] writes them.
pub(super) fn money_parted(amount: &Money) -> String {
    if amount.micro < 0 || amount.micro % MICRO_PER_UNIT != 0 {
        return money(amount);
    }
    with_sign(&count(amount.micro.unsigned_abs() / MICRO_PER_UNIT.unsigned_abs()), amount.currency)
}

fn number_of(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn with_sign(number: &str, currency: Currency) -> String {
    if currency == Currency::INR { format!("₹{number}") } else { format!("{number} {}", currency.as_str()) }
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

/// `0.9 ms`, `51 ms`, `2.3 s`, `71 s`: two digits or so, as a percentile is known.
pub(super) fn duration(us: u32) -> String {
    match us {
        ..10_000 => format!("{:.1} ms", f64::from(us) / 1_000.0),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{:.1} s", f64::from(us) / 1_000_000.0),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// `400 calls a day`.
pub(super) fn limit(limit: &LimitInput) -> String {
    let calls = if limit.max == 1 { "call" } else { "calls" };
    let kind = if limit.hard { "" } else { " included" };
    format!("{} {calls}{kind} {}", count(limit.max), window(limit.window))
}

/// `400 calls a day (Asia/Kolkata time)`: the zone where the limit's windows go by its clocks, UTC's left unsaid.
pub(super) fn limit_in(input: &LimitInput, zone: Option<&str>) -> String {
    let rate = matches!(input.window, WindowInput::Second | WindowInput::Minute);
    match zone.filter(|_| !rate) {
        Some(zone) => format!("{} ({} time)", limit(input), zone.replace('_', " ")),
        None => limit(input),
    }
}

/// `5 calls at a time`.
pub(super) fn at_a_time(calls: u32) -> String {
    format!("{} {} at a time", count(u64::from(calls)), if calls == 1 { "call" } else { "calls" })
}

/// `25 calls to try it, free`, `25 calls within 14 days to try it, free`; of what has no price, `14 days to try it, then it
/// ends`.
pub(super) fn trial(trial: &Trial, is_priced: bool) -> String {
    let calls = trial.calls.map(|n| format!("{} {}", count(n), if n == 1 { "call" } else { "calls" }));
    let days = trial.days.map(|n| format!("{n} {}", if n == 1 { "day" } else { "days" }));
    let all: Vec<String> = calls.into_iter().chain(days).collect();
    format!("{} to try it, {}", all.join(" within "), if is_priced { "free" } else { "then it ends" })
}

/// What one of what is counted is: `a call`, `an image`.
pub(super) fn each(usage: &UsagePrice) -> String {
    let noun = usage.unit.noun(1);
    // As it is spoken: an hour, and a unit.
    let vowel = noun.starts_with(['a', 'e', 'i', 'o']) || noun.starts_with("hour");
    let article = if vowel { "an" } else { "a" };
    format!("{article} {noun}")
}

/// What units that are not calls cost at most, and where nothing is said; nothing for calls.
pub(super) fn bounds(usage: &UsagePrice) -> Option<String> {
    let unit = usage.unit.metered()?;
    let (most, assumed) = (u64::from(unit.units_max_per_call), u64::from(unit.units_default));
    let nouns = usage.unit.noun(most);
    Some(format!(
        "A call is {} {nouns} at most, and {} where its answer does not say",
        count(most),
        count(assumed)
    ))
}

/// The least that a unit costs: `₹0.25`, or `from ₹0.10` where it depends on how many there are.
pub(super) fn call_price(usage: &UsagePrice) -> String {
    let least = usage.amounts().min_by_key(|amount| amount.micro).map(money).unwrap_or_default();
    if usage.tiers.is_some() { format!("from {least}") } else { least }
}

/// What units cost by how many there are: a line for what is included, and one a tier.
pub(super) fn tiers(usage: &UsagePrice) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(included) = usage.included {
        lines.push(format!("{} {} a month included", count(included), usage.unit.noun(included)));
    }
    let volume = usage.mode == Some(TierMode::Volume);
    let nouns = usage.unit.noun(0);
    let more = if usage.included.is_some() { format!("more {nouns}") } else { nouns };
    let mut from = 1_u64;
    for tier in usage.tiers.iter().flatten() {
        let price = money(&tier.amount);
        let price = if volume { format!("all at {price}") } else { format!("{price} each") };
        match tier.up_to {
            Some(up_to) => {
                lines.push(format!("{} to {} {more} a month: {price}", count(from), count(up_to)));
                from = up_to.saturating_add(1);
            }
            None => lines.push(format!("{} {more} a month or more: {price}", count(from))),
        }
    }
    lines
}

/// `Only answers with status 2XX or 404 count`.
pub(super) fn billable(statuses: &[StatusRange]) -> String {
    let mut names: Vec<String> = statuses.iter().map(StatusRange::to_string).collect();
    let last = names.pop().unwrap_or_default();
    let named = if names.is_empty() { last } else { format!("{} or {last}", names.join(", ")) };
    format!("Only answers with status {named} count")
}

/// With a capital and a full stop: `it has ended` becomes `It has ended.`
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    let whole: String = first.into_iter().flatten().chain(letters).collect();
    if whole.is_empty() || whole.ends_with(['.', '?', '!']) { whole } else { whole + "." }
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
    use crate::plans::terms::Tier;
    use crate::plans::units::{MeteredUnit, UsageUnit};

    #[test]
    fn durations_are_told_as_far_as_they_are_known() {
        let told = [0, 940, 51_199, 999_999, 2_031_615, 71_000_000].map(duration);
        assert_eq!(told, ["0.0 ms", "0.9 ms", "51 ms", "999 ms", "2.0 s", "71 s"]);
    }

    #[test]
    fn tiers_are_read_line_by_line() {
        let tier = |up_to, micro| Tier { up_to, amount: Money::new(micro, Currency::INR) };
        let tiers_of = |mode, included| UsagePrice {
            unit: UsageUnit::CALL,
            amount: None,
            tiers: Some(vec![tier(Some(1_000), 250_000), tier(None, 200_000)]),
            mode: Some(mode),
            included,
        };
        let graduated = tiers_of(TierMode::Graduated, None);
        assert_eq!(call_price(&graduated), "from ₹0.20");
        assert_eq!(
            tiers(&graduated),
            ["1 to 1,000 calls a month: ₹0.25 each", "1,001 calls a month or more: ₹0.20 each"]
        );
        let volume = tiers_of(TierMode::Volume, Some(50));
        assert_eq!(
            tiers(&volume),
            [
                "50 calls a month included",
                "1 to 1,000 more calls a month: all at ₹0.25",
                "1,001 more calls a month or more: all at ₹0.20"
            ]
        );
        let flat = UsagePrice::flat(Money::new(250_000, Currency::INR));
        assert_eq!((call_price(&flat), tiers(&flat)), ("₹0.25".to_owned(), Vec::new()));
        assert_eq!((each(&flat), bounds(&flat)), ("a call".to_owned(), None));
        let unit = |name: &str| {
            let (header, json_pointer) = (Some("x-units".to_owned()), None);
            let name = name.to_owned();
            UsageUnit::Metered(MeteredUnit {
                name,
                header,
                json_pointer,
                units_max_per_call: 4_000,
                units_default: 1,
            })
        };
        let tokens = UsagePrice { unit: unit("token"), ..volume };
        assert_eq!(tiers(&tokens)[1], "1 to 1,000 more tokens a month: all at ₹0.25");
        assert_eq!(
            bounds(&tokens).unwrap(),
            "A call is 4,000 tokens at most, and 1 where its answer does not say"
        );
        let each_of = |name: &str| each(&UsagePrice { unit: unit(name), ..flat.clone() });
        assert_eq!(
            ["token", "image", "hour", "unit", "hit"].map(each_of),
            ["a token", "an image", "an hour", "a unit", "a hit"]
        );
    }

    #[test]
    fn billed_statuses_are_said_in_a_sentence() {
        let said = |texts: &[&str]| billable(&texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(said(&["2XX"]), "Only answers with status 2XX count");
        assert_eq!(said(&["2XX", "3XX", "404"]), "Only answers with status 2XX, 3XX or 404 count");
    }

    #[test]
    fn a_zone_is_said_where_a_limit_goes_by_its_clocks() {
        let limit =
            |window| LimitInput { unit: crate::plans::terms::Unit::Call, window, max: 400, hard: true };
        let day = limit(WindowInput::Day);
        assert_eq!(limit_in(&day, Some("America/New_York")), "400 calls a day (America/New York time)");
        assert_eq!(limit_in(&day, None), "400 calls a day");
        assert_eq!(limit_in(&limit(WindowInput::Minute), Some("America/New_York")), "400 calls a minute");
    }

    #[test]
    fn a_trial_is_said_by_what_ends_it() {
        let said = |calls, days| trial(&Trial { calls, days }, true);
        assert_eq!(said(Some(1), None), "1 call to try it, free");
        assert_eq!(said(None, Some(14)), "14 days to try it, free");
        assert_eq!(said(Some(25), Some(1)), "25 calls within 1 day to try it, free");
        assert_eq!(trial(&Trial::of_calls(5), false), "5 calls to try it, then it ends");
        assert_eq!(
            (at_a_time(1), at_a_time(1_000)),
            ("1 call at a time".into(), "1,000 calls at a time".into())
        );
    }

    #[test]
    fn a_detail_is_told_as_a_sentence() {
        assert_eq!(sentence("it has ended"), "It has ended.");
        assert_eq!(sentence("Sign in first."), "Sign in first.");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn numbers_are_read_easily() {
        assert_eq!(count(0_u64), "0");
        assert_eq!(count(999_u64), "999");
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(money(&Money::new(499_000_000, Currency::INR)), "₹499");
        assert_eq!(money_whole(&Money::new(499_000_000, Currency::INR)), "₹499.00");
        assert_eq!(money(&Money::new(250_000, Currency::INR)), "₹0.25");
        assert_eq!(money_parted(&Money::new(500_000_000_000, Currency::INR)), "₹500,000");
        assert_eq!(money_parted(&Money::new(1_500_000, Currency::INR)), "₹1.50");
        assert_eq!(moment(Timestamp(1_700_000_000_000)), "14 Nov 2023, 22:13 UTC");
    }
}
