//! All limits of one gateway: a [`Tally`] a counter, the lease table on disk, and which lease belongs to which counter, so
//! that batches can say units by counter and window. Next: `maintain.rs` keeps leases coming and going.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;

use super::desk::InHand;
use super::earlier::EarlierLeases;
use super::table::LeaseTable;
use super::tally::{Out, Tally};
use super::{BatchMark, BookOptions, CounterSpec, KEY_MAX_BYTES, Monotonic};
use crate::counters::{Counters, CountersError, LeaseId};

/// Counters that may run low between two looks; more wait for a call to ask.
const LOW_QUEUE_MAX: usize = 4_096;

/// Why a lease book does not open.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The table's files.
    #[error(
        "the lease table in this gateway's data folder cannot be opened: check its disk, and that no other process uses it"
    )]
    Table(#[source] std::io::Error),
    /// The epoch is the caller's to make.
    #[error("a gateway's epoch is 16 hexadecimal digits, this one is `{0}`")]
    Epoch(String),
}

/// Which place a lease is at, and whose it is.
pub(super) struct Known {
    pub(super) place: u32,
    pub(super) out: Arc<Out>,
}

/// What all counters of a gateway share.
pub(super) struct Core {
    pub(super) table: LeaseTable,
    pub(super) counters: Arc<dyn Counters>,
    pub(super) clock: Monotonic,
    pub(super) options: BookOptions,
    pub(super) gateway: Arc<str>,
    pub(super) epoch: u64,
    pub(super) known: DashMap<u32, Known, FxBuildHasher>,
    /// Counters that have leases, or ask for one: no other is looked at, so that a look costs what is in use and not what is sold.
    pub(super) in_use: Mutex<Vec<Weak<Tally>>>,
    /// The same of wallets.
    pub(super) wallets_in_use: Mutex<Vec<Weak<Tally>>>,
    pub(super) wake: Notify,
    /// Answers of a lower generation are thrown away: counters that are lost gave them.
    pub(super) generation_min: AtomicU64,
    /// When the log last said that closes are refused; 0 for never.
    pub(super) refused_said_ms: AtomicU64,
    low_in: SyncSender<Weak<Tally>>,
    low_out: Mutex<Receiver<Weak<Tally>>>,
}

impl Core {
    pub(super) fn lease_id(&self, serial: u32) -> LeaseId {
        LeaseId { gateway: self.gateway.clone(), epoch: self.epoch, serial }
    }

    /// Puts a new lease's name into the table.
    pub(super) fn reserve(&self, tally: &Tally) -> Result<(u32, u32), CountersError> {
        if tally.out.key.len() > KEY_MAX_BYTES {
            return Err(CountersError::Key(tally.out.key.to_string()));
        }
        let (place, serial) =
            self.table.reserve().map_err(|full| CountersError::LeaseTable(Some(Arc::new(full))))?;
        self.table.slot(place).ask(serial, self.epoch, &tally.out.key, tally.window);
        self.table.note(place);
        self.known.insert(serial, Known { place, out: Arc::clone(&tally.out) });
        Ok((place, serial))
    }

    pub(super) fn those_in_use(&self, wallets: bool) -> &Mutex<Vec<Weak<Tally>>> {
        if wallets { &self.wallets_in_use } else { &self.in_use }
    }

    /// Empties a lease's slot: nothing is to be said about it any more.
    pub(super) fn let_go(&self, place: u32, serial: u32) {
        if self.known.remove(&serial).is_some() {
            self.table.release(place);
        }
    }

    /// Whether an answer is of counters that are lost. Asked and acted on under a lock that
    /// [`refuse_grants`](LeaseBook::refuse_grants) waits for.
    pub(super) fn refuse_lost(&self, generation: u64) -> Result<(), CountersError> {
        let lost = generation < self.generation_min.load(SeqCst);
        if lost { Err(CountersError::Unavailable(None)) } else { Ok(()) }
    }

    /// Says that a counter will want a lease soon. The queue is allocated once; when it is full, calls will ask themselves.
    pub(super) fn runs_low(&self, tally: &Weak<Tally>) {
        if self.low_in.try_send(tally.clone()).is_ok() {
            self.wake.notify_one();
        }
    }

    pub(super) fn next_low(&self) -> Option<Arc<Tally>> {
        let queue = self.low_out.lock();
        std::iter::from_fn(|| queue.try_recv().ok()).find_map(|tally| tally.upgrade())
    }
}

/// The limits of one gateway.
pub struct LeaseBook {
    pub(super) core: Arc<Core>,
    pub(super) tallies: DashMap<String, Arc<Tally>>,
    /// Leases of earlier epochs that are not done with.
    pub(super) earlier: Mutex<Vec<InHand>>,
    /// Those of them, by serial, on wallets whose close was refused for good.
    pub(super) earlier_refused: Mutex<BTreeSet<u32>>,
}

impl LeaseBook {
    /// Opens the lease table in `dir`, or makes it, and says which leases an earlier epoch left there. The caller has
    /// locked the folder.
    ///
    /// # Errors
    /// When the table cannot be read or made.
    pub fn open(
        dir: &Path,
        counters: Arc<dyn Counters>,
        options: BookOptions,
        clock: Monotonic,
    ) -> Result<(Arc<Self>, EarlierLeases), BookError> {
        let name = &options.gateway.epoch;
        let epoch = u64::from_str_radix(name, 16)
            .ok()
            .filter(|_| name.len() == 16)
            .ok_or_else(|| BookError::Epoch(name.clone()))?;
        let (table, damaged) = LeaseTable::open(dir).map_err(BookError::Table)?;
        let (low_in, low_out) = sync_channel(LOW_QUEUE_MAX);
        let core = Arc::new(Core {
            table,
            counters,
            clock,
            gateway: options.gateway.gateway.as_str().into(),
            epoch,
            options,
            known: DashMap::default(),
            in_use: Mutex::default(),
            wallets_in_use: Mutex::default(),
            wake: Notify::new(),
            generation_min: AtomicU64::new(0),
            refused_said_ms: AtomicU64::new(0),
            low_in,
            low_out: Mutex::new(low_out),
        });
        let (tallies, earlier, earlier_refused) = (DashMap::new(), Mutex::default(), Mutex::default());
        let book = Arc::new(Self { core, tallies, earlier, earlier_refused });
        let leases = book.find_earlier();
        Ok((book, EarlierLeases { leases, damaged }))
    }

    /// The tally of a counter, the same while anyone holds it or it has leases. A limit that differs from the one it has
    /// takes effect at once.
    pub fn tally(&self, spec: &CounterSpec) -> Arc<Tally> {
        let known = self.tallies.get(&spec.key).map(|tally| tally.clone());
        let tally = known.unwrap_or_else(|| {
            let entry = self.tallies.entry(spec.key.clone());
            entry.or_insert_with(|| Tally::new(self.core.clone(), spec)).clone()
        });
        tally.set_limit(spec);
        tally
    }

    /// Notes that `kept_units` units of `lease` have a record in `batch`; once a batch, however often it is said. Batches are
    /// said in their order, one at a time.
    pub fn recorded(&self, batch: BatchMark, lease: u32, kept_units: u32) {
        let Some(known) = self.core.known.get(&lease) else {
            // Done with; or one that a power cut took out of the table, whose number must not be another's.
            self.core.table.had(lease);
            return;
        };
        let slot = self.core.table.slot(known.place);
        if slot.word().serial() == lease && slot.record(batch, kept_units) {
            known.out.count_out(kept_units);
        }
    }

    /// The counter and window of a lease, also of an earlier epoch's while it is not done with.
    #[must_use]
    pub fn counter_of(&self, lease: u32) -> Option<(Arc<str>, i64)> {
        let known = self.core.known.get(&lease)?;
        let slot = self.core.table.slot(known.place);
        (slot.word().serial() == lease).then(|| (Arc::clone(&known.out.key), slot.window()))
    }

    /// Waits until the whole lease table is on the disk, so that a power cut loses nothing before this. What was granted is
    /// synced [by and by](LeaseBook::maintain).
    ///
    /// # Errors
    /// When the disk says so.
    pub fn sync(&self) -> std::io::Result<()> {
        self.core.table.sync()
    }
}
