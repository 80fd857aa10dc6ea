//! `make bench-market`: what a large market costs a gateway that serves it. How long it takes to compile and how much memory it
//! holds; how long one change takes until it is served; and what a look-up costs among few keys and among all. The
//! gateway's own compiler and tables, in this process. What came out is told in docs/performance.md.

mod market;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::key::{self, Digest};
use apiclay_config::snapshot::{Change, Delta};
use apiclay_config::usage::GatewayEpoch;
use apiclay_gateway::counters::embedded::EmbeddedCounters;
use apiclay_gateway::limits::{BookOptions, LeaseBook, Monotonic};
use apiclay_gateway::observe::Metrics;
use apiclay_gateway::runtime::{Changes, Compiler, Runtime};
use apiclay_gateway::sync::Told;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changes of each kind.
const CHANGES: u64 = 200;
/// Look-ups of a round, and rounds, of which the fastest counts.
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 5;
const MIB: f64 = 1_048_576.0;
/// After so long, and when it is asked for so much, the allocator gives free memory back.
const GIVEN_BACK_AFTER: Duration = Duration::from_millis(1_500);
const ASKED_FOR_BYTES: usize = 64 * 1024 * 1024;

/// Measures a gateway's market.
#[derive(Parser)]
#[command(
    after_help = "Example: make bench-market\n         market --listings 1000 --subscriptions 10000 --credentials 20000"
)]
pub struct Cli {
    /// Listings, each with a plan.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    listings: u32,
    /// Routes of each listing.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    routes: u32,
    /// Subscriptions, with a rate and a quota each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    subscriptions: u32,
    /// Keys.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    credentials: u32,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let mut compiler = compiler(folder.path())?;
    let at_first = rss_mib()?;
    let snapshot = market::told(&cli)?;
    let digests: Vec<Digest> = snapshot.credentials.values().map(|one| one.digest).collect();
    let with_snapshot = rss_mib()?;
    let begun = Instant::now();
    let mut served = compiler.compile(&snapshot, None, 1).context("nothing can be served")?;
    let took = begun.elapsed();
    let with_runtime = rss_mib()?;
    anyhow::ensure!(compiler.faults().is_empty(), "{}", compiler.faults());
    println!(
        "{} listings, {} routes, {} subscriptions, {} keys: compiled in {:.2} s",
        cli.listings,
        u64::from(cli.listings) * u64::from(cli.routes),
        cli.subscriptions,
        cli.credentials,
        took.as_secs_f64()
    );
    let names: Vec<String> =
        snapshot.listings.values().map(|one| format!("{}/{}", one.vendor_slug, one.slug)).collect();
    let (mut told, _) = Told::open(folder.path())?;
    told.replace(snapshot);
    let begun = Instant::now();
    told.keep(None)?;
    let written = begun.elapsed();
    let on_disk = rss_mib()?;
    let begun = Instant::now();
    drop(told.whole()?);
    println!(
        "RSS: {:.0} MiB the configuration as it was told, while it is read or written; {:.0} what is served of it; {:.0} after it was \
         written, in {:.2} s; read again in {:.2} s",
        with_snapshot - at_first,
        with_runtime - with_snapshot,
        on_disk - at_first,
        written.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    println!("\n| change | median ms | slowest ms | until it is on the disk, median ms |\n|---|---|---|---|");
    for kind in market::KINDS {
        let (mut took, mut kept) = (Vec::new(), Vec::new());
        for number in 0..CHANGES {
            let begun = Instant::now();
            served = follow(&mut compiler, served, &mut told, market::changes(&cli, kind, number))?;
            took.push(begun.elapsed());
            told.keep(None)?;
            kept.push(begun.elapsed());
        }
        took.sort();
        kept.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, last) = (took.len() / 2, took.len() - 1);
        println!("| {kind} | {:.3} | {:.3} | {:.3} |", ms(took[median]), ms(took[last]), ms(kept[median]));
    }
    println!("\n| look-up | among | ns |\n|---|---|---|");
    let mut among = 1;
    while among <= digests.len() {
        println!("| key | {among} | {:.1} |", keys(&served, &digests[..among]));
        among *= 10;
    }
    let unknown: Vec<Digest> =
        (0..digests.len()).map(|n| key::digest(format!("no key {n}").as_bytes())).collect();
    println!("| key that is not there | {} | {:.1} |", digests.len(), keys(&served, &unknown));
    let mut among = 1;
    while among <= names.len() {
        println!("| listing and route | {among} | {:.1} |", routes(&served, &names[..among]));
        among *= 10;
    }
    Ok(())
}

fn compiler(folder: &std::path::Path) -> Result<Compiler> {
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{:016x}", 1) };
    let counters = Arc::new(EmbeddedCounters::open(folder, Clock::System)?);
    let (book, _) = LeaseBook::open(folder, counters, BookOptions::new(from), Monotonic::system())?;
    let egress = Egress::new(Vec::new(), Vec::new(), Vec::new());
    Ok(Compiler::new(book, None, egress, Metrics::new()?))
}

/// One change as a gateway follows it, until it could be served and what it took the place of is freed.
fn follow(
    compiler: &mut Compiler,
    served: Runtime,
    told: &mut Told,
    changes: Vec<Change>,
) -> Result<Runtime> {
    let delta = Delta { revision: told.head().revision + 1, fingerprint: None, changes };
    let mut changes = Changes::default();
    told.follow(&delta, &mut changes)?;
    let bearing = told.bearing_on(&changes, compiler.faults().parts())?.context("all would be compiled")?;
    let next = compiler.follow(&served, &bearing, &changes, 1).context("all would be compiled")?;
    drop(served);
    Ok(next)
}

/// Nanoseconds of a look-up, keys by turns in an order that no cache foresees.
fn keys(served: &Runtime, digests: &[Digest]) -> f64 {
    fastest(digests.len(), |at| {
        let credential = served.credentials.get(&digests[at]);
        credential.map_or(0, |credential| credential.id.as_u128() as u64)
    })
}

fn routes(served: &Runtime, names: &[String]) -> f64 {
    fastest(names.len(), |at| {
        let listing = served.listings.get(&names[at]);
        listing.map_or(0, |listing| listing.routes.at(market::PATH).end as u64)
    })
}

/// The fastest of some rounds, less what the choice costs. Which is the next hangs on what the last one found: a call's memory is waited for,
/// and not asked for while another's comes.
fn fastest(among: usize, look_up: impl Fn(usize) -> u64) -> f64 {
    let nothing = black_box(0_u64);
    let round = |look_up: &dyn Fn(usize) -> u64| {
        let begun = Instant::now();
        let mut at = 0_u64;
        for _ in 0..LOOKUPS {
            // A linear congruential step of full period (Knuth, volume 2, section 3.2.1.2); its upper bits choose.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            at ^= look_up((((at >> 32) * among as u64) >> 32) as usize) & nothing;
        }
        begun.elapsed()
    };
    let best = |look_up: &dyn Fn(usize) -> u64| (0..ROUNDS).map(|_| round(look_up)).min().unwrap_or_default();
    let (with, without) = (best(&look_up), best(&|at| at as u64));
    with.saturating_sub(without).as_secs_f64() * 1e9 / LOOKUPS as f64
}

/// Once what is free has been given back to the system, which the allocator does after a while, when it is asked for more.
fn rss_mib() -> Result<f64> {
    for _ in 0..2 {
        std::thread::sleep(GIVEN_BACK_AFTER);
        drop(black_box(vec![1_u8; ASKED_FOR_BYTES]));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / MIB)
}
