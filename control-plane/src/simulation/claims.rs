//! What must hold once a history is settled.

use std::collections::HashMap;

use apiclay_config::money::Currency;

use super::faults::Fault;
use super::world::World;
use crate::invoices::documents::What;
use crate::ledger::verify::verify_all;
use crate::ledger::{Holder, LedgerAccount};
use crate::wallet::leases::rules::calls_in;

/// A claim that does not hold, in words.
pub(super) fn check(world: &World) -> Result<(), String> {
    books(world)?;
    limit(world)?;
    calls(world)?;
    money(world)?;
    payments(world)?;
    months(world)?;
    invoices(world)
}

fn equal<T: PartialEq + Copy + std::fmt::Debug>(what: &str, one: T, other: T) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(format!("{what}: {one:?} and {other:?}")) }
}

fn books(world: &World) -> Result<(), String> {
    let report = verify_all(&world.books.entries);
    if let Some(fault) = report.faults.first() {
        return Err(format!("ledger verify: {}: {}", fault.entry, fault.what));
    }
    if !report.open_holds.is_empty() {
        return Err(format!("{} holds are open for ever", report.open_holds.len()));
    }
    let below =
        |slot: &&crate::ledger::Slot| slot.account.starts_with("wallet:") && slot.posted < slot.pending;
    match world.books.entries.iter().flat_map(|entry| &entry.slots).find(below) {
        Some(slot) => Err(format!("the wallet has {} and holds {}", slot.posted, slot.pending)),
        None => Ok(()),
    }
}

/// No more was admitted than the limit, and no unit of it is lost.
fn limit(world: &World) -> Result<(), String> {
    if world.truth.most_admitted > world.quota {
        return Err(format!("{} were admitted of {} a day", world.truth.most_admitted, world.quota));
    }
    let enrolled = world.gateways.iter().all(|gateway| gateway.enrolled);
    let leases = || world.gateways.iter().flat_map(|gateway| &gateway.leases);
    for ((_, window), (generation, counter)) in &world.counters.counters {
        let stands = world.counters.marker.as_ref().is_some_and(|marker| marker.generation == *generation);
        if !enrolled || !stands || !counter.open.is_empty() {
            continue;
        }
        let kept: u64 = leases().filter(|one| one.ends_in(*window)).map(|one| u64::from(one.kept)).sum();
        equal("units out and units kept of a day", counter.granted, kept)?;
    }
    Ok(())
}

/// Every call that counts is on record once, and charged for once.
fn calls(world: &World) -> Result<(), String> {
    let billed = world.truth.billed;
    let rollups = world.plane.rollups.values().flat_map(|rollup| &rollup.cells);
    equal("calls that count and usage", billed, rollups.map(|cell| cell.counts.billable_calls).sum())?;
    let leases = world.plane.leases.values();
    equal("calls that count and leases", billed, leases.map(|lease| lease.billable).sum())?;
    equal("calls that count and calls charged", billed, world.books.entries.iter().map(calls_in).sum())
}

/// The units of a period cost what the plan says, however they were charged.
fn money(world: &World) -> Result<(), String> {
    let mut periods: HashMap<String, (u64, i64)> = HashMap::new();
    for entry in &world.books.entries {
        if let Some(usage) = entry.usage {
            let (units, micro) = periods.entry(usage.row()).or_default();
            *units += usage.units;
            *micro += world.taken_for_calls(entry);
        }
    }
    for (row, (units, micro)) in periods {
        equal(&format!("{units} units of {row} cost"), world.pricing.cost(units), i128::from(micro))?;
    }
    // What is told of after a hold had ended is borne by the operator: no gateway is that late but one that was forgotten.
    let operator = LedgerAccount { holder: Holder::WriteOff, currency: Currency::INR };
    let lines = || world.books.entries.iter().flat_map(|entry| &entry.lines);
    let borne: i64 = lines().filter(|line| line.account == operator).map(|line| -line.micro).sum();
    if world.gateways.iter().all(|gateway| gateway.enrolled) {
        equal("borne by the operator, and owed by him", borne, 0)?;
    }
    let mut given = 0;
    let mut months = std::collections::BTreeSet::new();
    for line in lines() {
        if let Holder::Included { begins_at, .. } = line.account.holder
            && line.micro > 0
        {
            given += line.micro as u64;
            months.insert(begins_at);
        }
    }
    equal("calls included and given", world.pricing.included * months.len() as u64, given)
}

/// What the provider took stands in the wallet once, less what it gave back.
fn payments(world: &World) -> Result<(), String> {
    let provider = LedgerAccount { holder: Holder::Provider, currency: Currency::INR };
    let lines = world.books.entries.iter().flat_map(|entry| &entry.lines);
    let held: i64 = lines.filter(|line| line.account == provider).map(|line| -line.micro).sum();
    equal("paid and credited", world.truth.paid_micro - world.truth.refunded_micro, held)
}

fn months(world: &World) -> Result<(), String> {
    equal(
        "months that were begun and months that were paid for",
        world.provider.months_made,
        world.months_in_books(),
    )
}

/// Invoices, usage and the journal say the same.
fn invoices(world: &World) -> Result<(), String> {
    let invoiced: i64 = world.invoices.iter().map(|one| one.total_micro).sum();
    equal("spent and invoiced", world.spent_micro(), invoiced)?;
    if world.has(Fault::MonthByTime) {
        return Ok(());
    }
    let mut units = 0;
    for invoice in &world.invoices {
        equal(
            "an invoice's lines and its total",
            invoice.lines.iter().map(|(_, micro)| micro).sum(),
            invoice.total_micro,
        )?;
        for (item, _) in &invoice.lines {
            if let What::Usage { units: more, .. } | What::LateUsage { units: more, .. } = item.what {
                units += more;
            }
        }
    }
    let wallet = world.wallet().to_string();
    let of_wallet = world.books.row(&wallet).filter_map(|entry| entry.usage).map(|usage| usage.units);
    equal("units charged and units invoiced", of_wallet.sum::<u64>(), units)?;
    let follows = world.invoices.windows(2).all(|two| two[0].covered.through_seq < two[1].covered.first_seq);
    if follows { Ok(()) } else { Err("two invoices cover one entry".to_owned()) }
}
