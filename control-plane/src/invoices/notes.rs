//! Credit notes of entries that gave money of an invoice back: what such an entry's facts name, and the note that follows from
//! it, written by whoever gave the money back or, where he died before, by the next run. Next: `number`, which inserts it.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{InvoiceId, JournalId};
use apiclay_config::money::Money;

use super::IssueError;
use super::documents::{Invoice, Of};
use super::number::{numbered, series};
use crate::ledger::{JournalEntry, LedgerAccount};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

/// Writes the credit note of an entry where whoever gave the money back died before he did.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn note_of(store: &Store, entry: JournalId, now: Timestamp) -> Result<(), IssueError> {
    let Some(entry) = store.get::<JournalEntry>(&entry.to_string()).await?.map(|found| found.value) else {
        return Ok(());
    };
    let Some((invoice, id)) = named_in(&entry) else { return Ok(()) };
    if store.get::<Invoice>(&id.to_string()).await?.is_some() {
        return Ok(());
    }
    let Some(invoice) = store.get::<Invoice>(&invoice.to_string()).await? else { return Ok(()) };
    numbered(store, made(&invoice.value, id, &entry, now)).await.map(drop)
}

/// The credit note of an entry that gave money back; written where it is not there.
pub(super) async fn note(
    store: &Store,
    invoice: &Invoice,
    id: InvoiceId,
    entry: &JournalEntry,
    now: Timestamp,
) -> Result<Invoice, Refusal> {
    match numbered(store, made(invoice, id, entry, now)).await {
        Ok(_) => {}
        Err(IssueError::Store(error)) => return Err(error.into()),
        // The money has moved: an answer that says so little was done would have the whole be done again.
        Err(_) => return Err(Refusal::Internal("writing a credit note")),
    }
    let written = store.get::<Invoice>(&id.to_string()).await?;
    Ok(written.ok_or_else(|| StoreError::corrupt("invoices", &id.to_string(), "a note that is gone"))?.value)
}

fn made(invoice: &Invoice, id: InvoiceId, entry: &JournalEntry, now: Timestamp) -> Invoice {
    Invoice {
        id,
        series: series("CN", entry.at),
        number: 0,
        account: invoice.account,
        of: Of::Credit {
            invoice: invoice.id,
            invoice_name: invoice.name(),
            line: line_in(entry),
            entry: entry.id,
            reason: entry.reason.clone(),
        },
        lines: Vec::new(),
        total: Money::new(amount_of(invoice, entry).saturating_neg(), invoice.total.currency),
        issued_at: now,
    }
}

/// What an entry put into the invoice's wallet, in micro-units.
pub(super) fn amount_of(invoice: &Invoice, entry: &JournalEntry) -> i64 {
    let wallet = LedgerAccount::wallet(invoice.account, invoice.total.currency);
    entry.lines.iter().find(|line| line.account == wallet).map_or(0, |line| line.micro)
}

/// The invoice and the credit note that an entry's facts name.
pub(super) fn named_in(entry: &JournalEntry) -> Option<(InvoiceId, InvoiceId)> {
    let (invoice, _) = after(entry, "credit:")?.split_once(':')?;
    Some((invoice.parse().ok()?, after(entry, "credit-note:")?.parse().ok()?))
}

/// The line of the invoice that an entry's facts name, counted from 1; none where an earlier release gave money back of the
/// whole.
pub(super) fn line_in(entry: &JournalEntry) -> Option<u32> {
    after(entry, "credit-line:")?.split(':').nth(1)?.parse().ok()
}

/// The facts of an invoice's credit of this number, of this line, under this note.
pub(super) fn facts(invoice: InvoiceId, number: u32, line: u32, note: InvoiceId) -> Vec<String> {
    let of_line = format!("credit-line:{invoice}:{line}:{number}");
    vec![credit_fact(invoice, number), note_fact(note), of_line]
}

/// The fact of an invoice's credit of this number: the next is taken once.
pub(super) fn credit_fact(invoice: InvoiceId, number: u32) -> String {
    format!("credit:{invoice}:{number}")
}

/// The fact that a credit note's money was given back.
pub(super) fn note_fact(note: InvoiceId) -> String {
    format!("credit-note:{note}")
}

fn after<'a>(entry: &'a JournalEntry, begin: &str) -> Option<&'a str> {
    entry.idem.iter().find_map(|fact| fact.strip_prefix(begin))
}
