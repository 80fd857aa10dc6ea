//! Leases on wallets. They are money that is held, so they are short, and what a close says of one is the last word on it: it
//! is stopped first, and closed once every unit that was taken has its record in a batch or came back. No unit of it is taken
//! after that, as units of other leases may be that come back late. Next: `counters/wallet.rs`, which says it to the control
//! plane.

use std::sync::atomic::Ordering::Relaxed;

use apiclay_config::ids::{PlanId, SubscriptionId};
use apiclay_config::usage::LeasedWindow;
use apiclay_config::wallet_leases::CLOSES_MAX;

use super::book::Core;
use super::desk::{Asked, Desk, InHand, freeze};
use super::earlier::UnaccountedUnits;
use super::slot::Slot;
use super::tally::Tally;
use super::{LeaseBook, WALLET_RENEWED_AHEAD_MS};
use crate::counters::{Close, CountersError, LeaseId, Spent};

const KEY_PREFIX: &str = "wallet:";
/// The log says at most this often that closes are refused.
const REFUSED_SAID_EVERY_MS: u64 = 10_000;

/// Calls that a wallet pays for, all at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletCalls {
    /// Whose they are.
    pub subscription: SubscriptionId,
    /// Under which plan; not known of a lease that an earlier version left in the table.
    pub plan: Option<PlanId>,
    /// In which revision of it.
    pub plan_revision: u32,
}

/// The counter of a subscription's calls that a wallet pays for: one for each revision of each plan that it has had, so that the
/// calls of one lease all have one price.
#[must_use]
pub fn wallet_key(subscription: SubscriptionId, plan: PlanId, plan_revision: u32) -> String {
    format!("{KEY_PREFIX}{subscription}:{plan}:{plan_revision}")
}

/// What a wallet's key says; `None` for another counter's.
#[must_use]
pub fn wallet_of_key(key: &str) -> Option<WalletCalls> {
    let (subscription, edition) = key.strip_prefix(KEY_PREFIX)?.split_once(':')?;
    let (plan, plan_revision) = match edition.split_once(':') {
        Some((plan, plan_revision)) => (Some(plan.parse().ok()?), plan_revision),
        None => (None, edition),
    };
    Some(WalletCalls {
        subscription: subscription.parse().ok()?,
        plan,
        plan_revision: plan_revision.parse().ok()?,
    })
}

/// The close of a wallet's lease, if it can be said now.
fn close_of(slot: &Slot<'_>, lease: LeaseId) -> Option<Close> {
    if !slot.word().is_frozen() || !slot.is_settled() {
        return None;
    }
    // Both stand still: nobody takes from it, and nobody has a unit of it. More are on record than were spent where a power cut
    // or a restored folder left a slot that is older than the batches, be it one that was only asked for then.
    let units = slot.spent().max(slot.recorded());
    let spent = Spent { units, last_batch: slot.last_batch() };
    let unspent = slot.units().saturating_sub(spent.units);
    Some(Close { lease, window: slot.window(), unspent, spent: Some(spent) })
}

/// Whether nothing more comes of a lease. Where calls give back what they did not use, it is used up only once all have.
fn is_used_up(tally: &Tally, lease: &InHand) -> bool {
    let slot = tally.core.table.slot(lease.place);
    slot.word().free() < tally.per_call && (tally.per_call == 1 || slot.is_settled())
}

impl Core {
    /// Says now and then that closes are refused: one counter's must not hold up the others', nor go unseen.
    pub(super) fn say_refused(&self, counter: &str, refused: &CountersError) {
        let now_ms = self.clock.now_ms();
        let said_ms = self.refused_said_ms.load(Relaxed);
        if said_ms == 0 || now_ms.saturating_sub(said_ms) >= REFUSED_SAID_EVERY_MS {
            self.refused_said_ms.store(now_ms.max(1), Relaxed);
            tracing::error!(counter, error = %refused, "a lease cannot be closed: what it holds stays held for now");
        }
    }

    /// A lease of no units, to be closed.
    pub(super) fn empty_lease(&self, asked: Asked, now_ms: u64) -> InHand {
        let slot = self.table.slot(asked.place);
        slot.open(0, 0, u64::MAX);
        slot.freeze();
        InHand { place: asked.place, serial: asked.serial, since_ms: now_ms }
    }
}

impl Desk {
    /// Stops wallet leases that are used up or too old, and says those that can be closed. While the control plane is away
    /// none is too old: calls go on with what is left.
    pub(super) fn wallet_closes(&mut self, tally: &Tally, now_ms: u64, stop: bool) -> Vec<Close> {
        let is_idle =
            now_ms.saturating_sub(tally.used_at_ms.load(Relaxed)) >= tally.core.options.idle_return_ms;
        // Asked once, and only where the answer matters.
        let mut there = None;
        for lease in &self.open {
            let word = tally.core.table.slot(lease.place).word();
            if word.is_frozen() {
                continue;
            }
            let age_ms = now_ms.saturating_sub(lease.since_ms);
            let too_old = is_idle || age_ms >= tally.core.options.wallet_lease_max_ms;
            let is_there = || now_ms >= self.unheard_until_ms && tally.core.counters.wallets_are_there();
            if stop || is_used_up(tally, lease) || (too_old && *there.get_or_insert_with(is_there)) {
                freeze(tally, lease);
                // It was for more calls than come in its time.
                if word.free() > tally.core.table.slot(lease.place).units() / 4 * 3 {
                    self.want = (self.want / 2).max(1);
                }
            }
        }
        let closes = self.open.iter().filter_map(|lease| {
            close_of(&tally.core.table.slot(lease.place), tally.core.lease_id(lease.serial))
        });
        closes.take(CLOSES_MAX).collect()
    }

    /// The control plane has noted these for good.
    pub(super) fn wallet_closed(&mut self, tally: &Tally, closes: &[Close]) {
        for close in closes {
            let Some(index) = self.open.iter().position(|l| l.serial == close.lease.serial) else { continue };
            let lease = self.open.swap_remove(index);
            // What was spent was counted out as it was recorded.
            tally.out.count_out(close.unspent);
            tally.core.let_go(lease.place, lease.serial);
        }
    }

    /// Whether calls go on and the lease that pays for them will soon be too old: the next one shall be there by then.
    pub(super) fn wallet_renewal_is_due(&self, tally: &Tally, now_ms: u64) -> bool {
        let max_ms = tally.core.options.wallet_lease_max_ms;
        let used_ms = now_ms.saturating_sub(tally.used_at_ms.load(Relaxed));
        let newest = self.open.iter().filter(|l| !tally.core.table.slot(l.place).word().is_frozen());
        let newest_age_ms = newest.map(|lease| now_ms.saturating_sub(lease.since_ms)).min();
        used_ms < max_ms / 2
            && newest_age_ms.is_some_and(|age_ms| age_ms >= max_ms.saturating_sub(WALLET_RENEWED_AHEAD_MS))
    }
}

impl LeaseBook {
    /// Stops the wallet leases of earlier epochs; called once the spool's leftover records are batched. Says the units that
    /// were spent and have no record: a lease is closed when they do.
    pub fn stop_earlier_wallets(&self) -> Vec<UnaccountedUnits> {
        let mut unaccounted = Vec::new();
        for lease in self.earlier_wallets() {
            let slot = self.core.table.slot(lease.place);
            let Some(content) = slot.content().filter(|content| content.serial == lease.serial) else {
                continue;
            };
            if !content.granted {
                // Asked for and not heard of: no call had a unit of it, however many the hold is for.
                slot.open(0, 0, u64::MAX);
            }
            slot.freeze();
            let units = slot.spent().saturating_sub(slot.recorded());
            if units > 0 {
                let (counter, window) = (content.key, slot.window());
                unaccounted.push(UnaccountedUnits { counter, window, lease: lease.serial, units });
            }
        }
        unaccounted
    }

    /// Says the closes of earlier epochs' wallet leases whose every unit has its record.
    pub(super) async fn close_earlier_wallets(&self) -> Result<(), CountersError> {
        let mut ready: Vec<(String, Close)> = Vec::new();
        for lease in self.earlier_wallets() {
            let slot = self.core.table.slot(lease.place);
            let Some(content) = slot.content().filter(|content| content.granted) else { continue };
            let gateway = self.core.gateway.clone();
            let id = LeaseId { gateway, epoch: content.epoch, serial: lease.serial };
            ready.extend(close_of(&slot, id).map(|close| (content.key, close)));
        }
        ready.sort_by(|a, b| a.0.cmp(&b.0));
        for of_one_key in ready.chunk_by(|a, b| a.0 == b.0) {
            for some in of_one_key.chunks(CLOSES_MAX) {
                let closes: Vec<Close> = some.iter().map(|(_, close)| close.clone()).collect();
                match self.core.counters.close(&some[0].0, &closes).await {
                    Ok(_) => {}
                    Err(away) if away.is_away() => return Err(away),
                    Err(refused) => {
                        self.core.say_refused(&some[0].0, &refused);
                        if matches!(refused, CountersError::WalletsRefused(_)) {
                            self.earlier_refused.lock().extend(closes.iter().map(|close| close.lease.serial));
                        }
                        continue;
                    }
                }
                self.earlier.lock().retain(|lease| {
                    let closed = closes.iter().any(|close| close.lease.serial == lease.serial);
                    if closed {
                        self.core.let_go(lease.place, lease.serial);
                    }
                    !closed
                });
            }
        }
        Ok(())
    }

    /// Whether every lease of an earlier life on a wallet was said to be over, with all of its records in batches, and that was
    /// heard, or refused for good: a control plane that does not take the close of a lease it may know (its subscription is
    /// not there) can end it on what is on record.
    #[must_use]
    pub fn earlier_wallets_are_said(&self) -> bool {
        let refused = self.earlier_refused.lock();
        self.earlier_wallets().iter().all(|lease| refused.contains(&lease.serial))
    }

    fn earlier_wallets(&self) -> Vec<InHand> {
        let is_wallet =
            |lease: &&InHand| self.core.table.slot(lease.place).kind() == Some(LeasedWindow::Wallet);
        self.earlier.lock().iter().filter(is_wallet).copied().collect()
    }
}

impl Tally {
    /// Asks for the next lease where it is time to, so that no call waits for it.
    pub(super) fn renew_wallet(&self, now_ms: u64) {
        let due = self.desk.lock().wallet_renewal_is_due(self, now_ms);
        if due {
            self.ask_once();
        }
    }
}
