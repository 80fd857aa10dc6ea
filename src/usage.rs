//! `apiclay usage`: holds usage on record against the journal of all money. Also while a control plane serves.

use anyhow::{Context as _, bail};
use apiclay_config::clock::Clock;
use apiclay_config::settings::Settings;
use apiclay_control_plane::run::open_store;
use apiclay_control_plane::usage::books;

/// Faults that are told one by one.
const TOLD_MAX: usize = 20;

/// Says whether every billed call on record is charged once, and shown to its buyer.
///
/// # Errors
/// Where one is not, or the store cannot be read.
pub async fn verify(settings: &Settings) -> anyhow::Result<()> {
    let store = open_store(settings).await?;
    books::register(&store).await?;
    let report =
        books::verify(&store, Clock::System.now()).await.context("usage could not be read to its end")?;
    println!(
        "{} billed calls on record, {} leases, {} of them not charged yet",
        report.calls, report.leases, report.open
    );
    for name in &report.open_named {
        println!("not charged yet: {name}");
    }
    if let Some(since) = report.since {
        println!("raw usage before {since} is kept no longer: leases held before it were left out");
    }
    let Some(first) = report.faults.first() else {
        println!("nothing is wrong");
        return Ok(());
    };
    for fault in report.faults.iter().take(TOLD_MAX) {
        eprintln!("{}: {}", fault.of, fault.what);
    }
    bail!(
        "{} things differ, the first at {}; keep a copy of the store as it is, and compare it with a backup",
        report.faults.len(),
        first.of
    );
}
