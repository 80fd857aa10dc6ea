//! Where a counter's leases come from: one grant at a time, shared by all calls that wait; closes ride along with it. A lease's
//! name stands in the table before it is asked for, so that a kill loses no units. Next: the counter store.

use std::sync::Arc;
use std::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use apiclay_config::usage::LeasedWindow;
use tokio::sync::watch;

use super::desk::{Answer, Asked, Desk, InHand, freeze};
use super::tally::Tally;
use super::{UNAVAILABLE_BELIEVED_MS, UNHEARD_BELIEVED_MS};
use crate::counters::{CountersError, Grant, GrantRequest};

/// Tries of one refill: a lease may come too late for its window, or its name be over.
const ASKS_MAX: usize = 4;
/// Pause before asking again where the window ended while the answer was under way.
const TURN_PAUSE_MS: u64 = 5;

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
            let mut desk = me.desk.lock();
            desk.unheard_until_ms = 0;
            if let Err(error) = &result {
                tracing::debug!(counter = &*me.out.key, %error, "no grant");
                let now_ms = me.core.clock.now_ms();
                me.unavailable_until_ms.store(now_ms.saturating_add(UNAVAILABLE_BELIEVED_MS), SeqCst);
                desk.unheard_until_ms = now_ms.saturating_add(UNHEARD_BELIEVED_MS);
            }
            desk.asking = None;
            drop(desk);
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
                    if self.arrived(asked, &request, &grant, sent_ms)? {
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
                    self.no_lease(&mut desk, asked, self.core.clock.now_ms());
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
        if !std::mem::replace(&mut desk.listed, true) {
            if now_ms.saturating_sub(self.used_at_ms.load(Relaxed)) >= self.core.options.idle_return_ms {
                desk.calm(self);
            }
            let wallets = self.window == LeasedWindow::Wallet;
            self.core.those_in_use(wallets).lock().push(self.me.clone());
        }
        let closes = desk.closes(self, now_ms, false, true);
        let hard = self.hard.load(SeqCst);
        let cap = self.core.options.open_leases_max_units;
        // Bounds and wants are of calls.
        let per_call = u64::from(self.per_call);
        let room = (u64::from(cap) * per_call).saturating_sub(self.out.units.load(Acquire));
        if hard && room < per_call {
            return Err(CountersError::OpenLeases(cap));
        }
        let asked = match desk.asked {
            Some(asked) => Asked { again: true, ..asked },
            None => {
                desk.adapt_want(self, now_ms);
                let (place, serial) = self.core.reserve(self)?;
                Asked { place, serial, lowered: self.lowered.load(SeqCst), again: false }
            }
        };
        desk.asked = Some(asked);
        let wanted = u64::from(desk.want) * per_call;
        let want = if hard { wanted.min(room) } else { wanted };
        let request = GrantRequest {
            key: self.out.key.to_string(),
            window: self.window,
            max: self.max.load(SeqCst),
            hard,
            lease: self.core.lease_id(asked.serial),
            want: u32::try_from(want).unwrap_or(u32::MAX),
            open_max_units: cap,
            closes,
        };
        Ok(Some((asked, request)))
    }

    /// Nothing was granted under this name.
    fn no_lease(&self, desk: &mut Desk, asked: Asked, now_ms: u64) {
        if asked.again && self.window == LeasedWindow::Wallet {
            // An earlier asking may have made a hold that nobody here heard of, or come late and make one: closed with nothing
            // spent, its name is over and its hold is free.
            desk.open.push(self.core.empty_lease(asked, now_ms));
        } else {
            self.core.let_go(asked.place, asked.serial);
        }
    }

    /// Takes the store's answer in; `false` where the lease's window is over before it could be spent.
    fn arrived(
        &self,
        asked: Asked,
        request: &GrantRequest,
        grant: &Grant,
        sent_ms: u64,
    ) -> Result<bool, CountersError> {
        let mut desk = self.desk.lock();
        // Of counters that are lost, and in no report. Its name is asked for again: the new ones do not know it.
        self.core.refuse_lost(grant.generation)?;
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
            self.no_lease(&mut desk, asked, now_ms);
            // Under a limit that was changed meanwhile this answer says nothing.
            if !lowered && request.max == self.max.load(SeqCst) && request.hard == self.hard.load(SeqCst) {
                self.believe_exhausted(now_ms, ends_ms);
            }
            return Ok(now_ms < ends_ms);
        }
        self.exhausted_until_ms.store(0, SeqCst);
        self.core.table.slot(asked.place).open(grant.window, grant.units, ends_ms);
        self.core.table.note(asked.place);
        self.out.units.fetch_add(u64::from(grant.units), SeqCst);
        let lease = InHand { place: asked.place, serial: asked.serial, since_ms: now_ms };
        desk.open.push(lease);
        desk.granted_at_ms = now_ms.max(1);
        if lowered {
            self.core.table.slot(lease.place).expire();
            freeze(self, &lease);
            return Ok(false);
        }
        if now_ms >= ends_ms {
            return Ok(false);
        }
        self.used_at_ms.store(now_ms, Relaxed);
        self.low_mark.store(grant.units / 4, Relaxed);
        self.tidy_held(now_ms);
        self.hold(lease.place, lease.serial);
        if grant.units < self.per_call {
            // Nobody grants less than a call needs; whoever does has no more.
            self.believe_exhausted(now_ms, ends_ms);
        }
        Ok(true)
    }
}
