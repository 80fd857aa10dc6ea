//! From usage to the bars of a chart: one for every hour of the last day, or every day of the last month, also where
//! nothing was called. Pure; the template draws them.

use apiclay_config::clock::Timestamp;
use serde::Deserialize;

use super::words;
use crate::usage::series::{Item, Step};

const HOUR_MS: i64 = 3_600_000;
/// The chart's height, in the units of its drawing.
const HEIGHT: u64 = 160;
/// The least height of a bar that is not nothing, so that one call beside thousands is seen.
const BAR_MIN: u64 = 2;
/// How wide a bar's place is, and the bar in it.
const PLACE: u64 = 24;

/// How wide a bar is in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Width {
    /// 24 of them.
    #[default]
    Hour,
    /// 30 of them.
    Day,
}

impl Width {
    const fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => 24 * HOUR_MS,
        }
    }

    /// How many bars there are.
    pub(super) const fn bars(self) -> i64 {
        match self {
            Self::Hour => 24,
            Self::Day => 30,
        }
    }

    /// The step of the usage that is read for it.
    pub(super) const fn step(self) -> Step {
        match self {
            Self::Hour => Step::Hour,
            Self::Day => Step::Day,
        }
    }

    /// Where the first bar begins; the last one holds `now`.
    pub(super) fn begin(self, now: Timestamp) -> Timestamp {
        let last = now.0.div_euclid(self.ms()) * self.ms();
        // The epoch is the earliest that usage is asked for.
        Timestamp((last - (self.bars() - 1) * self.ms()).max(0))
    }

    /// The drawing's width.
    pub(super) fn drawing(self) -> u64 {
        self.bars().unsigned_abs() * PLACE
    }

    /// The chart's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hour => "last 24 hours",
            Self::Day => "last 30 days",
        }
    }
}

/// One bar: how many calls, and the three stacked parts from the bottom up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub label: String,
    pub calls: u64,
    pub billable: u64,
    pub good: u64,
    pub refused: u64,
    pub failed: u64,
    pub x: u64,
    /// Class, y and height of each part that is not empty.
    pub parts: Vec<(&'static str, u64, u64)>,
}

/// The bars up to now.
pub(super) fn bars(width: Width, now: Timestamp, items: &[Item]) -> Vec<Bar> {
    let begin = width.begin(now);
    let busiest = items.iter().map(|item| item.calls).max().unwrap_or(0);
    (0..width.bars())
        .map(|place| {
            let at = begin.plus_ms(place * width.ms());
            let item = items.iter().find(|item| item.at == at);
            bar(width, at, place.unsigned_abs(), item, busiest)
        })
        .collect()
}

fn bar(width: Width, at: Timestamp, place: u64, item: Option<&Item>, busiest: u64) -> Bar {
    let format = match width {
        Width::Hour => "%-d %b, %H:00",
        Width::Day => "%-d %b",
    };
    let class = |name: &str| item.and_then(|item| item.by_class.get(name)).copied().unwrap_or(0);
    let calls = item.map_or(0, |item| item.calls);
    let (refused, failed) = (class("4xx"), class("5xx"));
    let good = calls.saturating_sub(refused).saturating_sub(failed);
    let mut parts = Vec::new();
    let mut top = HEIGHT;
    for (class, calls) in [("good", good), ("refused", refused), ("failed", failed)] {
        let height = height_of(calls, busiest).min(top);
        if height > 0 {
            top -= height;
            parts.push((class, top, height));
        }
    }
    Bar {
        label: words::written(at, format),
        calls,
        billable: item.map_or(0, |item| item.billable_calls),
        good,
        refused,
        failed,
        x: place * PLACE,
        parts,
    }
}

fn height_of(calls: u64, busiest: u64) -> u64 {
    if calls == 0 {
        return 0;
    }
    let height = (u128::from(calls) * u128::from(HEIGHT)).checked_div(u128::from(busiest)).unwrap_or(0);
    // At most HEIGHT, as `busiest` is the largest.
    (height as u64).max(BAR_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(at: i64, calls: u64, failed: u64) -> Item {
        let mut by_class = std::collections::BTreeMap::new();
        by_class.insert("2xx".to_owned(), calls - failed);
        by_class.insert("5xx".to_owned(), failed);
        let billable_calls = calls - failed;
        Item {
            at: Timestamp(at),
            calls,
            billable_calls,
            by_class,
            latency_us: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    #[test]
    fn every_hour_has_a_bar_and_the_busiest_is_full() {
        let now = Timestamp(1_700_000_000_000);
        let last = now.0.div_euclid(HOUR_MS) * HOUR_MS;
        let bars = bars(Width::Hour, now, &[item(last, 100, 50), item(last - HOUR_MS, 1, 0)]);
        assert_eq!(bars.len(), 24);
        let tops = |bar: &Bar| bar.parts.iter().map(|(_, top, height)| (*top, *height)).collect::<Vec<_>>();
        assert_eq!(tops(&bars[23]), [(80, 80), (0, 80)]);
        assert_eq!(tops(&bars[22]), [(158, 2)]);
        assert!(bars[..22].iter().all(|bar| bar.parts.is_empty() && bar.calls == 0));
        assert_eq!(bars[23].label, "14 Nov, 22:00");
    }

    #[test]
    fn no_calls_and_the_largest_counts_are_drawn() {
        let now = Timestamp(1_700_000_000_000);
        assert!(bars(Width::Day, now, &[]).iter().all(|bar| bar.parts.is_empty()));
        assert_eq!(height_of(u64::MAX, u64::MAX), HEIGHT);
        assert_eq!(height_of(1, u64::MAX), BAR_MIN);
    }
}
