//! `make bench` and `make bench-full`: what a call costs the gateway, in stages up to all on, beside what it costs an nginx and
//! other proxies that only pass it on or do something comparable. One factor at a time from a base row, on one machine: the
//! proxies on one core, load and upstream on the other, by turns, as absolute figures mean little. `rows` says what is
//! measured, `bench` does it with the servers of `peers`, which sell `market`; `load` makes the calls, `meter` reads what they
//! cost, `checks` that they were right; `record` keeps the runs, `table` and `chart` show them; `instructions` is the guard
//! that needs no quiet machine. What came out is told in
//! docs/performance.md.

mod bench;
mod chart;
mod checks;
mod instructions;
mod load;
mod machine;
mod market;
mod meter;
mod peers;
mod record;
mod rows;
mod table;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use apiclay_config::key;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::Bench;
use crate::record::{Record, Settings};
use crate::rows::Row;

/// Keys of the base row, where nobody says how many: few start at once, many are what is sold.
const KEYS: u32 = 10_000;
const KEYS_FULL: u32 = 1_000_000;

/// Measures what a call costs at each proxy, side by side.
#[derive(Parser)]
#[command(after_help = "Example: APICLAY_BENCH_RUNS=1 APICLAY_BENCH_ROWS='90 B,half load' make bench")]
struct Cli {
    /// The gateway's binary.
    gateway: PathBuf,
    /// Where the runs, the table and the charts go.
    #[arg(long, env = "APICLAY_BENCH_FOLDER")]
    folder: PathBuf,
    /// All rows and peers; goes on with the runs that are in the folder.
    #[arg(long)]
    full: bool,
    /// Only counts instructions a call, and holds them against the budget.
    #[arg(long)]
    instructions: bool,
    /// Only these rows, by name.
    #[arg(long, env = "APICLAY_BENCH_ROWS", value_delimiter = ',')]
    rows: Vec<String>,
    /// Rounds; in each, every proxy has a run in every row.
    #[arg(long, env = "APICLAY_BENCH_RUNS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Seconds of one run.
    #[arg(long, env = "APICLAY_BENCH_SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Client connections, where the row names no number.
    #[arg(long, env = "APICLAY_BENCH_CONNECTIONS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    connections: u32,
    /// Keys that the gateway knows, of a subscription each, where the row names no number: 10,000, or a million with --full.
    #[arg(long, env = "APICLAY_BENCH_KEYS")]
    keys: Option<u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let cores = std::thread::available_parallelism().context("counting cores")?.get();
    ensure!(cores >= 2, "the proxies and the load need a core each, and this machine has one");
    allow_open_files()?;
    if cli.instructions {
        let folder = bench::servers_folder(&cli.folder)?;
        let binary = cli.gateway.canonicalize().context("looking for the gateway's binary")?;
        instructions::check(&binary, &folder, &cli.folder.join("callgrind.out")).await?;
        return fs::remove_dir_all(folder).context("removing the servers' folder");
    }
    let rows = rows::rows(&cli.rows, cli.full)?;
    let gateway =
        fs::read(&cli.gateway).with_context(|| format!("{} is not built", cli.gateway.display()))?;
    let mut record = Record::open(&cli.folder, settings(&cli, &gateway)?, cli.full)?;
    let binary = kept(&cli.folder, &gateway)?;
    for rows in groups(&rows) {
        let missing = |row: &Row| (0..cli.runs).any(|round| !record.has(row, round, &row.parties(cli.full)));
        if rows.iter().any(missing) {
            let folder = bench::servers_folder(&cli.folder)?;
            let mut bench = Bench::start(&rows, cli.full, folder, &binary, &mut record).await?;
            bench.measure(&rows, cli.runs, &mut record).await?;
            bench.end(&mut record).await?;
        }
    }
    show(&cli, &rows, &record)?;
    let wrong = record.runs.iter().filter(|run| run.seen.failed() > 0);
    let wrong: Vec<String> = wrong.map(|run| format!("{}, {}", run.row, run.party)).collect();
    ensure!(wrong.is_empty(), "calls went wrong in these runs, which are left out above: {wrong:?}");
    Ok(())
}

/// Rows that the same servers serve.
fn groups(rows: &[Row]) -> Vec<Vec<Row>> {
    rows.chunk_by(|one, next| one.shares_servers(next)).map(<[Row]>::to_vec).collect()
}

fn settings(cli: &Cli, gateway: &[u8]) -> Result<Settings> {
    let own = std::env::current_exe().context("looking for the program itself")?;
    let rig =
        [fs::read(&own), fs::read(own.with_file_name("pace"))].into_iter().collect::<Result<Vec<_>, _>>();
    let rig = rig.context("reading the programs that measure")?.concat();
    let profile = cli.gateway.parent().and_then(Path::file_name).unwrap_or_default();
    Ok(Settings {
        gateway: format!("{:?}", key::digest(gateway)),
        rig: format!("{:?}", key::digest(&rig)),
        profile: profile.display().to_string(),
        seconds: cli.seconds,
        connections: cli.connections,
        keys: cli.keys.unwrap_or(if cli.full { KEYS_FULL } else { KEYS }),
    })
}

/// The gateway as it is run: a copy, as what is in a target folder may be built anew meanwhile.
fn kept(folder: &Path, gateway: &[u8]) -> Result<PathBuf> {
    let path = folder.join("apiclay-gateway");
    fs::write(&path, gateway).context("keeping the gateway's binary")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("keeping the gateway's binary")?;
    path.canonicalize().context("keeping the gateway's binary")
}

/// As many as may be: 2,000 clients are 4,000 connections of one proxy. What is started inherits it.
fn allow_open_files() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .context("raising the limit of open files")
}

/// Prints the table, and writes it and the charts beside the runs.
fn show(cli: &Cli, rows: &[Row], record: &Record) -> Result<()> {
    let Settings { seconds, connections, keys, profile, .. } = &record.settings;
    let half = record.half_load_per_s.map(|rate| format!(", half load {rate} calls/s")).unwrap_or_default();
    let text = format!(
        "Base: {connections} connections, {keys} keys{half}. Medians of {} runs of {seconds} s by turns; gateway of profile \
         `{profile}`.\n\n{}\n{}\n{}\n",
        table::rounds(record, rows, cli.full),
        table::table(record, rows, cli.full),
        table::beside_unbuffered(record, rows, cli.full),
        record.checked.join("\n")
    );
    println!("\n{text}");
    let cpu =
        chart::svg("CPU of a call beside nginx's", "x", Some(1.0), &table::cpu_bars(record, rows, cli.full));
    let latency = table::latency_bars(record, rows, cli.full);
    let latency = chart::svg("99 of 100 calls took at most, at half of nginx's load", "ms", None, &latency);
    for (name, content) in [("table.md", &text), ("cpu.svg", &cpu), ("latency.svg", &latency)] {
        fs::write(cli.folder.join(name), content).with_context(|| format!("writing {name}"))?;
    }
    println!("{}: table.md, {} (every run), cpu.svg, latency.svg", cli.folder.display(), record::FILE);
    Ok(())
}
