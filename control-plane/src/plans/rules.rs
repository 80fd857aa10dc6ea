//! What a plan may promise and cost. Pure; the routes call it before a revision is written.

use super::bounds::{CALLS_MAX, check_price};
use super::rules_usage;
use super::terms::Terms;
use crate::http::Code;
use crate::refusal::{Invalid, Refusal};

/// Plans one listing may have.
pub const PLANS_PER_LISTING_MAX: usize = 50;
/// Revisions one plan may have: each is kept, since somebody may hold it.
pub const REVISIONS_MAX: u32 = 500;
/// Checks the terms of a revision.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_terms(terms: &Terms) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    check_price(&mut faults, "/price", &terms.price);
    if let Some(usage) = &terms.usage_price {
        rules_usage::check(&mut faults, usage, terms.price.currency);
    }
    for (place, limit) in terms.limits.iter().enumerate() {
        if !(1..=CALLS_MAX).contains(&limit.max) {
            faults.push(Invalid::new(
                format!("/limits/{place}/max"),
                "out_of_range",
                format!("1 to {CALLS_MAX} calls"),
            ));
        }
        if terms.limits[..place].iter().any(|other| other.window == limit.window) {
            faults.push(Invalid::new(format!("/limits/{place}/window"), "repeated", "one limit a window"));
            // Windows are few: what follows can only repeat them.
            break;
        }
    }
    if terms.trial.is_some_and(|trial| !(1..=CALLS_MAX).contains(&trial.calls)) {
        faults.push(Invalid::new("/trial/calls", "out_of_range", format!("1 to {CALLS_MAX} calls")));
    }
    if terms.concurrency_max == Some(0) {
        faults.push(Invalid::new("/concurrency_max", "out_of_range", "at least 1"));
    }
    Refusal::unless_empty(faults)
}

/// Whether what is bought under these terms is paid from the wallet, call by call. Where nobody takes payments, and for what
/// costs something a month, it is not: then only what is free can be bought, or has a trial.
///
/// # Errors
/// Where they cannot be bought.
pub fn check_buyable(terms: &Terms, takes_payments: bool) -> Result<bool, Refusal> {
    if takes_payments && terms.is_paid_by_the_call() {
        return Ok(true);
    }
    if terms.is_priced() && terms.trial.is_none() {
        return Err(Refusal::because(
            Code::PaymentUnavailable,
            "this cannot be paid for yet; choose a plan that is free, is paid by the call, or has a trial",
        ));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};
    use apiclay_config::snapshot::{Limit, Window};

    use super::*;
    use crate::plans::bounds::PRICE_MAX_UNITS;
    use crate::plans::terms::{Trial, UsagePrice};

    fn terms(micro: i64) -> Terms {
        Terms {
            price: Money::new(micro, Currency::INR),
            usage_price: None,
            limits: Vec::new(),
            trial: None,
            concurrency_max: None,
            bindings: Vec::new(),
        }
    }

    #[test]
    fn prices_are_neither_negative_nor_boundless() {
        assert!(check_terms(&terms(0)).is_ok());
        assert!(check_terms(&terms(PRICE_MAX_UNITS * MICRO_PER_UNIT)).is_ok());
        for micro in [-1, i64::MAX, i64::MIN, PRICE_MAX_UNITS * MICRO_PER_UNIT + 1] {
            assert!(check_terms(&terms(micro)).is_err(), "{micro}");
        }
    }

    #[test]
    fn limits_have_windows_of_their_own() {
        let limit = |window, max| Limit { window, max, hard: true };
        let with = |limits| Terms { limits, ..terms(0) };
        assert!(check_terms(&with(vec![limit(Window::Hour, 1), limit(Window::Day, CALLS_MAX)])).is_ok());
        assert!(check_terms(&with(vec![limit(Window::Hour, 1), limit(Window::Hour, 2)])).is_err());
        assert!(check_terms(&with(vec![limit(Window::Hour, 0)])).is_err());
        assert!(check_terms(&with(vec![limit(Window::Hour, CALLS_MAX + 1)])).is_err());
        assert!(check_terms(&Terms { trial: Some(Trial { calls: 0 }), ..terms(0) }).is_err());
        assert!(check_terms(&Terms { concurrency_max: Some(0), ..terms(0) }).is_err());
    }

    #[test]
    fn what_costs_something_is_sold_by_the_call_or_with_a_trial() {
        let bought = |terms: &Terms, takes_payments| check_buyable(terms, takes_payments).ok();
        let trial = Some(Trial { calls: 1 });
        let usage_price = Some(UsagePrice::flat(Money::new(1, Currency::INR)));
        for takes_payments in [false, true] {
            assert_eq!(bought(&terms(0), takes_payments), Some(false));
            assert_eq!(bought(&terms(1), takes_payments), None, "nobody charges for months yet");
            assert_eq!(bought(&Terms { trial, ..terms(1) }, takes_payments), Some(false));
            assert_eq!(bought(&Terms { usage_price: usage_price.clone(), ..terms(1) }, takes_payments), None);
        }
        let by_the_call = Terms { usage_price, ..terms(0) };
        assert_eq!((bought(&by_the_call, false), bought(&by_the_call, true)), (None, Some(true)));
    }
}
