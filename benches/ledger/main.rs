//! `make bench-ledger`: how many entries a second the journal takes, on one account and on a thousand, beside what the store
//! itself takes of documents of the same size. Over both stores, by turns, on this machine's disk; the ratios are what to
//! read. What came out is told in docs/performance-of-the-books.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_config::clock::Clock;
use apiclay_config::ids::AccountId;
use apiclay_config::money::Currency;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::ledger::{
    Amount, EntryKind, Holder, Journal, LedgerAccount, Proposal, Step, register,
};
use apiclay_control_plane::store::{Document, Index, Store};
use apiclay_tests::Mongod;
use clap::Parser;
use serde::{Deserialize, Serialize};

/// As every program of ours has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writers at once.
const WRITERS: u64 = 32;
/// Accounts of the wide row.
const ACCOUNTS: u64 = 1_000;
/// Bytes of a document that is inserted as it is: about what an entry of two lines has.
const RAW_BYTES: usize = 900;

/// Measures appends to the journal beside raw inserts.
#[derive(Parser)]
#[command(after_help = "Example: make bench-ledger")]
struct Cli {
    /// Rounds; in each, every row has a turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

/// A document as it comes.
#[derive(Serialize, Deserialize)]
struct Raw {
    id: String,
    body: String,
}

impl Document for Raw {
    const COLLECTION: &'static str = "raw";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Inserts,
    OneAccount,
    ManyAccounts,
}

const ROWS: [(Row, &str); 3] = [
    (Row::Inserts, "raw inserts"),
    (Row::OneAccount, "appends, one account"),
    (Row::ManyAccounts, "appends, 1,000 accounts"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let mongod = Mongod::start().await?;
    let stores = [
        ("embedded", Store::open_embedded(&folder.path().join("store.sqlite")).await?),
        ("MongoDB", Store::open_mongodb(&mongod.uri()).await?),
    ];
    println!("| store | row | writes/s | spread | of raw inserts |\n|---|---|---|---|---|");
    for (name, store) in stores {
        register(&store).await?;
        store.register::<Raw>().await?;
        let journal = Arc::new(Journal::new(store.clone(), Clock::System));
        let mut rates = [const { Vec::new() }; ROWS.len()];
        for round in 0..cli.rounds {
            for (place, (row, _)) in ROWS.iter().enumerate() {
                rates[place].push(turn(&store, &journal, *row, round, cli.seconds).await?);
            }
        }
        for (place, (_, what)) in ROWS.iter().enumerate() {
            let (middle, raw) = (median(&rates[place]), median(&rates[0]));
            let least = rates[place].iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates[place].iter().copied().fold(0.0, f64::max);
            println!("| {name} | {what} | {middle:.0} | {least:.0} to {most:.0} | {:.2} |", middle / raw);
        }
        let report = verify(&store).await?;
        ensure!(report.faults.is_empty(), "the journal is wrong: {:?}", report.faults.first());
        eprintln!("{name}: {} entries replayed, nothing is wrong", report.entries);
    }
    Ok(())
}

/// One turn of one row: writes a second.
async fn turn(store: &Store, journal: &Arc<Journal>, row: Row, round: u64, seconds: u64) -> Result<f64> {
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, journal) = (store.clone(), Arc::clone(journal));
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let mut n = 0_u64;
                while !stop.load(Relaxed) {
                    write(&store, &journal, row, &format!("{round}:{writer}:{n}"), writer + n * WRITERS)
                        .await?;
                    n += 1;
                    written.fetch_add(1, Relaxed);
                }
                Ok::<(), anyhow::Error>(())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Relaxed);
    for writer in writers {
        writer.await??;
    }
    Ok(written.load(Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

async fn write(store: &Store, journal: &Journal, row: Row, name: &str, n: u64) -> Result<()> {
    let account = match row {
        Row::Inserts => {
            let raw = Raw { id: format!("raw:{name}"), body: "x".repeat(RAW_BYTES) };
            return store.insert(&raw).await.context("inserting");
        }
        Row::OneAccount => ACCOUNTS,
        Row::ManyAccounts => n % ACCOUNTS,
    };
    let wallet = LedgerAccount::wallet(AccountId::from_u128(u128::from(account)), Currency::INR);
    let provider = LedgerAccount { holder: Holder::Provider, currency: Currency::INR };
    let wide = if row == Row::ManyAccounts { "many" } else { "one" };
    let proposal = Proposal {
        facts: vec![format!("topup:{wide}:{name}")],
        kind: EntryKind::TopUp,
        step: Step::Move(vec![
            Amount { account: wallet, micro: 1_000 },
            Amount { account: provider, micro: -1_000 },
        ]),
        usage: None,
        fee: None,
        reason: "a benchmark".to_owned(),
    };
    let appended = journal.append(&proposal).await.context("appending")?;
    ensure!(appended.fresh, "the entry was there");
    Ok(())
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
