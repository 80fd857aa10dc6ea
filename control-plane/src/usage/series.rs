//! From rollups to what a chart shows: calls by hour, day or minute. Pure.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{Cell, Counts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rollup::Rollup;
use crate::refusal::Refusal;

/// Steps of one answer.
pub(super) const ITEMS_MAX: usize = 20_000;
/// Up to so long a time is shown by the hour where nothing is said; a longer one by the day.
const BY_HOUR_MAX_MS: i64 = 31 * 24 * 3_600_000;

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
    pub(super) const fn by_default(from: Timestamp, to: Timestamp) -> Self {
        if to.0.saturating_sub(from.0) > BY_HOUR_MAX_MS { Self::Day } else { Self::Hour }
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
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
    /// Units of billed calls, where their plan counts others than calls.
    pub units: u64,
    /// Billed calls whose units were not said by the upstream, or not to the end.
    pub assumed_calls: u64,
    /// Billed calls that were charged the most units that one is charged, where more were said.
    pub capped_calls: u64,
}

/// A chart that is being made: rollups come in one by one.
#[derive(Debug)]
pub(super) struct Series {
    from_minute: i64,
    below_minute: i64,
    step: Step,
    items: BTreeMap<i64, Item>,
    total: Counts,
}

impl Series {
    /// From the minute of `from` (included) to that of `to` (left out where `to` is its begin).
    pub(super) fn new(from: Timestamp, to: Timestamp, step: Step) -> Self {
        let below_minute = to.plus_ms(59_999).minute();
        Self {
            from_minute: from.minute(),
            below_minute,
            step,
            items: BTreeMap::new(),
            total: Counts::default(),
        }
    }

    /// Counts what lies in the time.
    pub(super) fn add(&mut self, rollup: &Rollup) -> Result<(), Refusal> {
        for cell in &rollup.cells {
            if (self.from_minute..self.below_minute).contains(&cell.key.minute) {
                self.add_cell(cell);
            }
        }
        if self.items.len() > ITEMS_MAX {
            return Err(Refusal::field(
                "",
                "range_too_long",
                format!("at most {ITEMS_MAX} steps; choose wider ones"),
            ));
        }
        Ok(())
    }

    fn add_cell(&mut self, cell: &Cell) {
        self.total.calls = self.total.calls.saturating_add(cell.counts.calls);
        self.total.billable_calls = self.total.billable_calls.saturating_add(cell.counts.billable_calls);
        self.total.bytes_in = self.total.bytes_in.saturating_add(cell.counts.bytes_in);
        self.total.bytes_out = self.total.bytes_out.saturating_add(cell.counts.bytes_out);
        self.total.units = self.total.units.saturating_add(cell.counts.units);
        self.total.assumed_calls = self.total.assumed_calls.saturating_add(cell.counts.assumed_calls);
        self.total.capped_calls = self.total.capped_calls.saturating_add(cell.counts.capped_calls);
        let width = self.step.minutes();
        let begin = cell.key.minute.div_euclid(width) * width;
        let item = self.items.entry(begin).or_insert_with(|| Item {
            at: Timestamp(begin.saturating_mul(60_000)),
            calls: 0,
            billable_calls: 0,
            by_class: BTreeMap::new(),
            bytes_in: 0,
            bytes_out: 0,
        });
        item.calls = item.calls.saturating_add(cell.counts.calls);
        item.billable_calls = item.billable_calls.saturating_add(cell.counts.billable_calls);
        item.bytes_in = item.bytes_in.saturating_add(cell.counts.bytes_in);
        item.bytes_out = item.bytes_out.saturating_add(cell.counts.bytes_out);
        let class = if cell.key.class == 0 { "none".to_owned() } else { format!("{}xx", cell.key.class) };
        let of_class = item.by_class.entry(class).or_default();
        *of_class = of_class.saturating_add(cell.counts.calls);
    }

    /// What there is.
    pub(super) fn finish(self) -> (Total, Vec<Item>) {
        let total = Total {
            calls: self.total.calls,
            billable_calls: self.total.billable_calls,
            bytes_in: self.total.bytes_in,
            bytes_out: self.total.bytes_out,
            units: self.total.units,
            assumed_calls: self.total.assumed_calls,
            capped_calls: self.total.capped_calls,
        };
        (total, self.items.into_values().collect())
    }
}
