//! Both sides of leases on wallets as values that can be compared and hashed. The lease's word is the real [`LeaseWord`], what is
//! granted the real [`grant_units`]; around them each function mirrors the one that its comment names.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::counter::grant_units;
use crate::limits::lease::LeaseWord;

/// A lease's name: gateway, epoch, serial.
pub(super) type Name = (usize, u64, u32);
/// A batch's: gateway, epoch, number.
pub(super) type Batch = (usize, u64, u32);

/// A call's record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) serial: u32,
    pub(super) units: u32,
    pub(super) billable: bool,
}

/// What a close says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Close {
    pub(super) lease: Name,
    pub(super) spent: u32,
    pub(super) last: Option<Batch>,
}

/// What is said to the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) closes: Vec<Close>,
    pub(super) grant: Option<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Asked(Request),
    /// Units granted; none where the lease is over.
    Answered(Request, Option<u32>),
}

/// A row of the lease table (`slot.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) serial: u32,
    pub(super) epoch: u64,
    pub(super) granted: bool,
    pub(super) word: LeaseWord,
    pub(super) units: u32,
    pub(super) late: u32,
    pub(super) recorded: u32,
    pub(super) last: Option<Batch>,
    /// For the claims: units that billed calls used.
    pub(super) used: u32,
}

impl Slot {
    /// `Slot::ask`.
    pub(super) fn asked(serial: u32, epoch: u64) -> Self {
        let word = LeaseWord::open(serial, 0);
        Self { serial, epoch, granted: false, word, units: 0, late: 0, recorded: 0, last: None, used: 0 }
    }

    fn spent(&self) -> u32 {
        self.units.saturating_sub(self.word.free()).saturating_sub(self.late)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.recorded >= self.spent()
    }

    /// `Slot::open`.
    pub(super) fn open(&mut self, units: u32) {
        (self.units, self.granted, self.word) = (units, true, LeaseWord::open(self.serial, units));
    }

    pub(super) fn freeze(&mut self) {
        self.word = self.word.freeze().unwrap_or(self.word);
    }

    /// `Slot::give_back`.
    pub(super) fn give_back(&mut self, units: u32) {
        match self.word.give_back(units) {
            Some(word) => self.word = word,
            None => self.late += units,
        }
    }

    /// `close_of`, and what `counters/wallet.rs` says of it.
    fn close(&self, gateway: usize) -> Option<Close> {
        let spent = self.spent().max(self.recorded);
        let lease = (gateway, self.epoch, self.serial);
        (self.granted && self.word.is_frozen() && self.is_settled()).then(|| Close {
            lease,
            spent,
            last: self.last.filter(|_| spent > 0),
        })
    }
}

/// One gateway. A kill takes what is under way; its table, spool and batches stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Gateway {
    pub(super) number: usize,
    pub(super) up: bool,
    pub(super) epoch: u64,
    pub(super) next_serial: u32,
    pub(super) seq: u32,
    pub(super) slots: Vec<Slot>,
    /// A call each, with all that it may use.
    pub(super) in_flight: Vec<u32>,
    pub(super) spool: Vec<Record>,
    pub(super) unsent: Vec<(Batch, Vec<Record>)>,
    /// The lease that is asked for, and whether it was asked for before.
    pub(super) asked: Option<(u32, bool)>,
    pub(super) lane: Option<Lane>,
}

impl Gateway {
    pub(super) fn new(number: usize) -> Self {
        let (slots, in_flight, spool, unsent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (asked, lane) = (None, None);
        let (epoch, next_serial, seq) = (1, 1, 0);
        Self { number, up: true, epoch, next_serial, seq, slots, in_flight, spool, unsent, asked, lane }
    }

    pub(super) fn slot(&mut self, serial: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.serial == serial)
    }

    /// `Tally::take`: the first lease that has what a call may use.
    pub(super) fn usable(&self, per_call: u32) -> Option<usize> {
        let is_usable =
            |slot: &Slot| slot.epoch == self.epoch && slot.granted && slot.word.take(per_call).is_some();
        self.slots.iter().position(is_usable)
    }

    /// `Desk::wallet_closes`: stops leases that are used up, or all where they are too old, and says what can be closed.
    pub(super) fn closes(&mut self, per_call: u32, too_old: bool) -> Vec<Close> {
        let epoch = self.epoch;
        for slot in self.slots.iter_mut().filter(|slot| slot.epoch == epoch && slot.granted) {
            let used_up = slot.word.free() < per_call && (per_call == 1 || slot.is_settled());
            if used_up || too_old {
                slot.freeze();
            }
        }
        self.slots
            .iter()
            .filter(|slot| slot.epoch == epoch)
            .filter_map(|slot| slot.close(self.number))
            .collect()
    }

    /// `LeaseBook::close_earlier_wallets`.
    pub(super) fn earlier_closes(&self) -> Vec<Close> {
        let earlier = self.slots.iter().filter(|slot| slot.epoch != self.epoch);
        earlier.filter_map(|slot| slot.close(self.number)).collect()
    }

    /// `Desk::wallet_closed`: the control plane has noted these.
    pub(super) fn closed(&mut self, closes: &[Close]) {
        let said = |slot: &Slot| {
            closes.iter().any(|close| (close.lease.1, close.lease.2) == (slot.epoch, slot.serial))
        };
        self.slots.retain(|slot| !said(slot));
    }

    /// A batch of what is in the spool, noted in the leases (`LeaseBook::recorded`).
    pub(super) fn batch(&mut self) {
        if self.spool.is_empty() {
            return;
        }
        self.seq += 1;
        let (name, records) = ((self.number, self.epoch, self.seq), std::mem::take(&mut self.spool));
        for record in &records {
            if let Some(slot) = self.slot(record.serial) {
                slot.recorded += record.units;
                slot.last = Some(name);
            }
        }
        self.unsent.push((name, records));
    }

    /// A life begins: what was left is batched, that life's leases are stopped (`LeaseBook::stop_earlier_wallets`), and what has no
    /// record gets one, which costs nothing.
    pub(super) fn start(&mut self) {
        (self.up, self.epoch, self.seq) = (true, self.epoch + 1, 0);
        self.batch();
        for slot in &mut self.slots {
            if !slot.granted {
                slot.open(0);
            }
            slot.freeze();
            let units = slot.spent().saturating_sub(slot.recorded);
            if units > 0 {
                self.spool.push(Record { serial: slot.serial, units, billable: false });
            }
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        let nothing = self.slots.is_empty() && self.in_flight.is_empty() && self.spool.is_empty();
        self.up && nothing && self.unsent.is_empty() && self.lane.is_none()
    }
}

/// The control plane's side: one wallet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Plane {
    pub(super) balance: u32,
    pub(super) holds: BTreeMap<Name, u32>,
    pub(super) closes: BTreeMap<Name, (u32, Option<Batch>)>,
    posted: BTreeSet<Name>,
    batches: BTreeMap<Batch, Vec<Record>>,
    /// A close said other units than the batches up to its last have.
    pub(super) unlike: bool,
}

impl Plane {
    pub(super) fn with(balance: u32) -> Self {
        Self { balance, ..Self::default() }
    }

    pub(super) fn held(&self) -> u32 {
        self.holds.values().sum()
    }

    /// Whole calls only, as `wallet/leases/grant.rs`; nothing where the lease is over.
    pub(super) fn grant(&mut self, lease: Name, per_call: u32, want_calls: u32) -> Option<u32> {
        if self.closes.contains_key(&lease) {
            return None;
        }
        if let Some(units) = self.holds.get(&lease) {
            return Some(*units);
        }
        let free = u64::from((self.balance - self.held()) / per_call);
        let units = grant_units(0, free, true, want_calls) * per_call;
        if units > 0 {
            self.holds.insert(lease, units);
        }
        Some(units)
    }

    pub(super) fn close(&mut self, close: &Close) {
        let said = self.closes.entry(close.lease).or_insert((close.spent, close.last));
        self.unlike |= said.0 != close.spent;
        self.post();
    }

    pub(super) fn ingest(&mut self, batch: Batch, records: Vec<Record>) {
        self.batches.insert(batch, records);
        self.post();
    }

    /// Charges what is closed and has its batches.
    fn post(&mut self) {
        for (lease, (spent, last)) in &self.closes {
            let is_there = last.is_none_or(|last| self.batches.contains_key(&last));
            if !is_there || !self.posted.insert(*lease) {
                continue;
            }
            let up_to = self
                .batches
                .iter()
                .filter(|(batch, _)| batch.0 == lease.0 && last.is_some_and(|last| **batch <= last));
            let records = up_to.flat_map(|(_, records)| records).filter(|record| record.serial == lease.2);
            let (kept, billable) = records.fold((0, 0), |(kept, billable), record| {
                (kept + record.units, billable + if record.billable { record.units } else { 0 })
            });
            self.unlike |= kept != *spent;
            self.balance -= billable;
            self.holds.remove(lease);
        }
    }
}
