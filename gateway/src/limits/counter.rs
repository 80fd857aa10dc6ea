//! A counter at its store as a state machine, pure: what is granted, closed and forgotten. The embedded store keeps a
//! [`CounterState`] in a row; the Redis scripts do the same in Lua, and the conformance suite holds both to it. What a store knows beyond its counters (whether they are lost) is `store.rs`.

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

/// Decides a grant, where `granted` units are out: `open` is the lease of that name, `latest` the newest lease of that gateway, of this counter.
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

/// What is out once an open lease of so many units is closed, with this many of them unspent.
#[must_use]
pub fn after_close(granted: u64, units: u32, unspent: u32) -> u64 {
    granted.saturating_sub(u64::from(unspent.min(units)))
}

/// A counter at the store, in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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
            self.granted = after_close(self.granted, units, close.unspent);
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

#[cfg(test)]
#[path = "counter_tests.rs"]
mod tests;
