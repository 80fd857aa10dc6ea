//! `apiclay ledger`: replays the journal of all money and reckons all invoices anew, and writes it for auditors. Also while
//! a control plane serves.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use apiclay_config::clock::Clock;
use apiclay_config::money::{Currency, Money};
use apiclay_config::settings::Settings;
use apiclay_control_plane::ledger::export::{CSV_HEAD, csv, hledger};
use apiclay_control_plane::ledger::verify::{each, verify as replay};
use apiclay_control_plane::ledger::{LedgerAccount, register};
use apiclay_control_plane::run::open_store;
use apiclay_control_plane::store::{Query, Store};
use apiclay_control_plane::usage::books::forgotten;
use apiclay_control_plane::{admin, invoices, wallet};

/// Faults that are told one by one.
const TOLD_MAX: usize = 20;

/// Says what stands in the books and whether every entry of them is right.
///
/// # Errors
/// Where one is wrong, or the store cannot be read.
pub async fn verify(settings: &Settings) -> anyhow::Result<()> {
    let store = books(settings).await?;
    let report = replay(&store).await.context("the journal could not be read to its end")?;
    println!("{} entries, {} open holds", report.entries, report.open_holds.len());
    let mut floors = std::collections::BTreeMap::new();
    for (account, micro) in &report.balances {
        if account.has_floor() {
            let (accounts, sum) = floors.entry(account.currency).or_insert((0_u64, 0_i128));
            *accounts += 1;
            *sum += micro;
        } else {
            println!("{account}: {}", told(*account, *micro));
        }
    }
    for (currency, (accounts, sum)) in floors {
        if currency == Currency::CALLS {
            println!("{accounts} months with included calls: {sum} left");
            continue;
        }
        let micro = i64::try_from(sum)
            .map_or_else(|_| sum.to_string(), |micro| Money::new(micro, currency).to_string());
        println!("{accounts} wallets: {micro}");
    }
    let invoiced =
        invoices::verify::verify(&store).await.context("the invoices could not be read to their end")?;
    println!("{} invoices and credit notes", invoiced.invoices);
    let held = forgotten::check(&store, &report.open_holds, Clock::System.now())
        .await
        .context("open holds could not be looked at")?;
    let of_entries = report.faults.iter().map(|fault| format!("{}: {}", fault.entry, fault.what));
    let of_holds = held.iter().map(|fault| format!("{}: {}", fault.of, fault.what));
    let faults: Vec<String> = of_entries.chain(of_holds).chain(invoiced.faults).collect();
    let Some(first) = faults.first() else {
        println!("nothing is wrong");
        return Ok(());
    };
    for fault in faults.iter().take(TOLD_MAX) {
        eprintln!("{fault}");
    }
    bail!(
        "{} things are wrong, the first: {first}; keep a copy of the store as it is, and compare it with a backup",
        faults.len()
    );
}

/// Writes `journal.csv` and `journal.hledger` into a folder, which is made.
///
/// # Errors
/// Where a file is there already or cannot be written, or the store not be read.
pub async fn export(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    let store = books(settings).await?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let open = |name: &str| {
        let path = folder.join(name);
        let file = File::create_new(&path).with_context(|| format!("cannot make {}", path.display()));
        file.map(BufWriter::new)
    };
    let (mut table, mut journal) = (open("journal.csv")?, open("journal.hledger")?);
    write!(table, "{CSV_HEAD}\r\n")?;
    let (mut entries, mut written) = (0_u64, Ok(()));
    each(&store, &Query::by("id"), |entry| {
        entries += 1;
        if written.is_ok() {
            written = csv(&mut table, &entry).and_then(|()| hledger(&mut journal, &entry));
        }
    })
    .await
    .context("the journal could not be read to its end")?;
    written
        .and_then(|()| table.flush())
        .and_then(|()| journal.flush())
        .context("a file could not be written")?;
    println!("{entries} entries written to {}", folder.display());
    Ok(())
}

async fn books(settings: &Settings) -> anyhow::Result<Store> {
    let store = open_store(settings).await?;
    register(&store).await?;
    invoices::register(&store).await?;
    admin::register(&store).await?;
    wallet::leases::register(&store).await?;
    Ok(store)
}

fn told(account: LedgerAccount, micro: i128) -> String {
    i64::try_from(micro).map_or_else(|_| format!("{micro} micro-units"), |micro| account.told(micro))
}
