//! What each counter has out, from batches on record and gateways' reports: every unit once. A unit that was spent stands in
//! an acknowledged batch (on record), or in a later one (its gateway says so, and the batch is not counted here even where it
//! has come), or in none yet (in its lease, which counts as granted). Pure. Next: the answer to the gateway that asked.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::counters::{Acknowledged, COUNTED_MAX, LeaseInHand, RebuildFigure, RebuildReport};
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::usage::{BatchId, GatewayEpoch, LeasedWindow, UnitsTaken};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Windows are numbered from 1970; a month begins within two days of where months of this length would.
const MONTH_MEAN_MS: i64 = 2_629_746_000;
/// No zone's day ends later than this after that of UTC.
const ZONE_AWAY_MAX_MS: i64 = 14 * HOUR_MS;
/// Nothing is granted of a window that is over, and what comes back to a counter that is not there changes nothing. So a
/// window counts this long after its end only for a server whose clock is behind ours; months are known to 2 days only, and those of a
/// zone are up to 14 hours away.
const SHORT_KEPT_MS: i64 = DAY_MS;
const MONTH_KEPT_MS: i64 = 5 * DAY_MS;
/// The most that Redis' scripts count exactly; no limit is higher.
const GRANTED_MAX: u64 = 2 * COUNTED_MAX - 1;

/// The figures in the making.
pub struct Figures<'a> {
    now: Timestamp,
    reports: &'a BTreeMap<String, RebuildReport>,
    counters: BTreeMap<(String, i64), Figure>,
}

#[derive(Default)]
struct Figure {
    granted: u64,
    leases: Vec<(String, LeaseInHand)>,
}

impl<'a> Figures<'a> {
    /// Begins with what gateways, by their ids, have said.
    #[must_use]
    pub fn new(reports: &'a BTreeMap<String, RebuildReport>, now: Timestamp) -> Self {
        let mut figures = Self { now, reports, counters: BTreeMap::new() };
        for (gateway, report) in reports {
            figures.add(&report.unacknowledged);
            for lease in report.leases.iter().filter(|lease| is_kept(&lease.counter, lease.window, now)) {
                let figure = figures.counter(&lease.counter, lease.window);
                let beyond = u64::from(lease.units.saturating_sub(lease.in_batches));
                figure.granted = figure.granted.saturating_add(beyond);
                figure.leases.push((gateway.clone(), lease.clone()));
            }
        }
        figures
    }

    /// Counts a batch on record, if its gateway knew it to be acknowledged when it reported.
    pub fn on_record(&mut self, id: &BatchId, units: &[UnitsTaken]) {
        if self.takes_all(&id.from, id.seq, id.seq) {
            self.add(units);
        }
    }

    /// All of them, in the order of their counters.
    #[must_use]
    pub fn done(self) -> Vec<RebuildFigure> {
        let figure = |((counter, window), figure): ((String, i64), Figure)| RebuildFigure {
            kind: kind_of(&counter),
            counter,
            window,
            granted: figure.granted.min(GRANTED_MAX),
            leases: figure.leases,
        };
        self.counters.into_iter().map(figure).collect()
    }

    /// Takes a batch out of what was counted, if its gateway did not know it to be acknowledged.
    pub fn not_on_record(&mut self, id: &BatchId, units: &[UnitsTaken]) {
        if self.takes_all(&id.from, id.seq, id.seq) {
            return;
        }
        let now = self.now;
        for taken in units.iter().filter(|taken| is_kept(&taken.counter, taken.window, now)) {
            let figure = self.counter(&taken.counter, taken.window);
            figure.granted = figure.granted.saturating_sub(taken.units);
        }
    }

    /// Whether all of a life's batches from one to another count.
    #[must_use]
    pub fn takes_all(&self, from: &GatewayEpoch, first_seq: u64, last_seq: u64) -> bool {
        self.life(from).is_none_or(|life| {
            last_seq <= life.seq && !life.except.iter().any(|seq| (first_seq..=last_seq).contains(seq))
        })
    }

    /// Whether none of a life's batches from this one on counts.
    #[must_use]
    pub fn takes_none_from(&self, from: &GatewayEpoch, first_seq: u64) -> bool {
        self.life(from).is_some_and(|life| first_seq > life.seq)
    }

    fn life(&self, from: &GatewayEpoch) -> Option<&Acknowledged> {
        self.reports.get(&from.gateway)?.lives.iter().find(|life| life.epoch == from.epoch)
    }

    /// Counts units.
    pub fn add(&mut self, units: &[UnitsTaken]) {
        let now = self.now;
        for taken in units.iter().filter(|taken| is_kept(&taken.counter, taken.window, now)) {
            let figure = self.counter(&taken.counter, taken.window);
            figure.granted = figure.granted.saturating_add(taken.units);
        }
    }

    fn counter(&mut self, counter: &str, window: i64) -> &mut Figure {
        self.counters.entry((counter.to_owned(), window)).or_default()
    }
}

/// The kind of window a counter has; that of a trial where it is no quota.
fn kind_of(counter: &str) -> LeasedWindow {
    // Kept for ever: a kind that is not known loses nothing.
    QuotaKey::of(counter).map_or(LeasedWindow::Trial, |quota| quota.window)
}

/// Whether units of this counter in this window can still be granted: most of what is on record is of windows that are over.
fn is_kept(counter: &str, window: i64, now: Timestamp) -> bool {
    let in_zone = QuotaKey::of(counter).is_some_and(|quota| quota.zone.is_some());
    let (length_ms, kept_ms) = match kind_of(counter) {
        // Numbered by the minute they begin in.
        LeasedWindow::Hour if in_zone => (MINUTE_MS, HOUR_MS + SHORT_KEPT_MS),
        LeasedWindow::Hour => (HOUR_MS, SHORT_KEPT_MS),
        LeasedWindow::Day if in_zone => (DAY_MS, ZONE_AWAY_MAX_MS + SHORT_KEPT_MS),
        LeasedWindow::Day => (DAY_MS, SHORT_KEPT_MS),
        LeasedWindow::Month => (MONTH_MEAN_MS, MONTH_KEPT_MS),
        LeasedWindow::Trial | LeasedWindow::Wallet => return true,
    };
    window.saturating_add(1).saturating_mul(length_ms).saturating_add(kept_ms) >= now.0
}

#[cfg(test)]
mod tests;
