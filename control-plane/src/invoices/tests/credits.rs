//! Money of an invoice that goes back.

use super::*;
use crate::http::Code;
use crate::invoices::credit::{Wanted, credit};
use crate::invoices::documents::{InvoiceRun, Of};
use crate::refusal::Refusal;

fn wanted(books: &Books, id: u128, micro: i64) -> Wanted {
    let _ = books;
    Wanted {
        id: InvoiceId::from_u128(id),
        invoice: Invoice::id_of(&wallet(1), SEPTEMBER),
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
