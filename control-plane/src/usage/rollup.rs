//! A rollup: the calls of one subscription in one UTC hour, and how far each gateway's batches are in it. Pure: `apply` is
//! a state machine over batches in order; `fold` writes what it gives by compare-and-set, so that folding twice, or by two
//! at once, counts once.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RouteId, SubscriptionId};
use apiclay_config::usage::{Cell, CellKey, Counts, Event, cells};
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// Minutes in a rollup.
pub const MINUTES_PER_HOUR: i64 = 60;
/// Cells of one rollup; what would make more is counted in one cell of its class for the whole hour.
pub const CELLS_MAX: usize = 10_000;
/// Credentials told apart in one rollup; the calls of further ones are counted together, under no credential.
pub const CREDENTIALS_MAX: usize = 1_000;
/// Digits of an hour in an id, so that text sorts as numbers do.
const HOUR_DIGITS: usize = 10;
/// The last hour a rollup has: in the year 9999.
const HOUR_MAX: i64 = 70_000_000;
/// The largest count the store keeps.
const COUNT_MAX: u64 = i64::MAX as u64;

/// The calls of one subscription in one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Whole hours since 1970.
    pub hour: i64,
    /// The counts, in the order of their keys.
    pub cells: Vec<Cell>,
    /// The same calls by credential, in the order of their ids, without latencies. Whole hours: by the minute there would be
    /// as many cells as keys times routes.
    #[serde(default)]
    pub credentials: Vec<OfCredential>,
    /// The last seq that is in here, by gateway and epoch.
    pub folded: BTreeMap<String, u64>,
}

/// The calls with one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfCredential {
    /// With which; nil for those that are not told apart.
    pub credential: CredentialId,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What one batch holds for one rollup: the same calls twice, sorted two ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// By minute, route, plan and class.
    pub cells: Vec<Cell>,
    /// By credential.
    pub credentials: BTreeMap<CredentialId, Counts>,
}

/// What some batches of one life hold for one rollup, by seq.
pub type Portion = BTreeMap<u64, Part>;

impl Rollup {
    /// An empty one.
    #[must_use]
    pub const fn new(subscription: SubscriptionId, hour: i64) -> Self {
        Self { subscription, hour, cells: Vec::new(), credentials: Vec::new(), folded: BTreeMap::new() }
    }

    /// Its id.
    #[must_use]
    pub fn id_of(subscription: SubscriptionId, hour: i64) -> String {
        format!("{subscription}:{:0HOUR_DIGITS$}", hour.clamp(0, HOUR_MAX))
    }

    /// Adds what is not in here yet of a life's batches; whether there was anything.
    pub fn apply(&mut self, epoch: &str, portion: &Portion) -> bool {
        let folded = self.folded.get(epoch).copied().unwrap_or(0);
        let mut new = portion.range(folded + 1..).peekable();
        if new.peek().is_none() {
            return false;
        }
        let mut counts: BTreeMap<CellKey, Counts> =
            std::mem::take(&mut self.cells).into_iter().map(|cell| (cell.key, cell.counts)).collect();
        let mut credentials: BTreeMap<CredentialId, Counts> =
            std::mem::take(&mut self.credentials).into_iter().map(|of| (of.credential, of.counts)).collect();
        let mut last = folded;
        for (seq, part) in new {
            last = *seq;
            for cell in &part.cells {
                add(&mut counts, self.hour, cell);
            }
            for (credential, more) in &part.credentials {
                add_credential(&mut credentials, *credential, more);
            }
        }
        self.credentials =
            credentials.into_iter().map(|(credential, counts)| OfCredential { credential, counts }).collect();
        self.cells = counts.into_iter().map(|(key, counts)| Cell { key, counts }).collect();
        self.folded.insert(epoch.to_owned(), last);
        true
    }
}

fn add(counts: &mut BTreeMap<CellKey, Counts>, hour: i64, cell: &Cell) {
    let mut key = cell.key.clone();
    if counts.len() >= CELLS_MAX && !counts.contains_key(&key) {
        // The sums stay right; only when in the hour, and over which route, is not told any more.
        key.minute = hour * MINUTES_PER_HOUR;
        key.route = RouteId::from_u128(0);
    }
    sum_up(counts.entry(key).or_default(), &cell.counts);
}

fn add_credential(counts: &mut BTreeMap<CredentialId, Counts>, credential: CredentialId, more: &Counts) {
    let room = counts.len() < CREDENTIALS_MAX || counts.contains_key(&credential);
    let credential = if room { credential } else { CredentialId::from_u128(0) };
    sum_up(counts.entry(credential).or_default(), more);
}

fn sum_up(sum: &mut Counts, more: &Counts) {
    sum.add(more);
    for count in
        [&mut sum.calls, &mut sum.billable_calls, &mut sum.bytes_in, &mut sum.bytes_out, &mut sum.units]
    {
        *count = (*count).min(COUNT_MAX);
    }
}

impl Document for Rollup {
    const COLLECTION: &'static str = "rollups";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.subscription, self.hour)
    }
}

/// Sorts the events of one batch into the rollups they belong to. An event whose time no calendar has is counted when its
/// batch came: it is billed all the same.
#[must_use]
pub fn portions(mut events: Vec<Event>, received_at: Timestamp) -> BTreeMap<(SubscriptionId, i64), Part> {
    for event in &mut events {
        if !(0..=HOUR_MAX * MINUTES_PER_HOUR).contains(&event.at.minute()) {
            event.at = received_at;
        }
    }
    let mut portions: BTreeMap<(SubscriptionId, i64), Part> = BTreeMap::new();
    for cell in cells(&events) {
        let hour = cell.key.minute.div_euclid(MINUTES_PER_HOUR);
        portions.entry((cell.key.subscription, hour)).or_default().cells.push(cell);
    }
    for event in &events {
        let hour = event.at.minute().div_euclid(MINUTES_PER_HOUR);
        let part = portions.entry((event.subscription, hour)).or_default();
        part.credentials.entry(event.credential).or_default().count(event);
    }
    for counts in portions.values_mut().flat_map(|part| part.credentials.values_mut()) {
        counts.latency_us_log2.clear();
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(minute: i64, route: u128, calls: u64) -> Cell {
        Cell {
            key: CellKey {
                subscription: SubscriptionId::from_u128(1),
                route: RouteId::from_u128(route),
                plan_revision: 1,
                minute,
                class: 2,
            },
            counts: Counts { calls, billable_calls: calls, ..Counts::default() },
        }
    }

    /// A part whose calls are all of one credential a route.
    fn part(cells: Vec<Cell>) -> Part {
        let mut credentials: BTreeMap<CredentialId, Counts> = BTreeMap::new();
        for cell in &cells {
            let credential = CredentialId::from_u128(cell.key.route.as_u128());
            credentials.entry(credential).or_default().add(&cell.counts);
        }
        Part { cells, credentials }
    }

    fn calls_by_credential(rollup: &Rollup) -> u64 {
        rollup.credentials.iter().map(|of| of.counts.calls).sum()
    }

    fn calls(rollup: &Rollup) -> u64 {
        rollup.cells.iter().map(|cell| cell.counts.calls).sum()
    }

    #[test]
    fn folding_twice_or_a_part_twice_counts_once() {
        let mut rollup = Rollup::new(SubscriptionId::from_u128(1), 0);
        let portion =
            Portion::from([(1, part(vec![cell(0, 1, 5)])), (4, part(vec![cell(0, 1, 7), cell(1, 2, 1)]))]);
        assert!(rollup.apply("gw:1", &portion));
        assert!(!rollup.apply("gw:1", &portion));
        let longer = Portion::from([(4, part(vec![cell(0, 1, 7)])), (6, part(vec![cell(0, 1, 2)]))]);
        assert!(rollup.apply("gw:1", &longer));
        assert_eq!(calls(&rollup), 15);
        let with = |n| rollup.credentials.iter().find(|of| of.credential == CredentialId::from_u128(n));
        assert_eq!(with(1).map(|of| of.counts.calls), Some(14));
        assert_eq!(with(2).map(|of| of.counts.calls), Some(1));
        assert!(rollup.apply("gw:2", &portion), "another life has its own numbers");
        assert_eq!((calls(&rollup), calls_by_credential(&rollup)), (28, 28));
    }

    #[test]
    fn too_many_cells_are_counted_together_and_none_is_lost() {
        let mut rollup = Rollup::new(SubscriptionId::from_u128(1), 0);
        let many: Vec<Cell> =
            (0..20_000_u32).map(|n| cell(i64::from(n % 60), u128::from(n) + 1, 1)).collect();
        rollup.apply("gw:1", &Portion::from([(1, part(many))]));
        assert_eq!(calls(&rollup), 20_000);
        assert_eq!(rollup.cells.len(), CELLS_MAX + 1);
        assert_eq!(calls_by_credential(&rollup), 20_000);
        assert_eq!(rollup.credentials.len(), CREDENTIALS_MAX + 1);
    }

    #[test]
    fn counts_stay_within_what_the_store_keeps() {
        let mut rollup = Rollup::new(SubscriptionId::from_u128(1), 0);
        rollup.apply(
            "gw:1",
            &Portion::from([(1, part(vec![cell(0, 1, u64::MAX)])), (2, part(vec![cell(0, 1, u64::MAX)]))]),
        );
        assert_eq!((calls(&rollup), calls_by_credential(&rollup)), (COUNT_MAX, COUNT_MAX));
    }
}
