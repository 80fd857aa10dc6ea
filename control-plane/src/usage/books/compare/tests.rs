//! Leases by what was held, charged and made of them.

use super::*;

const SUB: SubscriptionId = SubscriptionId::from_u128(1);

fn charge() -> ChargedFor {
    ChargedFor { subscription: SUB, plan_revision: Some(1), period_begins_at: Timestamp(0) }
}

fn told(mut leases: Leases) -> Vec<String> {
    leases.gather_strays();
    leases.let_go();
    let left = leases.left().filter(|(_, tally)| !tally.is_open());
    left.map(|(name, tally)| lease(&name, &tally).what).collect()
}

/// Held, ended with so many calls charged, and so many on record.
fn lease_of(leases: &mut Leases, name: &str, charged: u64, calls: u64) {
    let tally = leases.of(name);
    tally.hold();
    tally.charge(charged, Some(charge()), true);
    (0..calls).for_each(|_| tally.call(SUB, 1, 1));
}

#[test]
fn what_agrees_is_let_go_and_what_differs_is_named() {
    let mut leases = Leases::default();
    for (name, charged, calls) in [("gw:1:1", 5, 5), ("gw:1:2", 5, 6), ("gw:1:3", 2, 0), ("gw:1:4", 0, 0)] {
        lease_of(&mut leases, name, charged, calls);
    }
    leases.of("gw:1:5").hold();
    leases.named("gw", "1", 5).call(SUB, 1, 1);
    assert_eq!(leases.let_go(), 2, "5 of 5, and nothing of nothing");
    let told = told(leases);
    assert_eq!(told.len(), 2, "an open one is none of them: {told:?}");
    assert!(told[0].ends_with("1 billed call is on record more than are charged"), "{told:?}");
    assert!(told[1].ends_with("2 billed calls are charged more than are on record"), "{told:?}");
}

#[test]
fn a_charge_of_what_was_let_go_is_wrong_and_late_calls_that_are_charged_are_not() {
    let mut leases = Leases::default();
    lease_of(&mut leases, "gw:1:1", 5, 5);
    lease_of(&mut leases, "gw:1:2", 5, 5);
    assert_eq!(leases.let_go(), 2);
    leases.of("gw:1:1").charge(5, Some(charge()), true);
    leases.named("gw", "1", 2).call(SUB, 1, 1);
    leases.of("gw:1:2").charge(1, Some(charge()), false);
    assert_eq!(leases.let_go(), 1);
    assert_eq!(told(leases).len(), 1);
}

#[test]
fn calls_of_another_revision_than_is_charged_are_told() {
    let mut leases = Leases::default();
    lease_of(&mut leases, "gw:1:1", 1, 0);
    leases.named("gw", "1", 1).call(SUB, 2, 1);
    assert_eq!(leases.let_go(), 0);
    assert!(told(leases)[0].contains("another revision"));
}

#[test]
fn included_calls_that_another_subscriptions_account_paid_for_are_let_go_where_it_is_that_of_their_free_months()
 {
    let mut leases = Leases::default();
    let (bought_again, stranger) = (SubscriptionId::from_u128(2), SubscriptionId::from_u128(3));
    for (name, theirs) in [("gw:1:1", bought_again), ("gw:1:2", stranger)] {
        let tally = leases.of(name);
        tally.hold();
        tally.charge(2, Some(ChargedFor { plan_revision: None, ..charge() }), true);
        (0..2).for_each(|_| tally.call(theirs, 1, 1));
    }
    assert_eq!((leases.let_go(), leases.unknown()), (0, BTreeSet::from([bought_again, stranger])));
    leases.know(bought_again, SUB);
    leases.know(stranger, stranger);
    assert_eq!((leases.let_go(), leases.unknown()), (1, BTreeSet::new()));
    let told = told(leases);
    assert!(told.len() == 1 && told[0].contains("another subscription"), "{told:?}");
}

#[test]
fn late_calls_that_a_later_life_tells_of_are_those_that_are_charged_late() {
    let mut leases = Leases::default();
    lease_of(&mut leases, "gw:1:17", 5, 5);
    assert_eq!(leases.let_go(), 1);
    leases.named("gw", "2", 17).call(SUB, 1, 1);
    assert_eq!(leases.let_go(), 0);
    leases.of("gw:1:17").charge(1, Some(charge()), false);
    assert_eq!(told(leases), [""; 0]);
}

#[test]
fn calls_that_a_later_life_tells_of_are_the_earlier_ones() {
    let mut leases = Leases::default();
    lease_of(&mut leases, "gw:1:17", 1, 0);
    leases.named("gw", "2", 17).call(SUB, 1, 1);
    assert_eq!(leases.let_go(), 1);
    leases.named("gw", "2", 7).call(SUB, 1, 1);
    assert!(told(leases)[0].ends_with("nobody was granted it"));
}
