//! What must hold over either store.

use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};

use super::*;
use crate::ledger::balance::balance_of;
use crate::ledger::verify::verify;
use crate::ledger::{LedgerError, Outcome, Refused};

const MINUTE_MS: i64 = 60_000;

pub async fn a_fact_is_written_once_and_with_one_content(store: &Store) {
    let journal = journal(store);
    let first = journal.append(&top_up("topup:pay_1", wallet(1), 500)).await.unwrap();
    let again = journal.append(&top_up("topup:pay_1", wallet(1), 500)).await.unwrap();
    assert!(first.fresh && !again.fresh);
    assert_eq!(first.entry, again.entry);
    for other in [top_up("topup:pay_1", wallet(1), 501), top_up("topup:pay_1", wallet(2), 500)] {
        let refused = journal.append(&other).await.unwrap_err();
        assert!(matches!(refused, LedgerError::OtherContent { .. }), "{refused}");
    }
    assert_eq!(journal.head(&wallet(1).to_string()).await.unwrap().posted, 500);
    // Many at once, over two control planes: one entry.
    let planes = [Arc::new(super::journal(store)), Arc::new(super::journal(store))];
    let many = (0..40).map(|n| {
        let plane = Arc::clone(&planes[n % 2]);
        tokio::spawn(async move { plane.append(&top_up("topup:pay_2", wallet(1), 7)).await.unwrap().fresh })
    });
    let fresh =
        futures_util::future::join_all(many).await.into_iter().filter(|fresh| *fresh.as_ref().unwrap());
    assert_eq!(fresh.count(), 1);
    let report = verify(store).await.unwrap();
    assert_eq!((report.entries, report.faults), (2, vec![]));
}

pub async fn of_a_hundred_debits_at_once_on_a_balance_for_one_one_is_made(store: &Store) {
    let planes = [Arc::new(journal(store)), Arc::new(journal(store))];
    planes[0].append(&top_up("topup:pay", wallet(1), 100)).await.unwrap();
    let debits = (0..100).map(|n| {
        let plane = Arc::clone(&planes[n % 2]);
        tokio::spawn(async move { plane.append(&fee(&format!("fee:{n}"), wallet(1), 100)).await })
    });
    let mut made = 0;
    for outcome in futures_util::future::join_all(debits).await {
        match outcome.unwrap() {
            Ok(appended) => made += u32::from(appended.fresh),
            Err(LedgerError::Refused(Refused::Floor { free_micro: 0, wanted_micro: 100, .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
    let head = planes[0].head(&wallet(1).to_string()).await.unwrap();
    assert_eq!((head.posted, head.seq), (0, 2));
    assert_eq!(verify(store).await.unwrap().faults, []);
}

pub async fn a_hold_is_charged_once_and_its_rest_is_free(store: &Store) {
    let journal = journal(store);
    journal.append(&top_up("topup:pay", wallet(1), 1_000)).await.unwrap();
    let hold = proposal("hold:lease_1", EntryKind::Calls, Step::Hold(amount(wallet(1), 600)));
    let held = journal.append(&hold).await.unwrap().entry.made_hold().unwrap();
    let refused = journal.append(&fee("fee:1", wallet(1), 401)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Refused(Refused::Floor { free_micro: 400, .. })), "{refused:?}");
    let close = |outcome, micro: i64| {
        let lines =
            if micro == 0 { vec![] } else { vec![amount(wallet(1), -micro), amount(vendor(1), micro)] };
        let fact = format!("close:{}", held.entry);
        proposal(&fact, EntryKind::Calls, Step::Close { hold: held, outcome, lines })
    };
    assert!(journal.append(&close(Outcome::Posted, 150)).await.unwrap().fresh);
    assert!(!journal.append(&close(Outcome::Posted, 150)).await.unwrap().fresh);
    for other in [close(Outcome::Voided, 0), close(Outcome::Expired, 0), close(Outcome::Posted, 151)] {
        assert!(matches!(journal.append(&other).await.unwrap_err(), LedgerError::OtherContent { .. }));
    }
    let head = journal.head(&wallet(1).to_string()).await.unwrap();
    assert_eq!((head.posted, head.pending), (850, 0));
    let report = verify(store).await.unwrap();
    assert_eq!((report.faults.as_slice(), report.open_holds.as_slice()), (&[][..], &[][..]));
    assert_eq!(report.balances[&vendor(1)], 150);
}

pub async fn a_fact_is_held_or_nothing_comes_of_it(store: &Store) {
    let planes = [Arc::new(journal(store)), Arc::new(journal(store))];
    planes[0].append(&top_up("topup:pay", wallet(1), 1_000)).await.unwrap();
    let (mut held, mut nothing) = (0, 0);
    for n in 0..20 {
        let fact = format!("refund:{n}");
        let hold = proposal(&fact, EntryKind::Refund, Step::Hold(amount(wallet(1), 10)));
        let said = proposal(&fact, EntryKind::Refund, Step::Nothing);
        let (first, second) = if n % 2 == 0 { (&hold, &said) } else { (&said, &hold) };
        let (first, second) = tokio::join!(planes[0].append(first), planes[1].append(second));
        // One stands, and the other is told so.
        let (stands, other) = match (first, second) {
            (Ok(stands), Err(other)) | (Err(other), Ok(stands)) => (stands, other),
            both => panic!("{both:?}"),
        };
        assert!(stands.fresh && matches!(other, LedgerError::OtherContent { .. }), "{other:?}");
        held += i64::from(stands.entry.hold.is_some());
        nothing += i64::from(stands.entry.hold.is_none());
    }
    assert_eq!(held + nothing, 20);
    let head = planes[0].head(&wallet(1).to_string()).await.unwrap();
    assert_eq!((head.posted, head.pending), (1_000, held * 10));
    let report = verify(store).await.unwrap();
    assert_eq!((report.faults.as_slice(), report.open_holds.len() as i64), (&[][..], held));
}

pub async fn a_post_never_takes_more_than_was_held(store: &Store) {
    let journal = journal(store);
    journal.append(&top_up("topup:pay", wallet(1), 1_000)).await.unwrap();
    let hold = proposal("hold:lease_1", EntryKind::Calls, Step::Hold(amount(wallet(1), 100)));
    let held = journal.append(&hold).await.unwrap().entry.made_hold().unwrap();
    let post = |lines| {
        proposal("close:1", EntryKind::Calls, Step::Close { hold: held, outcome: Outcome::Posted, lines })
    };
    let unsound = [
        vec![amount(wallet(1), -101), amount(vendor(1), 101)],
        vec![amount(wallet(1), 1), amount(vendor(1), -1)],
        vec![amount(wallet(1), -50), amount(vendor(1), 49)],
        vec![amount(wallet(2), -50), amount(vendor(1), 50)],
        vec![amount(wallet(1), 0)],
    ];
    for lines in unsound {
        let refused = journal.append(&post(lines)).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(Refused::Unsound(_))), "{refused:?}");
    }
    assert!(journal.append(&post(vec![])).await.unwrap().fresh, "a hold of which nothing was used");
    assert_eq!(verify(store).await.unwrap().faults, []);
}

pub async fn balances_are_the_sums_of_lines_also_behind_a_checkpoint(store: &Store) {
    // Written an hour ago, so that they may go into a checkpoint.
    let clock = Clock::manual(Timestamp(1_000_000_000_000));
    let journal = Journal::new(store.clone(), clock.clone());
    journal.append(&top_up("topup:pay", wallet(1), 1_000_000)).await.unwrap();
    for n in 0..600 {
        journal.append(&fee(&format!("fee:{n}"), wallet(1), n + 1)).await.unwrap();
    }
    let sum = (1..=600).sum::<i64>();
    let later = clock.now().plus_ms(60 * MINUTE_MS);
    for _ in 0..2 {
        assert_eq!(balance_of(store, vendor(1), later).await.unwrap(), sum);
    }
    journal.append(&fee("fee:late", wallet(1), 5)).await.unwrap();
    assert_eq!(balance_of(store, vendor(1), later).await.unwrap(), sum + 5);
    assert_eq!(balance_of(store, vendor(2), later).await.unwrap(), 0);
    let report = verify(store).await.unwrap();
    assert_eq!(report.balances[&vendor(1)], i128::from(sum + 5));
    assert_eq!(report.faults, []);
}

/// A fee for calls of one period of subscription 1, reckoned from so many.
fn calls(fact: &str, micro: i64, (before, units): (u64, u64)) -> Proposal {
    Proposal { kind: EntryKind::Calls, usage: Some(usage(before, units)), ..fee(fact, wallet(1), micro) }
}

pub async fn units_of_a_period_are_counted_with_what_they_cost(store: &Store) {
    let planes = [Arc::new(journal(store)), Arc::new(journal(store))];
    planes[0].append(&top_up("topup:pay", wallet(1), 1_000)).await.unwrap();
    planes[0].append(&calls("calls:a", 5, (0, 3))).await.unwrap();
    assert!(!planes[1].append(&calls("calls:a", 5, (0, 3))).await.unwrap().fresh, "the same again");
    for before in [0, 2, 4, u64::MAX] {
        let refused = planes[1].append(&calls("calls:b", 5, (before, 3))).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(Refused::Counted { counted: 3, .. })), "{refused:?}");
    }
    // Many at once, each reckoned from what it read: one of them is written.
    let many = (0..20).map(|n| {
        let plane = Arc::clone(&planes[n % 2]);
        tokio::spawn(async move { plane.append(&calls(&format!("calls:{n}"), 5, (3, 4))).await.is_ok() })
    });
    let written =
        futures_util::future::join_all(many).await.into_iter().filter(|made| *made.as_ref().unwrap());
    assert_eq!(written.count(), 1);
    assert_eq!(planes[0].head(&usage(0, 1).row()).await.unwrap().posted, 7);
    // Another period counts by itself; units that cost nothing count too.
    let mut other = calls("calls:next", 5, (0, 1));
    other.usage.as_mut().unwrap().period_begins_at.0 += 1;
    planes[0].append(&other).await.unwrap();
    let free = Proposal { step: Step::Move(vec![]), ..calls("calls:free", 0, (7, 2)) };
    planes[0].append(&free).await.unwrap();
    let none = calls("calls:none", 5, (9, 0));
    let of_a_month = Proposal { kind: EntryKind::PeriodFee, ..calls("calls:fee", 5, (9, 1)) };
    let held = Proposal { step: Step::Hold(amount(wallet(1), 5)), ..calls("calls:held", 5, (9, 1)) };
    for unsound in [none, of_a_month, held] {
        let refused = planes[0].append(&unsound).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(Refused::Unsound(_))), "{refused:?}");
    }
    assert_eq!(planes[0].head(&wallet(1).to_string()).await.unwrap().posted, 985);
    assert_eq!(verify(store).await.unwrap().faults, []);
}

pub async fn a_post_gives_back_only_for_units_that_became_cheaper(store: &Store) {
    let journal = journal(store);
    journal.append(&top_up("topup:pay", wallet(1), 1_000)).await.unwrap();
    let hold = proposal("hold:lease_1", EntryKind::Calls, Step::Hold(amount(wallet(1), 100)));
    let hold = journal.append(&hold).await.unwrap().entry.made_hold().unwrap();
    let post = |micro: i64, usage| {
        let lines = vec![amount(wallet(1), -micro), amount(vendor(1), micro)];
        let step = Step::Close { hold, outcome: Outcome::Posted, lines };
        Proposal { usage, ..proposal("close:1", EntryKind::Calls, step) }
    };
    for unsound in [post(-40, None), post(101, Some(usage(0, 1)))] {
        let refused = journal.append(&unsound).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(Refused::Unsound(_))), "{refused:?}");
    }
    journal.append(&post(-40, Some(usage(0, 1)))).await.unwrap();
    let head = journal.head(&wallet(1).to_string()).await.unwrap();
    assert_eq!((head.posted, head.pending), (1_040, 0));
    assert_eq!(verify(store).await.unwrap().faults, []);
}
