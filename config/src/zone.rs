//! Hours, days and months as a time zone's clocks have them: how limits are counted where a plan names a zone. The zones are
//! those of the database in this program, never the machine's own, so that all gateways and the control plane agree on
//! when a window ends. Pure. Next: the gateway's `limits/windows.rs`, and pages that show what of a window is used.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use crate::clock::Timestamp;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Months are counted from January of this year.
const YEAR_OF_MONTH_0: i64 = 1_970;

/// The zone that a plan has which names none.
pub const UTC: &str = "UTC";

/// A time zone of the IANA database.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// One window of a zone's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which one; ascends with time, and is skipped for a day that the zone never had.
    pub id: i64,
    /// Its first moment.
    pub starts: Timestamp,
    /// The first moment after it.
    pub ends: Timestamp,
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of this name, spelled as the database has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        (zone.iana_name() == Some(name)).then_some(Self(zone))
    }

    /// Whether its clocks are changed after this moment, as far as is known: its days are not all of one length.
    #[must_use]
    pub fn changes_after(&self, now: Timestamp) -> bool {
        let offset = self.offset_ms(now);
        self.0.following(moment(now)).take(8).any(|change| offset_ms(change.offset()) != offset)
    }

    /// The hour that `now` falls in: as long as the clock shows it and is not changed. An hour that comes twice is two, and
    /// where clocks are set by half an hour, one is half as long. Its id is its begin in minutes since 1970.
    #[must_use]
    pub fn hour(&self, now: Timestamp) -> Span {
        let offset = self.offset_ms(now);
        let begin = now.plus_ms(offset).0.div_euclid(HOUR_MS) * HOUR_MS;
        let (mut starts, mut ends) = (Timestamp(begin - offset), Timestamp(begin - offset + HOUR_MS));
        if self.offset_ms(starts) != offset {
            let change = self.0.preceding(moment(now.plus_ms(1))).next();
            starts = change.map_or(starts, |change| timestamp(change.timestamp()));
        }
        if self.offset_ms(ends.plus_ms(-1)) != offset {
            let change = self.0.following(moment(now)).next();
            ends = change.map_or(ends, |change| timestamp(change.timestamp()));
        }
        Span { id: starts.0.div_euclid(MINUTE_MS), starts, ends }
    }

    /// The hour with this id.
    #[must_use]
    pub fn hour_with_id(&self, id: i64) -> Span {
        self.hour(Timestamp(id.saturating_mul(MINUTE_MS)))
    }

    /// The day that `now` falls in, from one midnight to the next, be it 23 hours or 25. Its id is the calendar's day, since
    /// 1970-01-01.
    #[must_use]
    pub fn day(&self, now: Timestamp) -> Span {
        let near = now.0.saturating_add(self.offset_ms(now)).div_euclid(DAY_MS);
        numbered(now, near, |day| self.day_starts(day))
    }

    /// The day with this id.
    #[must_use]
    pub fn day_with_id(&self, id: i64) -> Span {
        Span { id, starts: self.day_starts(id), ends: self.day_starts(id.saturating_add(1)) }
    }

    /// The month that `now` falls in. Its id is the calendar's month, since January 1970.
    #[must_use]
    pub fn month(&self, now: Timestamp) -> Span {
        let local = self.0.to_datetime(moment(now));
        let near = (i64::from(local.year()) - YEAR_OF_MONTH_0) * 12 + i64::from(local.month()) - 1;
        numbered(now, near, |month| self.month_starts(month))
    }

    /// The month with this id.
    #[must_use]
    pub fn month_with_id(&self, id: i64) -> Span {
        Span { id, starts: self.month_starts(id), ends: self.month_starts(id.saturating_add(1)) }
    }

    fn day_starts(&self, day: i64) -> Timestamp {
        self.at(Offset::UTC.to_datetime(moment(Timestamp(day.saturating_mul(DAY_MS)))))
    }

    fn month_starts(&self, month: i64) -> Timestamp {
        let year = i16::try_from(month.div_euclid(12).saturating_add(YEAR_OF_MONTH_0)).unwrap_or(i16::MAX);
        // At most 12.
        let first = Date::new(year, month.rem_euclid(12) as i8 + 1, 1);
        first.map_or(timestamp(jiff::Timestamp::MAX), |first| self.at(first.into()))
    }

    /// When the clock shows this first; where it is skipped, when it is.
    fn at(&self, local: DateTime) -> Timestamp {
        self.0.to_timestamp(local).map_or(timestamp(jiff::Timestamp::MAX), timestamp)
    }

    fn offset_ms(&self, at: Timestamp) -> i64 {
        offset_ms(self.0.to_offset(moment(at)))
    }
}

/// The last window that has begun. A clock that is set back over midnight shows the day before once more: the new day, which
/// had begun, goes on.
fn numbered(now: Timestamp, near: i64, starts: impl Fn(i64) -> Timestamp) -> Span {
    let mut id = near.saturating_add(1);
    // Three steps at most: a zone's clocks are never a whole month off, and skip no more than a day.
    while id > near.saturating_sub(2) && starts(id) > now {
        id -= 1;
    }
    Span { id, starts: starts(id), ends: starts(id.saturating_add(1)) }
}

fn offset_ms(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1_000
}

/// As the database counts; at the ends of its time at most.
fn moment(at: Timestamp) -> jiff::Timestamp {
    let end = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_millisecond(at.0).unwrap_or(end)
}

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    Timestamp(at.as_millisecond())
}

#[cfg(test)]
mod tests;
