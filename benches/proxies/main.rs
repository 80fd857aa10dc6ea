//! `make bench`: what a call costs the gateway with everything on, beside what it costs an nginx and a HAProxy that only
//! pass it on. All in one run on one machine: the proxies on one core, load and upstream on the other, by turns, as absolute
//! figures mean little. The servers are in `peers`, what the gateway sells in `market`; `load` makes the calls, `meter`
//! reads what they cost, `checks` that they were right, `table` prints. What came out is told in docs/performance.md.

mod checks;
mod load;
mod market;
mod meter;
mod peers;
mod rows;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::load::Load;
use crate::market::LISTING_PATH;
use crate::meter::{Cpu, Memory};
use crate::peers::Proxy;
use crate::rows::{ROWS, Row};
use crate::table::{Run, Series, table};

/// Calls before each run that are not measured: connections open, caches and leases fill.
const WARM_UP_S: u64 = 1;
/// The same before the first run: every key asks for its first lease.
const FIRST_WARM_UP_S: u64 = 4;

/// Measures what a call costs at each proxy, side by side.
#[derive(Parser)]
#[command(after_help = "Example: APICLAY_BENCH_RUNS=1 make bench")]
struct Cli {
    /// The gateway's binary.
    gateway: PathBuf,
    /// Rounds; in each, every proxy has a run in every row.
    #[arg(long, env = "APICLAY_BENCH_RUNS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds of one run.
    #[arg(long, env = "APICLAY_BENCH_SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Client connections.
    #[arg(long, env = "APICLAY_BENCH_CONNECTIONS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    connections: u32,
    /// Keys that the gateway knows, of a subscription each.
    #[arg(long, env = "APICLAY_BENCH_KEYS", default_value_t = 10_000)]
    keys: u32,
}

/// Everything that runs. Dropped, all of it ends.
struct Rig {
    proxies: Vec<Proxy>,
    _upstream: Proxy,
    admin: SocketAddr,
    load: Load,
    key: String,
    folder: tempfile::TempDir,
    /// Calls that the gateway passed on and answered, warm-up included.
    answered: u64,
    /// How often wrk left calls in flight there.
    loads: u64,
    /// Calls that went wrong in measured runs, at any proxy.
    failed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let cores = std::thread::available_parallelism().context("counting cores")?.get();
    ensure!(cores >= 2, "the proxies and the load need a core each, and this machine has one");
    let mut rig = Rig::start(&cli).await?;
    for proxy in &rig.proxies {
        for row in &ROWS {
            checks::answers(proxy, row, &rig.key).await?;
        }
    }
    let answered_by_hand = ROWS.len() as u64;
    checks::refuses_without_key(rig.gateway()?, &ROWS[0]).await?;
    let series = rig.measure(&cli).await?;
    println!(
        "\n{} connections, {} keys, medians of {} runs of {} s by turns",
        cli.connections, cli.keys, cli.runs, cli.seconds
    );
    println!("{}", table(&series));
    ensure!(rig.failed == 0, "{} calls went wrong: what is above is not to be used", rig.failed);
    let (data, in_flight_max) = (rig.folder.path().join("data"), u64::from(cli.connections) * rig.loads);
    let (seen, admin) = (rig.answered + answered_by_hand, rig.admin);
    let recorded = checks::every_call_is_recorded(rig.gateway()?, admin, &data, seen, in_flight_max);
    println!("{}", recorded.await?);
    Ok(())
}

impl Rig {
    async fn start(cli: &Cli) -> Result<Self> {
        let binary = cli.gateway.canonicalize();
        let binary = binary.with_context(|| format!("{} is not built", cli.gateway.display()))?;
        let folder = tempfile::TempDir::with_prefix("apiclay-bench-").context("making a folder")?;
        let (data, keys) = (folder.path().join("data"), folder.path().join("keys.txt"));
        let upstream = peers::upstream(folder.path()).await?;
        let key = market::write(&data, &keys, upstream.address, usize::try_from(cli.keys.max(1))?)?;
        let nginx = peers::nginx_proxy(folder.path(), upstream.address).await?;
        let haproxy = peers::haproxy(folder.path(), upstream.address).await?;
        let (gateway, admin) = peers::gateway(&binary, &data, folder.path()).await?;
        let load = Load::new(folder.path(), cli.connections)?;
        Ok(Self {
            proxies: vec![nginx, haproxy, gateway],
            _upstream: upstream,
            admin,
            load,
            key,
            folder,
            answered: 0,
            loads: 0,
            failed: 0,
        })
    }

    fn gateway(&mut self) -> Result<&mut Proxy> {
        self.proxies.last_mut().context("there is no gateway")
    }

    /// Every row, every proxy, as many rounds as asked for.
    async fn measure(&mut self, cli: &Cli) -> Result<Vec<Series>> {
        for proxy in 0..self.proxies.len() {
            self.call(proxy, &ROWS[0], FIRST_WARM_UP_S).await?;
        }
        let series = |row: &Row, proxy: &Proxy| Series { row: row.name, proxy: proxy.name, runs: Vec::new() };
        let mut all: Vec<Series> =
            ROWS.iter().flat_map(|row| self.proxies.iter().map(move |proxy| series(row, proxy))).collect();
        let proxies = self.proxies.len();
        for round in 0..cli.runs as usize {
            for (place, row) in ROWS.iter().enumerate() {
                for turn in 0..proxies {
                    // Another one begins each round: being first is no advantage to any.
                    let proxy = (turn + round) % proxies;
                    self.call(proxy, row, WARM_UP_S).await?;
                    let run = self.run(proxy, row, cli.seconds).await?;
                    eprintln!(
                        "round {} {} {}: {} calls in {} ms of CPU",
                        round + 1,
                        row.name,
                        self.proxies[proxy].name,
                        run.seen.calls,
                        run.cpu.total_ns / 1_000_000
                    );
                    all[place * proxies + proxy].runs.push(run);
                }
            }
        }
        Ok(all)
    }

    async fn run(&mut self, proxy: usize, row: &Row, seconds: u64) -> Result<Run> {
        let group = self.proxies[proxy].process.pid();
        let before = Cpu::read(group)?;
        let seen = self.call(proxy, row, seconds).await?;
        let cpu = Cpu::read(group)?.since(&before);
        self.failed += seen.refused + seen.broken;
        Ok(Run { seen, cpu, memory: Memory::read(group)? })
    }

    async fn call(&mut self, proxy: usize, row: &Row, seconds: u64) -> Result<load::Seen> {
        let path = format!("{LISTING_PATH}{}", row.path);
        let seen = self.load.run(&self.proxies[proxy], &path, seconds).await?;
        if seen.refused + seen.broken > 0 {
            let name = self.proxies[proxy].name;
            eprintln!("{name}: {} calls refused, {} broken or over 2 s", seen.refused, seen.broken);
        }
        if proxy + 1 == self.proxies.len() {
            self.answered += seen.calls - seen.refused;
            self.loads += 1;
        }
        Ok(seen)
    }
}
