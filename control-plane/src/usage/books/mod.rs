//! Whether usage and books say the same: each billed call on record (`record`, the batches as they came) is charged once in
//! the journal (`charged`), lease by lease, and is one that its buyer is shown (rollups). `compare` holds them against each
//! other; memory is that of leases not settled yet, since what agrees is let go. By `apiclay usage verify`, and each night.
//! Next: `nightly`, which shows what was found.
//!
//! Charges are held against calls as far back as raw usage is kept (`retention`). What moves while it is read would differ
//! once, so that only what differs in two readings is told.

mod charged;
mod compare;
pub mod forgotten;
pub mod nightly;
mod record;

use std::ops::Range;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;

use super::read::Reading;
use super::retention::RetentionRun;
use super::rollup::{MINUTES_PER_HOUR, Rollup};
use crate::ledger::{self, JournalEntry};
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError};
use crate::subscriptions::{self, documents::Subscription, free_months};
use crate::wallet::leases::{self, documents::WalletLease};
use charged::Charges;
use compare::{Leases, Tally};
use record::Record;

pub use compare::Fault;

/// Faults that are told; books with more are beyond telling.
pub const FAULTS_MAX: usize = 1_000;
/// Open leases that are named.
pub const OPEN_NAMED_MAX: usize = 20;
/// Entries of the journal read at once.
const ENTRIES_AT_ONCE_MAX: usize = 1_000;
/// Shown calls are compared up to so long ago, by the hour: later ones are being folded.
const SHOWN_UNTIL_MS: i64 = 3_600_000;
const DAY_MINUTES: i64 = 24 * MINUTES_PER_HOUR;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Leases whose calls were held against their charges.
    pub leases: u64,
    /// Billed calls on record that wallets or included calls pay for.
    pub calls: u64,
    /// Leases that are not charged yet, for they are open or their last calls have just come.
    pub open: u64,
    /// Some of them.
    pub open_named: Vec<String>,
    /// Raw usage before this is kept no longer; absent where all is.
    pub since: Option<Timestamp>,
    /// What is wrong; at most [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
}

/// Holds calls on record against charges and against what buyers are shown.
///
/// # Errors
/// Where the store does not answer.
pub async fn verify(store: &Store, now: Timestamp) -> Result<Report, Refusal> {
    let first = once(store, now).await?;
    if first.faults.is_empty() {
        return Ok(first);
    }
    let mut second = once(store, now).await?;
    second.faults.retain(|fault| first.faults.contains(fault));
    Ok(second)
}

/// Makes the collections that are read.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    ledger::register(store).await?;
    leases::register(store).await?;
    subscriptions::register(store).await?;
    super::register(store).await
}

async fn once(store: &Store, now: Timestamp) -> Result<Report, Refusal> {
    let since = store.get::<RetentionRun>(RetentionRun::ID).await?.and_then(|run| run.value.deleted_before);
    let shown_end = now.plus_ms(-SHOWN_UNTIL_MS).minute().div_euclid(MINUTES_PER_HOUR) * MINUTES_PER_HOUR;
    // A day later than what was deleted: gateways' clocks differ, and days are summed whole.
    let shown_from = since.map_or(0, |at| (at.minute().div_euclid(DAY_MINUTES) + 2) * DAY_MINUTES);
    let shown = shown_from..shown_end.max(shown_from);
    let mut tallies = Leases::default();
    let mut charges = Charges::new(store, since);
    let mut record = Record::of(store, shown.clone()).await?;
    let mut report = Report { since, ..Report::default() };
    // Entries lead, batches follow in time: what agrees is let go on the way.
    let mut cursor = None;
    loop {
        let walk = Query::by("id").from(charges.first_id()).limit(ENTRIES_AT_ONCE_MAX).cursor(cursor);
        let page = store.query::<JournalEntry>(&walk).await?;
        let last_at = page.items.last().map(|entry| entry.value.at);
        for entry in page.items {
            charges.take(&mut tallies, &entry.value).await?;
        }
        if let Some(at) = last_at {
            record.read_up_to(&mut tallies, Some(at)).await?;
        }
        report.leases += let_go(store, &mut tallies).await?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    record.read_up_to(&mut tallies, None).await?;
    tallies.gather_strays();
    report.leases += let_go(store, &mut tallies).await?;
    report.calls = record.calls;
    for (name, tally) in tallies.left() {
        judge(store, &mut report, &name, &tally).await?;
    }
    report.faults.append(&mut record.unreadable);
    report.faults.append(&mut charges.nameless);
    for subscription in with_hours(store, &shown).await? {
        record.by_subscription.entry(subscription).or_default();
    }
    for (subscription, billed) in record.by_subscription {
        let mut told = 0_u64;
        let sum = |counted: super::read::Counted<'_>| {
            told += counted.cells().map(|cell| cell.counts.billable_calls).sum::<u64>();
            Ok(())
        };
        Reading::new(store, subscription, shown.clone(), sum).days().await?;
        report.faults.extend(compare::shown(subscription, told, billed));
    }
    report.faults.sort_unstable();
    report.faults.truncate(FAULTS_MAX);
    Ok(report)
}

/// Subscriptions whose buyers are shown something of these minutes, which are whole hours.
async fn with_hours(store: &Store, minutes: &Range<i64>) -> Result<Vec<SubscriptionId>, StoreError> {
    let hours = minutes.start.div_euclid(MINUTES_PER_HOUR)..minutes.end.div_euclid(MINUTES_PER_HOUR);
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        // From one subscription to the next, over all of its hours but one or two.
        let walk = Query::by("id").from(next.as_str()).limit(1);
        let Some(hour) = store.query::<Rollup>(&walk).await?.items.pop() else { return Ok(found) };
        let Rollup { subscription, hour, .. } = hour.value;
        if hour < hours.start {
            next = Rollup::id_of(subscription, hours.start);
            continue;
        }
        if hour < hours.end {
            found.push(subscription);
        }
        next = Rollup::id_of(subscription, i64::MAX) + "~";
    }
}

/// Lets go of what agrees, once it is known under whose name the free months of calls stand; how many leases.
async fn let_go(store: &Store, tallies: &mut Leases) -> Result<u64, StoreError> {
    for id in tallies.unknown() {
        // Of none that is known its own name: nobody else pays for its calls.
        let under = match store.get::<Subscription>(&id.to_string()).await? {
            Some(known) => free_months::found(store, &known.value).await?.subscription,
            None => id,
        };
        tallies.know(id, under);
    }
    Ok(tallies.let_go())
}

/// What becomes of a lease whose calls and charges differ, or that is open.
async fn judge(store: &Store, report: &mut Report, name: &str, tally: &Tally) -> Result<(), Refusal> {
    report.leases += 1;
    if tally.is_open() || (tally.lacks_charge() && is_charged_later(store, name).await?) {
        report.open += 1;
        if report.open_named.len() < OPEN_NAMED_MAX {
            report.open_named.push(name.to_owned());
        }
        return Ok(());
    }
    // Made before what is kept: some of its calls are gone.
    if report.since.is_some() && charged::held_before(store, name, report.since).await? {
        return Ok(());
    }
    report.faults.push(compare::lease(name, tally));
    Ok(())
}

/// Whether a lease of this number of the gateway's, of whichever life, has billed calls that are to be charged yet.
async fn is_charged_later(store: &Store, name: &str) -> Result<bool, Refusal> {
    let Some((gateway, serial)) = compare::numbered(name) else { return Ok(false) };
    let Ok(serial) = serial.parse::<i64>() else { return Ok(false) };
    let named = Query::by("name").equals(gateway).equals(serial);
    let leases = store.query::<WalletLease>(&named).await?.items;
    Ok(leases.iter().any(|lease| lease.value.billable > lease.value.charged_calls))
}
