//! Rules of budgets, on figures.
#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items)]

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use apiclay_config::money::{Currency, MICRO_PER_UNIT, Money};

use super::documents::{Budget, Told};
use super::letters;
use super::rules::check;
use crate::ledger::Spending;
use crate::plans::bounds::PRICE_MAX_UNITS;

/// The first moment of September 2026.
const MONTH: Timestamp = Timestamp(1_788_220_800_000);

fn inr(micro: i64) -> Money {
    Money::new(micro, Currency::INR)
}

fn spending(spent: i64, held: i64) -> Spending {
    Spending { month: MONTH, spent, held }
}

/// A budget of 1000 micro-units.
fn budget(hard_stop: bool) -> Budget {
    let told = Told::on_setting(inr(1_000), spending(0, 0));
    Budget { account: AccountId::from_u128(1), amount: inr(1_000), hard_stop, told }
}

/// What is told when so much is spent in turn, by one budget.
fn told_at(mut budget: Budget, spent: &[i64]) -> Vec<u8> {
    let mut told = Vec::new();
    for spent in spent {
        if let Some(noted) = budget.noted(spending(*spent, 0), None) {
            budget = noted.budget;
            told.extend(noted.tells);
        }
    }
    told
}

#[test]
fn each_threshold_is_told_once_at_its_figure_and_the_highest_of_several() {
    assert_eq!(told_at(budget(false), &[0, 499, 500, 500, 799, 800, 999, 1_000, 5_000]), [50, 80, 100]);
    assert_eq!(told_at(budget(false), &[850, 500, 400, 900, 1_000]), [80, 100]);
    assert_eq!(told_at(budget(false), &[-700, i64::MIN, i64::MAX]), [100]);
}

#[test]
fn another_month_tells_anew_and_an_older_one_does_not() {
    let known = budget(false).noted(spending(900, 0), None).unwrap().budget;
    let next = Spending { month: spending(0, 0).resets_at(), ..spending(600, 0) };
    let noted = known.noted(next, None).unwrap();
    assert_eq!(noted.tells, Some(50));
    // A control plane whose clock is behind looks at the row as it was.
    assert_eq!(noted.budget.noted(spending(450, 0), None), None);
}

#[test]
fn who_sets_a_budget_is_told_only_of_what_comes_after() {
    let told = Told::on_setting(inr(1_000), spending(600, 0));
    assert_eq!(told_at(Budget { told, ..budget(false) }, &[600, 700, 800, 1_000]), [80, 100]);
    let told = Told::on_setting(inr(1_000), spending(1_200, 0));
    assert_eq!(told_at(Budget { told, ..budget(true) }, &[1_200, 1_300]), [] as [u8; 0]);
}

#[test]
fn a_hard_stop_stops_at_what_is_held_and_spent_and_at_what_no_longer_fits() {
    assert!(budget(false).ceiling().is_none() && !budget(false).stops(spending(2_000, 0)));
    let hard = budget(true);
    assert_eq!(hard.ceiling().unwrap().most_micro, 1_000);
    assert_eq!((hard.left(spending(300, 400)), hard.left(spending(900, 400))), (300, 0));
    assert!(!hard.stops(spending(300, 400)) && hard.stops(spending(600, 400)));
    // A call of 300 does not fit into 200: for its owner the budget ends here.
    let noted = hard.noted(spending(800, 0), Some(300)).unwrap();
    assert_eq!(noted.tells, Some(100));
    assert!(noted.budget.stops(spending(800, 0)) && !hard.stops(spending(800, 0)));
    assert_eq!(noted.budget.noted(spending(800, 0), Some(300)), None, "it is known");
    // A credit makes room for it; and what does not fit for other holds alone is no end.
    assert!(!noted.budget.stops(spending(700, 0)));
    assert_eq!(hard.noted(spending(100, 800), Some(300)), None);
    assert!(!noted.budget.stops(Spending { month: spending(0, 0).resets_at(), ..spending(0, 0) }));
}

#[test]
fn an_amount_is_positive_and_no_larger_than_a_price() {
    for micro in [1, PRICE_MAX_UNITS * MICRO_PER_UNIT] {
        assert!(check(inr(micro)).is_ok(), "{micro}");
    }
    for micro in [0, -1, i64::MIN, PRICE_MAX_UNITS * MICRO_PER_UNIT + 1, i64::MAX] {
        assert!(check(inr(micro)).is_err(), "{micro}");
    }
}

#[test]
fn letters_say_what_is_spent_and_what_follows() {
    let url = "https://market.example/".parse().unwrap();
    let letter = |hard, percent| {
        let budget = Budget { amount: inr(123_456_000_000), ..budget(hard) };
        letters::reached(&budget, spending(98_765_123_456, 0), percent, &url)
    };
    for (hard, percent, told) in [
        (true, 100, "refused until"),
        (false, 100, "Nothing is stopped"),
        (true, 80, "Once it is spent"),
        (false, 50, "The next month begins"),
    ] {
        let letter = letter(hard, percent);
        assert!(letter.text.contains(told), "{letter:?}");
        assert!(letter.text.contains("98,765.1234 INR of your budget of 123,456.00 INR"), "{letter:?}");
        assert!(!letter.text.split(|c: char| !c.is_ascii_digit()).any(|number| number.len() == 6));
        assert!(letter.text.ends_with("See https://market.example/wallet\n"), "{letter:?}");
    }
}
