//! The state machine alone: a counter with several gateways.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn lease(gateway: &str, serial: u32) -> LeaseId {
    LeaseId { gateway: gateway.into(), epoch: 1, serial }
}

#[test]
fn serials_wrap() {
    assert!(is_later(1, u32::MAX));
    assert!(!is_later(u32::MAX, 1));
    assert!(!is_later(5, 5));
}

#[test]
fn grants_shrink_to_one_and_use_the_whole_quota() {
    let mut counter = CounterState::default();
    let mut serial = 0;
    loop {
        serial += 1;
        let id = lease(if serial % 2 == 0 { "a" } else { "b" }, serial);
        match counter.grant(&Ask { lease: &id, max: 1_000, hard: true, want: 64 }) {
            Decision::Fresh(0) => break,
            Decision::Fresh(units) => assert!(units <= 64),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counter.granted, 1_000);
    let soft = counter.grant(&Ask { lease: &lease("a", 9_999), max: 1_000, hard: false, want: 64 });
    assert_eq!(soft, Decision::Fresh(64));
}

#[test]
fn an_echo_of_a_closed_lease_takes_nothing() {
    let mut counter = CounterState::default();
    let id = lease("a", 3);
    let ask = Ask { lease: &id, max: 100, hard: true, want: 10 };
    assert_eq!(counter.grant(&ask), Decision::Fresh(10));
    assert_eq!(counter.grant(&ask), Decision::Same(10));
    let close = Close { lease: id.clone(), window: 0, unspent: 4, spent: None };
    counter.close(&close);
    counter.close(&close);
    assert_eq!(counter.granted, 6);
    assert_eq!(counter.grant(&ask), Decision::Stale);
    assert_eq!(counter.granted, 6);
}
