//! Each fault is planted alone into sound invoices, and must be found and named.

use super::*;
use crate::invoices::credit::{Wanted, credit};
use crate::invoices::documents::{InvoiceRun, Of};
use crate::ledger::JournalEntry;

type Plant = fn(&mut Invoice);
/// A vendor, what was credited of his sales, and what his buyers were charged.
type Sum = (u128, i128, i128);

pub async fn what_was_tampered_with_is_found_and_named(books: &Books) {
    for n in 1..=3 {
        books.append(top_up(&format!("topup:{n}"), n, 1_000)).await;
        books.append(fee(&format!("fee:{n}"), n, 300, SEPTEMBER, false)).await;
        books.append(calls(&format!("calls:{n}"), n, (0, 4), 20, SEPTEMBER)).await;
    }
    books.set(OCTOBER);
    for n in 1..=3 {
        assert_eq!(books.issue(n).await, 1);
    }
    let wish = Wanted {
        id: InvoiceId::from_u128(7),
        invoice: Invoice::id_of(&wallet(1), SEPTEMBER),
        line: 1,
        amount: rupees(100),
        vendor: None,
        reason: "a test".to_owned(),
    };
    let note = credit((&books.store, &books.journal, OCTOBER), &wish).await.unwrap();
    books.store.insert(&InvoiceRun { done_until: OCTOBER, ..InvoiceRun::default() }).await.unwrap();
    assert_eq!(books.faults().await, Vec::<String>::new());

    let first = Invoice::id_of(&wallet(1), SEPTEMBER);
    let planted: [(InvoiceId, Plant, &str); 10] = [
        (first, |one| one.total.micro += 1, "the lines of INV-2026-000001 do not sum to its total"),
        (
            first,
            |one| {
                one.total.micro += 1;
                one.lines[0].micro += 1;
            },
            "INV-2026-000001 says 321 micro-units, and the journal 320",
        ),
        (
            first,
            |one| {
                if let What::Usage { units, .. } = &mut one.lines[1].item.what {
                    *units += 1;
                }
            },
            "the lines of INV-2026-000001 are not what was charged",
        ),
        (first, |one| one.number = 9, "INV-2026-000002 follows number 0 of its series"),
        (
            first,
            |one| {
                if let Of::Month(covered) = &mut one.of {
                    covered.through_seq += 1;
                }
            },
            "INV-2026-000001 covers another part of",
        ),
        (first, |one| one.account = AccountId::from_u128(2), "INV-2026-000001 is not of the account"),
        (
            first,
            |one| one.lines[0].vendor = VendorId::from_u128(2),
            "a line of INV-2026-000001 names a vendor",
        ),
        (note.id, |one| one.total.micro = -321, "321 micro-units of inv_"),
        (note.id, |one| one.total.micro -= 1, "CN-2026-000001 gives back what"),
        (
            note.id,
            |one| {
                if let Of::Credit { reason, .. } = &mut one.of {
                    reason.push('!');
                }
            },
            "CN-2026-000001 gives back what",
        ),
    ];
    for (id, plant, wanted) in planted {
        let sound = books.store.get::<Invoice>(&id.to_string()).await.unwrap().unwrap();
        let mut broken = sound.value.clone();
        plant(&mut broken);
        let version = books.store.replace(&broken, sound.version).await.unwrap();
        let faults = books.faults().await;
        assert!(faults.iter().any(|fault| fault.starts_with(wanted)), "{wanted}: {faults:?}");
        books.store.replace(&sound.value, version).await.unwrap();
        assert_eq!(books.faults().await, Vec::<String>::new());
    }
    let sound = books.store.get::<Invoice>(&first.to_string()).await.unwrap().unwrap().value;
    assert!(books.store.delete::<Invoice>(&first.to_string()).await.unwrap());
    let faults = books.faults().await;
    let missing = format!("{} has no invoice for the month from 2026-09-01T00:00:00.000Z", wallet(1));
    assert!(faults.contains(&missing), "{faults:?}");
    assert!(faults.contains(&"INV-2026-000002 follows number 0 of its series".to_owned()), "{faults:?}");
    books.store.insert(&sound).await.unwrap();
    assert_eq!(books.faults().await, Vec::<String>::new());
}

/// A buyer who has left: nothing follows his last charge, so nothing says that its month is complete.
pub async fn a_last_month_without_an_invoice_is_found(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.set(NOVEMBER);
    assert_eq!(books.faults().await, Vec::<String>::new(), "nobody has come to it yet");
    books.store.insert(&InvoiceRun { done_until: OCTOBER, ..InvoiceRun::default() }).await.unwrap();
    let month = format!("the month from 2026-09-01T00:00:00.000Z of {}", wallet(1));
    assert_eq!(books.faults().await, [format!("{month} was not ended, and has no invoice")]);
    assert_eq!(books.issue(1).await, 1);
    assert_eq!(books.faults().await, Vec::<String>::new());
}

/// Each entry is sound by itself: the journal takes it and replays it, and its buyer's month is what he was charged.
pub async fn what_a_vendor_was_credited_and_his_buyers_were_not_charged_is_found(books: &Books) {
    let on = |holder| LedgerAccount { holder, currency: Currency::INR };
    let earns = |n| on(Holder::Vendor(VendorId::from_u128(n)));
    let keeps = |n| on(Holder::Commission(VendorId::from_u128(n)));
    let sells = |fact: &str, plan: u128, lines: &[(LedgerAccount, i64)]| {
        let mut sold = calls(fact, plan, (0, 4), 1, SEPTEMBER);
        sold.usage.as_mut().unwrap().plan = PlanId::from_u128(plan);
        let line = |&(account, micro): &_| Amount { account, micro };
        Proposal { step: Step::Move(lines.iter().map(line).collect()), ..sold }
    };
    for n in 1..=2 {
        books.append(top_up(&format!("topup:{n}"), n, 1_000)).await;
        books
            .append(sells(&format!("calls:{n}"), n, &[(wallet(n), -20), (earns(n), 17), (keeps(n), 3)]))
            .await;
    }
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.set(OCTOBER);
    assert_eq!((books.issue(1).await, books.issue(2).await), (1, 1));
    // A credit note takes back from the line's vendor, and one that the operator bears from nobody.
    let wish = |id, line, vendor| Wanted {
        id: InvoiceId::from_u128(id),
        invoice: Invoice::id_of(&wallet(1), SEPTEMBER),
        line,
        amount: rupees(5),
        vendor,
        reason: "a test".to_owned(),
    };
    for (id, line, vendor) in [(7, 2, Some(VendorId::from_u128(1))), (8, 1, None)] {
        credit((&books.store, &books.journal, OCTOBER), &wish(id, line, vendor)).await.unwrap();
    }
    assert_eq!(books.faults().await, Vec::<String>::new());

    let provider = on(Holder::Provider);
    let mut of_nothing = top_up("topup:3", 1, 9);
    of_nothing.step =
        Step::Move(vec![Amount { account: provider, micro: -9 }, Amount { account: earns(1), micro: 9 }]);
    let mut credited = moves("credit", EntryKind::Correction, (earns(2), wallet(1)), 4);
    let first = Invoice::id_of(&wallet(1), SEPTEMBER);
    credited.facts =
        vec![format!("credit:{first}:9"), format!("credit-note:{first}"), format!("credit-line:{first}:1:9")];
    let sold = |lines: &[(LedgerAccount, i64)]| {
        let mut more = sells("calls:3", 2, lines);
        more.usage.as_mut().unwrap().before = 4;
        more
    };
    let planted: [(Proposal, &[Sum]); 6] = [
        (sold(&[(wallet(2), -20), (earns(1), 20)]), &[(1, 335, 315), (2, 20, 40)]),
        (sold(&[(wallet(2), -20), (earns(2), 17), (keeps(1), 3)]), &[(1, 318, 315), (2, 37, 40)]),
        (sold(&[(wallet(2), -20), (provider, -5), (earns(2), 25)]), &[(2, 45, 40)]),
        (sold(&[(wallet(2), -20), (provider, 5), (earns(2), 15)]), &[(2, 35, 40)]),
        (of_nothing, &[(1, 324, 315)]),
        (credited, &[(1, 315, 311), (2, 16, 20)]),
    ];
    for (proposal, sums) in planted {
        let entry = books.journal.append(&proposal).await.unwrap().entry;
        let faults = books.faults().await;
        assert!(faults.iter().any(|fault| fault.starts_with(&format!("{} shares", entry.id))), "{faults:?}");
        for (vendor, credited, charged) in sums {
            let vendor = VendorId::from_u128(*vendor);
            let sum = format!(
                "{vendor} and the operator have {credited} micro-units of INR of his sales, and his buyers were charged {charged},"
            );
            assert!(faults.iter().any(|fault| fault.starts_with(&sum)), "{sum} {faults:?}");
        }
        assert_eq!(faults.iter().filter(|fault| fault.contains("and the operator")).count(), sums.len());
        // The last of each of its rows: without it, all is as it was.
        assert!(books.store.delete::<JournalEntry>(&entry.id.to_string()).await.unwrap());
        assert_eq!(books.faults().await, Vec::<String>::new());
    }
}
