//! One lease in the mapped table, as a row of atomic words. What a call changes (the free units) is one word alone; all else
//! is written before the word that makes it count, so that a kill between two stores leaves a lease that can be read.
//! Next: `table.rs`, which hands slots out, and `tally.rs`, which takes units from them.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst};

use apiclay_config::usage::{LEASED_WINDOWS, LeasedWindow};

use super::BatchMark;
use super::lease::LeaseWord;

/// Words of a slot: two cache lines of numbers, two of the counter's key.
pub const SLOT_WORDS: usize = 32;
/// Bytes of a counter's key at most.
pub const KEY_MAX_BYTES: usize = (SLOT_WORDS - KEY) * 8;

const STATE: usize = 0;
const ENDS: usize = 1;
const PHASE: usize = 2;
const UNITS: usize = 3;
const RETURNED: usize = 4;
const LATE: usize = 5;
const RECORDED: usize = 8;
const EPOCH: usize = 9;
const KIND: usize = 10;
const WINDOW: usize = 11;
const CHECK: usize = 12;
const KEY_BYTES: usize = 13;
const BATCH_EPOCH: usize = 14;
const KEY: usize = 16;

const PHASE_NONE: u64 = 0;
const PHASE_ASKED: u64 = 1;
const PHASE_OPEN: u64 = 2;

/// The recorded word: the last batch's number above, units below.
const RECORDED_UNITS_BITS: u32 = 24;
const RECORDED_UNITS_MAX: u64 = (1 << RECORDED_UNITS_BITS) - 1;

/// As kinds are numbered in the table.
const KINDS: [LeasedWindow; LEASED_WINDOWS] = LeasedWindow::ALL;

/// A slot's words.
#[derive(Clone, Copy)]
pub struct Slot<'a>(pub &'a [AtomicU64]);

/// What stands in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotContent {
    /// The lease's number.
    pub serial: u32,
    /// The epoch it was asked in.
    pub epoch: u64,
    /// The counter's key.
    pub key: String,
    /// The counter's kind of window.
    pub kind: LeasedWindow,
    /// Whether the store's answer came.
    pub granted: bool,
}

impl Slot<'_> {
    /// The state word.
    pub fn word(&self) -> LeaseWord {
        LeaseWord(self.0[STATE].load(Acquire))
    }

    /// Notes that a lease is about to be asked for: from now on a kill leaves its name behind.
    pub fn ask(&self, serial: u32, epoch: u64, key: &str, kind: LeasedWindow) {
        for word in [ENDS, UNITS, RETURNED, LATE, RECORDED, WINDOW, BATCH_EPOCH] {
            self.0[word].store(0, Relaxed);
        }
        self.0[EPOCH].store(epoch, Relaxed);
        let kind = KINDS.iter().position(|k| *k == kind).unwrap_or(0) as u64;
        self.0[KIND].store(kind, Relaxed);
        self.0[KEY_BYTES].store(key.len() as u64, Relaxed);
        for (word, chunk) in self.0[KEY..].iter().zip(key.as_bytes().chunks(8)) {
            let mut bytes = [0u8; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Relaxed);
        }
        self.0[STATE].store(u64::from(serial) << 32, Relaxed);
        self.0[CHECK].store(check(serial, epoch, kind, key), Relaxed);
        self.0[PHASE].store(PHASE_ASKED, SeqCst);
    }

    /// Opens the lease with the store's answer. `ends_ms` is on this gateway's monotonic clock.
    pub fn open(&self, window: i64, units: u32, ends_ms: u64) {
        self.0[WINDOW].store(window.cast_unsigned(), Relaxed);
        self.0[UNITS].store(u64::from(units), Relaxed);
        self.0[ENDS].store(ends_ms, Relaxed);
        self.0[STATE].store(LeaseWord::open(self.word().serial(), units).0, SeqCst);
        self.0[PHASE].store(PHASE_OPEN, SeqCst);
    }

    /// Empties the slot.
    pub fn clear(&self) {
        self.0[PHASE].store(PHASE_NONE, SeqCst);
        self.0[STATE].store(0, SeqCst);
    }

    /// Takes so many units of lease `serial` before its window's end; says how many are free after it.
    pub fn take(&self, serial: u32, now_ms: u64, units: u32) -> Option<u32> {
        let mut word = self.word();
        loop {
            if word.serial() != serial || now_ms >= self.0[ENDS].load(Acquire) {
                return None;
            }
            let next = word.take(units)?;
            match self.0[STATE].compare_exchange_weak(word.0, next.0, SeqCst, Acquire) {
                Ok(_) => return Some(next.free()),
                Err(now) => word = LeaseWord(now),
            }
        }
    }

    /// Gives units of lease `serial` back; says whether they can be taken again now.
    pub fn give_back(&self, serial: u32, units: u32) -> bool {
        if self.word().serial() != serial {
            return false;
        }
        if self.add_free(serial, units) {
            return true;
        }
        // Frozen: the units wait beside until the close is through. If it came through just now, nobody looks there again,
        // so we look. A wallet's lease is not closed before these are back, and may be gone as soon as they are.
        let is_wallet = self.kind() == Some(LeasedWindow::Wallet);
        self.0[LATE].fetch_add(u64::from(units), SeqCst);
        if is_wallet || self.word().is_frozen() {
            return false;
        }
        let late = u32::try_from(self.0[LATE].swap(0, SeqCst)).unwrap_or(0);
        late > 0 && self.add_free(serial, late)
    }

    fn add_free(&self, serial: u32, units: u32) -> bool {
        let mut word = self.word();
        while word.serial() == serial {
            let Some(next) = word.give_back(units) else { return false };
            match self.0[STATE].compare_exchange_weak(word.0, next.0, SeqCst, Acquire) {
                Ok(_) => return true,
                Err(now) => word = LeaseWord(now),
            }
        }
        false
    }

    /// Stops the lease: nobody takes from it any more. Says how many units go back, the first time.
    pub fn freeze(&self) -> Option<u32> {
        let mut word = self.word();
        loop {
            let next = word.freeze()?;
            match self.0[STATE].compare_exchange_weak(word.0, next.0, SeqCst, Acquire) {
                Ok(_) => return Some(word.free()),
                Err(now) => word = LeaseWord(now),
            }
        }
    }

    /// The store has taken back what was free of the frozen lease; says how many units are free now, given back meanwhile.
    pub fn closed(&self) -> u32 {
        let word = self.word();
        if !word.is_frozen() {
            return 0;
        }
        self.0[RETURNED].store(u64::from(word.free()), SeqCst);
        let late = u32::try_from(self.0[LATE].swap(0, SeqCst)).unwrap_or(0);
        self.0[STATE].store(word.closed(late).0, SeqCst);
        // A call that saw it frozen just before may have put its unit beside just after.
        let later = u32::try_from(self.0[LATE].swap(0, SeqCst)).unwrap_or(0);
        if later > 0 {
            self.add_free(word.serial(), later);
        }
        late + later
    }

    /// The store has taken back `returned` units of a lease that an earlier epoch left: [`Slot::unspent`], less what is on record of it all the same.
    /// No call has it any more.
    pub fn closed_after_kill(&self, returned: u32) {
        let word = self.word();
        self.0[RETURNED].store(u64::from(returned), SeqCst);
        self.0[STATE].store(word.closed(0).0, SeqCst);
    }

    /// Ends the lease's window for calls: no unit of it is taken any more, also none that a call gives back. For a limit that
    /// was lowered: such a unit may be one beyond it.
    pub fn expire(&self) {
        self.0[ENDS].store(0, SeqCst);
    }

    /// Notes units that have a record in a batch, once a batch. Batches are noted one after the other.
    pub fn record(&self, batch: BatchMark, units: u32) -> bool {
        let order = batch.order();
        let word = self.0[RECORDED].load(Acquire);
        if order <= word >> RECORDED_UNITS_BITS {
            return false;
        }
        let recorded = (word & RECORDED_UNITS_MAX).saturating_add(u64::from(units)).min(RECORDED_UNITS_MAX);
        // The epoch first: after a kill between the two the batch is told again, and only a later one is taken note of.
        self.0[BATCH_EPOCH].store(batch.epoch, SeqCst);
        self.0[RECORDED].store(order << RECORDED_UNITS_BITS | recorded, SeqCst);
        true
    }

    /// The last batch that a record of its units stands in.
    pub fn last_batch(&self) -> Option<BatchMark> {
        let order = self.0[RECORDED].load(Acquire) >> RECORDED_UNITS_BITS;
        (order > 0).then(|| BatchMark::of_order(order, self.0[BATCH_EPOCH].load(Acquire)))
    }

    /// The kind of its counter's window.
    pub fn kind(&self) -> Option<LeasedWindow> {
        KINDS.get(usize::try_from(self.0[KIND].load(Acquire)).ok()?).copied()
    }

    /// Units that the lease was granted.
    pub fn units(&self) -> u32 {
        u32::try_from(self.0[UNITS].load(Acquire)).unwrap_or(u32::MAX)
    }

    /// Units that calls took and did not give back.
    pub fn spent(&self) -> u32 {
        let word = self.word();
        let gone = if word.is_closed() { RETURNED } else { LATE };
        let gone = u32::try_from(self.0[gone].load(Acquire)).unwrap_or(u32::MAX);
        self.units().saturating_sub(word.free()).saturating_sub(gone)
    }

    /// Units that the store took back, or will when told.
    pub fn returned(&self) -> u32 {
        u32::try_from(self.0[RETURNED].load(Acquire)).unwrap_or(0)
    }

    /// What a close after a kill gives back: the free units, and those given back beside.
    pub fn unspent(&self) -> u32 {
        self.word().free().saturating_add(u32::try_from(self.0[LATE].load(Acquire)).unwrap_or(0))
    }

    /// Units that have a record.
    pub fn recorded(&self) -> u32 {
        (self.0[RECORDED].load(Acquire) & RECORDED_UNITS_MAX) as u32
    }

    /// Whether every unit spent has a record.
    pub fn is_settled(&self) -> bool {
        self.recorded() >= self.spent()
    }

    /// The window it was granted in.
    pub fn window(&self) -> i64 {
        self.0[WINDOW].load(Acquire).cast_signed()
    }

    /// When its window ends, on this gateway's monotonic clock.
    pub fn ends_ms(&self) -> u64 {
        self.0[ENDS].load(Acquire)
    }

    /// Whether nothing stands here.
    pub fn is_empty(&self) -> bool {
        self.0[PHASE].load(Acquire) == PHASE_NONE
    }

    /// What stands here; `None` where it is damaged.
    pub fn content(&self) -> Option<SlotContent> {
        let serial = self.word().serial();
        let epoch = self.0[EPOCH].load(Acquire);
        let kind = self.0[KIND].load(Acquire);
        let key_bytes =
            usize::try_from(self.0[KEY_BYTES].load(Acquire)).ok().filter(|n| *n <= KEY_MAX_BYTES)?;
        let mut bytes: Vec<u8> = self.0[KEY..].iter().flat_map(|w| w.load(Acquire).to_le_bytes()).collect();
        bytes.truncate(key_bytes);
        let key = String::from_utf8(bytes).ok()?;
        if serial == 0 || check(serial, epoch, kind, &key) != self.0[CHECK].load(Acquire) {
            return None;
        }
        let kind = *KINDS.get(usize::try_from(kind).ok()?)?;
        Some(SlotContent { serial, epoch, key, kind, granted: self.0[PHASE].load(Acquire) == PHASE_OPEN })
    }
}

/// A checksum over what does not change while the lease stands: a power cut may leave half a slot.
fn check(serial: u32, epoch: u64, kind: u64, key: &str) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&serial.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&kind.to_le_bytes());
    hasher.update(key.as_bytes());
    u64::from(hasher.finalize())
}
