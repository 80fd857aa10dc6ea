//! The months of a subscription: counted from the moment it began to pay, so that each ends on that day at that time. Pure.
//! Next: fees are charged, included units counted and invoices written by period.

use apiclay_config::clock::Timestamp;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// What a moment is that no calendar has.
const END_OF_TIME: Timestamp = Timestamp(i64::MAX);

/// From when (included) to when (excluded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Its first moment.
    #[schema(value_type = String, format = DateTime)]
    pub begins_at: Timestamp,
    /// The first moment of the one after it.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
}

impl Period {
    /// The month in which `at` lies, counted from `anchor`; the first one where `at` is before it.
    ///
    /// A month that lacks the anchor's day begins on its last: 31 January, 28 February, 31 March.
    #[must_use]
    pub fn containing(anchor: Timestamp, at: Timestamp) -> Self {
        let mut months = months_between(anchor, at);
        // Whole months by the calendar may be one too many, where the anchor's hour is later in the day.
        while months > 0 && month(anchor, months) > at {
            months -= 1;
        }
        let mut ends_at = month(anchor, months + 1);
        while ends_at <= at && ends_at < END_OF_TIME {
            months += 1;
            ends_at = month(anchor, months + 1);
        }
        Self { begins_at: month(anchor, months), ends_at }
    }

    /// How long it is, in milliseconds: more than zero.
    #[must_use]
    pub fn length_ms(&self) -> i64 {
        self.ends_at.0.saturating_sub(self.begins_at.0).max(1)
    }

    /// How much of it is left at a moment, in milliseconds: from zero to its length.
    #[must_use]
    pub fn left_ms(&self, at: Timestamp) -> i64 {
        self.ends_at.0.saturating_sub(at.0).clamp(0, self.length_ms())
    }
}

/// The moment so many months after the anchor; the end of time where the calendar ends before.
fn month(anchor: Timestamp, months: i64) -> Timestamp {
    let moment = jiff::Timestamp::from_millisecond(anchor.0).ok().and_then(|from| {
        let span = 0.months().try_months(months).ok()?;
        from.to_zoned_datetime(TimeZone::UTC).checked_add(span).ok()
    });
    moment.map_or(END_OF_TIME, |moment| Timestamp(moment.timestamp().as_millisecond()))
}

fn months_between(anchor: Timestamp, at: Timestamp) -> i64 {
    let calendar = |moment: Timestamp| {
        let moment = jiff::Timestamp::from_millisecond(moment.0).ok()?.to_zoned_datetime(TimeZone::UTC);
        Some(i64::from(moment.year()) * 12 + i64::from(moment.month()))
    };
    match (calendar(anchor), calendar(at)) {
        (Some(from), Some(to)) => (to - from).max(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn a_month_ends_on_the_anchors_day_or_on_the_last_there_is() {
        let anchor = at("2024-01-31T18:30:00Z");
        let days = [
            ("2024-01-31T18:30:00Z", "2024-01-31T18:30:00Z", "2024-02-29T18:30:00Z"),
            ("2024-02-29T18:29:59.999Z", "2024-01-31T18:30:00Z", "2024-02-29T18:30:00Z"),
            ("2024-02-29T18:30:00Z", "2024-02-29T18:30:00Z", "2024-03-31T18:30:00Z"),
            ("2025-02-10T00:00:00Z", "2025-01-31T18:30:00Z", "2025-02-28T18:30:00Z"),
            ("2023-05-01T00:00:00Z", "2024-01-31T18:30:00Z", "2024-02-29T18:30:00Z"),
        ];
        for (when, begins, ends) in days {
            let expected = Period { begins_at: at(begins), ends_at: at(ends) };
            assert_eq!(Period::containing(anchor, at(when)), expected, "{when}");
        }
    }

    #[test]
    fn months_follow_each_other_without_gap_or_overlap() {
        for anchor in ["2024-01-31T23:59:59.999Z", "2024-02-29T00:00:00Z", "2026-11-28T12:00:00Z"].map(at) {
            let mut period = Period::containing(anchor, anchor);
            for _ in 0..240 {
                let next = Period::containing(anchor, period.ends_at);
                assert_eq!(next.begins_at, period.ends_at);
                assert_eq!(Period::containing(anchor, Timestamp(next.ends_at.0 - 1)), next);
                assert!((27..=31).contains(&(next.length_ms() / 86_400_000)), "{next:?}");
                period = next;
            }
        }
    }

    #[test]
    fn the_end_of_time_is_no_fault() {
        for (anchor, at) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MAX, i64::MAX)] {
            let period = Period::containing(Timestamp(anchor), Timestamp(at));
            assert!(period.length_ms() > 0 && period.left_ms(Timestamp(at)) >= 0);
        }
    }
}
