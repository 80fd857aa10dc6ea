//! What a row says is spent: which entries count, what a month's turn does, and the ceiling that many run into at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::JournalId;

use super::*;
use crate::ledger::entry::Outcome;
use crate::ledger::rules::{Head, write};
use crate::ledger::verify::verify;
use crate::ledger::{Ceiling, LedgerError, Refused, Spending};

/// 31 August 2026, 23:59:59.999 UTC.
const MONTH_END: Timestamp = Timestamp(1_788_220_799_999);

fn at(text: &str) -> Timestamp {
    serde_json::from_value(serde_json::json!(text)).unwrap()
}

/// Spent and held after entries of one wallet with money, one a moment.
fn after(entries: &[(Timestamp, Proposal)]) -> Result<(i64, i64), Refused> {
    let row = wallet(1).to_string();
    let mut head = Head { posted: 1_000_000, ..Head::default() };
    for (at, proposal) in entries {
        let heads = BTreeMap::from([(row.clone(), head.clone())]);
        let entry = write(proposal, &heads, JournalId::generate(), *at)?;
        let slot = entry.slots[0].clone();
        head = Head { posted: slot.posted, pending: slot.pending, spending: slot.spending, ..head };
    }
    Ok((head.spending.spent, head.spending.held))
}

fn moves(kind: EntryKind, micro: i64) -> Proposal {
    proposal("moves", kind, Step::Move(vec![amount(wallet(1), micro), amount(vendor(1), -micro)]))
}

fn holds(kind: EntryKind, micro: i64) -> Proposal {
    proposal("holds", kind, Step::Hold(amount(wallet(1), micro)))
}

fn ends(kind: EntryKind, held: i64, charged: i64) -> Proposal {
    let hold = crate::ledger::Hold { entry: JournalId::from_u128(1), amount: amount(wallet(1), held) };
    let lines = vec![amount(wallet(1), -charged), amount(vendor(1), charged)];
    let (outcome, lines) = if charged == 0 { (Outcome::Voided, vec![]) } else { (Outcome::Posted, lines) };
    proposal("ends", kind, Step::Close { hold, outcome, lines })
}

#[test]
fn purchases_are_spent_their_holds_are_held_and_nothing_else_is_either() {
    use EntryKind::{Calls, Correction, PeriodFee, Refund, TopUp};
    let now = |proposals: Vec<Proposal>| {
        after(&proposals.into_iter().map(|proposal| (MONTH_END, proposal)).collect::<Vec<_>>())
    };
    assert_eq!(now(vec![moves(PeriodFee, -300), moves(Calls, -20)]), Ok((320, 0)));
    assert_eq!(now(vec![moves(PeriodFee, -300), moves(PeriodFee, 450)]), Ok((-150, 0)), "a credit");
    assert_eq!(now(vec![moves(TopUp, 500), moves(Refund, -100), moves(Correction, -7)]), Ok((0, 0)));
    assert_eq!(now(vec![holds(Calls, 500)]), Ok((0, 500)));
    assert_eq!(now(vec![holds(Calls, 500), ends(Calls, 500, 120)]), Ok((120, 0)));
    assert_eq!(now(vec![holds(Calls, 500), ends(Calls, 500, 0)]), Ok((0, 0)));
    // What is on its way back to the buyer is held, and not for a purchase.
    assert_eq!(now(vec![holds(Refund, 500), ends(Refund, 500, 500)]), Ok((0, 0)));
    assert_eq!(
        now(vec![holds(Refund, 500), ends(Calls, 500, 500)]),
        Err(Refused::Unsound("more is freed than was held"))
    );
}

#[test]
fn a_month_begins_at_nothing_spent_and_does_not_come_back() {
    use EntryKind::Calls;
    let turn = MONTH_END.plus_ms(1);
    assert_eq!(after(&[(MONTH_END, moves(Calls, -20)), (turn, moves(Calls, -3))]), Ok((3, 0)));
    assert_eq!(after(&[(MONTH_END, holds(Calls, 20)), (turn, ends(Calls, 20, 8))]), Ok((8, 0)));
    assert_eq!(after(&[(MONTH_END, moves(Calls, -20)), (turn, top_up("t", wallet(1), 1))]), Ok((0, 0)));
    // The clock of the other control plane is behind: it goes on in the month that has begun.
    let mixed = [(MONTH_END, moves(Calls, -20)), (turn, moves(Calls, -3)), (MONTH_END, moves(Calls, -4))];
    assert_eq!(after(&mixed), Ok((7, 0)));
    for (moment, month, next) in [
        ("2026-08-31T23:59:59.999Z", "2026-08-01T00:00:00Z", "2026-09-01T00:00:00Z"),
        ("2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ] {
        let spending = Spending::default().at(at(moment));
        assert_eq!((spending.month, spending.resets_at()), (at(month), at(next)));
    }
}

#[test]
fn sums_of_spending_are_checked() {
    let refused = |spending| {
        let head = Head { posted: 1_000, spending, ..Head::default() };
        let heads = BTreeMap::from([(wallet(1).to_string(), head)]);
        write(&moves(EntryKind::Calls, -20), &heads, JournalId::generate(), MONTH_END).unwrap_err()
    };
    let month = Spending::default().at(MONTH_END);
    let beyond = refused(Spending { spent: i64::MAX - 10, ..month });
    assert_eq!(beyond, Refused::Unsound("a sum beyond 64 bits"));
}

pub async fn many_at_once_do_not_pass_a_ceiling_until_the_month_turns(store: &Store) {
    let hands = Arc::new(AtomicI64::new(MONTH_END.0));
    let clock = Clock::Manual(Arc::clone(&hands));
    let planes = [(); 2].map(|()| Arc::new(Journal::new(store.clone(), clock.clone())));
    planes[0].append(&top_up("topup:pay", wallet(1), 1_000_000)).await.unwrap();
    planes[0].append(&fee("fee:0", wallet(1), 105)).await.unwrap();
    let ceiling = Ceiling { account: wallet(1), most_micro: 250 };
    // Fourteen fit beside the fee; then the fee is of another month, and what is held is held still.
    for (month, fits) in [(0, 14), (1, 11)] {
        let holds = (0..100).map(|n| {
            let plane = Arc::clone(&planes[n % 2]);
            let fact = format!("hold:{month}:{n}");
            let hold = proposal(&fact, EntryKind::Calls, Step::Hold(amount(wallet(1), 10)));
            tokio::spawn(async move { plane.append_within(&hold, Some(&ceiling)).await })
        });
        let mut made = Vec::new();
        for outcome in futures_util::future::join_all(holds).await {
            match outcome.unwrap() {
                Ok(appended) => made.push(appended.entry),
                Err(LedgerError::Refused(Refused::Ceiling { account, most_micro: 250, committed_micro })) => {
                    assert_eq!((account, committed_micro > 250), (wallet(1), true));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(made.len(), fits);
        // What stands is found again, whatever is allowed by now.
        let again = proposal(&made[0].idem[0], EntryKind::Calls, Step::Hold(amount(wallet(1), 10)));
        let nothing = Ceiling { account: wallet(1), most_micro: 0 };
        assert!(!planes[1].append_within(&again, Some(&nothing)).await.unwrap().fresh);
        hands.store(MONTH_END.0 + 1, Ordering::Relaxed);
    }
    let head = planes[0].head(&wallet(1).to_string()).await.unwrap();
    assert_eq!((head.spending.spent, head.spending.held, head.pending), (0, 250, 250));
    assert_eq!(verify(store).await.unwrap().faults, []);
}
