//! The book's background work: asks for leases before calls run out, returns units that nobody takes, closes leases that
//! are used up, and tries again what the store did not hear. Next: the counter store.

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::usage::LeasedWindow;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::tally::Tally;
use super::{LeaseBook, RETURN_ALL_MAX_MS, SWEEP_EVERY_MS};
use crate::counters::CountersError;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Counters whose closes are under way at once.
const CLOSES_AT_ONCE: usize = 32;

impl LeaseBook {
    /// Works until `shutdown`, then returns what is idle. What is said to the control plane does not hold up what is said to
    /// the counters.
    pub async fn maintain(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(self.maintain_those(false, &shutdown), self.maintain_those(true, &shutdown));
    }

    async fn maintain_those(&self, wallets: bool, shutdown: &CancellationToken) {
        let mut sweep = tokio::time::interval(Duration::from_millis(SWEEP_EVERY_MS));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.core.wake.notified() => self.prefetch(),
                _ = sweep.tick() => {
                    self.prefetch();
                    self.sweep_those(wallets, false).await;
                }
            }
        }
        let all = Duration::from_millis(RETURN_ALL_MAX_MS);
        if tokio::time::timeout(all, self.sweep_those(wallets, true)).await.is_err() {
            tracing::warn!("leases were not all returned: the next start returns them");
        }
    }

    pub(super) fn prefetch(&self) {
        while let Some(tally) = self.core.next_low() {
            // Near the end a prefetch would only take units from other gateways; a call that needs one will ask.
            let ends = tally.hard.load(Relaxed) && tally.remaining_at_store.load(Acquire) == 0;
            if !ends {
                tally.ask_once();
            }
        }
    }

    /// One look at every counter and wallet. `all` returns every unit, used lately or not.
    #[cfg(test)]
    pub(super) async fn sweep(&self, all: bool) {
        self.sweep_those(false, all).await;
        self.sweep_those(true, all).await;
    }

    /// One look at every counter, or at every wallet: where the store of the ones is away, that of the others need not be.
    async fn sweep_those(&self, wallets: bool, all: bool) {
        if wallets {
            if let Err(error) = self.close_earlier_wallets().await {
                tracing::debug!(%error, "earlier leases on wallets stay open");
                return;
            }
        } else {
            self.release_earlier();
        }
        let these = self.tallies.iter().filter(|tally| (tally.window == LeasedWindow::Wallet) == wallets);
        let tallies: Vec<Arc<Tally>> = these.map(|tally| tally.clone()).collect();
        let closing = stream::iter(tallies)
            .map(|tally| async move { tally.sweep(all).await.map_err(|error| (tally.key.clone(), error)) });
        let mut closing = closing.buffer_unordered(CLOSES_AT_ONCE);
        while let Some(closed) = closing.next().await {
            match closed {
                Ok(()) => {}
                Err((_, away)) if away.is_away() => {
                    // All others would fail as well. They are closed at a later look.
                    tracing::debug!(error = %away, "leases stay open");
                    break;
                }
                Err((counter, refused)) => self.core.say_refused(&counter, &refused),
            }
        }
        drop(closing);
        // Nobody can get at a tally between the count and the removal: both happen under the map's lock.
        self.tallies.retain(|_, tally| Arc::strong_count(tally) > 1 || !tally.desk.lock().is_empty());
    }
}

impl Tally {
    async fn sweep(&self, all: bool) -> Result<(), CountersError> {
        let now_ms = self.core.clock.now_ms();
        if self.window == LeasedWindow::Wallet && !all {
            self.renew_wallet(now_ms);
        }
        // It may have been granted: heard of under its name, it is used or goes back, and no other gateway waits for it.
        let unheard = |desk: &Desk| desk.asked.is_some() && now_ms >= desk.unheard_until_ms;
        if !all && unheard(&self.desk.lock()) {
            self.ask_once();
        }
        let closes = {
            let mut desk = self.desk.lock();
            // The map's and the sweep's own.
            let unused = all || self.me.strong_count() <= 2;
            let idle_ms = now_ms.saturating_sub(self.used_at_ms.load(Relaxed));
            let idle = unused || idle_ms >= self.core.options.idle_return_ms;
            if idle {
                desk.calm();
            }
            // A wallet's idle lease is judged like one that is too old.
            let stop = if self.window == LeasedWindow::Wallet { unused } else { idle };
            let closes = desk.closes(self, now_ms, stop);
            desk.release_settled(self, now_ms, unused);
            closes
        };
        if closes.is_empty() {
            return Ok(());
        }
        let generation = self.core.counters.close(&self.key, &closes).await?;
        let mut desk = self.desk.lock();
        // Counters that are lost took them back: they are in hand still, and go back to those that are built anew.
        self.core.refuse_lost(generation)?;
        desk.closed(self, &closes, self.core.clock.now_ms());
        Ok(())
    }
}
