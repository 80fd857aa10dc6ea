//! `make bench-usage`: how many calls a second a control plane takes in, as batches of gateways, and folds into rollups, over
//! both stores; then what it holds in memory while simulated months pass, with days summed, minutes dropped and raw usage
//! deleted on the way. In the end usage is held against itself. What came out is told in docs/performance-of-the-books.md.

mod batches;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::usage::BATCH_EVENTS_MAX;
use apiclay_control_plane::store::{Query, Store};
use apiclay_control_plane::usage::days::{DayRollup, sum_all};
use apiclay_control_plane::usage::fold::Fold;
use apiclay_control_plane::usage::retention::{self, Retention};
use apiclay_control_plane::usage::{books, ingest};
use apiclay_tests::Mongod;
use clap::Parser;
use prometheus::IntCounter;

use batches::Gateway;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gateways that send at once.
const GATEWAYS: u128 = 4;
/// Batches that each sends in a turn.
const BATCHES_A_TURN: usize = 8;
/// Batches of a simulated day, hours apart.
const BATCHES_A_DAY: i64 = 3;
/// Days of a simulated month.
const DAYS: i64 = 30;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A first moment on a whole day.
const BEGIN: Timestamp = Timestamp(20_000 * DAY_MS);
/// Raw usage and minutes are kept for so many days while months pass.
const KEEP_DAYS: u32 = 7;

/// Measures usage on its way in.
#[derive(Parser)]
#[command(after_help = "Example: make bench-usage")]
struct Cli {
    /// Rounds of each row.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Simulated months.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i64).range(1..=60))]
    months: i64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let mongod = Mongod::start().await?;
    println!(
        "| store | subscriptions | taken in, calls/s | spread | folded, calls/s | spread |\n|---|---|---|---|---|---|"
    );
    for subscriptions in [10, 1_000] {
        let embedded = folder.path().join(format!("turns-{subscriptions}.sqlite"));
        throughput(&cli, "embedded", &Store::open_embedded(&embedded).await?, subscriptions).await?;
        let uri = database(&mongod.uri(), &format!("turns{subscriptions}"));
        throughput(&cli, "MongoDB", &Store::open_mongodb(&uri).await?, subscriptions).await?;
    }
    println!(
        "\n| store | month | calls so far | RSS, MiB | store, MiB | a subscription's days so far, ms |\n|---|---|---|---|---|---|"
    );
    let file = folder.path().join("months.sqlite");
    months(&cli, "embedded", &Store::open_embedded(&file).await?, Some(&file)).await?;
    let uri = database(&mongod.uri(), "months");
    months(&cli, "MongoDB", &Store::open_mongodb(&uri).await?, None).await
}

/// The address with another database.
fn database(uri: &str, name: &str) -> String {
    let (address, options) = uri.split_once('?').map_or((uri, String::new()), |(a, o)| (a, format!("?{o}")));
    let host_end = address.find("//").map_or(0, |at| at + 2);
    let host = address.get(host_end..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    format!("mongodb://{host}/{name}{options}")
}

fn fold(store: &Store, clock: &Clock) -> Result<Arc<Fold>> {
    let conflicts = IntCounter::new("conflicts", "Batches that contradict one.")?;
    Ok(Arc::new(Fold::new(store.clone(), clock.clone(), conflicts)))
}

/// Calls a second, taken in and folded, in an hour of its own each round.
async fn throughput(cli: &Cli, name: &str, store: &Store, subscriptions: u128) -> Result<()> {
    books::register(store).await?;
    let fold = fold(store, &Clock::manual(BEGIN))?;
    let mut gateways: Vec<Gateway> = (0..GATEWAYS).map(|n| Gateway::new(n, subscriptions)).collect();
    let (mut taken, mut folded) = (Vec::new(), Vec::new());
    for round in 0..cli.rounds {
        let hour = BEGIN.plus_ms(i64::try_from(round)? * HOUR_MS);
        let mut sent = Vec::new();
        for gateway in &mut gateways {
            let batches: Vec<_> = (0..BATCHES_A_TURN).map(|_| gateway.batch(hour)).collect::<Result<_>>()?;
            sent.push((gateway.name.clone(), batches));
        }
        let calls = (sent.len() * BATCHES_A_TURN * BATCH_EVENTS_MAX) as f64;
        let begun = Instant::now();
        let sending: Vec<_> = sent
            .into_iter()
            .map(|(gateway, batches)| {
                let (store, fold) = (store.clone(), Arc::clone(&fold));
                tokio::spawn(async move {
                    for batch in batches {
                        ingest::take(&store, &fold, &gateway, batch).await.context("taking a batch")?;
                    }
                    Ok::<(), anyhow::Error>(())
                })
            })
            .collect();
        for sending in sending {
            sending.await??;
        }
        taken.push(calls / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        fold.fold_all().await.context("folding")?;
        folded.push(calls / begun.elapsed().as_secs_f64());
    }
    println!("| {name} | {subscriptions} | {} | {} |", told(&mut taken), told(&mut folded));
    Ok(())
}

/// Median and spread.
fn told(rates: &mut [f64]) -> String {
    rates.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| rates.get(place).copied().unwrap_or(0.0);
    format!("{:.0} | {:.0} to {:.0}", at(rates.len() / 2), at(0), at(rates.len().saturating_sub(1)))
}

/// Months of usage with what a control plane's jobs do on the way.
async fn months(cli: &Cli, name: &str, store: &Store, file: Option<&Path>) -> Result<()> {
    books::register(store).await?;
    let keep = Retention {
        usage_events_keep_days: KEEP_DAYS,
        usage_minutes_keep_days: KEEP_DAYS,
        by: apiclay_config::ids::AccountId::from_u128(1),
        changed_at: BEGIN,
    };
    store.insert(&keep).await?;
    let clock = Clock::manual(BEGIN);
    let fold = fold(store, &clock)?;
    let mut gateway = Gateway::new(0, 100);
    let mut calls = 0_u64;
    for day in 0..cli.months * DAYS {
        for batch in 0..BATCHES_A_DAY {
            let at = BEGIN.plus_ms(day * DAY_MS + batch * 7 * HOUR_MS);
            set(&clock, at);
            let sent = gateway.batch(at)?;
            ingest::take(store, &fold, &gateway.name, sent).await.context("taking a batch")?;
            fold.fold_all().await.context("folding")?;
            calls += BATCH_EVENTS_MAX as u64;
        }
        let night = BEGIN.plus_ms((day + 1) * DAY_MS + 2 * HOUR_MS);
        let summed = sum_all(store, night).await?;
        ensure!(summed.failed.is_empty(), "days were not summed: {:?}", summed.failed);
        retention::drop_minutes(store, night).await?;
        retention::run(store, night).await?;
        if (day + 1) % DAYS == 0 {
            let stored = file.map_or_else(|| "-".to_owned(), |file| format!("{:.0}", mib_of(file)));
            let read_ms = year_by_day(store, day).await?;
            let rss = rss_mib()?;
            println!("| {name} | {} | {calls} | {rss:.0} | {stored} | {read_ms:.1} |", (day + 1) / DAYS);
        }
    }
    let report = books::verify(store, BEGIN.plus_ms((cli.months * DAYS + 1) * DAY_MS)).await?;
    ensure!(report.faults.is_empty(), "usage is wrong: {:?}", report.faults.first());
    Ok(())
}

/// How long the days of a subscription take to read, in milliseconds.
async fn year_by_day(store: &Store, last: i64) -> Result<f64> {
    let last = BEGIN.0 / DAY_MS + last;
    let one = Gateway::subscription(1);
    let begun = Instant::now();
    let days = Query::by("id").from(DayRollup::id_of(one, last - 364)).below(DayRollup::id_of(one, last + 1));
    let found = store.query::<DayRollup>(&days.limit(365)).await?.items.len();
    let took = begun.elapsed().as_secs_f64() * 1_000.0;
    ensure!(found > 0, "no day of {one} is summed");
    Ok(took)
}

fn set(clock: &Clock, at: Timestamp) {
    if let Clock::Manual(shown) = clock {
        shown.store(at.0, Ordering::Relaxed);
    }
}

/// What this process holds in memory.
fn rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1_024.0)
}

/// The store's file and its log.
fn mib_of(file: &Path) -> f64 {
    let log = file.with_extension("sqlite-wal");
    let bytes = [file, log.as_path()].into_iter().filter_map(|path| path.metadata().ok()).map(|it| it.len());
    bytes.sum::<u64>() as f64 / 1_048_576.0
}
