//! The book's background work: asks for leases before calls run out, returns units that nobody takes, closes leases that
//! are used up, tries again what the store did not hear, and syncs the table. Next: the counter store.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use apiclay_config::usage::LeasedWindow;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use super::{
    FORGET_EVERY_MS, LeaseBook, PREFETCH_EVERY_MS, RETURN_ALL_MAX_MS, SWEEP_EVERY_MS, SYNC_EVERY_MS,
    WALLETS_SWEEP_EVERY_MS,
};
use crate::counters::{Close, CountersError};

/// Counters whose closes are under way at once.
const CLOSES_AT_ONCE: usize = 32;

/// A counter with leases that its store is to close.
type Closing = (Arc<Tally>, Vec<Close>);

impl LeaseBook {
    /// Works until `shutdown`, then returns what is idle. What is said to the control plane does not hold up what is said to
    /// the counters.
    pub async fn maintain(self: Arc<Self>, shutdown: CancellationToken) {
        let (counters, wallets) =
            (self.maintain_those(false, &shutdown), self.maintain_those(true, &shutdown));
        tokio::join!(counters, wallets, self.prefetch_until(&shutdown), self.sync_until(&shutdown));
    }

    /// Brings what was granted to the disk, on a thread that may wait for it.
    async fn sync_until(&self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(SYNC_EVERY_MS)) => {}
            }
            let core = Arc::clone(&self.core);
            // A step that panicked has said so itself, and the next one tries again.
            if let Ok(Err(failed)) = tokio::task::spawn_blocking(move || core.table.sync_noted()).await {
                tracing::error!(error = %failed, "the lease table cannot be synced: a power cut would lose leases");
            }
        }
    }

    /// Asks for leases before calls run out of them. Those that run low within [`PREFETCH_EVERY_MS`] are asked for together: one
    /// write to the store's disk has them all.
    async fn prefetch_until(&self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.core.wake.notified() => self.prefetch(),
            }
            tokio::time::sleep(Duration::from_millis(PREFETCH_EVERY_MS)).await;
        }
    }

    async fn maintain_those(&self, wallets: bool, shutdown: &CancellationToken) {
        let every = |ms| {
            let mut ticks = tokio::time::interval(Duration::from_millis(ms));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let sweep_ms = if wallets { WALLETS_SWEEP_EVERY_MS } else { SWEEP_EVERY_MS };
        let (mut sweep, mut forget) = (every(sweep_ms), every(FORGET_EVERY_MS));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = sweep.tick() => self.sweep_those(wallets, false).await,
                _ = forget.tick(), if !wallets => self.forget_unused(),
            }
        }
        let all = Duration::from_millis(RETURN_ALL_MAX_MS);
        if tokio::time::timeout(all, self.sweep_those(wallets, true)).await.is_err() {
            tracing::warn!("leases were not all returned: the next start returns them");
        }
    }

    pub(super) fn prefetch(&self) {
        let now_ms = self.core.clock.now_ms();
        while let Some(tally) = self.core.next_low() {
            // One that got a lease since it was low, as calls asked for it, needs none beside it.
            if tally.units_at_hand(now_ms) > u64::from(tally.low_mark.load(Relaxed)) {
                continue;
            }
            // Near the end a prefetch would only take units from other gateways; a call that needs one will ask.
            let ends = tally.hard.load(Relaxed) && tally.remaining_at_store.load(Acquire) == 0;
            if !ends {
                tally.ask_once();
            }
        }
    }

    /// One look at every counter and wallet in use. `all` returns every unit, used lately or not.
    #[cfg(test)]
    pub(super) async fn sweep(&self, all: bool) {
        self.sweep_those(false, all).await;
        self.sweep_those(true, all).await;
        self.forget_unused();
    }

    /// One look at every counter in use, or at every wallet: where the store of the ones is away, that of the others need not be.
    async fn sweep_those(&self, wallets: bool, all: bool) {
        if wallets {
            if let Err(error) = self.close_earlier_wallets().await {
                tracing::debug!(%error, "earlier leases on wallets stay open");
                return;
            }
        } else {
            self.release_earlier();
        }
        let mut in_use = std::mem::take(&mut *self.core.those_in_use(wallets).lock()).into_iter();
        let mut still = Vec::with_capacity(in_use.len());
        // What a look stops is stopped for good: only so many at once, that leases serve on where the store is away.
        loop {
            let closing = look_at_some(&mut in_use, &mut still, all);
            if closing.is_empty() || self.close_all(closing).await.is_err() {
                break;
            }
        }
        still.extend(in_use);
        self.core.those_in_use(wallets).lock().append(&mut still);
    }

    /// Says these closes.
    ///
    /// # Errors
    /// When the store is away. All others would fail as well: they are closed at a later look.
    async fn close_all(&self, closing: Vec<Closing>) -> Result<(), CountersError> {
        let closing = stream::iter(closing).map(|(tally, closes)| async move {
            let closed = tally.close(&closes).await;
            closed.map_err(|error| (tally.out.key.clone(), error))
        });
        let mut closing = closing.buffer_unordered(CLOSES_AT_ONCE);
        while let Some(closed) = closing.next().await {
            match closed {
                Ok(()) => {}
                Err((_, away)) if away.is_away() => {
                    tracing::debug!(error = %away, "leases stay open");
                    return Err(away);
                }
                Err((counter, refused)) => self.core.say_refused(&counter, &refused),
            }
        }
        Ok(())
    }

    /// Nobody can get at a tally between the count and the removal: both happen under the map's lock.
    fn forget_unused(&self) {
        self.tallies.retain(|_, tally| Arc::strong_count(tally) > 1 || !tally.desk.lock().is_empty());
    }
}

/// Looks at counters until some have leases to close. Those that stay in use go to `still`.
fn look_at_some(
    in_use: &mut std::vec::IntoIter<Weak<Tally>>,
    still: &mut Vec<Weak<Tally>>,
    all: bool,
) -> Vec<Closing> {
    let mut closing = Vec::new();
    while closing.len() < CLOSES_AT_ONCE
        && let Some(known) = in_use.next()
    {
        let Some(tally) = known.upgrade() else { continue };
        let (closes, stays) = tally.look(all);
        if stays {
            still.push(known);
        }
        if !closes.is_empty() {
            closing.push((tally, closes));
        }
    }
    closing
}

impl Tally {
    /// What its store is to be told is over, and whether it is still in use.
    fn look(&self, all: bool) -> (Vec<Close>, bool) {
        let now_ms = self.core.clock.now_ms();
        let is_wallet = self.window == LeasedWindow::Wallet;
        if is_wallet && !all {
            self.renew_wallet(now_ms);
        }
        let mut desk = self.desk.lock();
        // The map's and the look's own.
        let unused = all || self.me.strong_count() <= 2;
        let idle_ms = now_ms.saturating_sub(self.used_at_ms.load(Relaxed));
        let idle = unused || idle_ms >= self.core.options.idle_return_ms;
        if idle {
            desk.calm(self);
        }
        // A wallet's idle lease is judged like one that is too old.
        let stop = if is_wallet { unused } else { idle };
        let closes = desk.closes(self, now_ms, stop, all);
        desk.release_settled(self, now_ms, unused);
        desk.listed = !desk.is_empty();
        let stays = desk.listed;
        // It may have been granted: heard of under its name, it is used or goes back, and no other gateway waits for it.
        let unheard = !all && desk.asked.is_some() && now_ms >= desk.unheard_until_ms;
        drop(desk);
        if unheard {
            self.ask_once();
        }
        (closes, stays)
    }

    async fn close(&self, closes: &[Close]) -> Result<(), CountersError> {
        let generation = self.core.counters.close(&self.out.key, closes).await?;
        let mut desk = self.desk.lock();
        // Counters that are lost took them back: they are in hand still, and go back to those that are built anew.
        self.core.refuse_lost(generation)?;
        desk.closed(self, closes, self.core.clock.now_ms());
        Ok(())
    }
}
