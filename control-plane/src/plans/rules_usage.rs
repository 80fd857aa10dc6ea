//! What a price of usage may be. Pure; a part of `rules`. Next: `pricing`, which relies on what is refused here.

use apiclay_config::money::Currency;

use super::bounds::{CALLS_MAX, check_price};
use super::terms::{Tier, TierMode, UsagePrice};
use crate::refusal::Invalid;

/// Tiers of one price.
pub(super) const TIERS_MAX: usize = 20;

/// Checks a price of usage in a plan whose other prices are in `currency`.
pub(super) fn check(faults: &mut Vec<Invalid>, usage: &UsagePrice, currency: Currency) {
    if let Some(unit) = usage.unit.metered() {
        unit.check(faults);
    }
    let mut fault = |pointer: String, code, message: &str| {
        faults.push(Invalid::new(format!("/usage_price{pointer}"), code, message));
    };
    match (&usage.amount, &usage.tiers) {
        (Some(_), None) | (None, Some(_)) => {}
        _ => fault(String::new(), "one_of", "either amount or tiers"),
    }
    if usage.tiers.is_some() != usage.mode.is_some() {
        fault("/mode".into(), "with_tiers", "graduated or volume where there are tiers, and only there");
    }
    // No lease is made of fewer units than a call may use: they could not be used without money in the wallet.
    let whole = usage.unit.metered().map_or(1, |unit| u64::from(unit.units_max_per_call));
    if usage.included.is_some_and(|included| !(whole..=CALLS_MAX).contains(&included)) {
        let rule = format!("{whole} (what one call may use) to {CALLS_MAX} units, or left out");
        fault("/included".into(), "out_of_range", &rule);
    }
    if usage.amounts().any(|amount| amount.currency != currency) {
        let place = if usage.tiers.is_some() { "/tiers" } else { "/amount/currency" };
        fault(place.into(), "currency_differs", "one currency a plan");
    }
    if let Some(amount) = &usage.amount {
        check_price(faults, "/usage_price/amount", amount);
    }
    if let Some(tiers) = &usage.tiers {
        check_tiers(faults, tiers, usage.mode);
    }
}

fn check_tiers(faults: &mut Vec<Invalid>, tiers: &[Tier], mode: Option<TierMode>) {
    let Some(last) = tiers.last().filter(|_| tiers.len() <= TIERS_MAX) else {
        let message = format!("1 to {TIERS_MAX} tiers");
        return faults.push(Invalid::new("/usage_price/tiers", "out_of_range", message));
    };
    let at = |place: usize, field: &str| format!("/usage_price/tiers/{place}{field}");
    let mut before: Option<&Tier> = None;
    for (place, tier) in tiers.iter().enumerate() {
        check_price(faults, &at(place, "/amount"), &tier.amount);
        let is_last = place + 1 == tiers.len();
        let floor = before.and_then(|before| before.up_to).unwrap_or(0);
        match tier.up_to {
            None if is_last => {}
            Some(_) if is_last => {
                let message = "the last tier has no end: leave up_to out";
                faults.push(Invalid::new(at(place, "/up_to"), "last_open", message));
            }
            Some(up_to) if up_to > floor && up_to <= CALLS_MAX => {}
            _ => {
                let message = format!("more than the tier before, {CALLS_MAX} at most");
                faults.push(Invalid::new(at(place, "/up_to"), "not_rising", message));
            }
        }
        let rises = before.is_some_and(|before| tier.amount.micro > before.amount.micro);
        if rises && mode == Some(TierMode::Volume) {
            let message =
                "where one price is that of all units, it does not rise: more calls could not be held for";
            faults.push(Invalid::new(at(place, "/amount/amount"), "rises", message));
        }
        before = Some(tier);
    }
    if last.amount.is_zero() {
        let message = "the last tier costs something; what is free is a tier before it, or included";
        faults.push(Invalid::new(at(tiers.len() - 1, "/amount/amount"), "out_of_range", message));
    }
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::{MICRO_PER_UNIT, Money};

    use super::*;
    use crate::plans::bounds::PRICE_MAX_UNITS;
    use crate::plans::units::{MeteredUnit, UsageUnit};

    fn usage(mode: Option<TierMode>, tiers: &[(Option<u64>, i64)]) -> UsagePrice {
        let tier = |(up_to, micro): &(Option<u64>, i64)| Tier {
            up_to: *up_to,
            amount: Money::new(*micro, Currency::INR),
        };
        let tiers = Some(tiers.iter().map(tier).collect());
        UsagePrice { unit: UsageUnit::CALL, amount: None, tiers, mode, included: None }
    }

    fn token(units_max_per_call: u32) -> UsageUnit {
        UsageUnit::Metered(MeteredUnit {
            name: "token".to_owned(),
            header: Some("x-tokens".to_owned()),
            json_pointer: None,
            units_max_per_call,
            units_default: 1,
        })
    }

    fn faults(usage: &UsagePrice) -> Vec<(String, &'static str)> {
        let mut faults = Vec::new();
        check(&mut faults, usage, Currency::INR);
        faults.into_iter().map(|fault| (fault.pointer.replace("/usage_price", ""), fault.code)).collect()
    }

    #[test]
    fn tiers_rise_to_an_open_one_and_volume_prices_do_not() {
        let graduated = Some(TierMode::Graduated);
        let volume = Some(TierMode::Volume);
        for good in [
            usage(graduated, &[(None, 1)]),
            usage(graduated, &[(Some(1), 0), (Some(2), 9), (Some(CALLS_MAX), 0), (None, 1)]),
            usage(volume, &[(Some(1), 3), (Some(2), 3), (None, 1)]),
            UsagePrice { included: Some(CALLS_MAX), ..UsagePrice::flat(Money::new(0, Currency::INR)) },
        ] {
            assert_eq!(faults(&good), [], "{good:?}");
        }
        let flat = UsagePrice::flat(Money::new(1, Currency::INR));
        let dollars = Money::new(1, "USD".parse().unwrap());
        let beyond = PRICE_MAX_UNITS * MICRO_PER_UNIT + 1;
        let many: Vec<_> = (1..=TIERS_MAX as u64).map(|n| (Some(n), 1)).chain([(None, 1)]).collect();
        for (bad, pointer, code) in [
            (UsagePrice { tiers: None, mode: None, ..usage(volume, &[]) }, "", "one_of"),
            (UsagePrice { mode: graduated, ..flat.clone() }, "/mode", "with_tiers"),
            (usage(None, &[(None, 1)]), "/mode", "with_tiers"),
            (UsagePrice { included: Some(0), ..flat.clone() }, "/included", "out_of_range"),
            (UsagePrice { unit: token(10), included: Some(9), ..flat.clone() }, "/included", "out_of_range"),
            (UsagePrice { included: Some(CALLS_MAX + 1), ..flat.clone() }, "/included", "out_of_range"),
            (UsagePrice::flat(dollars), "/amount/currency", "currency_differs"),
            (UsagePrice::flat(Money::new(-1, Currency::INR)), "/amount/amount", "out_of_range"),
            (usage(graduated, &[]), "/tiers", "out_of_range"),
            (usage(graduated, &many), "/tiers", "out_of_range"),
            (usage(graduated, &[(Some(9), 1)]), "/tiers/0/up_to", "last_open"),
            (usage(graduated, &[(None, 1), (None, 1)]), "/tiers/0/up_to", "not_rising"),
            (usage(graduated, &[(Some(0), 1), (None, 1)]), "/tiers/0/up_to", "not_rising"),
            (usage(graduated, &[(Some(5), 1), (Some(5), 1), (None, 1)]), "/tiers/1/up_to", "not_rising"),
            (usage(graduated, &[(Some(CALLS_MAX + 1), 1), (None, 1)]), "/tiers/0/up_to", "not_rising"),
            (usage(graduated, &[(Some(5), beyond), (None, 1)]), "/tiers/0/amount/amount", "out_of_range"),
            (usage(graduated, &[(Some(5), 1), (None, 0)]), "/tiers/1/amount/amount", "out_of_range"),
            (usage(volume, &[(Some(5), 1), (None, 2)]), "/tiers/1/amount/amount", "rises"),
        ] {
            assert_eq!(faults(&bad), [(pointer.to_owned(), code)], "{bad:?}");
        }
        let both = UsagePrice { amount: flat.amount, ..usage(graduated, &[(None, 1)]) };
        assert_eq!(faults(&both), [(String::new(), "one_of")]);
        let mut other = usage(graduated, &[(Some(1), 1), (None, 1)]);
        other.tiers.as_mut().unwrap()[1].amount = dollars;
        assert_eq!(faults(&other), [("/tiers".to_owned(), "currency_differs")]);
    }
}
