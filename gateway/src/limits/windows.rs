//! Which hour, day or month a moment falls in, and when that ends. Pure arithmetic, in UTC or by the clocks of the zone that a
//! counter's name says, so that both counter stores and the tests agree on it; the moment is always the store's. Next: a
//! grant's window id and how long its lease may be spent.

use apiclay_config::clock::Timestamp;
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::usage::LeasedWindow;
use apiclay_config::zone::{Span, Zone};

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Counters of hours and days stay at the store this long after their end: late closes find them, and a clock that ran
/// days ahead does not make a used window new again when it is set right.
pub const SHORT_WINDOW_KEPT_MS: i64 = 7 * DAY_MS;
/// The same for months: three of them.
pub const MONTH_KEPT_MS: i64 = 93 * DAY_MS;

/// One window of time at the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Hours, days or months since 1970, in a zone as [`Span::id`] says; 0 for a trial and for a wallet.
    pub id: i64,
    /// When it began; the beginning of time for a trial.
    pub starts: Timestamp,
    /// The first moment after it; `None` for a trial, which has no end.
    pub ends: Option<Timestamp>,
}

impl Window {
    /// The window of this counter that `now` falls in.
    #[must_use]
    pub fn of(counter: &str, kind: LeasedWindow, now: Timestamp) -> Self {
        let Some(zone) = zone_of(counter) else { return Self::at(kind, now) };
        match kind {
            LeasedWindow::Hour => zone.hour(now).into(),
            LeasedWindow::Day => zone.day(now).into(),
            LeasedWindow::Month => zone.month(now).into(),
            LeasedWindow::Trial | LeasedWindow::Wallet => Self::at(kind, now),
        }
    }

    /// The window of this kind that `now` falls in, in UTC.
    #[must_use]
    pub fn at(kind: LeasedWindow, now: Timestamp) -> Self {
        match kind {
            LeasedWindow::Hour => Self::even(now, HOUR_MS),
            LeasedWindow::Day => Self::even(now, DAY_MS),
            LeasedWindow::Month => {
                let id = month_of_day(now.0.div_euclid(DAY_MS));
                let starts = Timestamp(first_day_of_month(id) * DAY_MS);
                Self { id, starts, ends: Some(Timestamp(first_day_of_month(id + 1) * DAY_MS)) }
            }
            LeasedWindow::Trial | LeasedWindow::Wallet => {
                Self { id: 0, starts: Timestamp(i64::MIN), ends: None }
            }
        }
    }

    fn even(now: Timestamp, length_ms: i64) -> Self {
        let id = now.0.div_euclid(length_ms);
        Self { id, starts: Timestamp(id * length_ms), ends: Some(Timestamp((id + 1) * length_ms)) }
    }

    /// What is left of it at `now`; `None` where it has no end.
    #[must_use]
    pub fn ends_in_ms(&self, now: Timestamp) -> Option<u64> {
        self.ends.map(|ends| u64::try_from(ends.0.saturating_sub(now.0)).unwrap_or(0))
    }

    /// Until when the store keeps its counters; `None` for ever.
    #[must_use]
    pub fn kept_until(&self, kind: LeasedWindow) -> Option<Timestamp> {
        let kept_ms = if kind == LeasedWindow::Month { MONTH_KEPT_MS } else { SHORT_WINDOW_KEPT_MS };
        self.ends.map(|ends| ends.plus_ms(kept_ms))
    }
}

impl From<Span> for Window {
    fn from(span: Span) -> Self {
        Self { id: span.id, starts: span.starts, ends: Some(span.ends) }
    }
}

/// The zone whose clocks a counter goes by, if it is not UTC. A plan in a zone that is not known here is left out; a
/// counter's name can only have one after this program was set back to an older version, and UTC's windows are safe for it:
/// nothing is granted of a counter that no plan has.
fn zone_of(counter: &str) -> Option<Zone> {
    Zone::named(QuotaKey::of(counter)?.zone?)
}

/// When a counter's window with this id ends; for figures that name a window by its id alone.
#[must_use]
pub fn window_with_id(counter: &str, kind: LeasedWindow, id: i64) -> Window {
    if let Some(zone) = zone_of(counter) {
        match kind {
            LeasedWindow::Hour => return zone.hour_with_id(id).into(),
            LeasedWindow::Day => return zone.day_with_id(id).into(),
            LeasedWindow::Month => return zone.month_with_id(id).into(),
            LeasedWindow::Trial | LeasedWindow::Wallet => {}
        }
    }
    match kind {
        LeasedWindow::Hour => Window::at(kind, Timestamp(id.saturating_mul(HOUR_MS))),
        LeasedWindow::Day => Window::at(kind, Timestamp(id.saturating_mul(DAY_MS))),
        LeasedWindow::Month => Window::at(kind, Timestamp(first_day_of_month(id).saturating_mul(DAY_MS))),
        LeasedWindow::Trial | LeasedWindow::Wallet => Window::at(kind, Timestamp(0)),
    }
}

/// Months since January 1970 of a day since 1970-01-01, after Howard Hinnant's `civil_from_days`: years begin in March, so
/// that the leap day is a year's last and month lengths follow one line.
fn month_of_day(day: i64) -> i64 {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    // March of year 0 is 2 months after January of year 0, which is 1970 years before ours.
    (era * 400 + year_of_era - 1_970) * 12 + march_month + 2
}

/// The first day, since 1970-01-01, of a month since January 1970: `days_from_civil`.
fn first_day_of_month(month: i64) -> i64 {
    let march_months = month + 1_970 * 12 - 2;
    let year = march_months.div_euclid(12);
    let march_month = march_months.rem_euclid(12);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(serde_json::Value::String(text.into())).unwrap()
    }

    #[test]
    fn known_moments_fall_in_their_windows() {
        for (moment, month_id, next) in [
            ("1970-01-01T00:00:00Z", 0, "1970-02-01T00:00:00Z"),
            ("2024-02-29T23:59:59.999Z", 54 * 12 + 1, "2024-03-01T00:00:00Z"),
            ("2100-02-28T23:59:59.999Z", 130 * 12 + 1, "2100-03-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999Z", 56 * 12 + 11, "2027-01-01T00:00:00Z"),
        ] {
            let window = Window::at(LeasedWindow::Month, at(moment));
            assert_eq!((window.id, window.ends), (month_id, Some(at(next))), "{moment}");
        }
        let hour = Window::at(LeasedWindow::Hour, at("2026-03-01T10:59:59.999Z"));
        assert_eq!(hour.ends_in_ms(at("2026-03-01T10:59:59.999Z")), Some(1));
        assert_eq!(Window::at(LeasedWindow::Trial, at("2026-03-01T10:00:00Z")).id, 0);
    }

    #[test]
    fn windows_follow_one_another_without_gap_for_five_hundred_years() {
        for kind in [LeasedWindow::Hour, LeasedWindow::Day, LeasedWindow::Month] {
            let mut window = Window::at(kind, at("1969-11-30T00:00:00Z"));
            for _ in 0..6_000 {
                let ends = window.ends.unwrap();
                let next = Window::at(kind, ends);
                assert_eq!((next.id, next.starts), (window.id + 1, ends));
                assert_eq!(Window::at(kind, ends.plus_ms(-1)), window);
                assert_eq!(window_with_id("quota:s", kind, window.id), window);
                window = next;
            }
        }
    }

    #[test]
    fn a_counter_goes_by_the_clocks_that_its_name_says() {
        let now = at("2026-03-31T18:30:00Z");
        for (name, kind, begins, ends) in [
            ("month", LeasedWindow::Month, "2026-03-31T18:30:00Z", "2026-04-30T18:30:00Z"),
            ("day", LeasedWindow::Day, "2026-03-31T18:30:00Z", "2026-04-01T18:30:00Z"),
            ("hour", LeasedWindow::Hour, "2026-03-31T18:30:00Z", "2026-03-31T19:30:00Z"),
        ] {
            let counter = format!("quota:s:{name}@Asia/Kolkata");
            let window = Window::of(&counter, kind, now);
            assert_eq!((window.starts, window.ends), (at(begins), Some(at(ends))), "{name}");
            assert_eq!(window_with_id(&counter, kind, window.id), window);
            let utc = Window::of(&format!("quota:s:{name}"), kind, now);
            assert_eq!(utc, Window::at(kind, now));
            assert_ne!(utc, window);
        }
        assert_eq!(Window::of("trial:a:l", LeasedWindow::Trial, now).id, 0);
    }
}
