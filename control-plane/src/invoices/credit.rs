//! Gives money of a line of an invoice back: one entry of the journal, and a credit note that names both. The invoice itself
//! stays as it is. Credits of one invoice are numbered in the facts of their entries, so that two admins at once cannot give
//! back more than was charged. What is charged for a period stands in a row of the journal, and credits of it as well as what a
//! change of plan gives back take their place there: neither goes beyond what the other has left. Next: the journal, and
//! `notes`, which writes the note.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{InvoiceId, VendorId};
use apiclay_config::money::Money;

use super::documents::{Invoice, InvoiceLine, What};
use super::notes::{amount_of, credit_fact, facts, line_in, named_in, note, note_fact};
use crate::http::Code;
use crate::ledger::{
    Amount, EntryKind, Fee, Holder, Journal, LedgerAccount, LedgerError, Proposal, Refused, Step,
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
    /// Of which of its lines, counted from 1.
    pub line: u32,
    /// How much; more than zero.
    pub amount: Money,
    /// The line's vendor where he bears it, less what the operator keeps of his sales; else the operator alone does.
    pub vendor: Option<VendorId>,
    /// Why; it stands on the note.
    pub reason: String,
}

/// What was given back of an invoice so far.
#[derive(Debug, Default)]
struct Credited {
    notes: u32,
    micro: i64,
    /// Of the line, or by an earlier release of no line.
    of_line_micro: i64,
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
    let line = check(&invoice, wanted)?;
    let entry = loop {
        if let Some(known) = journal.by_fact(&note_fact(wanted.id)).await? {
            let same = named_in(&known) == Some((invoice.id, wanted.id))
                && line_in(&known) == Some(wanted.line)
                && known.reason == wanted.reason;
            if !same || amount_of(&invoice, &known) != wanted.amount.micro {
                let detail = "choose another key for another credit note";
                return Err(Refusal::because(Code::IdempotencyKeyReused, detail));
            }
            break known;
        }
        let credited = credited(journal, &invoice, wanted.line).await?;
        let fee = fee_of(journal, line).await?;
        check_left(&invoice, line, wanted, &credited, fee.map(|(_, left_micro)| left_micro))?;
        let rate = match wanted.vendor {
            Some(vendor) => rate_of(store, vendor).await?,
            None => 0,
        };
        let mut proposal = proposal(&invoice, wanted, credited.notes + 1, rate);
        proposal.fee = fee.map(|(fee, _)| fee);
        match journal.append(&proposal).await {
            Ok(appended) if named_in(&appended.entry) == Some((invoice.id, wanted.id)) => {
                break appended.entry;
            }
            // Another admin's credit has this number, be it for the same, or a change of plan has given back: look again what
            // is left.
            Ok(_)
            | Err(LedgerError::OtherContent { .. } | LedgerError::Refused(Refused::GivenBack { .. })) => {}
            Err(LedgerError::Store(error)) => return Err(error.into()),
            Err(LedgerError::Contended) => return Err(Refusal::Changed),
            Err(LedgerError::Refused(_)) => return Err(Refusal::Internal("giving money of an invoice back")),
        }
    };
    note(store, &invoice, wanted.id, &entry, now).await
}

/// The line, where money of it can go back at all.
fn check<'a>(invoice: &'a Invoice, wanted: &Wanted) -> Result<&'a InvoiceLine, Refusal> {
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
    let place = usize::try_from(wanted.line).ok().and_then(|line| line.checked_sub(1));
    let Some(line) = place.and_then(|place| invoice.lines.get(place)) else {
        let rule = format!("1 to {}, as the invoice's lines stand", invoice.lines.len());
        return Err(Refusal::field("/line", "out_of_range", rule));
    };
    if wanted.vendor.is_some_and(|vendor| vendor != line.vendor) {
        let rule = "the vendor of this line, or nobody: then the operator bears it";
        return Err(Refusal::field("/vendor_id", "invalid", rule));
    }
    if line.item.subscription.as_u128() == 0 && period_of(line).is_some() {
        let detail = "this line is of several subscriptions, of whose months some may have gone back already: it cannot be told what is left of it";
        return Err(Refusal::because(Code::StateConflict, detail));
    }
    Ok(line)
}

/// All credits of an invoice, by the numbers in their facts.
async fn credited(journal: &Journal, invoice: &Invoice, line: u32) -> Result<Credited, StoreError> {
    let mut credited = Credited::default();
    while let Some(entry) = journal.by_fact(&credit_fact(invoice.id, credited.notes + 1)).await? {
        let micro = amount_of(invoice, &entry);
        credited.notes += 1;
        credited.micro = credited.micro.saturating_add(micro);
        if line_in(&entry).is_none_or(|of| of == line) {
            credited.of_line_micro = credited.of_line_micro.saturating_add(micro);
        }
    }
    Ok(credited)
}

/// What a line that charges for a period is for, and what was charged for that period and did not go back; none for usage, and
/// where an earlier release began the period: then nothing is known of it beside the line.
async fn fee_of(journal: &Journal, line: &InvoiceLine) -> Result<Option<(Fee, i64)>, StoreError> {
    let Some(fee) = period_of(line) else { return Ok(None) };
    let head = journal.head(&fee.row()).await?;
    Ok((head.seq > 0).then_some((fee, head.posted)))
}

fn period_of(line: &InvoiceLine) -> Option<Fee> {
    let (begins_at, ends_at, change) = match line.item.what {
        What::Period { begins_at, ends_at } => (begins_at, ends_at, false),
        What::Change { begins_at, ends_at } => (begins_at, ends_at, true),
        What::Usage { .. } | What::LateUsage { .. } => return None,
    };
    let (subscription, plan, plan_revision) =
        (line.item.subscription, line.item.plan, line.item.plan_revision);
    Some(Fee { subscription, plan, plan_revision, begins_at, ends_at, change, counted: true })
}

fn check_left(
    invoice: &Invoice,
    line: &InvoiceLine,
    wanted: &Wanted,
    credited: &Credited,
    of_period_micro: Option<i64>,
) -> Result<(), Refusal> {
    if credited.notes >= CREDITS_MAX {
        let detail = format!("an invoice has {CREDITS_MAX} credit notes at most");
        return Err(Refusal::because(Code::LimitReached, detail));
    }
    let of_invoice = invoice.total.micro.saturating_sub(credited.micro);
    let of_line = line.micro.saturating_sub(credited.of_line_micro);
    let left_micro = of_invoice.min(of_line).min(of_period_micro.unwrap_or(i64::MAX));
    if wanted.amount.micro <= left_micro {
        return Ok(());
    }
    let left = Money::new(left_micro.max(0), invoice.total.currency);
    let detail = format!(
        "{left} is left to be given back of this line, other credit notes deducted and what changes of plan gave back on balance"
    );
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
        facts: facts(invoice.id, number, wanted.line, wanted.id),
        kind: EntryKind::Correction,
        step: Step::Move(lines),
        usage: None,
        fee: None,
        reason: wanted.reason.clone(),
    }
}
