//! Issues a wallet's invoices: walks its row of the journal from the last invoice on, ends the last month there by an entry
//! behind which nothing of it can follow, and writes each month under the next number. Safe on every control plane at once:
//! a month's id and a series' number are unique. Next: the store.

use std::collections::HashMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{PlanId, VendorId};
use apiclay_config::money::Money;
use parking_lot::Mutex;

use super::documents::{Invoice, InvoiceLine, Of};
use super::months::Months;
use super::number::{numbered, series};
use super::slice::Slice;
use super::{IssueError, notes};
use crate::catalog::documents::Listing;
use crate::ledger::{EntryKind, Holder, Journal, LedgerAccount, LedgerError, Proposal, Refused, Step};
use crate::plans::documents::Plan;
use crate::store::{Query, Store, StoreError};
use crate::vendors::documents::Vendor;

/// Plans whose names are kept at hand in one run.
const NAMES_MAX: usize = 10_000;

/// What issuing needs.
pub struct Issuer<'a> {
    store: &'a Store,
    journal: &'a Journal,
    now: Timestamp,
    names: Mutex<HashMap<PlanId, Names>>,
    /// Held while a number is taken: those who gather months at the same time would take it from each other.
    numbering: tokio::sync::Mutex<()>,
}

/// What a plan is called, and whose it is.
#[derive(Debug, Clone)]
struct Names {
    vendor: VendorId,
    vendor_name: String,
    listing_name: String,
    plan_name: String,
}

impl<'a> Issuer<'a> {
    /// One that issues what is over at `now`.
    #[must_use]
    pub fn new(store: &'a Store, journal: &'a Journal, now: Timestamp) -> Self {
        Self { store, journal, now, names: Mutex::default(), numbering: tokio::sync::Mutex::default() }
    }

    /// Issues every month of a wallet that is over and has no invoice. How many.
    ///
    /// # Errors
    /// See [`IssueError`]; called again it does what is left.
    pub async fn wallet(&self, wallet: LedgerAccount) -> Result<u32, IssueError> {
        let from = self.covered_through(&wallet).await?.saturating_add(1);
        let (mut issued, open) = self.walk(wallet, from).await?;
        if let Some(open) = open.filter(|open| open.has_charges() && open.is_over(self.now)) {
            match self.journal.append(&closing(&open)).await {
                // Where another entry was quicker, or the clock went back, nothing is left to end, or not yet.
                Ok(_) | Err(LedgerError::Refused(Refused::MonthGoesOn(_))) => {}
                Err(error) => return Err(error.into()),
            }
            // What was written in between is in front of that entry, and of the month.
            let (more, still) = self.walk(wallet, open.covered().first_seq).await?;
            issued += more;
            if still.is_some_and(|still| still.covered().begins_at == open.covered().begins_at) {
                return Err(IssueError::Contended);
            }
        }
        Ok(issued)
    }

    /// The row's last entry that an invoice covers; 0 where there is none.
    async fn covered_through(&self, wallet: &LedgerAccount) -> Result<i64, StoreError> {
        let last = Query::by("wallet").equals(wallet.to_string()).descending().limit(1);
        let last = self.store.query::<Invoice>(&last).await?.items.pop();
        Ok(last.and_then(|last| last.value.covered().map(|covered| covered.through_seq)).unwrap_or(0))
    }

    /// Issues the months that end within the row; how many, and the one that does not.
    async fn walk(&self, wallet: LedgerAccount, from: i64) -> Result<(u32, Option<Slice>), IssueError> {
        let mut issued = 0;
        let mut months = Months::of(self.store, wallet, from);
        while let Some(month) = months.next().await? {
            for entry in month.credits() {
                notes::note_of(self.store, *entry, self.now).await?;
            }
            issued += u32::from(self.issue(&month).await?);
        }
        let open = months.last();
        for entry in open.iter().flat_map(Slice::credits) {
            notes::note_of(self.store, *entry, self.now).await?;
        }
        Ok((issued, open))
    }

    /// Writes a month's invoice, unless it is there or nothing was charged; whether it wrote one.
    async fn issue(&self, slice: &Slice) -> Result<bool, IssueError> {
        if !slice.has_charges() {
            return Ok(false);
        }
        let covered = slice.covered();
        let id = Invoice::id_of(&covered.wallet, covered.begins_at);
        // Before a number is looked for: most often nothing is there, and where it is, no number is taken.
        if self.store.get::<Invoice>(&id.to_string()).await?.is_some() {
            return Ok(false);
        }
        let Holder::Wallet(account) = covered.wallet.holder else { return Ok(false) };
        let mut lines = Vec::new();
        for (item, micro) in slice.charges()? {
            let Names { vendor, vendor_name, listing_name, plan_name } = self.names_of(item.plan).await?;
            lines.push(InvoiceLine { vendor, vendor_name, listing_name, plan_name, item, micro });
        }
        let total = Money::new(slice.spent_micro(), covered.wallet.currency);
        let kind = if total.micro < 0 { "CN" } else { "INV" };
        let invoice = Invoice {
            id,
            series: series(kind, covered.begins_at),
            number: 0,
            account,
            of: Of::Month(covered.clone()),
            lines,
            total,
            issued_at: self.now,
        };
        let _one_at_a_time = self.numbering.lock().await;
        numbered(self.store, invoice).await
    }

    async fn names_of(&self, plan: PlanId) -> Result<Names, IssueError> {
        if let Some(names) = self.names.lock().get(&plan) {
            return Ok(names.clone());
        }
        let names = names_of(self.store, plan).await?;
        let mut known = self.names.lock();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(plan, names.clone());
        Ok(names)
    }
}

/// What a plan is called. Plans that were sold are never deleted; a listing or vendor that is gone is told by its id.
async fn names_of(store: &Store, id: PlanId) -> Result<Names, StoreError> {
    let Some(plan) = store.get::<Plan>(&id.to_string()).await?.map(|found| found.value) else {
        return Err(StoreError::corrupt("plans", &id.to_string(), "a plan that was sold is not there"));
    };
    let listing = store.get::<Listing>(&plan.listing.to_string()).await?;
    let vendor = store.get::<Vendor>(&plan.vendor.to_string()).await?;
    Ok(Names {
        vendor: plan.vendor,
        vendor_name: vendor.map_or_else(|| plan.vendor.to_string(), |found| found.value.name),
        listing_name: listing.map_or_else(|| plan.listing.to_string(), |found| found.value.name),
        plan_name: plan.name,
    })
}

/// The entry behind which nothing of the month can follow.
fn closing(slice: &Slice) -> Proposal {
    let covered = slice.covered();
    let id = Invoice::id_of(&covered.wallet, covered.begins_at);
    Proposal {
        facts: vec![format!("invoice:{id}")],
        kind: EntryKind::Invoice,
        step: Step::CloseMonth(covered.wallet),
        usage: None,
        fee: None,
        reason: format!("The month from {} is invoiced", covered.begins_at),
    }
}
