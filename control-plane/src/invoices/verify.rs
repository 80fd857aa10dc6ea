//! Reckons every invoice anew from the journal: numbers without gaps, lines that sum to totals, months that are what the wallet's
//! row holds, credit notes that stand for entries, vendors who have what their buyers were charged (`vendors`). Nothing that an invoice says of itself is believed. Next: `apiclay ledger
//! verify`.

use std::collections::{HashMap, HashSet};

use apiclay_config::ids::{InvoiceId, JournalId};

use super::IssueError;
use super::documents::{Covered, Invoice, Of};
use super::months::Months;
use super::notes::{amount_of, line_in, named_in};
use super::number::series;
use super::run::{is_done_until, wallet_after};
use super::slice::Slice;
use super::vendors;
use crate::ledger::{EntryKind, Holder, JournalEntry, LedgerAccount};
use crate::plans::documents::Plan;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

/// Faults that are told.
pub const FAULTS_MAX: usize = 1_000;

/// What a replay has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Invoices and credit notes read.
    pub invoices: u64,
    /// What is wrong, each with the invoice it is about.
    pub faults: Vec<String>,
    months: HashSet<InvoiceId>,
    /// What credit notes give back of each invoice, by the line that they name.
    credits: HashMap<InvoiceId, HashMap<Option<u32>, i128>>,
}

/// Reads every invoice, every wallet's row and, for what vendors have, every entry.
///
/// # Errors
/// Where the store does not answer.
pub async fn verify(store: &Store) -> Result<Report, StoreError> {
    let mut report = Report::default();
    numbers(store, &mut report).await?;
    let mut name = None;
    while let Some(wallet) = wallet_after(store, name.as_deref()).await? {
        months(store, wallet, &mut report).await?;
        name = Some(wallet.to_string());
    }
    for (id, credits) in std::mem::take(&mut report.credits) {
        let credited = store.get::<Invoice>(&id.to_string()).await?.map(|found| found.value);
        let micro: i128 = credits.values().sum();
        if credited.as_ref().is_none_or(|credited| i128::from(credited.total.micro) < micro) {
            report.fault(format!("{micro} micro-units of {id} were given back, which is more than it has"));
        }
        for (line, micro) in credits.into_iter().filter_map(|(line, micro)| Some((line?, micro))) {
            let lines = credited.as_ref().map_or(&[][..], |credited| &credited.lines);
            let named = usize::try_from(line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
            if named.is_none_or(|named| i128::from(named.micro) < micro) {
                let what =
                    format!("{micro} micro-units of line {line} of {id} were given back, which is more");
                report.fault(format!("{what} than it has"));
            }
        }
    }
    for id in std::mem::take(&mut report.months) {
        report.fault(format!("{id} is of a month that the journal does not have"));
    }
    vendors::check(store, &mut report).await?;
    Ok(report)
}

/// All invoices in the order of their numbers.
async fn numbers(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    let (mut last, mut cursor) = ((String::new(), 0), None);
    loop {
        let walk = Query::by("number").limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = store.query::<Invoice>(&walk).await?;
        for invoice in page.items.into_iter().map(|found| found.value) {
            report.invoices += 1;
            let wanted = if last.0 == invoice.series { last.1 + 1 } else { 1 };
            if invoice.number != wanted {
                report.fault(format!("{} follows number {} of its series", invoice.name(), wanted - 1));
            }
            by_itself(store, &invoice, report).await?;
            last = (invoice.series, invoice.number);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// What an invoice must be by itself; a month's is noted, to be met in a wallet's row.
async fn by_itself(store: &Store, invoice: &Invoice, report: &mut Report) -> Result<(), StoreError> {
    match &invoice.of {
        Of::Month(covered) => {
            let sum: i128 = invoice.lines.iter().map(|line| i128::from(line.micro)).sum();
            if sum != i128::from(invoice.total.micro) {
                report.fault(format!("the lines of {} do not sum to its total", invoice.name()));
            }
            if invoice.id != Invoice::id_of(&covered.wallet, covered.begins_at) {
                report.fault(format!("{} is not the invoice of its month", invoice.name()));
            }
            report.months.insert(invoice.id);
        }
        Of::Credit { invoice: credited, line, entry, .. } => {
            if !stands_for(store, invoice, *entry).await? {
                report.fault(format!("{} gives back what {entry} does not", invoice.name()));
            }
            let of_invoice = report.credits.entry(*credited).or_default();
            *of_invoice.entry(*line).or_default() -= i128::from(invoice.total.micro);
        }
    }
    Ok(())
}

/// Whether a credit note is what its entry says.
async fn stands_for(store: &Store, note: &Invoice, entry: JournalId) -> Result<bool, StoreError> {
    let Some(entry) = store.get::<JournalEntry>(&entry.to_string()).await?.map(|found| found.value) else {
        return Ok(false);
    };
    let Of::Credit { invoice, line, reason, .. } = &note.of else { return Ok(false) };
    Ok(entry.kind == EntryKind::Correction
        && named_in(&entry) == Some((*invoice, note.id))
        && line_in(&entry) == *line
        && entry.reason == *reason
        && amount_of(note, &entry).checked_neg() == Some(note.total.micro))
}

/// The months of a wallet, each held against its invoice.
async fn months(store: &Store, wallet: LedgerAccount, report: &mut Report) -> Result<(), StoreError> {
    match months_of(store, wallet, report).await {
        Ok(()) => Ok(()),
        Err(IssueError::Store(error)) => Err(error),
        Err(error) => {
            report.fault(format!("{wallet}: {}", apiclay_config::process::in_a_line(&error)));
            Ok(())
        }
    }
}

async fn months_of(store: &Store, wallet: LedgerAccount, report: &mut Report) -> Result<(), IssueError> {
    let mut months = Months::of(store, wallet, 1);
    while let Some(month) = months.next().await? {
        for entry in month.credits() {
            note_is_there(store, *entry, report).await?;
        }
        if month.has_charges() {
            held_against(store, &month, report).await?;
        }
    }
    let Some(last) = months.last() else { return Ok(()) };
    let Covered { wallet, begins_at, ends_at, .. } = *last.covered();
    if is_done_until(store, ends_at).await? {
        for entry in last.credits() {
            note_is_there(store, *entry, report).await?;
        }
        if last.has_charges() {
            report.fault(format!("the month from {begins_at} of {wallet} was not ended, and has no invoice"));
        }
    }
    Ok(())
}

async fn note_is_there(store: &Store, entry: JournalId, report: &mut Report) -> Result<(), StoreError> {
    let entry = store.get::<JournalEntry>(&entry.to_string()).await?.map(|found| found.value);
    if let Some((_, note)) = entry.as_ref().and_then(named_in)
        && store.get::<Invoice>(&note.to_string()).await?.is_none()
    {
        report.fault(format!("{note} was given back and has no credit note"));
    }
    Ok(())
}

async fn held_against(store: &Store, month: &Slice, report: &mut Report) -> Result<(), IssueError> {
    let covered = month.covered();
    let id = Invoice::id_of(&covered.wallet, covered.begins_at);
    // Before the invoice is looked for: the run may come to it at this moment.
    let done = is_done_until(store, covered.ends_at).await?;
    let invoice = store.get::<Invoice>(&id.to_string()).await?.map(|found| found.value);
    let Some(invoice) = invoice else {
        if done {
            let (wallet, from) = (covered.wallet, covered.begins_at);
            report.fault(format!("{wallet} has no invoice for the month from {from}"));
        }
        return Ok(());
    };
    report.months.remove(&id);
    let name = invoice.name();
    if invoice.covered() != Some(covered) {
        report.fault(format!("{name} covers another part of {} than its month is", covered.wallet));
    }
    let (total, spent) = (invoice.total.micro, month.spent_micro());
    if total != spent {
        report.fault(format!("{name} says {total} micro-units, and the journal {spent}"));
    }
    let kind = if spent < 0 { "CN" } else { "INV" };
    if invoice.series != series(kind, covered.begins_at)
        || Holder::Wallet(invoice.account) != covered.wallet.holder
        || invoice.total.currency != covered.wallet.currency
    {
        report.fault(format!("{name} is not of the account, the currency or the series of its wallet"));
    }
    for line in &invoice.lines {
        let plan = store.get::<Plan>(&line.item.plan.to_string()).await?;
        if plan.is_none_or(|plan| plan.value.vendor != line.vendor) {
            report.fault(format!("a line of {name} names a vendor who did not sell it"));
        }
    }
    let told = invoice.lines.iter().map(|line| (line.item, line.micro));
    if !told.eq(month.charges()?) {
        report.fault(format!("the lines of {name} are not what was charged"));
    }
    Ok(())
}

impl Report {
    pub(super) fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }
}
