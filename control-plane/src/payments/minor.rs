//! Our micro-units and a provider's smallest currency units, exactly or not at all: nothing is rounded in silence, and a
//! currency whose decimals are not known here is refused, never guessed. Next: a provider's wire.

use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};

/// Currencies that can be paid in, and the smallest units in one unit of each.
const MINOR_PER_UNIT: [(&str, i64); 5] = [("INR", 100), ("USD", 100), ("EUR", 100), ("GBP", 100), ("JPY", 1)];

/// Why an amount cannot be said in the other unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Its decimals are not known here.
    #[error("{0:?} is no currency that payments are taken in")]
    Currency(Currency),
    /// There is no coin so small.
    #[error("{0} is not a whole number of the currency's smallest unit")]
    Fraction(Money),
    /// Payments and refunds have a direction, not a sign.
    #[error("an amount that is paid is not negative")]
    Negative,
    /// Beyond 64 bits of micro-units.
    #[error("the amount is too large")]
    TooLarge,
}

/// The amount in the currency's smallest units: paise, cents, whole yen.
///
/// # Errors
/// Where there is no whole number of them, it is negative, or the currency is not known.
pub fn to_minor(amount: Money) -> Result<i64, AmountError> {
    let micro_per_minor = micro_per_minor(amount.currency)?;
    if amount.micro < 0 {
        return Err(AmountError::Negative);
    }
    if amount.micro % micro_per_minor != 0 {
        return Err(AmountError::Fraction(amount));
    }
    Ok(amount.micro / micro_per_minor)
}

/// The amount that so many of the currency's smallest units are.
///
/// # Errors
/// Where it does not fit, is negative, or the currency is not known.
pub fn from_minor(minor: i64, currency: Currency) -> Result<Money, AmountError> {
    let micro_per_minor = micro_per_minor(currency)?;
    if minor < 0 {
        return Err(AmountError::Negative);
    }
    let micro = minor.checked_mul(micro_per_minor).ok_or(AmountError::TooLarge)?;
    Ok(Money::new(micro, currency))
}

fn micro_per_minor(currency: Currency) -> Result<i64, AmountError> {
    MINOR_PER_UNIT
        .iter()
        .find(|(code, _)| *code == currency.as_str())
        .map(|(_, minor_per_unit)| MICRO_PER_UNIT / minor_per_unit)
        .ok_or(AmountError::Currency(currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(micro: i64, code: &str) -> Money {
        Money::new(micro, code.parse().unwrap())
    }

    #[test]
    fn whole_units_go_both_ways() {
        for (micro, code, minor) in
            [(500_000_000, "INR", 50_000), (10_000, "INR", 1), (0, "EUR", 0), (7_000_000, "JPY", 7)]
        {
            assert_eq!(to_minor(money(micro, code)), Ok(minor), "{micro} {code}");
            assert_eq!(from_minor(minor, code.parse().unwrap()), Ok(money(micro, code)), "{minor} {code}");
        }
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        // A tenth of a paisa, the smallest amount we know, and half a yen.
        for amount in [money(1_000, "INR"), money(500_000_001, "INR"), money(1, "USD"), money(500_000, "JPY")]
        {
            assert_eq!(to_minor(amount), Err(AmountError::Fraction(amount)));
        }
        assert_eq!(to_minor(money(-10_000, "INR")), Err(AmountError::Negative));
        assert_eq!(from_minor(-1, Currency::INR), Err(AmountError::Negative));
        assert_eq!(from_minor(i64::MAX, Currency::INR), Err(AmountError::TooLarge));
        assert_eq!(
            from_minor(i64::MAX / 10_000, Currency::INR).map(|m| m.micro / 10_000),
            Ok(i64::MAX / 10_000)
        );
    }

    #[test]
    fn decimals_are_never_guessed() {
        // Three decimals, none, and two: whatever is not in the table is refused.
        for code in ["KWD", "KRW", "AUD"] {
            let currency = code.parse().unwrap();
            assert_eq!(to_minor(Money::new(1_000_000, currency)), Err(AmountError::Currency(currency)));
            assert_eq!(from_minor(1, currency), Err(AmountError::Currency(currency)));
        }
    }
}
