//! Units: what the calls of a batch keep of the leases they were admitted from. The lease book says which counter a lease
//! is of, and is told once the batch is on disk; the batch carries the sums to the control plane.

use std::collections::BTreeMap;

use apiclay_config::usage::{Event, LeasedWindow, UnitsTaken};

/// Who knows which counter's units a lease holds; the lease book.
pub trait LeaseLedger: Send + Sync {
    /// The counter and the window that a lease's units are of.
    fn counter_of(&self, lease: u32) -> Option<(String, i64)>;
    /// Takes note that batch `batch_seq` holds records that keep this many units of the lease. Told once the batch is on
    /// disk; told again, with the same figures, after a failure in between.
    fn recorded(&self, batch_seq: u64, lease: u32, kept_units: u32);
}

/// Units that the events keep, by lease: of quotas and trials a call keeps one, of a wallet what it used.
pub fn kept_units(events: &[Event]) -> BTreeMap<u32, u32> {
    kept_of(events, &LeasedWindow::ALL)
}

fn kept_of(events: &[Event], windows: &[LeasedWindow]) -> BTreeMap<u32, u32> {
    let mut kept = BTreeMap::new();
    for event in events.iter().filter(|event| event.kept) {
        for window in windows.iter().filter(|window| event.leases[**window as usize] != 0) {
            let units = if *window == LeasedWindow::Wallet { event.units.count } else { 1 };
            // A call that used none leaves nothing to be waited for.
            if units > 0 {
                *kept.entry(event.leases[*window as usize]).or_default() += units;
            }
        }
    }
    kept
}

/// The same by counter and window, as a batch states them. Without wallets: what they paid for is in the events, and counters
/// that are lost are rebuilt from this.
pub fn units_taken(events: &[Event], units_of: &dyn LeaseLedger) -> Vec<UnitsTaken> {
    let mut sums: BTreeMap<(String, i64), u64> = BTreeMap::new();
    let counted: Vec<LeasedWindow> =
        LeasedWindow::ALL.into_iter().filter(|window| *window != LeasedWindow::Wallet).collect();
    for (lease, units) in kept_of(events, &counted) {
        match units_of.counter_of(lease) {
            Some(counter) => *sums.entry(counter).or_default() += u64::from(units),
            None => tracing::warn!(
                lease,
                units,
                "units of a lease that is not in the book are left out of a batch"
            ),
        }
    }
    sums.into_iter().map(|((counter, window), units)| UnitsTaken { counter, window, units }).collect()
}
