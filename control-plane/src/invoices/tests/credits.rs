//! Money of an invoice that goes back.

use super::*;
use crate::http::Code;
use crate::invoices::credit::{Wanted, credit};
use crate::invoices::documents::{InvoiceRun, Of};
use crate::ledger::{LedgerError, Refused};
use crate::refusal::Refusal;

fn wanted(books: &Books, id: u128, micro: i64) -> Wanted {
    let _ = books;
    Wanted {
        id: InvoiceId::from_u128(id),
        invoice: Invoice::id_of(&wallet(1), SEPTEMBER),
        line: 1,
        amount: rupees(micro),
        vendor: Some(VendorId::from_u128(1)),
        reason: "the API was down".to_owned(),
    }
}

async fn give(books: &Books, wanted: &Wanted) -> Result<Invoice, Refusal> {
    credit((&books.store, &books.journal, books.clock.now()), wanted).await
}

async fn invoiced(books: &Books) {
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.set(OCTOBER);
    assert_eq!(books.issue(1).await, 1);
}

fn code(refused: &Result<Invoice, Refusal>) -> Option<Code> {
    match refused {
        Err(Refusal::Because { code, .. }) => Some(*code),
        _ => None,
    }
}

pub async fn money_goes_back_once_and_never_more_than_was_charged(books: &Books) {
    invoiced(books).await;
    let note = give(books, &wanted(books, 1, 100)).await.unwrap();
    assert_eq!((note.name().as_str(), note.total), ("CN-2026-000001", rupees(-100)));
    assert_eq!(give(books, &wanted(books, 1, 100)).await.unwrap(), note, "the same wish again");
    assert_eq!(code(&give(books, &wanted(books, 1, 90)).await), Some(Code::IdempotencyKeyReused));
    assert_eq!(code(&give(books, &wanted(books, 2, 201)).await), Some(Code::RefundTooLarge));
    // Many at once want what is left: one gets it.
    let wishes: Vec<_> = (10..20).map(|id| wanted(books, id, 200)).collect();
    let given = futures_util::future::join_all(wishes.iter().map(|wish| give(books, wish))).await;
    assert_eq!(given.iter().filter(|one| one.is_ok()).count(), 1, "{given:?}");
    assert_eq!(code(&give(books, &wanted(books, 3, 1)).await), Some(Code::RefundTooLarge));
    let head = books.journal.head(&wallet(1).to_string()).await.unwrap();
    assert_eq!(head.posted, 1_000);
    // A credit note is nobody's charge: it gives nothing back itself, and is in no month's sum.
    let of_note = Wanted { invoice: note.id, ..wanted(books, 4, 1) };
    assert_eq!(code(&give(books, &of_note).await), Some(Code::StateConflict));
    for amount in [rupees(0), rupees(-5), Money::new(5, "USD".parse().unwrap())] {
        let refused = give(books, &Wanted { amount, ..wanted(books, 5, 1) }).await;
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    }
    for line in [0, 2, u32::MAX] {
        let refused = give(books, &Wanted { line, ..wanted(books, 7, 1) }).await;
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    }
    let stranger = Wanted { vendor: Some(VendorId::from_u128(9)), ..wanted(books, 6, 1) };
    assert!(matches!(give(books, &stranger).await, Err(Refusal::Invalid(_))));
    books.append(fee("fee:2", 1, 300, OCTOBER, false)).await;
    books.set(NOVEMBER);
    assert_eq!(books.issue(1).await, 1);
    assert_eq!(books.invoices().await.iter().map(|one| one.total.micro).sum::<i64>(), 300);
    assert_eq!(books.faults().await, Vec::<String>::new());
}

pub async fn a_note_that_was_not_written_is_written_with_the_next_invoices(books: &Books) {
    invoiced(books).await;
    let note = give(books, &wanted(books, 1, 100)).await.unwrap();
    // As if whoever gave it back had died before its note was written.
    assert!(books.store.delete::<Invoice>(&note.id.to_string()).await.unwrap());
    books.set(NOVEMBER);
    let run = InvoiceRun { done_until: NOVEMBER, ..InvoiceRun::default() };
    books.store.insert(&run).await.unwrap();
    assert_eq!(books.faults().await, [format!("{} was given back and has no credit note", note.id)]);
    assert_eq!(books.issue(1).await, 0, "nothing else was charged");
    let written = books.store.get::<Invoice>(&note.id.to_string()).await.unwrap().unwrap().value;
    assert_eq!((written.number, written.total, &written.of), (1, note.total, &note.of));
    assert!(matches!(written.of, Of::Credit { .. }));
    assert_eq!(books.faults().await, Vec::<String>::new());
}

/// A change of plan gives back of the month that an invoice's line charged for, before a credit, after it, and at the same time.
pub async fn what_goes_back_of_a_period_goes_back_once(books: &Books) {
    books.append(top_up("topup:1", 1, 2_000)).await;
    books.append(fee("fee:1", 1, 300, SEPTEMBER, false)).await;
    books.append(fee("fee:up", 1, 200, SEPTEMBER, true)).await;
    books.append(top_up("topup:2", 2, 300)).await;
    books.append(fee("fee:2", 2, 300, SEPTEMBER, false)).await;
    books.set(OCTOBER);
    assert_eq!((books.issue(1).await, books.issue(2).await), (1, 1));
    books.append(fee("fee:down", 1, -250, SEPTEMBER, true)).await;
    // 250 of the two charges are left, and no line has more than it charged.
    assert_eq!(
        code(&give(books, &Wanted { line: 2, ..wanted(books, 1, 201) }).await),
        Some(Code::RefundTooLarge)
    );
    assert_eq!(code(&give(books, &wanted(books, 2, 251)).await), Some(Code::RefundTooLarge));
    let note = give(books, &Wanted { line: 2, ..wanted(books, 3, 150) }).await.unwrap();
    assert!(matches!(note.of, Of::Credit { line: Some(2), .. }), "{note:?}");
    assert_eq!(code(&give(books, &wanted(books, 4, 101)).await), Some(Code::RefundTooLarge));
    // The other way round: the change finds what a credit has left.
    let refused = books.journal.append(&fee("fee:free", 1, -101, SEPTEMBER, true)).await.unwrap_err();
    let left = LedgerError::Refused(Refused::GivenBack {
        row: format!("fee:{}:{}", SubscriptionId::from_u128(1), SEPTEMBER.0),
        left_micro: 100,
        wanted_micro: 101,
    });
    assert_eq!(refused.to_string(), left.to_string());
    // All at once: as much as there is goes back, in whole wishes.
    let credits: Vec<_> = (10..20).map(|id| wanted(books, id, 30)).collect();
    let credits = futures_util::future::join_all(credits.iter().map(|wish| give(books, wish)));
    let changes: Vec<_> =
        (0..10).map(|n| fee(&format!("fee:at-once:{n}"), 1, -30, SEPTEMBER, true)).collect();
    let changes = futures_util::future::join_all(changes.iter().map(|change| books.journal.append(change)));
    let (credits, changes) = futures_util::future::join(credits, changes).await;
    let done =
        credits.iter().filter(|one| one.is_ok()).count() + changes.iter().filter(|one| one.is_ok()).count();
    assert_eq!(done, 3, "{credits:?} {changes:?}");
    let head =
        books.journal.head(&format!("fee:{}:{}", SubscriptionId::from_u128(1), SEPTEMBER.0)).await.unwrap();
    assert_eq!(head.posted, 10);
    // Another subscription's month is another row.
    let of_two = Wanted { invoice: Invoice::id_of(&wallet(2), SEPTEMBER), ..wanted(books, 30, 300) };
    give(books, &of_two).await.unwrap();
    assert_eq!(books.faults().await, Vec::<String>::new());
}

/// A period that an earlier release began has no row: the line and the invoice bound what is credited, as they did.
pub async fn a_period_of_an_earlier_release_is_credited_by_its_invoice_alone(books: &Books) {
    let uncounted = |fact: &str, micro, change| {
        let mut charge = fee(fact, 1, micro, SEPTEMBER, change);
        charge.fee.as_mut().unwrap().counted = false;
        charge
    };
    books.append(top_up("topup:1", 1, 1_000)).await;
    books.append(uncounted("fee:1", 300, false)).await;
    books.set(OCTOBER);
    assert_eq!(books.issue(1).await, 1);
    books.append(uncounted("fee:down", -100, true)).await;
    give(books, &wanted(books, 1, 300)).await.unwrap();
    assert_eq!(code(&give(books, &wanted(books, 2, 1)).await), Some(Code::RefundTooLarge));
    assert_eq!(books.faults().await, Vec::<String>::new());
}
