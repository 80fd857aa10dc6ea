//! From rollups to what a chart shows: calls by hour, day or minute. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{Cell, Counts, Latency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// Steps of one answer.
pub(super) const ITEMS_MAX: usize = 20_000;
/// Up to so long a time is shown by the hour where nothing is said; a longer one by the day.
const BY_HOUR_MAX_MINUTES: i64 = 31 * 24 * 60;

/// How wide a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// A minute.
    Minute,
    /// A UTC hour.
    Hour,
    /// A UTC day.
    Day,
}

impl Step {
    const fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// What is shown where nothing is said.
    pub(super) const fn by_default(minutes: &Range<i64>) -> Self {
        if minutes.end.saturating_sub(minutes.start) > BY_HOUR_MAX_MINUTES { Self::Day } else { Self::Hour }
    }
}

/// Durations that so many of a hundred calls did not exceed, in microseconds; each is within 6.25 % of a call's. Of hours that
/// a release before sketches counted, or that have more of them than a document holds, within 36 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Percentiles {
    /// Of half of the calls.
    pub p50: u32,
    /// Of 95 in a hundred.
    pub p95: u32,
    /// Of 99 in a hundred.
    pub p99: u32,
}

impl Percentiles {
    /// None where nothing was called.
    pub(super) fn of(latency: &Latency) -> Option<Self> {
        let at = |per_mille| latency.at_per_mille(per_mille);
        Some(Self { p50: at(500)?, p95: at(950)?, p99: at(990)? })
    }
}

/// Calls in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Item {
    /// When the step begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Calls that the gateway answered from the upstream.
    pub calls: u64,
    /// Those of them that are billed.
    pub billable_calls: u64,
    /// Calls by the hundreds of their status: `2xx`.
    pub by_class: BTreeMap<String, u64>,
    /// How long they took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Percentiles>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
}

/// Calls in the whole time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Total {
    /// Calls that the gateway answered from the upstream.
    pub calls: u64,
    /// Those of them that are billed.
    pub billable_calls: u64,
    /// How long they took, in microseconds; left out where no call did, and by credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Percentiles>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
    /// Units of billed calls, where their plan counts others than calls; left out where unlike units would be added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<u64>,
    /// Billed calls whose units were not said by the upstream, or not to the end.
    pub assumed_calls: u64,
    /// Billed calls that were charged the most units that one is charged, where more were said.
    pub capped_calls: u64,
}

impl Total {
    /// Of all that was counted.
    pub(super) fn of(counts: &Counts) -> Self {
        Self {
            calls: counts.calls,
            billable_calls: counts.billable_calls,
            latency_us: Percentiles::of(&counts.latency),
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
            units: Some(counts.units),
            assumed_calls: counts.assumed_calls,
            capped_calls: counts.capped_calls,
        }
    }
}

/// Counts, and calls by class.
pub(super) type ByClass = (Counts, BTreeMap<u8, u64>);

/// Adds a cell to what is counted with others.
pub(super) fn add_to((sum, classes): &mut ByClass, cell: &Cell) {
    sum.add(&cell.counts);
    let of_class = classes.entry(cell.key.class).or_default();
    *of_class = of_class.saturating_add(cell.counts.calls);
}

/// Classes as answers name them.
pub(super) fn named(classes: BTreeMap<u8, u64>) -> BTreeMap<String, u64> {
    let name = |class: u8| if class == 0 { "none".to_owned() } else { format!("{class}xx") };
    classes.into_iter().map(|(class, calls)| (name(class), calls)).collect()
}

/// Whoever asks for so many steps is told.
pub(super) fn too_long() -> Refusal {
    Refusal::field("", "range_too_long", format!("at most {ITEMS_MAX} steps; choose wider ones"))
}

/// A chart that is being made: rollups come in one by one.
#[derive(Debug)]
pub(super) struct Series {
    step: Step,
    items: BTreeMap<i64, ByClass>,
}

impl Series {
    pub(super) const fn new(step: Step) -> Self {
        Self { step, items: BTreeMap::new() }
    }

    /// Counts cells of the time that is shown.
    pub(super) fn add<'a>(&mut self, cells: impl Iterator<Item = &'a Cell>) -> Result<(), Refusal> {
        let width = self.step.minutes();
        for cell in cells {
            let begin = cell.key.minute.div_euclid(width) * width;
            add_to(self.items.entry(begin).or_default(), cell);
        }
        if self.items.len() > ITEMS_MAX { Err(too_long()) } else { Ok(()) }
    }

    /// How many steps there are.
    pub(super) fn steps(&self) -> usize {
        self.items.len()
    }

    /// All that was counted.
    pub(super) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.items.values().for_each(|(counts, _)| sum.add(counts));
        sum
    }

    /// What there is.
    pub(super) fn finish(self) -> (Total, Vec<Item>) {
        let total = Total::of(&self.sum());
        let item = |(begin, (counts, classes)): (i64, ByClass)| Item {
            at: Timestamp(begin.saturating_mul(60_000)),
            calls: counts.calls,
            billable_calls: counts.billable_calls,
            by_class: named(classes),
            latency_us: Percentiles::of(&counts.latency),
            bytes_in: counts.bytes_in,
            bytes_out: counts.bytes_out,
        };
        (total, self.items.into_iter().map(item).collect())
    }
}
