//! What was measured, as it is kept: every run with what it ran on. Written after each round of a row, whole, so that what is
//! in it can be paired. What was checked in the end is not measured again by a run that goes on with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::load::Seen;
use crate::machine;
use crate::meter::{CpuUsed, Memory};
use crate::rows::{BASE, PARTIES, Party, Row};

/// The file in the folder of a measurement.
pub const FILE: &str = "runs.json";

/// One run of one proxy in one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The row's name.
    pub row: String,
    /// The proxy's name.
    pub party: String,
    /// From 0. Runs of one round stand beside each other in time.
    pub round: u32,
    /// The client's side.
    pub seen: Seen,
    /// The proxy's side.
    pub cpu: CpuUsed,
    /// At its end.
    pub memory: Memory,
    /// Whether the gateways that ran with it had a record of each call when they ended.
    pub checked: bool,
}

/// What must be the same for runs to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Digest of the gateway's binary.
    pub gateway: String,
    /// Digest of the programs that measure.
    pub rig: String,
    /// Which profile it was built with, by the name of its folder.
    pub profile: String,
    /// Of one run.
    pub seconds: u64,
    /// Of the base row.
    pub connections: u32,
    /// Of the base row.
    pub keys: u32,
}

/// The measurement.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    #[serde(skip)]
    path: PathBuf,
    /// What it was asked for.
    pub settings: Settings,
    /// What it ran on.
    pub machine: BTreeMap<String, String>,
    /// What else ran there when it began.
    pub load_average: String,
    /// Of the programs.
    pub versions: BTreeMap<String, String>,
    /// What each proxy was told, by its name.
    pub configurations: BTreeMap<String, String>,
    /// Calls a second of the row at half load.
    pub half_load_per_s: Option<u64>,
    /// Every run.
    pub runs: Vec<Run>,
    /// What held of all calls in the end.
    pub checked: Vec<String>,
}

impl Run {
    /// CPU of a call.
    pub fn us_per_call(&self) -> f64 {
        self.cpu.total_ns as f64 / 1_000.0 / self.seen.calls.max(1) as f64
    }

    /// How much of its core the proxy had.
    pub fn busy_percent(&self) -> f64 {
        self.cpu.total_ns as f64 / 10.0 / self.seen.duration_us.max(1) as f64
    }
}

impl Record {
    /// A record in `folder`: the one that is there, to go on with, or a new one.
    ///
    /// # Errors
    /// When the folder cannot be written, or what is there was measured with other settings or on something else.
    pub fn open(folder: &Path, settings: Settings, go_on: bool) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(FILE);
        if go_on && path.exists() {
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let mut earlier: Self =
                serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
            let same = earlier.settings == settings
                && earlier.machine == machine::machine()
                && earlier.versions == machine::versions();
            ensure!(
                same,
                "{} was measured with another gateway, rig, settings, peers or machine: remove it, or name another folder",
                path.display()
            );
            // Their servers were stopped before they could be checked.
            earlier.runs.retain(|run| run.checked);
            if earlier.series(&BASE, &PARTIES[0]).next().is_none() {
                earlier.half_load_per_s = None;
            }
            return Ok(Self { path, ..earlier });
        }
        Ok(Self {
            path,
            settings,
            machine: machine::machine(),
            load_average: machine::load_average(),
            versions: machine::versions(),
            configurations: BTreeMap::new(),
            half_load_per_s: None,
            runs: Vec::new(),
            checked: Vec::new(),
        })
    }

    /// Whether a round of a row is there, of all these and without a call that went wrong.
    pub fn has(&self, row: &Row, round: u32, parties: &[Party]) -> bool {
        parties.iter().all(|party| self.series(row, party).any(|run| run.round == round))
    }

    /// Keeps that the gateways of all runs were right in the end; `said` is what they came to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn checked(&mut self, said: Vec<String>) -> Result<()> {
        self.checked.extend(said);
        self.runs.iter_mut().for_each(|run| run.checked = true);
        self.write()
    }

    /// Keeps a round of a row, in place of an earlier one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, runs: Vec<Run>) -> Result<()> {
        self.runs.retain(|old| !runs.iter().any(|new| (&new.row, new.round) == (&old.row, old.round)));
        self.runs.extend(runs);
        self.write()
    }

    /// Writes it, aside first: what stops meanwhile leaves the earlier one.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self) -> Result<()> {
        let aside = self.path.with_extension("json.new");
        fs::write(&aside, serde_json::to_vec_pretty(self)?).context("writing the runs")?;
        fs::rename(&aside, &self.path).context("writing the runs")
    }

    /// The runs of one in a row, a run a round. One in which a call went wrong is none.
    pub fn series(&self, row: &Row, party: &Party) -> impl Iterator<Item = &Run> {
        let (row, party) = (row.name, party.name);
        self.runs.iter().filter(move |run| run.row == row && run.party == party && run.seen.failed() == 0)
    }

    /// The same beside those of `base`: pairs of one round.
    pub fn pairs(&self, row: &Row, party: &Party, base: &Party) -> impl Iterator<Item = (&Run, &Run)> {
        let pair = move |run: &Run| self.series(row, base).find(|base| base.round == run.round);
        self.series(row, party).filter_map(move |run| Some((run, pair(run)?)))
    }

    /// Calls a second at half load: half of what the first did in the base row's first round, from then on.
    ///
    /// # Errors
    /// When that has not been measured.
    pub fn half_load(&mut self) -> Result<u64> {
        if let Some(rate) = self.half_load_per_s {
            return Ok(rate);
        }
        let first = self.series(&BASE, &PARTIES[0]).min_by_key(|run| run.round);
        let first = first.with_context(|| {
            format!("half of {}'s load is known once the row {:?} is measured", PARTIES[0].name, BASE.name)
        })?;
        let rate = first.seen.calls / 2 * 1_000_000 / first.seen.duration_us.max(1);
        self.half_load_per_s = Some(rate.max(1));
        Ok(rate.max(1))
    }
}
