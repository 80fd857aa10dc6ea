//! Gives money of an invoice back: one entry of the journal, and a credit note that names the invoice. The invoice itself
//! stays as it is. Credits of one invoice are numbered in the facts of their entries, so that two admins at once cannot give
//! back more than was charged. Next: the journal, and `issue`, which numbers the note.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{InvoiceId, JournalId, VendorId};
use apiclay_config::money::Money;

use super::IssueError;
use super::documents::{Invoice, Of};
use super::number::{numbered, series};
use crate::http::Code;
use crate::ledger::{
    Amount, EntryKind, Holder, Journal, JournalEntry, LedgerAccount, LedgerError, Proposal, Step,
};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::vendors::commission::{Sale, rate_of};

/// Credits of one invoice.
pub const CREDITS_MAX: u32 = 100;

/// What an admin wants to give back.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The credit note's id.
    pub id: InvoiceId,
    /// Of which invoice.
    pub invoice: InvoiceId,
    /// How much; more than zero.
    pub amount: Money,
    /// Who bears it, less what the operator keeps of his sales; the operator alone where nobody is named.
    pub vendor: Option<VendorId>,
    /// Why; it stands on the note.
    pub reason: String,
}

/// What was given back of an invoice so far.
#[derive(Debug, Default)]
struct Credited {
    notes: u32,
    micro: i64,
    of_vendor_micro: i64,
}

/// Gives it back, or finds that it was; the credit note.
///
/// # Errors
/// Where it is more than is left, or the store does not answer: the same wish may be told again.
pub async fn credit(
    (store, journal, now): (&Store, &Journal, Timestamp),
    wanted: &Wanted,
) -> Result<Invoice, Refusal> {
    let invoice = store.get::<Invoice>(&wanted.invoice.to_string()).await?;
    let invoice = invoice.ok_or(Refusal::NotFound("invoice"))?.value;
    check(&invoice, wanted)?;
    let entry = loop {
        if let Some(known) = journal.by_fact(&note_fact(wanted.id)).await? {
            let same = named_in(&known) == Some((invoice.id, wanted.id)) && known.reason == wanted.reason;
            if !same || amount_of(&invoice, &known) != wanted.amount.micro {
                let detail = "choose another key for another credit note";
                return Err(Refusal::because(Code::IdempotencyKeyReused, detail));
            }
            break known;
        }
        let credited = credited(journal, &invoice, wanted.vendor).await?;
        check_left(&invoice, wanted, &credited)?;
        let rate = match wanted.vendor {
            Some(vendor) => rate_of(store, vendor).await?,
            None => 0,
        };
        match journal.append(&proposal(&invoice, wanted, credited.notes + 1, rate)).await {
            Ok(appended) if named_in(&appended.entry) == Some((invoice.id, wanted.id)) => {
                break appended.entry;
            }
            // Another admin's credit has this number, be it for the same: look again what is left.
            Ok(_) | Err(LedgerError::OtherContent { .. }) => {}
            Err(LedgerError::Store(error)) => return Err(error.into()),
            Err(LedgerError::Contended) => return Err(Refusal::Changed),
            Err(LedgerError::Refused(_)) => return Err(Refusal::Internal("giving money of an invoice back")),
        }
    };
    note(store, &invoice, wanted.id, &entry, now).await
}

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

/// The invoice and the credit note that an entry's facts name.
pub(super) fn named_in(entry: &JournalEntry) -> Option<(InvoiceId, InvoiceId)> {
    let after = |begin: &str| entry.idem.iter().find_map(|fact| fact.strip_prefix(begin));
    let (invoice, _) = after("credit:")?.split_once(':')?;
    Some((invoice.parse().ok()?, after("credit-note:")?.parse().ok()?))
}

/// The credit note of an entry that gave money back; written where it is not there.
async fn note(
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
            entry: entry.id,
            reason: entry.reason.clone(),
        },
        lines: Vec::new(),
        total: Money::new(amount_of(invoice, entry).saturating_neg(), invoice.total.currency),
        issued_at: now,
    }
}

fn check(invoice: &Invoice, wanted: &Wanted) -> Result<(), Refusal> {
    if invoice.is_credit() {
        let detail = "this gives money back already; credit the invoice that took it";
        return Err(Refusal::because(Code::StateConflict, detail));
    }
    if wanted.amount.currency != invoice.total.currency {
        let rule = format!("the invoice is in {}", invoice.total.currency.as_str());
        return Err(Refusal::field("/amount/currency", "invalid", rule));
    }
    if wanted.amount.micro <= 0 {
        return Err(Refusal::field("/amount/amount", "out_of_range", "more than zero"));
    }
    if let Some(vendor) = wanted.vendor
        && invoice.lines.iter().all(|line| line.vendor != vendor)
    {
        let rule = "a vendor of this invoice's lines, or nobody: then the operator bears it";
        return Err(Refusal::field("/vendor_id", "invalid", rule));
    }
    Ok(())
}

/// All credits of an invoice, by the numbers in their facts.
async fn credited(
    journal: &Journal,
    invoice: &Invoice,
    vendor: Option<VendorId>,
) -> Result<Credited, StoreError> {
    let mut credited = Credited::default();
    while let Some(entry) = journal.by_fact(&credit_fact(invoice.id, credited.notes + 1)).await? {
        let micro = amount_of(invoice, &entry);
        let of_vendor = |holder: Holder| match holder {
            Holder::Vendor(of) | Holder::Commission(of) => Some(of) == vendor,
            _ => false,
        };
        credited.notes += 1;
        credited.micro = credited.micro.saturating_add(micro);
        if entry.lines.iter().any(|line| of_vendor(line.account.holder)) {
            credited.of_vendor_micro = credited.of_vendor_micro.saturating_add(micro);
        }
    }
    Ok(credited)
}

fn check_left(invoice: &Invoice, wanted: &Wanted, credited: &Credited) -> Result<(), Refusal> {
    if credited.notes >= CREDITS_MAX {
        let detail = format!("an invoice has {CREDITS_MAX} credit notes at most");
        return Err(Refusal::because(Code::LimitReached, detail));
    }
    let mut left_micro = invoice.total.micro.saturating_sub(credited.micro);
    if let Some(vendor) = wanted.vendor {
        let sold = invoice.lines.iter().filter(|line| line.vendor == vendor).map(|line| line.micro);
        let sold = sold.fold(0_i64, i64::saturating_add);
        left_micro = left_micro.min(sold.saturating_sub(credited.of_vendor_micro));
    }
    if wanted.amount.micro <= left_micro {
        return Ok(());
    }
    let left = Money::new(left_micro.max(0), invoice.total.currency);
    let detail = format!("{left} is left to be given back of this, other credit notes deducted");
    Err(Refusal::because(Code::RefundTooLarge, detail))
}

fn proposal(invoice: &Invoice, wanted: &Wanted, number: u32, basis_points: u32) -> Proposal {
    let currency = wanted.amount.currency;
    let wallet = LedgerAccount::wallet(invoice.account, currency);
    let back = Money::new(wanted.amount.micro.saturating_neg(), currency);
    let lines = match wanted.vendor {
        Some(vendor) => Sale::new(back, basis_points).lines(wallet, vendor),
        None => vec![
            Amount { account: wallet, micro: wanted.amount.micro },
            Amount { account: LedgerAccount { holder: Holder::WriteOff, currency }, micro: back.micro },
        ],
    };
    Proposal {
        facts: vec![credit_fact(invoice.id, number), note_fact(wanted.id)],
        kind: EntryKind::Correction,
        step: Step::Move(lines),
        usage: None,
        fee: None,
        reason: wanted.reason.clone(),
    }
}

/// What an entry put into the invoice's wallet, in micro-units.
pub(super) fn amount_of(invoice: &Invoice, entry: &JournalEntry) -> i64 {
    let wallet = LedgerAccount::wallet(invoice.account, invoice.total.currency);
    entry.lines.iter().find(|line| line.account == wallet).map_or(0, |line| line.micro)
}

fn credit_fact(invoice: InvoiceId, number: u32) -> String {
    format!("credit:{invoice}:{number}")
}

fn note_fact(note: InvoiceId) -> String {
    format!("credit-note:{note}")
}
