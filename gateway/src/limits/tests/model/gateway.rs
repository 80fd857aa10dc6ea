//! A gateway's side of leases as values that can be compared and hashed. The lease's word is the real [`LeaseWord`]; around it
//! each function mirrors the one that its comment names.

use std::sync::Arc;

use super::plane::{Batch, InHand, Report};
use super::{Fault, WINDOWS};
use crate::limits::lease::LeaseWord;
use crate::limits::store::{Built, Marker};

/// A row of the lease table (`slot.rs`). It outlives its gateway's lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) serial: u32,
    pub(super) epoch: u64,
    pub(super) granted: bool,
    pub(super) word: LeaseWord,
    pub(super) window: usize,
    pub(super) units: u32,
    pub(super) returned: u32,
    pub(super) late: u32,
    pub(super) recorded: u32,
    /// `ENDS` is past: its window is over, or it was withdrawn (`Slot::expire`).
    pub(super) over: bool,
    /// The limit was lowered since it was asked for (`Asked::lowered`).
    pub(super) lowered: bool,
    /// For the properties: the limit it was asked for under.
    pub(super) max: u64,
}

impl Slot {
    /// `Slot::unspent`.
    pub(super) fn unspent(&self) -> u32 {
        self.word.free() + self.late
    }

    /// `Slot::spent`.
    pub(super) fn spent(&self) -> u32 {
        let gone = if self.word.is_closed() { self.returned } else { self.late };
        self.units.saturating_sub(self.word.free()).saturating_sub(gone)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.recorded >= self.spent()
    }

    /// Units that are out and in no batch: what `Out::units` adds up.
    pub(super) fn open_units(&self) -> u32 {
        self.units.saturating_sub(self.returned).saturating_sub(self.recorded)
    }

    /// Whether a call can take a unit (`Slot::take`).
    pub(super) fn is_usable(&self) -> bool {
        self.granted && !self.over && self.word.take(1).is_some()
    }

    /// `Slot::open`.
    pub(super) fn open(&mut self, window: usize, units: u32, over: bool) {
        (self.window, self.units, self.over) = (window, units, over || self.over);
        (self.granted, self.word) = (true, LeaseWord::open(self.serial, units));
    }

    pub(super) fn freeze(&mut self) {
        self.word = self.word.freeze().unwrap_or(self.word);
    }

    /// `Slot::give_back`.
    pub(super) fn give_back(&mut self, fault: Option<Fault>) {
        match self.word.give_back(1) {
            Some(word) => self.word = word,
            None if fault == Some(Fault::FrozenLeaseTakesUnitsBack) => self.word = LeaseWord(self.word.0 + 1),
            None => self.late += 1,
        }
    }

    /// `Slot::closed`.
    pub(super) fn closed(&mut self) {
        if self.word.is_frozen() {
            self.returned = self.word.free();
            self.word = self.word.closed(std::mem::take(&mut self.late));
        }
    }

    /// `Slot::closed_after_kill`.
    pub(super) fn closed_after_kill(&mut self) {
        self.returned = self.unspent();
        self.word = self.word.closed(0);
    }
}

/// What a close gives back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Returned {
    pub(super) serial: u32,
    pub(super) epoch: u64,
    pub(super) window: usize,
    pub(super) unspent: u32,
}

/// What is said to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) known: Marker,
    pub(super) closes: Vec<Returned>,
    pub(super) grant: Option<Wish>,
}

/// A lease that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) serial: u32,
    pub(super) epoch: u64,
    /// Which window the gateway takes it to be.
    pub(super) window: usize,
    pub(super) max: u64,
    pub(super) want: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Granted { window: usize, units: u32, marker: Marker },
    Stale,
    Turned(usize),
    Closed(Marker),
    Lost,
}

/// What is under way between a gateway and the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Asked(Request),
    Answered(Request, Answer),
}

/// Figures that a gateway was given to write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Writing {
    pub(super) marker: Marker,
    pub(super) figures: [Built; WINDOWS],
    pub(super) built: bool,
}

/// One gateway. A kill takes all but its table, its spool and its number of lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Gateway {
    pub(super) id: Arc<str>,
    pub(super) slots: Vec<Slot>,
    pub(super) next_serial: u32,
    pub(super) epoch: u64,
    pub(super) unacked: Vec<Batch>,
    pub(super) up: bool,
    pub(super) seq: u64,
    pub(super) in_flight: Vec<u32>,
    pub(super) asked: Option<u32>,
    pub(super) lane: Option<Lane>,
    pub(super) known: Marker,
    pub(super) generation_min: u64,
    pub(super) report: Option<Report>,
    pub(super) writing: Option<Writing>,
    pub(super) taken: Option<Marker>,
    pub(super) guess: usize,
    // From the configuration, which a start reads anew.
    pub(super) max: u64,
    pub(super) revoked: bool,
}

impl Gateway {
    pub(super) fn new(id: &str, marker: &Marker, max: u64, guess: usize) -> Self {
        Self {
            id: id.into(),
            slots: Vec::new(),
            next_serial: 1,
            epoch: 1,
            unacked: Vec::new(),
            up: true,
            seq: 0,
            in_flight: Vec::new(),
            asked: None,
            lane: None,
            known: marker.clone(),
            generation_min: 0,
            report: None,
            writing: None,
            taken: Some(marker.clone()),
            guess,
            max,
            revoked: false,
        }
    }

    pub(super) fn slot(&mut self, serial: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.serial == serial)
    }

    /// Leases of this life, as the desk has them.
    pub(super) fn own(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.epoch == self.epoch)
    }

    pub(super) fn open_units(&self) -> u32 {
        self.own().map(Slot::open_units).sum()
    }

    /// `Tally::take`: the first lease that has a unit.
    pub(super) fn usable(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.epoch == self.epoch && slot.is_usable())
    }

    /// `Desk::closes`: freezes leases that are done with, and says all that the store has not heard of yet. Long unsettled
    /// leases are closed like idle ones.
    pub(super) fn closes(&mut self, idle: bool) -> Vec<Returned> {
        let epoch = self.epoch;
        let open = self.slots.iter_mut().filter(|slot| slot.epoch == epoch && slot.granted);
        let mut closes = Vec::new();
        for slot in open.filter(|slot| !slot.word.is_closed()) {
            let used_up = slot.word.free() == 0;
            if slot.over || idle || (used_up && slot.is_settled()) {
                slot.freeze();
            }
            if slot.word.is_frozen() {
                let unspent = slot.word.free();
                closes.push(Returned { serial: slot.serial, epoch, window: slot.window, unspent });
            }
        }
        closes
    }

    /// `Desk::closed`.
    pub(super) fn closed(&mut self, closes: &[Returned]) {
        let epoch = self.epoch;
        for close in closes.iter().filter(|close| close.epoch == epoch) {
            if let Some(slot) = self.slot(close.serial) {
                slot.closed();
            }
        }
    }

    /// `Desk::release_settled` and `LeaseBook::release_earlier`; says units that go to waste with their slot, by window.
    pub(super) fn tidy(&mut self) -> [u32; WINDOWS] {
        let (epoch, revoked) = (self.epoch, self.revoked);
        let mut wasted = [0; WINDOWS];
        self.slots.retain(|slot| {
            let spare = slot.word.free() > 0 && !slot.over && !revoked && slot.epoch == epoch;
            let done = slot.granted && slot.word.is_closed() && slot.is_settled() && !spare;
            if done {
                wasted[slot.window] += slot.word.free();
            }
            !done
        });
        wasted
    }

    /// A batch of units of one lease, noted there (`LeaseBook::recorded`). Every record has a batch of its own here.
    pub(super) fn batch(&mut self, serial: u32, units: u32) {
        let Some(slot) = self.slot(serial) else { return };
        slot.recorded += units;
        let window = slot.window;
        self.seq += 1;
        let mut taken = [0; WINDOWS];
        taken[window] = units;
        self.unacked.push(Batch { epoch: self.epoch, seq: self.seq, units: taken });
    }

    /// `Rebuilder::report`: `Batcher::unacknowledged` and `LeaseBook::in_hand`.
    pub(super) fn report(&self) -> Report {
        let mut sums = [0; WINDOWS];
        let mut lives = vec![(self.epoch, self.seq, Vec::new())];
        for batch in &self.unacked {
            (0..WINDOWS).for_each(|window| sums[window] += batch.units[window]);
            match lives.iter_mut().find(|(epoch, ..)| *epoch == batch.epoch) {
                Some((.., except)) => except.push(batch.seq),
                None => lives.push((batch.epoch, u64::MAX, vec![batch.seq])),
            }
        }
        let mut leases = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.granted) {
            if slot.word.is_closed() {
                sums[slot.window] += slot.open_units();
                continue;
            }
            leases.push(InHand {
                serial: slot.serial,
                epoch: slot.epoch,
                window: slot.window,
                units: slot.units,
                in_batches: slot.recorded.min(slot.units),
            });
        }
        Report { lives, sums, leases }
    }

    /// Whether something of it is still to come: messages, calls, leases, batches.
    pub(super) fn is_quiet(&self) -> bool {
        let spare_only = self.slots.iter().all(|slot| slot.word.is_closed() && slot.is_settled());
        self.up && self.lane.is_none() && self.in_flight.is_empty() && self.unacked.is_empty() && spare_only
    }
}
