//! The file of the embedded counters where a fault could hide: rows that are spoiled, rows with much in them, windows that
//! come and go, files of other versions. What each store does is in `conformance.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use apiclay_config::usage::LeasedWindow;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::state::{decode, encode};
use super::*;
use crate::counters::LeaseId;
use crate::counters::copy::copy_embedded;
use crate::counters::faults::ModelCounters;
use crate::limits::counter::CounterState;
use crate::limits::windows::{HOUR_MS, SHORT_WINDOW_KEPT_MS};

/// The tables of before one row held all of a counter, with two counters: of the first one lease is open, one was closed.
const OLDER: &str = "
    CREATE TABLE counters (
        key TEXT NOT NULL, window INTEGER NOT NULL, granted INTEGER NOT NULL, kept_until INTEGER,
        PRIMARY KEY (key, window)) STRICT, WITHOUT ROWID;
    CREATE INDEX counters_kept_until ON counters (kept_until);
    CREATE TABLE leases (
        key TEXT NOT NULL, window INTEGER NOT NULL, lease TEXT NOT NULL, gateway TEXT NOT NULL, units INTEGER NOT NULL,
        PRIMARY KEY (key, window, lease)) STRICT, WITHOUT ROWID;
    CREATE TABLE latest (
        key TEXT NOT NULL, window INTEGER NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, serial INTEGER NOT NULL,
        PRIMARY KEY (key, window, gateway)) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('a', 0, 30, NULL), ('b', 0, 5, 1);
    INSERT INTO leases VALUES ('a', 0, 'gw.1.00000000000000ff.3', 'gw.1', 20);
    INSERT INTO latest VALUES ('a', 0, 'gw.1', '00000000000000ff', 4), ('b', 0, 'gw.1', '00000000000000fe', 9);
";

fn lease(epoch: u64, serial: u32) -> LeaseId {
    LeaseId { gateway: "gw.1".into(), epoch, serial }
}

fn ask(key: &str, lease: LeaseId, want: u32) -> GrantRequest {
    GrantRequest {
        key: key.into(),
        window: LeasedWindow::Trial,
        max: 10_000,
        hard: true,
        lease,
        want,
        open_max_units: 1_000,
        closes: Vec::new(),
    }
}

fn close(lease: LeaseId, window: i64, unspent: u32) -> Close {
    Close { lease, window, unspent, spent: None }
}

fn open(dir: &Path) -> EmbeddedCounters {
    EmbeddedCounters::open(dir, Clock::System).unwrap()
}

/// A second connection, beside the store's own.
fn beside(dir: &Path) -> Connection {
    Connection::open(dir.join(FILE)).unwrap()
}

async fn granted(counters: &EmbeddedCounters, key: &str) -> u64 {
    let look = GrantRequest { lease: lease(u64::MAX, 1), ..ask(key, lease(1, 1), 0) };
    10_000 - counters.grant(&look).await.unwrap().remaining
}

fn full_state() -> CounterState {
    let mut state = CounterState { granted: (1 << 53) - 1, ..CounterState::default() };
    for (gateway, leases) in [("", 0), ("gw-1", 300), ("gw-1.x", 1), ("ütopia", 7)] {
        let gateway: Arc<str> = gateway.into();
        state.latest.insert(gateway.clone(), (u64::MAX - leases, u32::MAX));
        for n in 0..leases {
            state.open.insert(LeaseId { gateway: gateway.clone(), epoch: n % 3, serial: n as u32 }, n as u32);
        }
    }
    state
}

#[test]
fn a_state_is_read_as_it_was_written_and_a_spoiled_one_is_told() {
    for state in [CounterState::default(), full_state()] {
        let bytes = encode(&state);
        assert_eq!(decode(&bytes), Some(state));
        for bit in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&spoiled), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn a_spoiled_row_grants_nothing_and_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let counters = open(dir.path());
    for key in ["spoiled", "whole"] {
        counters.grant(&ask(key, lease(1, 1), 10)).await.unwrap();
    }
    let change = "UPDATE counters SET state = x'010000000000000000' WHERE key = 'spoiled'";
    beside(dir.path()).execute(change, []).unwrap();
    let (spoiled, whole) = (ask("spoiled", lease(1, 2), 10), ask("whole", lease(1, 2), 10));
    // Both may share a transaction.
    let (spoiled, whole) = tokio::join!(counters.grant(&spoiled), counters.grant(&whole));
    assert!(spoiled.unwrap_err().to_string().contains("counter `spoiled` in counters.db is damaged"));
    assert_eq!(whole.unwrap().remaining, 10_000 - 20);
    let closed = counters.close("spoiled", &[close(lease(1, 1), 0, 10)]).await;
    assert!(matches!(closed, Err(CountersError::Damaged(_))), "{closed:?}");
    // All or nothing: what could not be read may be theirs.
    assert!(matches!(counters.forget("gw.1").await, Err(CountersError::Damaged(_))));
    counters.close("whole", &[close(lease(1, 1), 0, 10)]).await.unwrap();
    assert_eq!(granted(&counters, "whole").await, 10);
}

/// Compares the store with the model over hours, lives of the process and of the gateway, many leases open at once, closes
/// of leases that never were or are of other hours.
#[tokio::test]
async fn hours_and_lives_follow_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(500_000 * HOUR_MS));
    let clock = Clock::Manual(at.clone());
    let model = ModelCounters::new(clock.clone());
    let mut counters = EmbeddedCounters::open(dir.path(), clock.clone()).unwrap();
    let mut random = StdRng::seed_from_u64(21);
    let mut leases: Vec<(LeaseId, i64)> = Vec::new();
    for step in 0..1_500_u32 {
        let mut closes = Vec::new();
        for _ in 0..random.random_range(0..3) {
            let unknown = (lease(random.random_range(1..4), step + 5_000), 500_000);
            let n = random.random_range(0..=leases.len());
            let (lease, window) = if n == leases.len() { unknown } else { leases.swap_remove(n) };
            closes.push(close(lease, window + i64::from(random.random_bool(0.1)), random.random_range(0..9)));
        }
        let key = ["x", "y"][random.random_range(0..2)];
        match random.random_range(0..100) {
            0 => drop(at.fetch_add(HOUR_MS / 3, SeqCst)),
            1 => {
                drop(counters);
                counters = EmbeddedCounters::open(dir.path(), clock.clone()).unwrap();
            }
            2 if step % 3 == 0 => {
                let units = model.forget("gw.1").await.unwrap();
                assert_eq!(counters.forget("gw.1").await.unwrap(), units, "{step}");
            }
            3..10 => {
                model.close(key, &closes).await.unwrap();
                counters.close(key, &closes).await.unwrap();
            }
            _ => {
                let mut ask =
                    ask(key, lease(u64::from(step / 500 + 1), step + 1), random.random_range(0..30));
                if random.random_bool(0.2) {
                    ask.lease.gateway = "gw.10".into();
                }
                if random.random_bool(0.1) && !leases.is_empty() {
                    ask.lease = leases[random.random_range(0..leases.len())].0.clone();
                }
                let ask = GrantRequest { window: LeasedWindow::Hour, max: 2_000, closes, ..ask };
                match (counters.grant(&ask).await, model.grant(&ask).await) {
                    (Ok(grant), Ok(expected)) => {
                        assert_eq!(grant, expected, "{step}: {ask:?}");
                        leases.push((ask.lease, grant.window));
                    }
                    (Err(CountersError::Stale(_)), Err(CountersError::Stale(_))) => {}
                    other => panic!("{step}: {other:?}"),
                }
            }
        }
    }
    assert!(
        model.state.lock().values().any(|counter| counter.open.len() > 30),
        "few leases were open at once"
    );
}

#[tokio::test]
async fn windows_long_past_are_removed_in_slices_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(500_000 * HOUR_MS));
    let rows = || -> Vec<(String, i64)> {
        let connection = beside(dir.path());
        let mut select = connection.prepare("SELECT key, window FROM counters ORDER BY window, key").unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let counters = EmbeddedCounters::open(dir.path(), Clock::Manual(at.clone())).unwrap();
    counters.ping().await.unwrap();
    let hourly = |key: &str| GrantRequest { window: LeasedWindow::Hour, ..ask(key, lease(1, 1), 1) };
    let slice_and_some = PURGE_MAX_ROWS + 7;
    let keys: Vec<String> = (0..slice_and_some).map(|n| format!("hour:{n}")).collect();
    let granting = keys.iter().map(|key| async { counters.grant(&hourly(key)).await.unwrap() });
    futures_util::future::join_all(granting).await;
    counters.grant(&ask("trial", lease(1, 1), 1)).await.unwrap();
    at.fetch_add(2 * HOUR_MS, SeqCst);
    counters.grant(&hourly("later")).await.unwrap();
    let rows_after = async |ms| {
        at.fetch_add(ms, SeqCst);
        // What is removed is removed after an answer: the second one comes when that is done.
        counters.ping().await.unwrap();
        counters.ping().await.unwrap();
        rows()
    };
    // It is kept to the last moment.
    assert_eq!(rows_after(SHORT_WINDOW_KEPT_MS - HOUR_MS).await.len(), keys.len() + 2);
    assert_eq!(rows_after(PURGE_EVERY_MS).await.len(), 7 + 2);
    let kept = [("trial".to_owned(), 0), ("later".to_owned(), 500_002)];
    assert_eq!(rows_after(PURGE_ON_MS).await, kept);
}

#[tokio::test]
async fn a_file_of_the_older_form_is_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    beside(dir.path()).execute_batch(OLDER).unwrap();
    for _ in 0..2 {
        let counters = open(dir.path());
        assert_eq!(granted(&counters, "a").await, 30);
        assert_eq!(counters.grant(&ask("a", lease(0xff, 3), 1)).await.unwrap().units, 20);
        let stale = counters.grant(&ask("a", lease(0xff, 4), 1)).await;
        assert!(matches!(stale, Err(CountersError::Stale(_))), "{stale:?}");
    }
    let counters = open(dir.path());
    counters.close("a", &[close(lease(0xff, 3), 0, 6)]).await.unwrap();
    assert_eq!(granted(&counters, "a").await, 24);
    // The first thing it did was to remove what is long past.
    let tables = "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)";
    let tables: String = beside(dir.path()).query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(tables, "counters,counters_kept_until");
    let past: u32 = beside(dir.path())
        .query_row("SELECT count(*) FROM counters WHERE key = 'b'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(past, 0);
}

#[tokio::test]
async fn files_that_cannot_be_read_are_refused_and_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    beside(dir.path()).execute_batch(OLDER).unwrap();
    beside(dir.path()).execute("UPDATE leases SET lease = 'gw.1.ff'", []).unwrap();
    let opened = EmbeddedCounters::open(dir.path(), Clock::System);
    assert!(matches!(opened, Err(EmbeddedError::Older(key)) if key == "a"));
    beside(dir.path()).execute("UPDATE leases SET lease = 'gw.1.ff.3'", []).unwrap();
    assert_eq!(granted(&open(dir.path()), "a").await, 30);
    beside(dir.path()).pragma_update(None, "user_version", 2).unwrap();
    let opened = EmbeddedCounters::open(dir.path(), Clock::System);
    assert!(matches!(opened, Err(EmbeddedError::Later(2))));
}

#[tokio::test]
async fn a_copy_made_while_grants_are_answered_has_them() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let counters = open(dir.path());
    for serial in 1..=50 {
        counters.grant(&ask("copied", lease(1, serial), 2)).await.unwrap();
    }
    copy_embedded(dir.path(), to.path()).unwrap();
    let copy = open(to.path());
    assert_eq!(granted(&copy, "copied").await, 100);
    assert_eq!(copy.grant(&ask("copied", lease(1, 7), 1)).await.unwrap().units, 2);
}
