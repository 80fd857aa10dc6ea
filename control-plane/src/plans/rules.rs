//! What a plan may promise and cost. Pure; the routes call it before a revision is written.

use apiclay_config::snapshot::{STATUS_RANGES_MAX, StatusRange};
use apiclay_config::zone::Zone;

use super::bounds::{CALLS_MAX, TRIAL_DAYS_MAX, check_price};
use super::rules_usage;
use super::terms::{Terms, Trial};
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
    if terms.zone.as_deref().is_some_and(|zone| Zone::named(zone).is_none()) {
        let told = "an IANA time zone as it is spelled there, such as Asia/Kolkata";
        faults.push(Invalid::new("/zone", "not_known", told));
    }
    if let Some(trial) = &terms.trial {
        check_trial(&mut faults, trial);
    }
    if terms.concurrency_max == Some(0) {
        faults.push(Invalid::new("/concurrency_max", "out_of_range", "at least 1"));
    }
    check_billable(&mut faults, terms.billable_statuses.as_deref());
    Refusal::unless_empty(faults)
}

fn check_trial(faults: &mut Vec<Invalid>, trial: &Trial) {
    if trial.calls.is_some_and(|calls| !(1..=CALLS_MAX).contains(&calls)) {
        faults.push(Invalid::new("/trial/calls", "out_of_range", format!("1 to {CALLS_MAX} calls")));
    }
    if trial.days.is_some_and(|days| !(1..=TRIAL_DAYS_MAX).contains(&days)) {
        faults.push(Invalid::new("/trial/days", "out_of_range", format!("1 to {TRIAL_DAYS_MAX} days")));
    }
    if trial.calls.is_none() && trial.days.is_none() {
        faults.push(Invalid::new("/trial", "required", "calls or days, or both; null for no trial"));
    }
}

fn check_billable(faults: &mut Vec<Invalid>, statuses: Option<&[StatusRange]>) {
    let Some(statuses) = statuses else { return };
    if !(1..=STATUS_RANGES_MAX).contains(&statuses.len()) {
        let message = format!("1 to {STATUS_RANGES_MAX} statuses; leave it out to bill all below 500");
        return faults.push(Invalid::new("/billable_statuses", "out_of_range", message));
    }
    for (place, status) in statuses.iter().enumerate() {
        if statuses[..place].contains(status) {
            let pointer = format!("/billable_statuses/{place}");
            faults.push(Invalid::new(pointer, "repeated", format!("{status} is named already")));
        }
    }
}

/// How what is bought is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Nothing is owed.
    Nothing,
    /// Nothing is owed until the trial is over.
    Trial,
    /// From the wallet, call by call.
    ByTheCall,
    /// From the wallet, a month ahead; where calls cost something too, these call by call.
    ByTheMonth,
}

impl Payment {
    /// Whether calls are open that cost something.
    #[must_use]
    pub const fn pays(self) -> bool {
        matches!(self, Self::ByTheCall | Self::ByTheMonth)
    }
}

/// How what is bought under these terms is paid for. A trial comes before a month, and no month is charged for after it that
/// nobody asked for.
///
/// # Errors
/// Where it costs something, has no trial, and nobody takes payments.
pub fn payment(terms: &Terms, takes_payments: bool) -> Result<Payment, Refusal> {
    match terms {
        terms if !terms.is_priced() => Ok(Payment::Nothing),
        terms if takes_payments && terms.is_paid_by_the_call() => Ok(Payment::ByTheCall),
        Terms { trial: Some(_), .. } => Ok(Payment::Trial),
        _ if takes_payments => Ok(Payment::ByTheMonth),
        _ => Err(Refusal::because(
            Code::PaymentUnavailable,
            "nobody takes payments here; choose a plan that is free or has a trial",
        )),
    }
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};
    use apiclay_config::snapshot::{Limit, Window};

    use super::*;
    use crate::plans::bounds::PRICE_MAX_UNITS;
    use crate::plans::terms::UsagePrice;

    fn terms(micro: i64) -> Terms {
        Terms {
            price: Money::new(micro, Currency::INR),
            usage_price: None,
            limits: Vec::new(),
            zone: None,
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
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
        let tried = |calls, days| check_terms(&Terms { trial: Some(Trial { calls, days }), ..terms(0) });
        assert!(tried(Some(0), None).is_err() && tried(None, Some(0)).is_err() && tried(None, None).is_err());
        assert!(tried(Some(5), Some(TRIAL_DAYS_MAX + 1)).is_err());
        assert!(tried(Some(1), None).is_ok() && tried(None, Some(1)).is_ok());
        assert!(tried(Some(CALLS_MAX), Some(TRIAL_DAYS_MAX)).is_ok());
        assert!(check_terms(&Terms { concurrency_max: Some(0), ..terms(0) }).is_err());
    }

    #[test]
    fn a_zone_is_one_that_every_machine_knows() {
        let with = |zone: &str| check_terms(&Terms { zone: Some(zone.to_owned()), ..terms(0) });
        assert!(with("Asia/Kolkata").is_ok() && with("America/Argentina/ComodRivadavia").is_ok());
        for zone in ["", "IST", "asia/kolkata", "+05:30", "Asia/Kolkata ", "localtime", "posixrules"] {
            assert!(with(zone).is_err(), "{zone}");
        }
    }

    #[test]
    fn billed_statuses_are_named_once_and_not_none() {
        let named = |texts: &[&str]| {
            let statuses = texts.iter().map(|text| text.parse().unwrap()).collect();
            check_terms(&Terms { billable_statuses: Some(statuses), ..terms(0) })
        };
        assert!(named(&["2XX", "404", "200"]).is_ok());
        assert!(named(&[]).is_err());
        assert!(named(&["2XX", "404", "2xx"]).is_err());
        let many: Vec<String> = (100..=100 + STATUS_RANGES_MAX).map(|status| status.to_string()).collect();
        assert!(named(&many.iter().map(String::as_str).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn what_costs_something_is_tried_first_or_paid_from_the_wallet() {
        let bought = |terms: &Terms, takes_payments| payment(terms, takes_payments).ok();
        let trial = Some(Trial::of_calls(1));
        let usage_price = Some(UsagePrice::flat(Money::new(1, Currency::INR)));
        let by_the_call = Terms { usage_price: usage_price.clone(), ..terms(0) };
        let cases = [
            (terms(0), Some(Payment::Nothing), Some(Payment::Nothing)),
            (Terms { trial, ..terms(0) }, Some(Payment::Nothing), Some(Payment::Nothing)),
            (terms(1), None, Some(Payment::ByTheMonth)),
            (Terms { usage_price, ..terms(1) }, None, Some(Payment::ByTheMonth)),
            (Terms { trial, ..terms(1) }, Some(Payment::Trial), Some(Payment::Trial)),
            (Terms { trial, ..by_the_call.clone() }, Some(Payment::Trial), Some(Payment::ByTheCall)),
            (by_the_call, None, Some(Payment::ByTheCall)),
        ];
        for (terms, without, with) in cases {
            assert_eq!((bought(&terms, false), bought(&terms, true)), (without, with), "{terms:?}");
        }
    }
}
