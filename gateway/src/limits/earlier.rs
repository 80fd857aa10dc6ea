//! What an earlier life of this gateway left in the lease table: unspent units go back to the counters, and units that were
//! spent and have no record are said, to go into the spool as `unaccounted`. Next: `metering/` writes those records, and a
//! slot is emptied once its units are recorded.

use super::LeaseBook;
use super::book::Known;
use super::desk::InHand;
use super::slot::SlotContent;
use super::tally::Out;
use crate::counters::{Close, CountersError, GrantRequest, LeaseId};

use apiclay_config::usage::LeasedWindow;

/// A lease of an earlier epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierLease {
    /// Its number at this gateway.
    pub lease: u32,
    /// Its counter.
    pub counter: String,
    /// Its window; 0 where the store's answer never came.
    pub window: i64,
    /// Units it was granted.
    pub units: u32,
    /// Units that calls took and did not give back.
    pub spent: u32,
    /// Spent units that have a record.
    pub recorded: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub struct EarlierLeases {
    /// The leases.
    pub leases: Vec<EarlierLease>,
    /// Slots that could not be read, after a power cut; what they had counts as spent.
    pub damaged: usize,
}

/// Units that calls took before a kill and that have no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnaccountedUnits {
    /// The counter.
    pub counter: String,
    /// The window.
    pub window: i64,
    /// The lease, to be named in the record.
    pub lease: u32,
    /// How many.
    pub units: u32,
}

impl LeaseBook {
    pub(super) fn find_earlier(&self) -> Vec<EarlierLease> {
        let mut leases = Vec::new();
        let mut earlier = self.earlier.lock();
        for place in self.core.table.places() {
            let slot = self.core.table.slot(place);
            let Some(content) = (!slot.is_empty()).then(|| slot.content()).flatten() else { continue };
            self.core.table.had(content.serial);
            self.core.known.insert(content.serial, Known { place, out: Out::of(&content.key) });
            earlier.push(InHand { place, serial: content.serial, since_ms: self.core.clock.now_ms() });
            leases.push(EarlierLease {
                lease: content.serial,
                counter: content.key,
                window: slot.window(),
                units: slot.units(),
                spent: slot.spent(),
                recorded: slot.recorded(),
            });
        }
        leases
    }

    /// Closes the leases of earlier epochs, but for those on wallets ([`LeaseBook::stop_earlier_wallets`]); called once the
    /// spool's leftover records are batched. What was not spent goes back. Says the units that were spent and have no record;
    /// they are said again, at the next start too, until they are [`recorded`](LeaseBook::recorded).
    ///
    /// # Errors
    /// When the counter store does not take them: call again. What was closed stays closed.
    pub async fn close_earlier_epoch(&self) -> Result<Vec<UnaccountedUnits>, CountersError> {
        let is_wallet =
            |lease: &InHand| self.core.table.slot(lease.place).kind() == Some(LeasedWindow::Wallet);
        let earlier: Vec<InHand> = self.earlier.lock().iter().filter(|l| !is_wallet(l)).copied().collect();
        let mut closed = Vec::with_capacity(earlier.len());
        for lease in earlier {
            match self.close_earlier(&lease).await {
                Ok(()) => closed.push(lease),
                Err(away) if away.is_away() => return Err(away),
                // It stays open until the next start; the others' units must not wait for it.
                Err(refused) => {
                    let content = self.core.table.slot(lease.place).content();
                    let counter = content.map(|content| content.key).unwrap_or_default();
                    self.core.say_refused(&counter, &refused);
                }
            }
        }
        let mut unaccounted = Vec::new();
        for lease in &closed {
            let slot = self.core.table.slot(lease.place);
            let units = slot.spent().saturating_sub(slot.recorded());
            if let Some(content) = slot.content().filter(|c| c.serial == lease.serial && units > 0) {
                let counter = content.key;
                unaccounted.push(UnaccountedUnits {
                    counter,
                    window: slot.window(),
                    lease: lease.serial,
                    units,
                });
            }
        }
        self.release_earlier();
        Ok(unaccounted)
    }

    async fn close_earlier(&self, lease: &InHand) -> Result<(), CountersError> {
        let slot = self.core.table.slot(lease.place);
        let Some(content) = slot.content().filter(|c| c.serial == lease.serial) else { return Ok(()) };
        if !slot.is_empty() && slot.word().is_closed() {
            return Ok(());
        }
        let gateway = self.core.gateway.clone();
        let id = LeaseId { gateway, epoch: content.epoch, serial: content.serial };
        let (window, units, unspent) = if content.granted {
            slot.freeze();
            (slot.window(), slot.units(), slot.unspent())
        } else {
            let (window, units) = self.asked_and_unheard(&content, &id).await?;
            (window, units, units)
        };
        // More are on record than were taken where a power cut left a slot that is older than the batches.
        let unspent = unspent.min(units.saturating_sub(slot.recorded()));
        let close = Close { lease: id, window, unspent, spent: None };
        let generation = self.core.counters.close(&content.key, std::slice::from_ref(&close)).await?;
        let _held = self.earlier.lock();
        self.core.refuse_lost(generation)?;
        if !content.granted {
            slot.open(window, units, u64::MAX);
            slot.freeze();
        }
        slot.closed_after_kill(unspent);
        Ok(())
    }

    /// A lease whose answer never came: asking with its name and for nothing says what it was granted, if it was.
    async fn asked_and_unheard(
        &self,
        content: &SlotContent,
        id: &LeaseId,
    ) -> Result<(i64, u32), CountersError> {
        let request = GrantRequest {
            key: content.key.clone(),
            window: content.kind,
            max: 0,
            hard: true,
            lease: id.clone(),
            want: 0,
            open_max_units: self.core.options.open_leases_max_units,
            closes: Vec::new(),
        };
        match self.core.counters.grant(&request).await {
            Ok(grant) => {
                self.core.refuse_lost(grant.generation)?;
                Ok((grant.window, grant.units))
            }
            Err(CountersError::Stale(_)) => Ok((0, 0)),
            Err(error) => Err(error),
        }
    }

    /// Empties slots of earlier epochs that are closed and whose units all have a record.
    pub(super) fn release_earlier(&self) {
        self.earlier.lock().retain(|lease| {
            let slot = self.core.table.slot(lease.place);
            // A wallet's is never closed here: it goes when the control plane has closed it.
            let done = slot.word().is_closed() && slot.is_settled();
            if done {
                self.core.let_go(lease.place, lease.serial);
            }
            !done
        });
    }
}
