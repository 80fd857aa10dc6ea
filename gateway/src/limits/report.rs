//! What this gateway has out of the counters that were lost: leases in hand as granted, and units that were spent from closed
//! leases and stand in no batch. Taken while no batch is made (the batcher is held): a unit that moved from a lease into a
//! batch in between would be said in neither. Next: the control plane's rebuild.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use apiclay_config::counters::LeaseInHand;
use apiclay_config::usage::{LeasedWindow, UnitsTaken};

use super::LeaseBook;

impl LeaseBook {
    /// From now on no lease is taken or given back, whatever the store answers; leases in hand serve on. Said before
    /// [`LeaseBook::in_hand`]: a grant under way would be in no report.
    pub fn refuse_grants(&self) {
        self.core.generation_min.store(u64::MAX, SeqCst);
        // Whoever was taking one in has done so when its desk is free.
        for tally in &self.tallies {
            drop(tally.desk.lock());
        }
        drop(self.earlier.lock());
    }

    /// Leases are taken again, of counters that were built under this generation or a later one.
    pub fn take_grants_from(&self, generation: u64) {
        self.core.generation_min.store(generation, SeqCst);
    }

    /// Leases in hand, and units beyond all batches; earlier epochs' leases included. A lease that was asked for and not
    /// answered is none: the counters that may have granted it are gone, and its answer must not be taken any more.
    #[must_use]
    pub fn in_hand(&self) -> (Vec<LeaseInHand>, Vec<UnitsTaken>) {
        let mut leases = Vec::new();
        let mut beyond: BTreeMap<(Arc<str>, i64), u64> = BTreeMap::new();
        for place in self.core.table.places() {
            let slot = self.core.table.slot(place);
            let Some(content) = (!slot.is_empty()).then(|| slot.content()).flatten() else { continue };
            // Money is in no counter that can be lost.
            if !content.granted || content.kind == LeasedWindow::Wallet {
                continue;
            }
            let (window, units, in_batches) = (slot.window(), slot.units(), slot.recorded());
            if slot.word().is_closed() {
                // What was given back too late can be spent again: all that the store did not take back counts.
                let kept = units.saturating_sub(slot.returned()).saturating_sub(in_batches);
                if kept > 0 {
                    *beyond.entry((content.key.into(), window)).or_default() += u64::from(kept);
                }
                continue;
            }
            leases.push(LeaseInHand {
                counter: content.key,
                window,
                epoch: format!("{:016x}", content.epoch),
                serial: content.serial,
                units,
                in_batches: in_batches.min(units),
            });
        }
        let taken = |((counter, window), units)| UnitsTaken { counter, window, units };
        (leases, beyond.into_iter().map(taken).collect())
    }
}
