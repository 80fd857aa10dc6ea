//! What a month holds, and who may write it.

use apiclay_config::ids::JournalId;

use super::*;
use crate::invoices::IssueError;
use crate::invoices::slice::{Broken, LINES_MAX, Slice};
use crate::ledger::rules::{Head, write};

pub async fn a_month_is_all_that_was_charged_in_it_and_nothing_else(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.append(calls("calls:1", 1, (0, 4), 20, SEPTEMBER)).await;
    books.append(calls("calls:2", 1, (4, 6), 30, SEPTEMBER)).await;
    books.append(fee("fee:2", 1, -50, SEPTEMBER, true)).await;
    assert_eq!(books.issue(1).await, 0, "the month is not over");
    books.set(Timestamp(OCTOBER.0 - 1));
    books.append(calls("calls:3", 1, (10, 1), 5, SEPTEMBER)).await;
    assert_eq!(books.issue(1).await, 0, "the month is not over");
    books.set(OCTOBER);
    assert_eq!(books.issue(1).await, 1);
    assert_eq!(books.issue(1).await, 0, "it is there");
    let ends_at = SEPTEMBER.plus_ms(30 * DAY_MS);
    let period = What::Period { begins_at: SEPTEMBER, ends_at };
    let change = What::Change { begins_at: SEPTEMBER, ends_at };
    let usage = What::Usage { period_begins_at: SEPTEMBER, units: 11 };
    let invoice = books.invoices().await.pop().unwrap();
    let told: Vec<_> = invoice.lines.iter().map(|line| (line.item, line.micro)).collect();
    assert_eq!(told, [(item(1, period), 300), (item(1, change), -50), (item(1, usage), 55)]);
    assert_eq!((invoice.name().as_str(), invoice.total), ("INV-2026-000001", rupees(305)));
    assert_eq!(invoice.lines[0].plan_name, "Pro");

    // Nothing is charged in October but a top-up; November has a fee, and its invoice follows September's.
    books.append(top_up("topup:2", 1, 1_000)).await;
    books.set(NOVEMBER);
    assert_eq!(books.issue(1).await, 0, "nothing was charged");
    books.append(fee("fee:3", 1, 300, OCTOBER, false)).await;
    books.set(NOVEMBER.plus_ms(30 * DAY_MS));
    assert_eq!(books.issue(1).await, 1);
    let all = books.invoices().await;
    assert_eq!(all.iter().map(|one| (one.number, one.total.micro)).collect::<Vec<_>>(), [(1, 305), (2, 300)]);
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn what_is_told_of_late_stands_on_the_next_invoice_by_name(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(calls("calls:1", 1, (0, 4), 20, SEPTEMBER)).await;
    books.set(OCTOBER.plus_ms(1));
    assert_eq!(books.issue(1).await, 1);
    // A gateway was cut off over the month's end: its calls of September are told of in October.
    books.append(calls("calls:2", 1, (4, 3), 15, Timestamp(OCTOBER.0 - 1))).await;
    books.append(calls("calls:3", 1, (7, 2), 10, OCTOBER)).await;
    books.set(NOVEMBER);
    assert_eq!(books.issue(1).await, 1);
    let october = books.invoices().await.pop().unwrap();
    let told: Vec<_> = october.lines.iter().map(|line| (line.item, line.micro)).collect();
    let usage = What::Usage { period_begins_at: SEPTEMBER, units: 2 };
    let late = What::LateUsage { period_begins_at: SEPTEMBER, units: 3 };
    assert_eq!(told, [(item(1, usage), 10), (item(1, late), 15)]);
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn a_slow_writer_does_not_get_into_a_month_that_was_invoiced(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.set(OCTOBER);
    assert_eq!(books.issue(1).await, 1);
    // A control plane whose clock is behind still believes in September.
    books.set(Timestamp(OCTOBER.0 - 5_000));
    books.append(fee("fee:2", 1, 40, SEPTEMBER, true)).await;
    books.set(NOVEMBER);
    assert_eq!(books.issue(1).await, 1);
    let totals: Vec<_> = books.invoices().await.iter().map(|one| one.total.micro).collect();
    assert_eq!(totals, [300, 40]);
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn a_month_in_which_more_went_back_is_a_credit_note(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.set(OCTOBER);
    books.append(fee("fee:2", 1, -120, SEPTEMBER, true)).await;
    books.set(NOVEMBER);
    assert_eq!(books.issue(1).await, 2, "both months");
    let mut named: Vec<_> =
        books.invoices().await.iter().map(|one| (one.name(), one.total.micro, one.is_credit())).collect();
    named.sort();
    assert_eq!(
        named,
        [("CN-2026-000001".to_owned(), -120, true), ("INV-2026-000001".to_owned(), 300, false)]
    );
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn numbers_have_no_gap_however_many_issue_at_once(books: &Books) {
    const WALLETS: u128 = 24;
    for n in 1..=WALLETS {
        books.append(top_up(&format!("topup:{n}"), n, 1_000)).await;
        books.append(fee(&format!("fee:{n}"), n, 300, SEPTEMBER, false)).await;
    }
    books.set(OCTOBER);
    // Two control planes, each of which comes to every wallet.
    let other = Journal::new(books.store.clone(), books.clock.clone());
    let planes = [&books.journal, &other].map(|journal| Issuer::new(&books.store, journal, OCTOBER));
    let all = (1..=WALLETS).flat_map(|n| planes.iter().map(move |plane| plane.wallet(wallet(n))));
    let issued: Vec<u32> = futures_util::future::try_join_all(all).await.unwrap();
    assert_eq!(issued.iter().sum::<u32>(), WALLETS as u32);
    let numbers: Vec<i64> = books.invoices().await.iter().map(|one| one.number).collect();
    assert_eq!(numbers, (1..=WALLETS as i64).collect::<Vec<_>>());
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn a_charge_for_nothing_is_not_invoiced(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(moves("fee:1", EntryKind::PeriodFee, (wallet(1), vendor()), 300)).await;
    books.set(OCTOBER);
    let issued = Issuer::new(&books.store, &books.journal, OCTOBER).wallet(wallet(1)).await;
    assert!(matches!(issued, Err(IssueError::Broken(Broken::Unnamed(_)))), "{issued:?}");
    assert_eq!(books.invoices().await, []);
}

pub async fn a_month_is_not_ended_by_a_clock_that_is_in_it(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    // The job has looked at the clock, which was set back before it wrote.
    let early = Issuer::new(&books.store, &books.journal, OCTOBER).wallet(wallet(1)).await;
    assert!(matches!(early, Err(IssueError::Contended)), "{early:?}");
    books.append(fee("fee:2", 1, 40, SEPTEMBER, true)).await;
    books.set(OCTOBER);
    assert_eq!(books.issue(1).await, 1);
    assert_eq!(books.invoices().await[0].total, rupees(340));
    assert_eq!(books.faults().await, Vec::<String>::new());
}

/// However often a buyer subscribes and ends it, his invoice is of a size that can be stored.
#[test]
fn more_lines_than_are_printed_are_one_a_plan() {
    let row = wallet(1).to_string();
    let mut head = Head { posted: 1_000_000, ..Head::default() };
    let mut month: Option<Slice> = None;
    for n in 0..=LINES_MAX {
        let mut charge = fee(&format!("fee:{n}"), 1, 3, SEPTEMBER, false);
        let fee = charge.fee.as_mut().unwrap();
        // Here the wallet's row is all that counts.
        (fee.subscription, fee.counted) = (SubscriptionId::from_u128(n as u128 + 1), false);
        let heads = std::collections::BTreeMap::from([(row.clone(), head.clone())]);
        let entry = write(&charge, &heads, JournalId::generate(), SEPTEMBER).unwrap();
        let slot = &entry.slots[0];
        let (seq, posted, pending, spending) = (slot.seq, slot.posted, slot.pending, slot.spending);
        head = Head { seq, hash: entry.hash(), posted, pending, spending };
        match &mut month {
            Some(month) => assert!(month.take(&entry).unwrap()),
            None => month = Some(Slice::begin(wallet(1), &entry).unwrap()),
        }
        let lines = month.as_ref().unwrap().charges().unwrap();
        assert_eq!(lines.len(), if n < LINES_MAX { n + 1 } else { 1 });
        assert_eq!(lines.iter().map(|(_, micro)| micro).sum::<i64>(), 3 * (n as i64 + 1));
    }
}
