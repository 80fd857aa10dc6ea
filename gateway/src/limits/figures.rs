//! What the leases of this gateway add up to, for operators. Walks every counter, so it is for a scrape and not for a call.
//! Next: `observe/leases.rs` shows it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use apiclay_config::usage::LeasedWindow;

use super::LeaseBook;

/// The leases of all counters of one kind of window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseFigures {
    /// Leases that their store has not been told to close.
    pub leases: u64,
    /// Units of them that calls can take now.
    pub units_in_hand: u64,
    /// Units granted, neither in a usage batch nor given back.
    pub open_units: u64,
}

impl LeaseBook {
    /// By kind of window; a kind without a counter has zeros.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<LeasedWindow, LeaseFigures> {
        let mut figures = BTreeMap::from(LeasedWindow::ALL.map(|kind| (kind, LeaseFigures::default())));
        let now_ms = self.core.clock.now_ms();
        for tally in &self.tallies {
            let sum = figures.entry(tally.window).or_default();
            sum.leases += tally.desk.lock().open.len() as u64;
            sum.units_in_hand += tally.units_at_hand(now_ms);
            sum.open_units += tally.out.units.load(Relaxed);
        }
        figures
    }

    /// Leases of this gateway's earlier lives that their store has not closed yet.
    #[must_use]
    pub fn earlier_leases(&self) -> usize {
        self.earlier.lock().len()
    }
}
