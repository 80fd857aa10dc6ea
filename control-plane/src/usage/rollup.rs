//! A rollup: the calls of one subscription in one UTC hour, and how far each gateway's batches are in it. Pure: `apply` is
//! a state machine over batches in order; `fold` writes what it gives by compare-and-set, so that folding twice, or by two
//! at once, counts once. Next: `days`, which sums hours of days that are over, and `read`.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, SubscriptionId};
use apiclay_config::usage::{Cell, CellKey, Counts, Event, Latency, cells};
use serde::{Deserialize, Serialize};

use super::sums::{OfCredential, Sums};
use crate::store::{Document, Index};

/// Minutes in a rollup.
pub const MINUTES_PER_HOUR: i64 = 60;
/// Hours in a day.
pub const HOURS_PER_DAY: i64 = 24;
/// Digits of an hour in an id, so that text sorts as numbers do.
const HOUR_DIGITS: usize = 10;
/// The last hour a rollup has: in the year 9999.
const HOUR_MAX: i64 = 70_000_000;

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
    /// The hour's day, in whole UTC days since 1970.
    #[serde(default)]
    pub day: i64,
    /// What is still to be done with it; written with the counts that make it necessary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub todo: Option<Todo>,
    /// Whether its minutes are gone: cells stand at the hour's first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub minutes_gone: bool,
}

/// What is to be done with an hour's rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Todo {
    /// Calls have come that are in no sum of its day.
    Sum,
    /// Its minutes go when they are old.
    DropMinutes,
}

impl Todo {
    /// As it stands in the index.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::DropMinutes => "drop_minutes",
        }
    }
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
        Self {
            subscription,
            hour,
            cells: Vec::new(),
            credentials: Vec::new(),
            folded: BTreeMap::new(),
            day: hour.div_euclid(HOURS_PER_DAY),
            todo: None,
            minutes_gone: false,
        }
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
        let mut sums = Sums::from(std::mem::take(&mut self.cells), std::mem::take(&mut self.credentials));
        let first_minute = self.hour * MINUTES_PER_HOUR;
        let mut last = folded;
        for (seq, part) in new {
            last = *seq;
            for cell in &part.cells {
                sums.add(first_minute, cell.key.clone(), &cell.counts);
            }
            for (credential, more) in &part.credentials {
                sums.add_credential(*credential, more);
            }
        }
        (self.cells, self.credentials) = sums.done();
        self.folded.insert(epoch.to_owned(), last);
        self.day = self.hour.div_euclid(HOURS_PER_DAY);
        self.todo = Some(Todo::Sum);
        true
    }

    /// Puts all minutes into the first: the hour's sums stay.
    pub fn drop_minutes(&mut self) {
        let mut sums = Sums::from(Vec::new(), std::mem::take(&mut self.credentials));
        let first_minute = self.hour * MINUTES_PER_HOUR;
        for cell in std::mem::take(&mut self.cells) {
            sums.add(first_minute, CellKey { minute: first_minute, ..cell.key }, &cell.counts);
        }
        (self.cells, self.credentials) = sums.done();
        self.minutes_gone = true;
        self.todo = None;
    }
}

impl Document for Rollup {
    const COLLECTION: &'static str = "rollups";
    const INDEXES: &'static [Index] = &[
        Index { name: "todo", fields: &["todo", "day"], unique: false, multi: false },
        Index { name: "todo_of", fields: &["subscription", "todo", "day"], unique: false, multi: false },
    ];
    // An older release would write an hour back without what is to be done with it.
    const SCHEMA: u32 = 2;

    fn id(&self) -> String {
        Self::id_of(self.subscription, self.hour)
    }
}

/// When an event counts: where no calendar has its time, when its batch came.
#[must_use]
pub fn counted_at(event: &Event, received_at: Timestamp) -> Timestamp {
    let known = (0..=HOUR_MAX * MINUTES_PER_HOUR).contains(&event.at.minute());
    if known { event.at } else { received_at }
}

/// Sorts the events of one batch into the rollups they belong to. An event whose time no calendar has is counted when its
/// batch came: it is billed all the same.
#[must_use]
pub fn portions(mut events: Vec<Event>, received_at: Timestamp) -> BTreeMap<(SubscriptionId, i64), Part> {
    for event in &mut events {
        event.at = counted_at(event, received_at);
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
        counts.latency = Latency::default();
    }
    portions
}

#[cfg(test)]
mod tests {
    use apiclay_config::ids::RouteId;

    use super::super::sums::{CELLS_MAX, COUNT_MAX, CREDENTIALS_MAX};
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
        credentials.values_mut().for_each(|counts| counts.latency = Latency::default());
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
    fn the_fullest_rollup_fits_into_a_document() {
        let mut latency = String::new();
        for bucket in 0..240 {
            latency.push_str(&format!("{bucket}:99 "));
        }
        let counts = serde_json::json!({"calls": COUNT_MAX, "billable_calls": COUNT_MAX, "bytes_in": COUNT_MAX,
            "bytes_out": COUNT_MAX, "latency": latency.trim_end()});
        let counts: Counts = serde_json::from_value(counts).unwrap();
        let mut rollup = Rollup::new(SubscriptionId::from_u128(u128::MAX), HOUR_MAX);
        let many = (0..20_000_u32).map(|n| {
            let mut cell =
                cell(HOUR_MAX * MINUTES_PER_HOUR + i64::from(n % 60), u128::MAX - u128::from(n), 1);
            cell.key.plan_revision = u32::MAX;
            Cell { counts: counts.clone(), ..cell }
        });
        rollup.apply("gw:1", &Portion::from([(1, part(many.collect()))]));
        let bytes = serde_json::to_vec(&rollup).unwrap().len();
        assert!(bytes < crate::store::DOCUMENT_MAX_BYTES, "{bytes} bytes");
    }

    #[test]
    fn dropped_minutes_leave_the_sums_and_what_comes_later_is_counted_once() {
        let mut rollup = Rollup::new(SubscriptionId::from_u128(1), 1);
        let portion = Portion::from([(1, part((60..120).map(|minute| cell(minute, 1, 2)).collect()))]);
        assert!(rollup.apply("gw:1", &portion));
        let by_credential = rollup.credentials.clone();
        rollup.drop_minutes();
        assert_eq!((rollup.cells.len(), calls(&rollup)), (1, 120));
        assert_eq!((rollup.cells[0].key.minute, rollup.todo), (60, None));
        assert_eq!(rollup.credentials, by_credential);
        assert!(!rollup.apply("gw:1", &portion), "it is known still");
        assert!(rollup.apply("gw:1", &Portion::from([(2, part(vec![cell(61, 1, 1)]))])));
        assert_eq!((calls(&rollup), rollup.todo), (121, Some(Todo::Sum)));
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
