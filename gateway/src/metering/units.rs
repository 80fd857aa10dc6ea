//! Units: what the calls of a batch keep of the leases they were admitted from. The lease book says which counter a lease
//! is of, and is told once the batch is on disk; the batch carries the sums to the control plane. Rows that are sorted, not
//! maps: with many keys nearly every call of a batch has a lease of its own.

use std::sync::Arc;

use apiclay_config::background::breathe;
use apiclay_config::usage::{Event, LeasedWindow, UnitsTaken};

/// Records or leases that are gone through before others go on, a few microseconds' work.
pub const AT_ONCE: usize = 64;

/// Who knows which counter's units a lease holds; the lease book.
pub trait LeaseLedger: Send + Sync {
    /// The counter and the window that a lease's units are of.
    fn counter_of(&self, lease: u32) -> Option<(Arc<str>, i64)>;
    /// Takes note that batch `batch_seq` holds records that keep this many units of the lease. Told once the batch is on
    /// disk; told again, with the same figures, after a failure in between.
    fn recorded(&self, batch_seq: u64, lease: u32, kept_units: u32);
}

/// What the events of a batch keep of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which lease.
    pub lease: u32,
    /// Of quotas and trials a call keeps one, of a wallet what it used.
    pub units: u32,
    /// The lease is a wallet's.
    pub of_wallet: bool,
}

/// Notes what an event keeps, a row for each of its leases.
pub fn keep(event: &Event, kept: &mut Vec<Kept>) {
    if !event.kept {
        return;
    }
    for window in LeasedWindow::ALL {
        let (lease, of_wallet) = (event.leases[window as usize], window == LeasedWindow::Wallet);
        let units = if of_wallet { event.units.count } else { 1 };
        // A call that used none leaves nothing to be waited for.
        if lease != 0 && units > 0 {
            kept.push(Kept { lease, units, of_wallet });
        }
    }
}

/// Makes of what was noted one row a lease, by lease.
pub fn sum_up(kept: &mut Vec<Kept>) {
    kept.sort_unstable_by_key(|kept| kept.lease);
    kept.dedup_by(|next, sum| {
        let same = next.lease == sum.lease;
        if same {
            sum.units = sum.units.saturating_add(next.units);
        }
        same
    });
}

/// Puts the same by counter and window, as a batch states them, into `rows`. Without wallets: what they paid for is in the
/// events, and counters that are lost are rebuilt from this.
pub fn units_taken(kept: &[Kept], units_of: &dyn LeaseLedger, rows: &mut Vec<UnitsTaken>) {
    rows.clear();
    for (at, Kept { lease, units, .. }) in kept.iter().filter(|kept| !kept.of_wallet).enumerate() {
        if at.is_multiple_of(AT_ONCE) {
            breathe();
        }
        match units_of.counter_of(*lease) {
            Some((counter, window)) => rows.push(UnitsTaken { counter, window, units: u64::from(*units) }),
            None => tracing::warn!(
                lease,
                units,
                "units of a lease that is not in the book are left out of a batch"
            ),
        }
    }
    // By where the text is, which needs no look at it: a counter that has two texts has two rows, which whoever reads them adds up.
    rows.sort_unstable_by_key(|row| (row.counter.as_ptr(), row.window));
    rows.dedup_by(|next, sum| {
        let same = Arc::ptr_eq(&next.counter, &sum.counter) && next.window == sum.window;
        if same {
            sum.units = sum.units.saturating_add(next.units);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases of one counter and window, but for the last.
    struct Two(Arc<str>);

    impl LeaseLedger for Two {
        fn counter_of(&self, lease: u32) -> Option<(Arc<str>, i64)> {
            (lease < 9).then(|| (Arc::clone(&self.0), i64::from(lease == 8)))
        }

        fn recorded(&self, _: u64, _: u32, _: u32) {}
    }

    #[test]
    fn leases_of_one_counter_in_one_window_are_one_row() {
        let kept = |lease, units| Kept { lease, units, of_wallet: lease == 4 };
        let kept = [kept(1, 2), kept(2, 3), kept(4, 100), kept(8, 5), kept(9, 7)];
        let counter: Arc<str> = "counter".into();
        let row = |window, units| UnitsTaken { counter: Arc::clone(&counter), window, units };
        let mut rows = Vec::new();
        units_taken(&kept, &Two(Arc::clone(&counter)), &mut rows);
        assert_eq!(rows, [row(0, 5), row(1, 5)]);
    }
}
