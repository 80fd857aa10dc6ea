//! Counter stores: who says how many units of a limit a gateway may spend. A gateway asks for leases ([`Counters::grant`])
//! and says what it did not spend ([`Counters::close`]); the store's clock chooses the window. [`redis`] serves any number
//! of gateways, [`embedded`] one. Both follow the state machines in `limits/counter.rs` and `limits/store.rs`. Leases on wallets
//! are holds in the ledger, so the control plane is their store ([`wallet`]). Next: `limits/`, which spends leases.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use apiclay_config::usage::LeasedWindow;
use async_trait::async_trait;

use crate::limits::BatchMark;

mod breaker;
pub mod copy;
pub mod embedded;
pub mod measured;
pub mod redis;
pub mod wallet;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod faults;

/// The greatest maximum a counter can have: what both a script's numbers and SQLite's hold exactly.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// A lease's name, unique over gateways and their lives: asking again with it gets the same lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The gateway's id.
    pub gateway: Arc<str>,
    /// The gateway's epoch, as a number.
    pub epoch: u64,
    /// The gateway's number for it, never 0; later leases of one counter have higher ones (wrapping).
    pub serial: u32,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}.{}", self.gateway, self.epoch, self.serial)
    }
}

/// What a gateway gives back when it has done with a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Which lease.
    pub lease: LeaseId,
    /// The window it was granted in.
    pub window: i64,
    /// Units of it that were not spent; the store takes no more than the lease had.
    pub unspent: u32,
    /// What was spent of a lease on a wallet, whose close is the last word on it; `None` for any other.
    pub spent: Option<Spent>,
}

/// What was spent of a lease on a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Units that calls took and did not give back; all of them have a record.
    pub units: u32,
    /// The last batch that such a record stands in.
    pub last_batch: Option<BatchMark>,
}

/// A gateway's wish for units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRequest {
    /// The counter.
    pub key: String,
    /// Its kind of window.
    pub window: LeasedWindow,
    /// The limit, in units a window.
    pub max: u64,
    /// Whether the store refuses beyond `max`.
    pub hard: bool,
    /// The name the lease shall have.
    pub lease: LeaseId,
    /// How many units are wanted; fewer come where little remains.
    pub want: u32,
    /// How many units of this counter the gateway ever holds open at once; kept in the store for a rebuild.
    pub open_max_units: u32,
    /// Leases of the same counter that are done with; closed before the grant is decided.
    pub closes: Vec<Close>,
}

/// The store's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The window the lease is in.
    pub window: i64,
    /// How many units it has; 0 where nothing remains, and then there is no lease.
    pub units: u32,
    /// Units that remain at the store after this.
    pub remaining: u64,
    /// How long, from when the store answered, the window goes on; `None` for a trial.
    pub ends_in_ms: Option<u64>,
    /// The generation that the counters were built under.
    pub generation: u64,
}

/// Why a store gave no answer, or refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CountersError {
    /// No connection, no answer in time, or a disk that fails.
    #[error("the counter store does not answer: check that it runs and that this gateway can reach it")]
    Unavailable(#[source] Option<Arc<dyn Error + Send + Sync>>),
    /// The control plane, which keeps the leases on wallets, gave no answer.
    #[error(
        "the control plane does not answer about wallets: check that it runs and that this gateway can reach it"
    )]
    Wallets(#[source] Option<Arc<dyn Error + Send + Sync>>),
    /// The control plane refused, or answered something that no version of ours says.
    #[error(
        "the control plane and this gateway do not agree about wallets: check that both are of one version ({0})"
    )]
    WalletsRefused(String),
    /// The control plane answered, and not about the wallet that it was asked about.
    #[error("the control plane failed at one wallet, which is asked for again: see its log ({0})")]
    WalletFailed(String),
    /// The store is not the one that the counters were built in: it was restarted, replaced, emptied or set back.
    #[error(
        "the counter store lost its memory (run {run_id}, generation {generation}): nothing is granted until a control \
         plane has rebuilt the counters"
    )]
    Generation {
        /// The generation the store claims; 0 where it claims none.
        generation: u64,
        /// The store's run now, which the rebuild must name.
        run_id: String,
    },
    /// The lease was closed before, or a later one was granted.
    #[error("lease {0} is over at the counter store: ask for another one")]
    Stale(LeaseId),
    /// The store is set up so that it would forget counters.
    #[error("the counter store evicts keys under memory pressure: set its maxmemory-policy to noeviction")]
    Evicts,
    /// The gateway holds as many units as it may.
    #[error(
        "this gateway holds {0} open units of one counter, which is all it may: usage batches are not getting through"
    )]
    OpenLeases(u32),
    /// The gateway's lease table is full or cannot be written.
    #[error("no room in this gateway's lease table: make room on its disk")]
    LeaseTable(#[source] Option<Arc<std::io::Error>>),
    /// A key that does not fit the lease table.
    #[error("counter key `{0}` is too long: name the counter by ids")]
    Key(String),
    /// The store answered something that no version of ours says.
    #[error(
        "the counter store answered in a way this gateway does not understand: check what REDIS_URL points at ({0})"
    )]
    Answer(String),
    /// What the store keeps of one counter cannot be read; the others go on.
    #[error("{0}")]
    Damaged(String),
}

impl CountersError {
    /// Wraps what kept the store from answering.
    pub fn unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Some(Arc::new(source)))
    }

    /// Whether the store would do nothing for anybody now. Else it is about what was asked, and others may have better luck.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Wallets(_) | Self::Generation { .. } | Self::Evicts)
    }
}

/// A store of counters. Every answer holds across kills of the store, or is refused afterwards.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Closes `request.closes`, then grants a lease, or says again what the lease of that name was granted.
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError>;

    /// Takes back what leases of counter `key` had left; each lease once, however often this is said, and also after its
    /// window's end. Says the generation of the counters that took it back.
    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError>;

    /// Counts the open leases of a gateway that will not come back as spent, and says how many units that were.
    async fn forget(&self, gateway: &str) -> Result<u64, CountersError>;

    /// Whether the store would grant.
    async fn ping(&self) -> Result<(), CountersError>;

    /// Whether the store of leases on wallets seems to be there, as far as is known without asking: while it is away, leases
    /// that are too old serve on, since nobody would grant others.
    fn wallets_are_there(&self) -> bool {
        true
    }
}
