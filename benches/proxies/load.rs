//! Load: one generator on the load's core, over keep-alive connections and for a bounded time. wrk for as much as a proxy can
//! do over HTTP/1.1, h2load for the same over HTTP/2, `pace` for calls that come by the clock. What each says at the end is
//! read from its output. Next: `load.lua`, the script that wrk runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use apiclay_tests::Process;
use apiclay_tests::process::Program;
use serde::{Deserialize, Serialize};

use crate::market::LISTING_PATH;
use crate::peers::{LOAD_CORE, Proxy};
use crate::rows::{Row, Transport};

/// How much longer than it was asked to a generator may take: it reads the keys first.
const EXTRA_DEADLINE_S: u64 = 60;
const POLL_INTERVAL_MS: u64 = 20;
const SCRIPT: &str = include_str!("load.lua");

/// Where the load is made.
pub struct Load {
    folder: PathBuf,
    /// One of the keys.
    key: String,
    /// Where a row has no number of its own.
    connections: u32,
    /// The generator that goes by the clock.
    pace: PathBuf,
}

/// What a client saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Seen {
    /// Calls answered.
    pub calls: u64,
    /// Of these, with a status from 400.
    pub refused: u64,
    /// Times that a connection failed, or an answer took two seconds.
    pub broken: u64,
    /// From the first call to the last.
    pub duration_us: u64,
    /// How long calls took, where the generator says it.
    pub latency: Option<Latency>,
    /// How late calls were sent, where they go by the clock: what a call took has it in it.
    pub late: Option<Late>,
}

/// From when calls were due to when they were sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Late {
    /// Half of them by less.
    pub p50_us: u64,
    /// All but a hundredth by less.
    pub p99_us: u64,
}

/// How long calls took. Of a proxy that is fully loaded this is mostly queueing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the calls took less.
    pub p50_us: u64,
    /// All but a hundredth took less.
    pub p99_us: u64,
    /// All but a thousandth took less.
    pub p999_us: u64,
    /// None took more.
    pub max_us: u64,
}

impl Seen {
    /// Calls that went wrong.
    pub fn failed(&self) -> u64 {
        self.refused + self.broken
    }

    /// Calls answered in a second.
    pub fn calls_per_s(&self) -> f64 {
        self.calls as f64 / self.duration_us.max(1) as f64 * 1_000_000.0
    }
}

impl Load {
    /// Load with the keys in `folder`, of which `key` is one; the script is put there too.
    ///
    /// # Errors
    /// When the script cannot be written, or `pace` is not built.
    pub fn new(folder: &Path, key: &str, connections: u32) -> Result<Self> {
        std::fs::write(folder.join("load.lua"), SCRIPT).context("writing load.lua")?;
        let own = std::env::current_exe().context("looking for the program's folder")?;
        let pace = own.with_file_name("pace");
        ensure!(pace.exists(), "{} is not built: `make bench` builds it", pace.display());
        Ok(Self { folder: folder.to_owned(), key: key.to_owned(), connections, pace })
    }

    /// How many calls a run of `row` may leave in flight.
    pub fn connections(&self, row: &Row) -> u32 {
        row.connections.unwrap_or(self.connections)
    }

    /// Calls `row` at `proxy` for `seconds`, by the clock where there is a `rate` of calls a second.
    ///
    /// # Errors
    /// When the generator fails or does not end.
    pub async fn run(&self, proxy: &Proxy, row: &Row, seconds: u64, rate: Option<u64>) -> Result<Seen> {
        let generator = self.generator(proxy, row, seconds, rate);
        let log = self.folder.join("load.log");
        // One log a run, or an earlier run's figures could be taken for this one's.
        if log.exists() {
            std::fs::remove_file(&log).context("removing the load's log")?;
        }
        let mut load = Process::start("load", &generator, &self.folder)?;
        let deadline = Duration::from_secs(seconds + EXTRA_DEADLINE_S);
        let ended = tokio::time::timeout(deadline, async {
            loop {
                if let Some(status) = load.exited()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
            }
        });
        let Ok(ended) = ended.await else { bail!("the load did not end:\n{}", load.log_tail()) };
        ensure!(ended?.success(), "the load failed:\n{}", load.log_tail());
        let output = load.log_tail();
        let seen =
            if row.transport == Transport::Http2 { h2load(&output, seconds) } else { counted(&output) };
        seen.with_context(|| format!("the load said something else:\n{output}"))
    }

    fn generator(&self, proxy: &Proxy, row: &Row, seconds: u64, rate: Option<u64>) -> Program {
        let path = format!("{LISTING_PATH}{}", row.body.path);
        let scheme = if row.transport == Transport::Http1 { "http" } else { "https" };
        let url = format!("{scheme}://{}{path}", proxy.address);
        let connections = self.connections(row).to_string();
        let program = Program::new("taskset").args(["-c", LOAD_CORE]);
        match (rate, row.transport) {
            (Some(rate), _) => program
                .args([&self.pace])
                .args([proxy.address.to_string().as_str(), &path, "keys.txt"])
                .args([format!("--rate={rate}"), format!("--seconds={seconds}")])
                .args([format!("--connections={connections}")]),
            (None, Transport::Http2) => program
                .args(["h2load", "-t", "1", "-m", "1", "-c", &connections, "-D", &seconds.to_string()])
                .args(["-H", &format!("x-api-key: {}", self.key), &url]),
            (None, _) => program
                .args(["wrk", "-t", "1", "-c", &connections, "-d", &format!("{seconds}s"), "-s", "load.lua"])
                .args([url.as_str(), "--", &path, "keys.txt", &row.headers.to_string()]),
        }
    }
}

/// The line that load.lua and `pace` write; the latter's says more.
fn counted(output: &str) -> Option<Seen> {
    let line = output.lines().find_map(|line| line.strip_prefix("counted "))?;
    let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
    Some(Seen {
        calls: numbers.next()?,
        refused: numbers.next()?,
        broken: numbers.next()?,
        duration_us: numbers.next()?,
        latency: Some(Latency {
            p50_us: numbers.next()?,
            p99_us: numbers.next()?,
            p999_us: numbers.next()?,
            max_us: numbers.next()?,
        }),
        late: numbers.next().zip(numbers.next()).map(|(p50_us, p99_us)| Late { p50_us, p99_us }),
    })
}

/// What h2load says; its latencies are averages only. It counts what was answered in the seconds that it was given.
fn h2load(output: &str, seconds: u64) -> Option<Seen> {
    let numbers = |prefix: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(prefix))?;
        let numbers = line.split(", ").map(|part| part.split_whitespace().next()?.parse::<u64>().ok());
        numbers.collect::<Option<Vec<u64>>>()
    };
    // requests: total, started, done, succeeded, failed, errored, timeout; status codes: 2xx, 3xx, 4xx, 5xx.
    let (requests, statuses) = (numbers("requests: ")?, numbers("status codes: ")?);
    let [_, _, done, _, failed, ..] = requests[..] else { return None };
    let [_, _, client, server] = statuses[..] else { return None };
    let refused = client + server;
    // An error status counts as failed as well.
    let broken = failed.saturating_sub(refused);
    Some(Seen { calls: done, refused, broken, duration_us: seconds * 1_000_000, latency: None, late: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generators_say_is_read() {
        let seen = counted("x\ncounted 10 1 2 3000000 4 5 6 7\n").unwrap();
        assert_eq!((seen.calls, seen.failed(), seen.latency.unwrap().p999_us), (10, 3, 6));
        assert!(seen.late.is_none() && counted("counted 10 1").is_none());
        assert_eq!(counted("counted 10 1 2 3000000 4 5 6 7 8 9").unwrap().late.unwrap().p99_us, 9);
        let seen = h2load(
            "requests: 37037 total, 37101 started, 37037 done, 37030 succeeded, 7 failed, 0 errored, 0 timeout\n\
             status codes: 37030 2xx, 0 3xx, 7 4xx, 0 5xx\n",
            2,
        );
        let seen = seen.unwrap();
        assert_eq!((seen.calls, seen.refused, seen.broken), (37_037, 7, 0));
    }
}
