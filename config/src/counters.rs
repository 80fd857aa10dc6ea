//! The rebuild of lost counters on the wire: what a gateway says of its own units, and what the control plane makes of all
//! gateways' words and the usage on record. Next: `control-plane/src/usage/rebuild`, which answers.

use serde::{Deserialize, Serialize};

use crate::usage::{LeasedWindow, UnitsTaken};

/// Units in one entry, and generations, at most: Redis' scripts count exactly up to twice this.
pub const COUNTED_MAX: u64 = 1 << 52;
/// Bytes of a report, as [`RebuildReport::kept_bytes`] counts: what the control plane's store takes in one document, less
/// 64 KiB for what stands beside it.
pub const REPORT_MAX_BYTES: usize = 12 * 1024 * 1024 - 64 * 1024;
/// Bytes of a lease, of units and of a life as the store counts them, without their texts; and of a seq.
const LEASE_BYTES: usize = 176;
const UNITS_BYTES: usize = 88;
const LIFE_BYTES: usize = 88;
const SEQ_BYTES: usize = 24;

/// What a gateway says once counters are lost. It takes no units after this, until counters are built anew: an answer of the
/// lost ones that comes later is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildReport {
    /// The server's run that has no counters.
    pub run_id: String,
    /// The highest generation it has counted under; 0 for none.
    pub generation: u64,
    /// Its present life, and earlier ones that have batches without an acknowledgement. Of any other life all that is on
    /// record counts.
    pub lives: Vec<Acknowledged>,
    /// Units in batches that are not acknowledged, and units spent from leases that were closed and stand in no batch.
    pub unacknowledged: Vec<UnitsTaken>,
    /// The leases it has in hand.
    pub leases: Vec<LeaseInHand>,
}

impl RebuildReport {
    /// About how much of a document it takes, and never less than it does.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let leases = self.leases.iter().map(|lease| LEASE_BYTES + lease.counter.len() + lease.epoch.len());
        let units = self.unacknowledged.iter().map(|taken| UNITS_BYTES + taken.counter.len());
        let lives = self.lives.iter().map(|l| LIFE_BYTES + l.epoch.len() + SEQ_BYTES * l.except.len());
        leases.chain(units).chain(lives).sum()
    }
}

/// How far one life's batches are acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The life's epoch.
    pub epoch: String,
    /// The last batch it made; 0 for none. Later ones hold units that the report says otherwise.
    pub seq: u64,
    /// Those up to it that are not: a batch that was refused does not hold up the ones after it.
    pub except: Vec<u64>,
}

/// A lease that has not been closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInHand {
    /// Its counter.
    pub counter: String,
    /// Its window.
    pub window: i64,
    /// The epoch it was granted in.
    pub epoch: String,
    /// Its number there.
    pub serial: u32,
    /// Units as granted.
    pub units: u32,
    /// Those of them that stand in a batch, acknowledged or not: they are counted there.
    pub in_batches: u32,
}

/// A gateway is about to be granted units by these counters. Told before it takes any: a round of rebuilding that goes on
/// beside them is over, since the gateway's report to it would be true no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersTaken {
    /// The server's run that they stand in.
    pub run_id: String,
    /// The generation that they were built under.
    pub generation: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RebuildAnswer {
    /// These gateways have not reported yet: ask again.
    Waiting {
        /// Their ids.
        gateways: Vec<String>,
    },
    /// All have reported, and another gateway has been told what to write: ask again.
    Given {
        /// Its id.
        gateway: String,
    },
    /// What to write.
    Ready {
        /// Higher than any before.
        generation: u64,
        /// One for each counter and window of which anything was used; others begin at 0.
        figures: Vec<RebuildFigure>,
    },
}

/// What one counter had out in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildFigure {
    /// The counter.
    pub counter: String,
    /// Its kind of window.
    pub kind: LeasedWindow,
    /// Which window.
    pub window: i64,
    /// Units spent, and units of leases in hand that may be.
    pub granted: u64,
    /// The leases in hand, by the gateway that can close them.
    pub leases: Vec<(String, LeaseInHand)>,
}
