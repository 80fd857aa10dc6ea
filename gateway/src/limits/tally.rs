//! One counter at this gateway: the leases in hand, and what the store last said. Taking a unit and giving it back is one
//! compare-and-swap in the mapped slot: no lock, no allocation. Getting leases is `asking.rs`. Next: the call's event names
//! the unit's lease.

use std::hint::black_box;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, Weak};
use std::time::Instant;

use apiclay_config::usage::LeasedWindow;
use parking_lot::Mutex;

use super::book::Core;
use super::desk::{Desk, want_start};
use super::{CounterSpec, EXHAUSTED_BELIEVED_MS, Take, Unit, View};
use crate::counters::COUNT_MAX;

/// Leases of one counter that calls look at; one cache line.
pub(super) const HELD_MAX: usize = 8;
/// How exactly the last use is known: writing it on every call would make the line it stands on a bottleneck.
const USED_STEP_MS: u64 = 500;

/// Leases with units, as `slot << 32 | serial`; 0 where there is none. Alone on their cache line, as they seldom change.
#[repr(align(64))]
pub(super) struct Held(pub(super) [AtomicU64; HELD_MAX]);

/// What is out of one counter.
pub(super) struct Out {
    pub(super) key: Arc<str>,
    /// Units granted, neither recorded nor returned.
    pub(super) units: AtomicU64,
}

impl Out {
    pub(super) fn of(key: &str) -> Arc<Self> {
        Arc::new(Self { key: key.into(), units: AtomicU64::new(0) })
    }

    /// Takes units out of the count.
    pub(super) fn count_out(&self, units: u32) {
        let less = |open: u64| Some(open.saturating_sub(u64::from(units)));
        let _ = self.units.fetch_update(SeqCst, SeqCst, less);
    }
}

/// One counter of this gateway. In this order, as every call that is admitted waits for its first two cache lines, and for no other.
#[repr(C)]
pub struct Tally {
    pub(super) held: Held,
    pub(super) core: Arc<Core>,
    pub(super) used_at_ms: AtomicU64,
    pub(super) max: AtomicU64,
    pub(super) remaining_at_store: AtomicU64,
    /// End of the window of the last grant; `u64::MAX` for a trial, 0 before the first.
    pub(super) window_ends_ms: AtomicU64,
    pub(super) me: Weak<Self>,
    pub(super) low_mark: AtomicU32,
    /// Units that a call takes, from one lease; 1 or more.
    pub(super) per_call: u32,
    pub(super) window: LeasedWindow,
    pub(super) hard: AtomicBool,
    /// Goes up with each lowering: a lease asked for before it is not spent.
    pub(super) lowered: AtomicU64,
    pub(super) exhausted_until_ms: AtomicU64,
    pub(super) unavailable_until_ms: AtomicU64,
    /// What whoever notes records of its leases needs: apart, so that he does not take from calls the memory that they need.
    pub(super) out: Arc<Out>,
    pub(super) desk: Mutex<Desk>,
}

impl Tally {
    pub(super) fn new(core: Arc<Core>, spec: &CounterSpec) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            out: Out::of(&spec.key),
            window: spec.window,
            per_call: spec.units_per_call.max(1),
            held: Held([const { AtomicU64::new(0) }; HELD_MAX]),
            max: AtomicU64::new(spec.max.min(COUNT_MAX)),
            hard: AtomicBool::new(spec.hard),
            lowered: AtomicU64::new(0),
            low_mark: AtomicU32::new(0),
            used_at_ms: AtomicU64::new(core.clock.now_ms()),
            exhausted_until_ms: AtomicU64::new(0),
            unavailable_until_ms: AtomicU64::new(0),
            window_ends_ms: AtomicU64::new(0),
            remaining_at_store: AtomicU64::new(0),
            desk: Mutex::new(Desk::new(want_start(spec.window, spec.max))),
            core,
        })
    }

    /// Reads what a call will read here, so that the memory is on its way while other things are read.
    pub fn touch(&self) {
        black_box(self.used_at_ms.load(Relaxed));
        for handle in self.held.0.iter().map(|held| held.load(Relaxed)).filter(|handle| *handle != 0) {
            let (place, _) = unpack(handle);
            black_box(self.core.table.slot(place).word());
        }
    }

    /// Takes what a call needs, before the upstream is touched.
    pub fn take(&self) -> Take {
        self.take_at(Instant::now())
    }

    /// The same for a call that has just read the clock.
    pub fn take_at(&self, now: Instant) -> Take {
        let now_ms = self.core.clock.ms_at(now);
        for held in &self.held.0 {
            let handle = held.load(Acquire);
            if handle == 0 {
                continue;
            }
            let (place, serial) = unpack(handle);
            let Some(left) = self.core.table.slot(place).take(serial, now_ms, self.per_call) else {
                continue;
            };
            if now_ms >= self.used_at_ms.load(Relaxed).saturating_add(USED_STEP_MS) {
                self.used_at_ms.store(now_ms, Relaxed);
            }
            // By the one call that passes it.
            let low_mark = self.low_mark.load(Relaxed);
            if left <= low_mark && left.saturating_add(self.per_call) > low_mark {
                self.core.runs_low(&self.me);
            }
            return Take::Unit(Unit { lease: serial, units: self.per_call, slot: place });
        }
        if now_ms < self.unavailable_until_ms.load(Acquire) {
            Take::Unavailable
        } else if now_ms < self.exhausted_until_ms.load(Acquire) {
            Take::Exhausted { resets_in_ms: self.resets_in_ms(now_ms) }
        } else {
            Take::Wait
        }
    }

    /// Gives units back: the call does not count, or used fewer, and another may take them.
    pub fn give_back(&self, unit: Unit) {
        let slot = self.core.table.slot(unit.slot);
        if slot.give_back(unit.lease, unit.units) {
            self.hold(unit.slot, unit.lease);
        }
    }

    /// The counter as this gateway sees it.
    pub fn view(&self) -> View {
        self.view_at(Instant::now())
    }

    /// The same for a call that has just read the clock.
    pub fn view_at(&self, now: Instant) -> View {
        let now_ms = self.core.clock.ms_at(now);
        let max = self.max.load(Relaxed);
        let ends_ms = self.window_ends_ms.load(Acquire);
        if now_ms >= ends_ms {
            return View { max, remaining: max, resets_in_ms: None };
        }
        let here: u64 = self.held.0.iter().map(|held| self.free_units(held.load(Acquire), now_ms)).sum();
        let remaining = self.remaining_at_store.load(Relaxed).saturating_add(here).min(max);
        View { max, remaining, resets_in_ms: self.resets_in_ms(now_ms) }
    }

    /// Applies a changed limit. Where it was lowered, no unit of the leases in hand is taken any more: they go back, and
    /// the store decides under the new limit.
    pub(super) fn set_limit(&self, spec: &CounterSpec) {
        let max = spec.max.min(COUNT_MAX);
        if self.max.load(Relaxed) == max && self.hard.load(Relaxed) == spec.hard {
            return;
        }
        let mut desk = self.desk.lock();
        let (old_max, old_hard) = (self.max.swap(max, SeqCst), self.hard.swap(spec.hard, SeqCst));
        if max < old_max || (spec.hard && !old_hard) {
            self.lowered.fetch_add(1, SeqCst);
            desk.withdraw(self);
            desk.calm(self);
        }
        self.exhausted_until_ms.store(0, SeqCst);
    }

    /// Lets calls see a lease. Where there is no room, it waits until one of those in sight is empty.
    pub(super) fn hold(&self, place: u32, serial: u32) -> bool {
        let handle = pack(place, serial);
        if self.held.0.iter().any(|held| held.load(SeqCst) == handle) {
            return true;
        }
        self.held.0.iter().any(|held| held.compare_exchange(0, handle, SeqCst, Relaxed).is_ok())
    }

    /// Takes a lease out of calls' sight.
    pub(super) fn unhold(&self, place: u32, serial: u32) {
        let handle = pack(place, serial);
        for held in &self.held.0 {
            let _ = held.compare_exchange(handle, 0, SeqCst, Relaxed);
        }
    }

    /// Takes used-up leases out of sight, so that there is room for others.
    pub(super) fn tidy_held(&self, now_ms: u64) {
        for held in &self.held.0 {
            let handle = held.load(SeqCst);
            if handle != 0 && self.free_units(handle, now_ms) == 0 {
                let _ = held.compare_exchange(handle, 0, SeqCst, Relaxed);
                // A call may have given a unit back while it was still in sight, and trusted that.
                if self.free_units(handle, now_ms) > 0 {
                    let (place, serial) = unpack(handle);
                    self.hold(place, serial);
                }
            }
        }
    }

    /// Units that calls can take now.
    pub(super) fn units_at_hand(&self, now_ms: u64) -> u64 {
        self.held.0.iter().map(|held| self.free_units(held.load(Acquire), now_ms)).sum()
    }

    fn free_units(&self, handle: u64, now_ms: u64) -> u64 {
        let (place, serial) = unpack(handle);
        if serial == 0 {
            return 0;
        }
        let slot = self.core.table.slot(place);
        let word = slot.word();
        let usable = word.serial() == serial && !word.is_frozen() && now_ms < slot.ends_ms();
        // What is less than a call takes nobody can take.
        if usable { u64::from(word.free() - word.free() % self.per_call) } else { 0 }
    }

    pub(super) fn believe_exhausted(&self, now_ms: u64, ends_ms: u64) {
        let until_ms = now_ms.saturating_add(EXHAUSTED_BELIEVED_MS).min(ends_ms);
        self.exhausted_until_ms.store(until_ms, SeqCst);
    }

    fn resets_in_ms(&self, now_ms: u64) -> Option<u64> {
        let ends_ms = self.window_ends_ms.load(Acquire);
        (ends_ms != u64::MAX).then(|| ends_ms.saturating_sub(now_ms))
    }
}

fn pack(place: u32, serial: u32) -> u64 {
    u64::from(place) << 32 | u64::from(serial)
}

fn unpack(handle: u64) -> (u32, u32) {
    ((handle >> 32) as u32, handle as u32)
}
