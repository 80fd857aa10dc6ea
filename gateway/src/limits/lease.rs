//! The two state machines of a limit, pure: a counter at the store ([`CounterState`]) and a lease at the gateway
//! ([`LeaseWord`]). The Redis script and the embedded store follow the first, and the conformance suite compares them with
//! it; the mapped lease table holds the second, a word a lease. Next: `counters/` and `table.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::counters::{Close, LeaseId};

/// A grant takes at most this part of what remains, so that the last units reach every gateway that has calls for them.
const GRANT_PART: u64 = 4;

/// What one grant asks of a counter in one window.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The lease's name.
    pub lease: &'a LeaseId,
    /// The limit.
    pub max: u64,
    /// Whether it holds.
    pub hard: bool,
    /// Units wanted.
    pub want: u32,
}

/// What a counter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This lease is open already, with so many units.
    Same(u32),
    /// A lease of that or a later name was granted and closed: a late echo of an old request.
    Stale,
    /// A new lease of so many units; 0 where nothing remains.
    Fresh(u32),
}

/// How many units a new lease gets.
#[must_use]
pub fn grant_units(granted: u64, max: u64, hard: bool, want: u32) -> u32 {
    if !hard {
        return want;
    }
    let remaining = max.saturating_sub(granted);
    let part = remaining.div_ceil(GRANT_PART).min(remaining);
    want.min(u32::try_from(part).unwrap_or(u32::MAX))
}

/// Decides a grant: `open` is the lease of that name, `latest` the newest lease of that gateway, of this counter.
#[must_use]
pub fn decide(ask: &Ask<'_>, granted: u64, open: Option<u32>, latest: Option<(u64, u32)>) -> Decision {
    if let Some(units) = open {
        return Decision::Same(units);
    }
    match latest {
        Some((epoch, serial)) if epoch == ask.lease.epoch && !is_later(ask.lease.serial, serial) => {
            Decision::Stale
        }
        _ => Decision::Fresh(grant_units(granted, ask.max, ask.hard, ask.want)),
    }
}

/// Whether serial `a` comes after `b`; serials wrap, and two that are compared are never half their range apart.
#[must_use]
pub fn is_later(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// A counter at the store, in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterState {
    /// Units out: spent, or in open leases.
    pub granted: u64,
    /// Units of the open leases.
    pub open: BTreeMap<LeaseId, u32>,
    /// Epoch and serial of each gateway's newest lease.
    pub latest: BTreeMap<Arc<str>, (u64, u32)>,
}

impl CounterState {
    /// Grants a lease or says it again.
    pub fn grant(&mut self, ask: &Ask<'_>) -> Decision {
        let open = self.open.get(ask.lease).copied();
        let decision = decide(ask, self.granted, open, self.latest.get(&ask.lease.gateway).copied());
        if let Decision::Fresh(units @ 1..) = decision {
            self.granted += u64::from(units);
            self.open.insert(ask.lease.clone(), units);
            self.latest.insert(ask.lease.gateway.clone(), (ask.lease.epoch, ask.lease.serial));
        }
        decision
    }

    /// Takes back what the lease had left, the first time.
    pub fn close(&mut self, close: &Close) {
        if let Some(units) = self.open.remove(&close.lease) {
            self.granted = self.granted.saturating_sub(u64::from(close.unspent.min(units)));
        }
    }

    /// Counts the gateway's open leases as spent.
    pub fn forget(&mut self, gateway: &str) -> u64 {
        let mut units = 0;
        self.open.retain(|lease, open| {
            let theirs = &*lease.gateway == gateway;
            units += if theirs { u64::from(*open) } else { 0 };
            !theirs
        });
        units
    }
}

/// Units one lease can have.
pub const LEASE_MAX_UNITS: u32 = FREE;
const FROZEN: u32 = 1 << 31;
const CLOSED: u32 = 1 << 30;
const FREE: u32 = CLOSED - 1;

/// A lease at the gateway as one word that is compared and swapped: its serial, so that a word of another lease in the same
/// place is never taken for it; its free units; and how far it is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseWord(pub u64);

impl LeaseWord {
    /// An open lease with this many free units.
    #[must_use]
    pub fn open(serial: u32, free: u32) -> Self {
        Self(u64::from(serial) << 32 | u64::from(free.min(FREE)))
    }

    /// The lease's number at the gateway; 0 where there is none.
    #[must_use]
    pub fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Units that no call has.
    #[must_use]
    pub fn free(self) -> u32 {
        self.0 as u32 & FREE
    }

    /// Being closed: its free units are on their way to the store and nobody may take them.
    #[must_use]
    pub fn is_frozen(self) -> bool {
        self.0 as u32 & FROZEN != 0
    }

    /// Closed at the store: what is free was given back by calls afterwards, and counts as spent at the store.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.0 as u32 & CLOSED != 0
    }

    /// Less one free unit; `None` where none can be taken.
    #[must_use]
    pub fn take(self) -> Option<Self> {
        (!self.is_frozen() && self.free() > 0).then(|| Self(self.0 - 1))
    }

    /// With one free unit more; `None` while it is frozen.
    #[must_use]
    pub fn give_back(self, units: u32) -> Option<Self> {
        (!self.is_frozen() && self.free() <= FREE - units).then(|| Self(self.0 + u64::from(units)))
    }

    /// Frozen; `None` where it is frozen or closed.
    #[must_use]
    pub fn freeze(self) -> Option<Self> {
        (!self.is_frozen() && !self.is_closed()).then(|| Self(self.0 | u64::from(FROZEN)))
    }

    /// Closed, with the units that calls gave back in the meantime.
    #[must_use]
    pub fn closed(self, given_back: u32) -> Self {
        Self(u64::from(self.serial()) << 32 | u64::from(CLOSED | given_back.min(FREE)))
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
