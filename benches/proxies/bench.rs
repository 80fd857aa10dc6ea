//! Rows that the same servers serve, measured: started, called by turns, ended.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use apiclay_tests::{Certificate, wait_until};
use rustix::process::Signal;

use crate::checks;
use crate::load::{Load, Seen};
use crate::market::{Market, USED_KEYS_MAX};
use crate::meter::{Cpu, Memory};
use crate::peers::{self, Proxy, Site};
use crate::record::{Record, Run};
use crate::rows::{Kind, Pace, Party, Row, Transport};

/// Calls before each run that are not measured: connections open, caches and leases fill.
const WARM_UP_S: u64 = 1;
/// The same at one that keeps something for each key, before its first run; and at a gateway when it has rested so long that it gave
/// its leases back.
const KEYS_WARM_UP_S: u64 = 4;
/// So often at most, until as many calls were made as keys are called: few connections get no further, as each waits for its lease.
const KEYS_WARM_UPS_MAX: u32 = 2;
/// A gateway gives a key's lease back after 30 s, and a key may not be called in the last of a run.
const LEASES_KEPT_S: u64 = 28;

/// For the first right answer.
const ANSWER_DEADLINE_S: u64 = 10;

/// Everything that runs. Dropped, all of it ends.
pub struct Bench {
    proxies: Vec<Proxy>,
    _upstream: Proxy,
    load: Load,
    full: bool,
    folder: PathBuf,
}

/// The folder of what runs, empty, in that of the measurement: what was stopped has left nothing elsewhere.
///
/// # Errors
/// When it cannot be made.
pub fn servers_folder(measurement: &Path) -> Result<PathBuf> {
    let folder = measurement.join("servers");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing an earlier run's servers")?;
    }
    fs::create_dir_all(&folder).context("making a folder")?;
    folder.canonicalize().context("making a folder")
}

impl Bench {
    /// Starts all that are called in `rows`, and looks that they answer right.
    ///
    /// # Errors
    /// When one does not start, or answers wrong.
    pub async fn start(
        rows: &[Row],
        full: bool,
        folder: PathBuf,
        binary: &Path,
        record: &mut Record,
    ) -> Result<Self> {
        let first = rows.first().context("there are no rows")?;
        let upstream = peers::upstream(&folder).await?;
        record.configurations.insert(upstream.name.to_owned(), upstream.configuration.clone());
        let market = Market::new(upstream.address, first.keys.unwrap_or(record.settings.keys));
        let used = market.used();
        fs::write(folder.join("keys.txt"), used.join("\n") + "\n").context("writing the keys")?;
        let tls = (first.transport != Transport::Http1).then(|| Certificate::make(&folder)).transpose()?;
        let tls_note = if tls.is_some() { ", over TLS" } else { "" };
        let site = Site {
            folder: &folder,
            upstream: upstream.address,
            market: &market,
            binary,
            under: Vec::new(),
            tls,
        };
        let key = used.first().context("a market without a key")?;
        let load = Load::new(&folder, key, record.settings.connections)?;
        let mut proxies: Vec<Proxy> = Vec::new();
        for party in rows.iter().flat_map(|row| row.parties(full)) {
            if proxies.iter().all(|proxy| proxy.name != party.name) {
                let proxy = peers::start(&party, &site).await?;
                let configuration = proxy.configuration.replace(&folder.display().to_string(), "FOLDER");
                record.configurations.insert(format!("{}{tls_note}", party.name), configuration);
                proxies.push(proxy);
            }
        }
        let mut bench = Self { proxies, _upstream: upstream, load, full, folder: folder.clone() };
        for row in rows {
            for party in row.parties(full) {
                let proxy = bench.proxy(&party)?;
                // One that listens may still be reading what to do.
                let what = format!("{} to answer {:?}", party.name, row.name);
                let answered = wait_until(&what, Duration::from_secs(ANSWER_DEADLINE_S), async || {
                    checks::answers(proxy, row, party.kind, key).await
                });
                answered.await?;
            }
        }
        bench.proxies.iter_mut().try_for_each(Proxy::pause)?;
        Ok(bench)
    }

    fn proxy(&mut self, party: &Party) -> Result<&mut Proxy> {
        let proxy = self.proxies.iter_mut().find(|proxy| proxy.name == party.name);
        proxy.with_context(|| format!("{} has not been started", party.name))
    }

    /// Every row, every proxy, as many rounds as asked for, but for those that are there.
    ///
    /// # Errors
    /// When a run cannot be made or kept.
    pub async fn measure(&mut self, rows: &[Row], rounds: u32, record: &mut Record) -> Result<()> {
        for round in 0..rounds {
            for row in rows {
                let mut parties = row.parties(self.full);
                if record.has(row, round, &parties) {
                    continue;
                }
                let rate = if row.pace == Pace::HalfOfNginx { Some(record.half_load()?) } else { None };
                // Another one begins each round, and each comes after another one: neither is an advantage to any.
                let begins = round as usize % parties.len();
                parties.rotate_left(begins);
                if round % 2 == 1 {
                    parties[1..].reverse();
                }
                let mut runs = Vec::new();
                for party in parties {
                    let proxy = self.proxy(&party)?;
                    proxy.go_on()?;
                    let knows_keys = proxy.knows_keys(party.kind);
                    self.warm_up(&party, row, knows_keys, rate).await?;
                    let run = self.run(&party, row, round, record.settings.seconds, rate).await?;
                    eprintln!(
                        "round {} {}, {}: {} calls, {:.1} us of CPU each",
                        round + 1,
                        run.row,
                        run.party,
                        run.seen.calls,
                        run.us_per_call()
                    );
                    runs.push(run);
                    self.proxy(&party)?.pause()?;
                }
                record.put(runs)?;
            }
        }
        Ok(())
    }

    async fn warm_up(&mut self, party: &Party, row: &Row, knows_keys: bool, rate: Option<u64>) -> Result<()> {
        if knows_keys {
            return self.call(party, row, WARM_UP_S, rate).await.map(drop);
        }
        let mut calls = 0;
        for _ in 0..KEYS_WARM_UPS_MAX {
            calls += self.call(party, row, KEYS_WARM_UP_S, rate).await?.calls;
            if calls >= USED_KEYS_MAX as u64 {
                break;
            }
        }
        Ok(())
    }

    async fn run(
        &mut self,
        party: &Party,
        row: &Row,
        round: u32,
        seconds: u64,
        rate: Option<u64>,
    ) -> Result<Run> {
        let group = self.proxy(party)?.process.pid();
        let before = Cpu::read(group)?;
        let seen = self.call(party, row, seconds, rate).await?;
        let cpu = Cpu::read(group)?.since(&before);
        let (row, party) = (row.name.to_owned(), party.name.to_owned());
        Ok(Run { row, party, round, seen, cpu, memory: Memory::read(group)?, checked: false })
    }

    async fn call(&mut self, party: &Party, row: &Row, seconds: u64, rate: Option<u64>) -> Result<Seen> {
        let left_max = u64::from(self.load.connections(row));
        let proxy = self.proxies.iter_mut().find(|proxy| proxy.name == party.name);
        let proxy = proxy.with_context(|| format!("{} has not been started", party.name))?;
        let seen = self.load.run(proxy, row, seconds, rate).await?;
        if seen.failed() > 0 {
            eprintln!("{}: {} calls refused, {} broken or over 2 s", party.name, seen.refused, seen.broken);
        }
        if let Some(gateway) = &mut proxy.gateway {
            gateway.answered += seen.calls - seen.refused;
            gateway.left_max += left_max;
        }
        proxy.called_at = Some(Instant::now());
        // A line a call fills a disk. It is opened for appending, so that what comes next begins anew.
        let log = OpenOptions::new().write(true).open(proxy.process.log()).context("opening a log")?;
        log.set_len(0).context("emptying a log")?;
        Ok(seen)
    }

    /// Ends all, and looks that the gateways have a record of each call.
    ///
    /// # Errors
    /// When one is missing.
    pub async fn end(mut self, record: &mut Record) -> Result<()> {
        let mut said = Vec::new();
        for proxy in &mut self.proxies {
            proxy.go_on()?;
            said.extend(checks::every_call_is_recorded(proxy).await?);
        }
        record.checked(said)?;
        let folder = self.folder.clone();
        drop(self);
        fs::remove_dir_all(folder).context("removing the servers' folder")
    }
}

impl Proxy {
    /// Whether it has what it keeps for each key, if it keeps anything: a gateway's leases go back when nobody calls.
    fn knows_keys(&self, kind: Kind) -> bool {
        let is_gateway = self.gateway.is_some();
        let kept = |called_at: Instant| !is_gateway || called_at.elapsed().as_secs() < LEASES_KEPT_S;
        kind.is_bare() || self.called_at.is_some_and(kept)
    }

    /// A gateway works on when nobody calls, on the core on which another one is measured meanwhile: it is stopped.
    fn pause(&mut self) -> Result<()> {
        if self.gateway.is_some() { self.process.signal(Signal::STOP) } else { Ok(()) }
    }

    /// The opposite.
    fn go_on(&mut self) -> Result<()> {
        if self.gateway.is_some() { self.process.signal(Signal::CONT) } else { Ok(()) }
    }
}
