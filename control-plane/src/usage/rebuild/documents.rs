//! A rebuild that was opened, and what each gateway reported to it. Next: `figures` makes the counters of them.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::counters::RebuildReport;
use apiclay_config::key::Digest;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// Digits of a round in an id, so that text sorts as numbers do.
const ROUND_DIGITS: usize = 10;

/// One round of rebuilding what one run of the counters' server lacks. Mostly the only one: a run that loses its counters
/// once more (they were flushed) has another. Reports are to a round, and true until a gateway takes units again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The server's run.
    pub run_id: String,
    /// Which round of that run, from 1.
    pub round: u64,
    /// What the counters will be counted under; no other rebuild has it.
    pub generation: u64,
    /// When the first gateway asked.
    pub opened_at: Timestamp,
    /// When a gateway was first told what to write.
    pub first_given_at: Option<Timestamp>,
    /// Whose turn it is to write, and since when.
    #[serde(default)]
    pub turn: Option<(String, Timestamp)>,
    /// Who has reported, with their reports' digests: whoever waits need not read those.
    #[serde(default)]
    pub reported: BTreeMap<String, Digest>,
    /// When a gateway said that it takes units of counters that stand: of this round's, or of earlier ones.
    pub over_at: Option<Timestamp>,
}

/// The names of all rounds of a run lie from the first of these up to below the second.
#[must_use]
pub fn rounds_of(run_id: &str) -> (String, String) {
    // `;` follows `:`.
    (format!("{run_id}:"), format!("{run_id};"))
}

impl Rebuild {
    /// What reports call it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{:0ROUND_DIGITS$}", self.run_id, self.round)
    }
}

impl Document for Rebuild {
    const COLLECTION: &'static str = "counter_rebuilds";
    const INDEXES: &'static [Index] =
        &[Index { name: "generation", fields: &["generation"], unique: true, multi: false }];

    fn id(&self) -> String {
        self.name()
    }
}

/// What one gateway last said to one rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which rebuild.
    pub rebuild: String,
    /// Which gateway.
    pub gateway: String,
    /// What it said.
    pub report: RebuildReport,
    /// When.
    pub at: Timestamp,
}

impl Document for Report {
    const COLLECTION: &'static str = "counter_rebuild_reports";
    const INDEXES: &'static [Index] = &[
        Index { name: "rebuild", fields: &["rebuild"], unique: false, multi: false },
        Index { name: "at", fields: &["at"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        format!("{}:{}", self.rebuild, self.gateway)
    }
}
