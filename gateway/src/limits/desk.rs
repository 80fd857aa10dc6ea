//! Where a counter's leases come from and go: one grant at a time, shared by all calls that wait; closes ride along with
//! it. The desk is under its counter's own lock, which no call takes to take a unit. Next: the counter store.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::Duration;

use tokio::sync::watch;

use super::tally::Tally;
use super::{
    DRY_FAST_MS, DRY_SLOW_MS, SLOT_KEPT_MAX_MS, UNAVAILABLE_BELIEVED_MS, UNSETTLED_LEASES_MAX,
    UNSETTLED_MAX_MS, WANT_MAX_UNITS, WANT_START_UNITS,
};
use crate::counters::{Close, CountersError, Grant, GrantRequest};

/// Tries of one refill: a lease may come too late for its window, or its name be over.
const ASKS_MAX: usize = 4;
/// Pause before asking again where the window ended while the answer was under way.
const TURN_PAUSE_MS: u64 = 5;

type Answer = Option<Result<(), CountersError>>;

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
struct Asked {
    place: u32,
    serial: u32,
    lowered: u64,
}

/// The leases of one counter.
pub(super) struct Desk {
    open: Vec<InHand>,
    closed: Vec<InHand>,
    asked: Option<Asked>,
    asking: Option<watch::Receiver<Answer>>,
    want: u32,
    granted_at_ms: u64,
}

impl Desk {
    pub(super) fn new(want: u32) -> Self {
        Self { open: Vec::new(), closed: Vec::new(), asked: None, asking: None, want, granted_at_ms: 0 }
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

    /// Freezes leases that are done with, and says all that the store has not heard of yet.
    pub(super) fn closes(&mut self, tally: &Tally, now_ms: u64, idle: bool) -> Vec<Close> {
        let crowded = self.open.len().saturating_sub(UNSETTLED_LEASES_MAX);
        for (index, lease) in self.open.iter().enumerate() {
            let slot = tally.core.table.slot(lease.place);
            let used_up = slot.word().free() == 0;
            let unsettled_ms = now_ms.saturating_sub(lease.since_ms);
            let done = used_up && (slot.is_settled() || index < crowded || unsettled_ms >= UNSETTLED_MAX_MS);
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
                }
            })
            .collect()
    }

    /// The store has closed these.
    pub(super) fn closed(&mut self, tally: &Tally, closes: &[Close], now_ms: u64) {
        for close in closes {
            let Some(index) = self.open.iter().position(|l| l.serial == close.lease.serial) else { continue };
            let lease = self.open.swap_remove(index);
            let slot = tally.core.table.slot(lease.place);
            let spare = slot.closed();
            tally.core.count_out(tally, close.unspent);
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
            tally.core.count_out(tally, rest);
            tally.core.let_go(lease.place, lease.serial);
            false
        });
    }

    /// Units given back to leases that had no room in sight: into sight with them.
    fn show_spare(&self, tally: &Tally) -> bool {
        let mut shown = false;
        for lease in self.closed.iter().chain(&self.open) {
            let word = tally.core.table.slot(lease.place).word();
            if !word.is_frozen() && word.free() > 0 {
                shown |= tally.hold(lease.place, lease.serial);
            }
        }
        shown
    }

    fn adapt_want(&mut self, now_ms: u64) {
        let lasted_ms = now_ms.saturating_sub(self.granted_at_ms);
        if self.granted_at_ms > 0 && lasted_ms < DRY_FAST_MS {
            self.want = self.want.saturating_mul(2).min(WANT_MAX_UNITS);
        } else if lasted_ms > DRY_SLOW_MS {
            self.want = (self.want / 2).max(1);
        }
    }

    pub(super) fn calm(&mut self) {
        self.want = self.want.min(WANT_START_UNITS);
    }
}

fn freeze(tally: &Tally, lease: &InHand) {
    tally.unhold(lease.place, lease.serial);
    tally.core.table.slot(lease.place).freeze();
}

impl Tally {
    /// Waits for one grant, shared by all who wait for this counter, at most `lease_wait_ms`.
    ///
    /// # Errors
    /// When the store did not answer in time or refused; `Ok` where it answered, be it that nothing remains.
    pub async fn refill(&self) -> Result<(), CountersError> {
        let mut answer = self.ask_once().ok_or(CountersError::Unavailable(None))?;
        let wait = Duration::from_millis(self.core.options.lease_wait_ms);
        match tokio::time::timeout(wait, answer.wait_for(Option::is_some)).await {
            Ok(Ok(result)) => result.clone().unwrap_or(Ok(())),
            Ok(Err(_)) | Err(_) => Err(CountersError::Unavailable(None)),
        }
    }

    /// Begins a grant, unless one is under way; it goes on whoever stops waiting for it.
    pub(super) fn ask_once(&self) -> Option<watch::Receiver<Answer>> {
        let mut desk = self.desk.lock();
        // A sender that is gone without an answer was dropped with its runtime: ask anew.
        if let Some(asking) = desk.asking.as_ref().filter(|asking| asking.has_changed().is_ok()) {
            return Some(asking.clone());
        }
        let me = self.me.upgrade()?;
        let (sender, receiver) = watch::channel(None);
        desk.asking = Some(receiver.clone());
        drop(desk);
        tokio::spawn(async move {
            let result = me.ask().await;
            if let Err(error) = &result {
                tracing::debug!(counter = me.key, %error, "no grant");
                let until_ms = me.core.clock.now_ms().saturating_add(UNAVAILABLE_BELIEVED_MS);
                me.unavailable_until_ms.store(until_ms, SeqCst);
            }
            me.desk.lock().asking = None;
            let _ = sender.send(Some(result));
        });
        Some(receiver)
    }

    async fn ask(self: &Arc<Self>) -> Result<(), CountersError> {
        for _ in 0..ASKS_MAX {
            let Some((asked, request)) = self.prepare()? else { return Ok(()) };
            let sent_ms = self.core.clock.now_ms();
            match self.core.counters.grant(&request).await {
                Ok(grant) => {
                    if self.arrived(asked, &request, &grant, sent_ms) {
                        return Ok(());
                    }
                    // Withdrawn under a lowered limit, or of a window whose last milliseconds are over here.
                    if grant.ends_in_ms.is_some_and(|ms| ms < TURN_PAUSE_MS) {
                        tokio::time::sleep(Duration::from_millis(TURN_PAUSE_MS)).await;
                    }
                }
                Err(CountersError::Stale(_)) => {
                    let mut desk = self.desk.lock();
                    desk.asked = None;
                    self.core.let_go(asked.place, asked.serial);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next request, its lease's name in the table already; `None` where units are at hand again.
    fn prepare(&self) -> Result<Option<(Asked, GrantRequest)>, CountersError> {
        let now_ms = self.core.clock.now_ms();
        let mut desk = self.desk.lock();
        self.tidy_held(now_ms);
        if self.units_at_hand(now_ms) == 0 && desk.show_spare(self) && self.units_at_hand(now_ms) > 0 {
            return Ok(None);
        }
        desk.release_settled(self, now_ms, false);
        let closes = desk.closes(self, now_ms, false);
        let hard = self.hard.load(SeqCst);
        let cap = self.core.options.open_leases_max_units;
        let room = u64::from(cap).saturating_sub(self.open_units.load(Acquire));
        if hard && room == 0 {
            return Err(CountersError::OpenLeases(cap));
        }
        let asked = match desk.asked {
            Some(asked) => asked,
            None => {
                desk.adapt_want(now_ms);
                let (place, serial) = self.core.reserve(self)?;
                Asked { place, serial, lowered: self.lowered.load(SeqCst) }
            }
        };
        desk.asked = Some(asked);
        let want = if hard { u64::from(desk.want).min(room) } else { u64::from(desk.want) };
        let request = GrantRequest {
            key: self.key.clone(),
            window: self.window,
            max: self.max.load(SeqCst),
            hard,
            lease: self.core.lease_id(asked.serial),
            want: u32::try_from(want).unwrap_or(WANT_MAX_UNITS),
            open_max_units: cap,
            closes,
        };
        Ok(Some((asked, request)))
    }

    /// Takes the store's answer in; `false` where the lease's window is over before it could be spent.
    fn arrived(&self, asked: Asked, request: &GrantRequest, grant: &Grant, sent_ms: u64) -> bool {
        let mut desk = self.desk.lock();
        let now_ms = self.core.clock.now_ms();
        // Counted from when we asked: our end of the window is never later than the store's.
        let ends_ms = grant.ends_in_ms.map_or(u64::MAX, |ms| sent_ms.saturating_add(ms));
        desk.asked = None;
        desk.closed(self, &request.closes, now_ms);
        self.window_ends_ms.store(ends_ms, SeqCst);
        self.remaining_at_store.store(grant.remaining, SeqCst);
        self.unavailable_until_ms.store(0, SeqCst);
        let lowered = asked.lowered != self.lowered.load(SeqCst);
        if grant.units == 0 {
            self.core.let_go(asked.place, asked.serial);
            // Under a limit that was changed meanwhile this answer says nothing.
            if !lowered && request.max == self.max.load(SeqCst) && request.hard == self.hard.load(SeqCst) {
                self.believe_exhausted(now_ms, ends_ms);
            }
            return now_ms < ends_ms;
        }
        self.exhausted_until_ms.store(0, SeqCst);
        self.core.table.slot(asked.place).open(grant.window, grant.units, ends_ms);
        self.open_units.fetch_add(u64::from(grant.units), SeqCst);
        let lease = InHand { place: asked.place, serial: asked.serial, since_ms: now_ms };
        desk.open.push(lease);
        desk.granted_at_ms = now_ms.max(1);
        if lowered {
            self.core.table.slot(lease.place).expire();
            freeze(self, &lease);
            return false;
        }
        if now_ms >= ends_ms {
            return false;
        }
        self.used_at_ms.store(now_ms, Relaxed);
        self.low_mark.store(grant.units / 4, Relaxed);
        self.tidy_held(now_ms);
        self.hold(lease.place, lease.serial);
        true
    }
}
