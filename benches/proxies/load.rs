//! Load: one wrk on the load's core, over keep-alive connections and for a bounded time, each call with another key. What
//! it says at the end is read from its output. Next: `load.lua`, the script it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use apiclay_tests::Process;
use apiclay_tests::process::Program;

use crate::peers::{LOAD_CORE, Proxy};

/// How much longer than it was asked to wrk may take: it reads the keys first.
const EXTRA_DEADLINE_S: u64 = 60;
const POLL_INTERVAL_MS: u64 = 20;
const SCRIPT: &str = include_str!("load.lua");

/// Where the load is made.
pub struct Load {
    folder: PathBuf,
    connections: u32,
}

/// What a client saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Calls answered.
    pub calls: u64,
    /// Of these, with a status from 400.
    pub refused: u64,
    /// Times that a connection failed, or an answer took two seconds.
    pub broken: u64,
    /// From the first call to the last.
    pub duration_us: u64,
    /// Half of the calls took less.
    pub p50_us: u64,
    /// All but a hundredth took less.
    pub p99_us: u64,
}

impl Load {
    /// Load with the keys in `folder`, where the script is put too.
    ///
    /// # Errors
    /// When the script cannot be written.
    pub fn new(folder: &Path, connections: u32) -> Result<Self> {
        std::fs::write(folder.join("load.lua"), SCRIPT).context("writing load.lua")?;
        Ok(Self { folder: folder.to_owned(), connections })
    }

    /// Calls `path` at `proxy` for `seconds`.
    ///
    /// # Errors
    /// When wrk fails or does not end.
    pub async fn run(&self, proxy: &Proxy, path: &str, seconds: u64) -> Result<Seen> {
        let program = Program::new("taskset")
            .args(["-c", LOAD_CORE, "wrk", "-t", "1", "-c"])
            .args([self.connections.to_string()])
            .args(["-d".to_owned(), format!("{seconds}s")])
            .args(["-s", "load.lua", &format!("http://{}{path}", proxy.address), "--", path, "keys.txt"]);
        let log = self.folder.join("wrk.log");
        // One log a run, or an earlier run's figures could be taken for this one's.
        if log.exists() {
            std::fs::remove_file(&log).context("removing wrk's log")?;
        }
        let mut wrk = Process::start("wrk", &program, &self.folder)?;
        let deadline = Duration::from_secs(seconds + EXTRA_DEADLINE_S);
        let ended = tokio::time::timeout(deadline, async {
            loop {
                if let Some(status) = wrk.exited()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
            }
        });
        let Ok(ended) = ended.await else { bail!("wrk did not end:\n{}", wrk.log_tail()) };
        ensure!(ended?.success(), "wrk failed:\n{}", wrk.log_tail());
        let output = wrk.log_tail();
        parse(&output).with_context(|| format!("wrk said something else:\n{output}"))
    }
}

fn parse(output: &str) -> Option<Seen> {
    let line = output.lines().find_map(|line| line.strip_prefix("counted "))?;
    let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
    Some(Seen {
        calls: numbers.next()?,
        refused: numbers.next()?,
        broken: numbers.next()?,
        duration_us: numbers.next()?,
        p50_us: numbers.next()?,
        p99_us: numbers.next()?,
    })
}
