//! Counters whose names say a zone: windows by its clocks, at both stores; and over changes of the clocks, which only a clock
//! that can be set shows.

use apiclay_config::clock::Timestamp;
use apiclay_config::quota_key::QuotaKey;

use super::*;
use crate::limits::windows::Window;

const KINDS: [LeasedWindow; 3] = [LeasedWindow::Hour, LeasedWindow::Day, LeasedWindow::Month];

fn key(subscription: &str, window: LeasedWindow, zone: &str) -> String {
    QuotaKey { subscription, window, zone: Some(zone) }.to_string()
}

fn at(text: &str) -> Timestamp {
    serde_json::from_value(serde_json::Value::String(text.into())).unwrap()
}

pub(super) async fn windows_go_by_the_clocks_of_the_counters_zone(counters: &dyn Counters) {
    for zone in ["Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]
    {
        for window in KINDS {
            let key = key("zoned", window, zone);
            let ask = GrantRequest { window, ..request(&key, 10, 4) };
            let before = Window::of(&key, window, Clock::System.now());
            let grant = counters.grant(&ask).await.unwrap();
            let after = Window::of(&key, window, Clock::System.now());
            // The store's clock may have turned in between.
            let meant = if grant.window == before.id { before } else { after };
            assert_eq!(grant.window, meant.id, "{key}");
            let left_ms = meant.ends_in_ms(Clock::System.now()).unwrap();
            let told_ms = grant.ends_in_ms.unwrap();
            assert!(told_ms.abs_diff(left_ms) < 60_000, "{key}: {told_ms} ms, not {left_ms}");
            // Its lease is known again by its window.
            counters.close(&key, &[close(&ask, &grant, 4)]).await.unwrap();
            let whole = GrantRequest { window, ..request(&key, 10, 0) };
            assert_eq!(counters.grant(&whole).await.unwrap().remaining, 10, "{key}");
        }
    }
}

#[tokio::test]
async fn each_window_has_its_whole_quota_once_while_clocks_are_changed() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let counters = EmbeddedCounters::open(dir.path(), Clock::Manual(time.clone())).unwrap();
    for (zone, from) in [
        ("America/New_York", "2026-11-01T00:00:00Z"),
        ("America/New_York", "2027-03-13T12:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
        ("Pacific/Apia", "2011-12-29T00:00:00Z"),
        ("Asia/Kolkata", "2026-12-31T00:00:00Z"),
    ] {
        for window in KINDS {
            let key = key(from, window, zone);
            let mut granted = BTreeMap::<i64, u32>::new();
            // Two days, a look each half hour.
            for half_hours in 0..96 {
                time.store(at(from).plus_ms(half_hours * 1_800_000).0, SeqCst);
                let ask = GrantRequest { window, ..request(&key, 7, 7) };
                let grant = counters.grant(&ask).await.unwrap();
                let meant = Window::of(&key, window, Clock::Manual(time.clone()).now());
                assert_eq!(grant.window, meant.id, "{key}");
                assert!(granted.keys().all(|id| *id <= grant.window), "{key}: an earlier window comes again");
                *granted.entry(grant.window).or_default() += grant.units;
            }
            assert!(granted.values().all(|units| *units <= 7), "{key}: {granted:?}");
        }
    }
}
