//! Limits that hold across gateways: fixed windows and trials, spent from leases. The phases ask a counter's [`Tally`] for a
//! unit and give it back when the call does not count; the [`LeaseBook`] gets leases from the counter store (`counters/`)
//! and returns what is idle. A wallet that pays for calls is one more counter, with leases of its own kind (`wallet.rs`). The protocol: `docs/ARCHITECTURE.md`, "A limit's way". Next: `phases/reserve`, `metering/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use apiclay_config::usage::{GatewayEpoch, LeasedWindow};

mod asking;
pub mod book;
pub mod counter;
mod desk;
mod earlier;
mod figures;
pub mod lease;
mod maintain;
mod report;
mod slot;
pub mod store;
pub mod table;
mod tally;
mod wallet;
pub mod windows;

pub use book::{BookError, LeaseBook};
pub use earlier::{EarlierLease, EarlierLeases, UnaccountedUnits};
pub use figures::LeaseFigures;
pub use slot::KEY_MAX_BYTES;
pub use tally::Tally;
pub use wallet::{WalletCalls, wallet_key, wallet_of_key};

#[cfg(test)]
mod tests;

/// Units asked for at first, where a limit is small; doubled while leases run dry fast.
pub const WANT_START_UNITS: u32 = 8;
/// Where it is large, this part of it: what no other gateway misses. Each lease is a write to a disk or a way over the network.
pub const WANT_START_SHARE: u64 = 10_000;
/// Units asked for at first at most.
pub const WANT_START_MAX_UNITS: u32 = 1_024;
/// Units asked for at most.
pub const WANT_MAX_UNITS: u32 = 8_192;
/// A lease used up within this time was too small: a grant is a write to the disk, or a way over the network.
pub const DRY_FAST_MS: u64 = 10_000;
/// A lease that lasted longer than this was too large.
pub const DRY_SLOW_MS: u64 = 60_000;
/// A hard limit of which less remains than so many leases is scarce: leases of it are to last less long, for what one gateway holds
/// the others are refused.
pub const SCARCE_LEASES: u64 = 4;
/// [`DRY_FAST_MS`] where a limit is scarce.
pub const SCARCE_DRY_FAST_MS: u64 = 1_000;
/// [`DRY_SLOW_MS`] where a limit is scarce.
pub const SCARCE_DRY_SLOW_MS: u64 = 10_000;
/// A used-up lease is closed without waiting for a grant where its counter rests for so long.
pub const CLOSED_ALONE_MS: u64 = 5_000;
/// How long "exhausted" is believed before the store is asked again: other gateways may have returned units.
pub const EXHAUSTED_BELIEVED_MS: u64 = 1_000;
/// How long calls are refused without asking after the store failed.
pub const UNAVAILABLE_BELIEVED_MS: u64 = 100;
/// Leases of one counter that may wait for their records before the oldest is closed regardless.
pub const UNSETTLED_LEASES_MAX: usize = 64;
/// How long a used-up lease waits for its records before it is closed regardless.
pub const UNSETTLED_MAX_MS: u64 = 600_000;
/// How long a closed lease keeps its slot for records that do not come.
pub const SLOT_KEPT_MAX_MS: u64 = 86_400_000;
/// How long after an asking without an answer no wallet lease is too old: nobody would grant another.
pub const UNHEARD_BELIEVED_MS: u64 = 5_000;
/// The next wallet lease is asked for so long before the one in use is too old: two looks at it.
pub const WALLET_RENEWED_AHEAD_MS: u64 = 2 * WALLETS_SWEEP_EVERY_MS;
/// How often leases are asked for before calls run out. A quarter of a lease lasts longer, or else the call that finds none left
/// asks for itself.
pub const PREFETCH_EVERY_MS: u64 = 10;
/// How often idle units and used-up leases of counters are looked for: none of it is urgent.
pub const SWEEP_EVERY_MS: u64 = 1_000;
/// How often wallets are looked through, whose leases are short.
pub const WALLETS_SWEEP_EVERY_MS: u64 = 250;
/// How often counters are looked for that no configuration has any more.
pub const FORGET_EVERY_MS: u64 = 30_000;
/// How often new leases are brought to the disk: a power cut loses those of this time, until their windows end.
pub const SYNC_EVERY_MS: u64 = 1_000;
/// How long a gateway that stops tries to return its units.
pub const RETURN_ALL_MAX_MS: u64 = 2_000;

/// A counter that calls are counted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterSpec {
    /// [`QuotaKey`](apiclay_config::quota_key::QuotaKey), `trial:<account>:<listing>` or [`wallet_key`], at most [`KEY_MAX_BYTES`].
    pub key: String,
    /// Its kind of window.
    pub window: LeasedWindow,
    /// Units a window.
    pub max: u64,
    /// Whether calls beyond it are refused.
    pub hard: bool,
    /// Units that one call takes: more than one where a wallet pays for what a call uses, until that is known.
    pub units_per_call: u32,
}

/// The lease table keeps 40 bits of a batch's place: these for its number in its life (a year of two batches a second), the
/// rest for the life's.
const BATCH_SEQ_BITS: u32 = 26;
const BATCH_LIFE_BITS: u32 = 14;

/// A batch that records of a lease's units stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMark {
    /// The number of the life it was made in: lives of a data folder ascend.
    pub life: u64,
    /// That life's epoch.
    pub epoch: u64,
    /// Its number in that life.
    pub seq: u64,
}

impl BatchMark {
    /// Ascends from batch to batch and from life to life.
    pub(super) fn order(self) -> u64 {
        (self.life & low_bits(BATCH_LIFE_BITS)) << BATCH_SEQ_BITS | self.seq & low_bits(BATCH_SEQ_BITS)
    }

    /// The batch of this order, in the life that had this epoch.
    pub(super) fn of_order(order: u64, epoch: u64) -> Self {
        Self { life: order >> BATCH_SEQ_BITS, epoch, seq: order & low_bits(BATCH_SEQ_BITS) }
    }
}

fn low_bits(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// What a call has taken of one counter: a unit, or as many as it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The lease it is of; never 0. Goes into the call's event.
    pub lease: u32,
    /// How many.
    pub units: u32,
    pub(crate) slot: u32,
}

impl Unit {
    /// Keeps at most so many; what is beyond them is to be given back.
    pub fn keep(&mut self, units: u32) -> Option<Self> {
        let rest = self.units.checked_sub(units).filter(|rest| *rest > 0)?;
        self.units = units;
        Some(Self { units: rest, ..*self })
    }
}

/// What a counter says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Go on.
    Unit(Unit),
    /// No unit at hand: await [`Tally::refill`] and ask again.
    Wait,
    /// The limit is reached.
    Exhausted {
        /// Until the window's end; `None` for a trial.
        resets_in_ms: Option<u64>,
    },
    /// The counter store did not answer just now.
    Unavailable,
}

/// A counter as this gateway sees it, for `RateLimit` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The limit.
    pub max: u64,
    /// What remained at the store at the last grant, and what is at hand here.
    pub remaining: u64,
    /// Until the window's end; `None` for a trial, and before the first grant.
    pub resets_in_ms: Option<u64>,
}

/// How a [`LeaseBook`] works.
#[derive(Debug, Clone)]
pub struct BookOptions {
    /// Who this gateway is in this life.
    pub gateway: GatewayEpoch,
    /// How long a call waits for a grant.
    pub lease_wait_ms: u64,
    /// Units of one counter that may be out without a record at once.
    pub open_leases_max_units: u32,
    /// Units that nobody took for this long go back.
    pub idle_return_ms: u64,
    /// How old a lease on a wallet becomes before it is closed.
    pub wallet_lease_max_ms: u64,
    /// Units that a lease on a wallet has at most.
    pub wallet_lease_units: u32,
}

impl BookOptions {
    /// The defaults, for this gateway.
    #[must_use]
    pub fn new(gateway: GatewayEpoch) -> Self {
        Self {
            gateway,
            lease_wait_ms: 250,
            open_leases_max_units: 100_000,
            idle_return_ms: 30_000,
            wallet_lease_max_ms: 5_000,
            wallet_lease_units: 1_000,
        }
    }
}

/// Time that only goes forward: what windows' ends are measured with, whatever the wall clock does.
#[derive(Debug, Clone)]
pub enum Monotonic {
    /// The machine's, from this moment on.
    System(Instant),
    /// A test's, in milliseconds.
    Manual(Arc<AtomicU64>),
}

impl Monotonic {
    /// The machine's, beginning now.
    #[must_use]
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// Milliseconds since it began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::System(start) => u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            Self::Manual(ms) => ms.load(Relaxed),
        }
    }

    /// The same at a moment that the machine's clock was read at.
    #[must_use]
    pub fn ms_at(&self, moment: Instant) -> u64 {
        match self {
            Self::System(start) => {
                u64::try_from(moment.saturating_duration_since(*start).as_millis()).unwrap_or(u64::MAX)
            }
            Self::Manual(_) => self.now_ms(),
        }
    }
}
