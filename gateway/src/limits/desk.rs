//! The leases of one counter on their way: asked for, open, closed at the store, done with. The desk is under its counter's
//! own lock, which no call takes to take a unit. Next: `asking.rs` gets leases, `maintain.rs` returns them.

use std::sync::atomic::Ordering::Relaxed;

use apiclay_config::usage::LeasedWindow;
use tokio::sync::watch;

use super::tally::Tally;
use super::{
    CLOSED_ALONE_MS, DRY_FAST_MS, DRY_SLOW_MS, SCARCE_DRY_FAST_MS, SCARCE_DRY_SLOW_MS, SCARCE_LEASES,
    SLOT_KEPT_MAX_MS, UNSETTLED_LEASES_MAX, UNSETTLED_MAX_MS, WALLET_RENEWED_AHEAD_MS, WANT_MAX_UNITS,
    WANT_START_MAX_UNITS, WANT_START_SHARE, WANT_START_UNITS,
};
use crate::counters::{Close, CountersError};

/// What came of a grant, once it did.
pub(super) type Answer = Option<Result<(), CountersError>>;

/// A lease in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct InHand {
    pub(super) place: u32,
    pub(super) serial: u32,
    /// When it came, or when it was closed.
    pub(super) since_ms: u64,
}

/// A lease that was asked for and not answered yet: asked again under the same name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) place: u32,
    pub(super) serial: u32,
    /// [`Tally::lowered`] then.
    pub(super) lowered: u64,
    /// Asked more than once: an earlier asking may still be under way.
    pub(super) again: bool,
}

/// The leases of one counter.
pub(super) struct Desk {
    pub(super) open: Vec<InHand>,
    closed: Vec<InHand>,
    /// Whether its counter stands among those in use.
    pub(super) listed: bool,
    pub(super) asked: Option<Asked>,
    pub(super) asking: Option<watch::Receiver<Answer>>,
    pub(super) want: u32,
    pub(super) granted_at_ms: u64,
    /// Until when it is believed that nobody answers: an asking had no answer.
    pub(super) unheard_until_ms: u64,
}

impl Desk {
    pub(super) fn new(want: u32) -> Self {
        let (open, closed) = (Vec::new(), Vec::new());
        Self {
            open,
            closed,
            listed: false,
            asked: None,
            asking: None,
            want,
            granted_at_ms: 0,
            unheard_until_ms: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty() && self.asked.is_none()
    }

    /// Stops every lease in hand, for good.
    pub(super) fn withdraw(&self, tally: &Tally) {
        for lease in self.open.iter().chain(&self.closed) {
            tally.core.table.slot(lease.place).expire();
            freeze(tally, lease);
        }
    }

    /// Freezes leases that are done with, and says all that the store has not heard of yet. Where nothing else is said to it,
    /// used-up leases wait for the next grant and ride along; they hold nothing back from others.
    pub(super) fn closes(&mut self, tally: &Tally, now_ms: u64, idle: bool, rides: bool) -> Vec<Close> {
        if tally.window == LeasedWindow::Wallet {
            return self.wallet_closes(tally, now_ms, idle);
        }
        let crowded = self.open.len().saturating_sub(UNSETTLED_LEASES_MAX);
        let rests_ms = now_ms.saturating_sub(tally.used_at_ms.load(Relaxed));
        let says_used_up = rides || rests_ms >= CLOSED_ALONE_MS;
        for (index, lease) in self.open.iter().enumerate() {
            let slot = tally.core.table.slot(lease.place);
            let used_up = slot.word().free() == 0;
            let unsettled_ms = now_ms.saturating_sub(lease.since_ms);
            let settled = slot.is_settled() && says_used_up;
            let done = used_up && (settled || index < crowded || unsettled_ms >= UNSETTLED_MAX_MS);
            if now_ms >= slot.ends_ms() || done || (idle && !used_up) {
                freeze(tally, lease);
            }
        }
        let frozen = self.open.iter().filter(|l| tally.core.table.slot(l.place).word().is_frozen());
        frozen
            .map(|lease| {
                let slot = tally.core.table.slot(lease.place);
                Close {
                    lease: tally.core.lease_id(lease.serial),
                    window: slot.window(),
                    unspent: slot.word().free(),
                    spent: None,
                }
            })
            .collect()
    }

    /// The store has closed these.
    pub(super) fn closed(&mut self, tally: &Tally, closes: &[Close], now_ms: u64) {
        if tally.window == LeasedWindow::Wallet {
            return self.wallet_closed(tally, closes);
        }
        for close in closes {
            let Some(index) = self.open.iter().position(|l| l.serial == close.lease.serial) else { continue };
            let lease = self.open.swap_remove(index);
            let slot = tally.core.table.slot(lease.place);
            let spare = slot.closed();
            tally.out.count_out(close.unspent);
            self.closed.push(InHand { since_ms: now_ms, ..lease });
            if spare > 0 {
                tally.hold(lease.place, lease.serial);
            }
        }
    }

    /// Empties the slots of closed leases whose every unit has a record.
    pub(super) fn release_settled(&mut self, tally: &Tally, now_ms: u64, unused: bool) {
        self.closed.retain(|lease| {
            let slot = tally.core.table.slot(lease.place);
            let spare = slot.word().free() > 0 && now_ms < slot.ends_ms() && !unused;
            let settled = slot.is_settled();
            let long_ago = now_ms.saturating_sub(lease.since_ms) >= SLOT_KEPT_MAX_MS;
            if spare || !(settled || long_ago) {
                return true;
            }
            if !settled {
                tracing::warn!(lease = lease.serial, "units of a lease never had a record");
            }
            tally.unhold(lease.place, lease.serial);
            // Settled units were counted out as they were recorded; the rest goes out of the count with its slot.
            let rest = slot.units().saturating_sub(slot.returned()).saturating_sub(slot.recorded());
            tally.out.count_out(rest);
            tally.core.let_go(lease.place, lease.serial);
            false
        });
    }

    /// Units given back to leases that had no room in sight: into sight with them.
    pub(super) fn show_spare(&self, tally: &Tally) -> bool {
        let mut shown = false;
        for lease in self.closed.iter().chain(&self.open) {
            let word = tally.core.table.slot(lease.place).word();
            if !word.is_frozen() && word.free() >= tally.per_call {
                shown |= tally.hold(lease.place, lease.serial);
            }
        }
        shown
    }

    pub(super) fn adapt_want(&mut self, tally: &Tally, now_ms: u64) {
        let lasted_ms = now_ms.saturating_sub(self.granted_at_ms);
        let options = &tally.core.options;
        let (fast_ms, slow_ms, max_units) = match tally.window {
            // For its whole time, so that calls go on for as long while the control plane is away.
            LeasedWindow::Wallet => {
                let fast_ms = options.wallet_lease_max_ms.saturating_sub(WALLET_RENEWED_AHEAD_MS);
                (fast_ms, u64::MAX, options.wallet_lease_units)
            }
            _ if self.is_scarce(tally) => (SCARCE_DRY_FAST_MS, SCARCE_DRY_SLOW_MS, WANT_MAX_UNITS),
            _ => (DRY_FAST_MS, DRY_SLOW_MS, WANT_MAX_UNITS),
        };
        self.want = self.want.min(max_units);
        if self.granted_at_ms == 0 {
            return;
        }
        if lasted_ms < fast_ms {
            self.want = self.want.saturating_mul(2).min(max_units);
        } else if lasted_ms > slow_ms {
            self.want = (self.want / 2).max(1);
        }
    }

    /// Whether others may soon be refused for what this gateway holds.
    fn is_scarce(&self, tally: &Tally) -> bool {
        let remaining = tally.remaining_at_store.load(Relaxed) / u64::from(tally.per_call);
        self.granted_at_ms > 0 && tally.hard.load(Relaxed) && remaining < SCARCE_LEASES * u64::from(self.want)
    }

    /// After a rest, or under another limit, no more is asked for than at first.
    pub(super) fn calm(&mut self, tally: &Tally) {
        self.want = self.want.min(want_start(tally.window, tally.max.load(Relaxed)));
    }
}

/// Calls that the first lease of a counter is to last for.
pub(super) fn want_start(window: LeasedWindow, max: u64) -> u32 {
    // A wallet's lease is money that nobody else can spend.
    if window == LeasedWindow::Wallet {
        return WANT_START_UNITS;
    }
    let share = u32::try_from(max / WANT_START_SHARE).unwrap_or(u32::MAX);
    share.clamp(WANT_START_UNITS, WANT_START_MAX_UNITS)
}

/// Takes a lease out of calls' sight and stops it.
pub(super) fn freeze(tally: &Tally, lease: &InHand) {
    tally.unhold(lease.place, lease.serial);
    tally.core.table.slot(lease.place).freeze();
}
