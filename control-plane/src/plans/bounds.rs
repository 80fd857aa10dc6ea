//! How large the numbers in a plan's terms may be. Pure; `rules` and `rules_usage` check by it.

use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};

use crate::refusal::Invalid;

/// Largest amount of a price, in units of its currency.
pub const PRICE_MAX_UNITS: i64 = 1_000_000_000;
/// Largest number of calls in a limit or a trial.
pub const CALLS_MAX: u64 = u32::MAX as u64;
/// The longest trial, in days.
pub const TRIAL_DAYS_MAX: u32 = apiclay_config::snapshot::TRIAL_DAYS_MAX;

pub(super) fn check_price(faults: &mut Vec<Invalid>, pointer: &str, price: &Money) {
    let max_micro = PRICE_MAX_UNITS.saturating_mul(MICRO_PER_UNIT);
    if !(0..=max_micro).contains(&price.micro) {
        faults.push(Invalid::new(
            format!("{pointer}/amount"),
            "out_of_range",
            format!("0 to {PRICE_MAX_UNITS}"),
        ));
    }
    if price.currency == Currency::CALLS {
        faults.push(Invalid::new(format!("{pointer}/currency"), "no_currency", "XXX is no currency"));
    }
}
