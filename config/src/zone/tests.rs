//! Windows in every zone of the bundled database: around each change of its clocks, and at any moment.

use proptest::prelude::*;

use super::*;

const ODD: [&str; 10] = [
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "America/Nuuk",
    "Africa/Casablanca",
    "Pacific/Chatham",
];

type Kind = (fn(&Zone, Timestamp) -> Span, fn(&Zone, i64) -> Span);
const KINDS: [Kind; 3] =
    [(Zone::hour, Zone::hour_with_id), (Zone::day, Zone::day_with_id), (Zone::month, Zone::month_with_id)];

fn at(text: &str) -> Timestamp {
    serde_json::from_value(serde_json::Value::String(text.into())).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

/// A window holds `now`, is found by its id and from its first and last moment, and the next begins where it ends.
fn check(name: &str, zone: &Zone, now: Timestamp) {
    for (kind, (find, with_id)) in KINDS.iter().enumerate() {
        let span = find(zone, now);
        let told = format!("{name}, kind {kind}, {now}: {span:?}");
        assert!(span.starts <= now && now < span.ends, "{told}");
        assert_eq!(find(zone, span.starts), span, "{told}");
        assert_eq!(find(zone, span.ends.plus_ms(-1)), span, "{told}");
        assert_eq!(with_id(zone, span.id), span, "{told}");
        let next = find(zone, span.ends);
        assert!(next.starts == span.ends && next.id > span.id, "{told}: {next:?}");
    }
}

#[test]
fn only_names_as_the_database_spells_them_are_zones() {
    for name in ODD {
        assert!(Zone::named(name).is_some(), "{name}");
    }
    for name in ["", "asia/kolkata", "Asia/Nowhere", "IST5:30", "+05:30", "Etc/Unknown\n", "../etc/passwd"] {
        assert!(Zone::named(name).is_none(), "{name}");
    }
}

#[test]
fn windows_of_every_zone_follow_one_another_around_every_change_of_its_clocks() {
    let (from, until) = (at("1973-01-01T00:00:00Z"), at("2060-01-01T00:00:00Z"));
    let mut zones = 0;
    for name in TimeZoneDatabase::bundled().available() {
        let name = name.to_string();
        let zone = zone(&name);
        zones += 1;
        let changes: Vec<Timestamp> = zone
            .0
            .following(moment(from))
            .map(|change| timestamp(change.timestamp()))
            .take_while(|change| *change < until)
            .collect();
        for change in changes.iter().chain([&from]) {
            for away_ms in [-DAY_MS, -HOUR_MS, -1, 0, HOUR_MS / 2, HOUR_MS, DAY_MS] {
                check(&name, &zone, change.plus_ms(away_ms));
            }
        }
    }
    assert!(zones > 400, "{zones}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_moment_falls_in_one_window_of_each_kind(
        name in prop::sample::select(ODD.as_slice()),
        now in at("1973-01-01T00:00:00Z").0..at("2200-01-01T00:00:00Z").0,
    ) {
        check(name, &zone(name), Timestamp(now));
    }

    #[test]
    fn windows_of_utc_are_as_those_of_a_plan_without_a_zone(now in 0..at("2200-01-01T00:00:00Z").0) {
        let (zone, now) = (zone(UTC), Timestamp(now));
        prop_assert_eq!(zone.hour(now).starts.0, now.0.div_euclid(HOUR_MS) * HOUR_MS);
        prop_assert_eq!(zone.day(now).id, now.0.div_euclid(DAY_MS));
        prop_assert_eq!(zone.day(now).starts.0, now.0.div_euclid(DAY_MS) * DAY_MS);
    }
}

#[test]
fn days_and_hours_are_as_long_as_the_clocks_make_them() {
    let hours = |span: Span| (span.ends.0 - span.starts.0) as f64 / HOUR_MS as f64;
    let day = |name: &str, noon: &str| hours(zone(name).day(at(noon)));
    assert_eq!(day("America/New_York", "2026-03-08T16:00:00Z"), 23.0);
    assert_eq!(day("America/New_York", "2026-11-01T16:00:00Z"), 25.0);
    assert_eq!(day("Australia/Lord_Howe", "2026-04-05T01:00:00Z"), 24.5);
    assert_eq!(day("Asia/Kolkata", "2026-04-05T01:00:00Z"), 24.0);
    // One in the morning comes twice.
    let new_york = zone("America/New_York");
    let (first, second) =
        (new_york.hour(at("2026-11-01T05:30:00Z")), new_york.hour(at("2026-11-01T06:30:00Z")));
    assert_eq!((hours(first), hours(second), first.ends), (1.0, 1.0, second.starts));
    assert!(first.id < second.id);
    // Clocks go back from 2:00 to 1:30.
    let half = zone("Australia/Lord_Howe").hour(at("2026-04-04T15:10:00Z"));
    assert_eq!((hours(half), half.starts), (0.5, at("2026-04-04T15:00:00Z")));
    assert_eq!(zone("Asia/Kathmandu").hour(at("2026-04-04T15:10:00Z")).starts, at("2026-04-04T14:15:00Z"));
}

#[test]
fn months_begin_at_the_zones_midnight() {
    let month = zone("Asia/Kolkata").month(at("2026-02-28T18:30:00Z"));
    assert_eq!((month.id, month.starts), (56 * 12 + 2, at("2026-02-28T18:30:00Z")));
    assert_eq!(month.ends, at("2026-03-31T18:30:00Z"));
}

#[test]
fn a_day_that_a_zone_never_had_is_skipped() {
    let apia = zone("Pacific/Apia");
    let before = apia.day(at("2011-12-30T09:59:59.999Z"));
    let after = apia.day(before.ends);
    assert_eq!((before.ends, after.id - before.id), (at("2011-12-30T10:00:00Z"), 2));
}

#[test]
fn a_clock_set_back_over_midnight_begins_no_day_twice() {
    // In 2010 clocks in St. John's went from 0:01 back to 23:01.
    let st_johns = zone("America/St_Johns");
    let begun = st_johns.day(at("2010-11-07T02:30:30Z"));
    let shown_again = st_johns.day(at("2010-11-07T03:00:00Z"));
    assert_eq!(begun, shown_again);
    assert_eq!(begun.starts, at("2010-11-07T02:30:00Z"));
}

#[test]
fn only_some_zones_change_their_clocks() {
    let now = at("2026-01-01T00:00:00Z");
    assert!(zone("America/New_York").changes_after(now) && zone("Australia/Lord_Howe").changes_after(now));
    assert!(!zone("Asia/Kolkata").changes_after(now) && !zone("UTC").changes_after(now));
}
