//! Vendors' side of the books: entry by entry, what vendor and operator share out must be what a buyer was charged, or the
//! operator bore for him, and must be shared with the vendor who sold the plan that the entry names, or whose line a credit note
//! gives back. Summed, a vendor's balance is what his buyers were charged, less commission and less what he gave back. Nothing is
//! believed but the plan. Next: `verify`.

use std::collections::{BTreeMap, HashMap};

use apiclay_config::ids::{PlanId, VendorId};
use apiclay_config::money::Currency;

use super::documents::Invoice;
use super::notes::{line_in, named_in};
use super::verify::Report;
use crate::ledger::{EntryKind, Holder, JournalEntry};
use crate::plans::documents::Plan;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

/// Micro-units by whose and in what.
type Shares = BTreeMap<(VendorId, Currency), i128>;

/// The whole journal's.
#[derive(Debug, Default)]
struct Sums {
    charged: Shares,
    credited: Shares,
    sellers: HashMap<PlanId, Option<VendorId>>,
}

/// Reads every entry.
pub(super) async fn check(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    let (mut sums, mut cursor) = (Sums::default(), None);
    loop {
        let walk = Query::by("id").limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = store.query::<JournalEntry>(&walk).await?;
        for entry in page.items.into_iter().map(|found| found.value) {
            take(store, &mut sums, &entry, report).await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    for (of, charged) in &sums.charged {
        let credited = sums.credited.remove(of).unwrap_or_default();
        compare(*of, *charged, credited, report);
    }
    for (of, credited) in sums.credited {
        compare(of, 0, credited, report);
    }
    Ok(())
}

async fn take(
    store: &Store,
    sums: &mut Sums,
    entry: &JournalEntry,
    report: &mut Report,
) -> Result<(), StoreError> {
    let (mut credited, mut paid) = (Shares::new(), BTreeMap::<Currency, i128>::new());
    for line in &entry.lines {
        let (currency, micro) = (line.account.currency, i128::from(line.micro));
        match line.account.holder {
            Holder::Vendor(vendor) | Holder::Commission(vendor) => {
                *credited.entry((vendor, currency)).or_default() += micro;
            }
            Holder::Wallet(_) | Holder::WriteOff => *paid.entry(currency).or_default() -= micro,
            Holder::Provider | Holder::Included { .. } | Holder::IncludedGranted | Holder::IncludedUsed => {}
        }
    }
    paid.retain(|_, micro| *micro != 0);
    let seller = match entry.kind {
        EntryKind::PeriodFee | EntryKind::Calls => sold_by(store, sums, entry).await?,
        EntryKind::Correction => given_back_by(store, entry, &credited).await?,
        // These move money between a buyer, the provider and the operator: no vendor has a part in them.
        EntryKind::TopUp | EntryKind::Refund | EntryKind::Invoice => {
            paid.clear();
            None
        }
    };
    if credited.is_empty() && paid.is_empty() {
        return Ok(());
    }
    let charged: Shares = seller
        .map(|seller| paid.into_iter().map(|(currency, micro)| ((seller, currency), micro)).collect())
        .unwrap_or_default();
    if charged != credited {
        let (told, wanted) = (told(&credited), told(&charged));
        report
            .fault(format!("{} shares out {told}, and by what it sells was to share out {wanted}", entry.id));
    }
    for (all, of_entry) in [(&mut sums.charged, charged), (&mut sums.credited, credited)] {
        for (of, micro) in of_entry {
            *all.entry(of).or_default() += micro;
        }
    }
    Ok(())
}

/// Who sold what an entry charges for.
async fn sold_by(
    store: &Store,
    sums: &mut Sums,
    entry: &JournalEntry,
) -> Result<Option<VendorId>, StoreError> {
    let plan = entry.usage.map(|usage| usage.plan).or(entry.fee.map(|fee| fee.plan));
    let Some(plan) = plan else { return Ok(None) };
    if let Some(known) = sums.sellers.get(&plan) {
        return Ok(*known);
    }
    let seller = store.get::<Plan>(&plan.to_string()).await?.map(|found| found.value.vendor);
    sums.sellers.insert(plan, seller);
    Ok(seller)
}

/// Who sold what a credit note gives back: the vendor of its line; of an earlier release, which named no line, any vendor of the
/// invoice.
async fn given_back_by(
    store: &Store,
    entry: &JournalEntry,
    credited: &Shares,
) -> Result<Option<VendorId>, StoreError> {
    let Some((invoice, _)) = named_in(entry) else { return Ok(None) };
    let Some(invoice) = store.get::<Invoice>(&invoice.to_string()).await?.map(|found| found.value) else {
        return Ok(None);
    };
    let line = line_in(entry).and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
    let mut sellers = match line_in(entry) {
        Some(_) => line.and_then(|line| invoice.lines.get(line..=line)).unwrap_or_default(),
        None => &invoice.lines,
    }
    .iter()
    .map(|line| line.vendor);
    let first = sellers.clone().next();
    Ok(sellers.find(|seller| credited.keys().any(|(vendor, _)| vendor == seller)).or(first))
}

fn compare((vendor, currency): (VendorId, Currency), charged: i128, credited: i128, report: &mut Report) {
    if charged != credited {
        let currency = currency.as_str();
        report.fault(format!(
            "{vendor} and the operator have {credited} micro-units of {currency} of his sales, and his buyers were charged {charged}, less what went back"
        ));
    }
}

fn told(shares: &Shares) -> String {
    if shares.is_empty() {
        return "nothing".to_owned();
    }
    let share = |((vendor, currency), micro): (&(VendorId, Currency), &i128)| {
        format!("{micro} micro-units of {} with {vendor}", currency.as_str())
    };
    shares.iter().map(share).collect::<Vec<_>>().join(" and ")
}
