//! One list of what a counter store does, run over the embedded one and a real Redis. Each check has a counter of its own,
//! so that all share one store. Next: `restarts.rs`, about stores that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use apiclay_config::clock::Clock;
use apiclay_config::usage::LeasedWindow;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::embedded::EmbeddedCounters;
use super::{Close, Counters, CountersError, Grant, GrantRequest, LeaseId};
use crate::limits::counter::{Ask, CounterState, Decision};

mod differential;
mod gateways;
mod patient;
mod rebuilder;
mod redis_server;
mod restarts;
mod zones;

use patient::Patient;
use redis_server::RedisServer;

/// Histories compared with the model; each has some tens of steps.
const HISTORIES: u64 = 300;

static SERIAL: AtomicU32 = AtomicU32::new(1);

fn lease(gateway: &str) -> LeaseId {
    LeaseId { gateway: gateway.into(), epoch: 7, serial: SERIAL.fetch_add(1, SeqCst) }
}

fn request(key: &str, max: u64, want: u32) -> GrantRequest {
    GrantRequest {
        key: key.into(),
        window: LeasedWindow::Trial,
        max,
        hard: true,
        lease: lease("gw-1"),
        want,
        open_max_units: 1_000,
        closes: Vec::new(),
    }
}

fn close(request: &GrantRequest, grant: &Grant, unspent: u32) -> Close {
    Close { lease: request.lease.clone(), window: grant.window, unspent, spent: None }
}

async fn asking_again_gets_the_same_lease(counters: &dyn Counters) {
    let ask = request("again", 100, 10);
    let first = counters.grant(&ask).await.unwrap();
    assert_eq!((first.units, first.remaining, first.ends_in_ms), (10, 90, None));
    let again = counters.grant(&GrantRequest { want: 20, ..ask.clone() }).await.unwrap();
    assert_eq!((again.units, again.remaining), (10, 90));
    let nothing = counters.grant(&GrantRequest { max: 0, want: 0, ..ask }).await.unwrap();
    assert_eq!(nothing.units, 10);
}

async fn a_close_gives_back_once(counters: &dyn Counters) {
    let ask = request("closes", 100, 10);
    let grant = counters.grant(&ask).await.unwrap();
    let closes = [close(&ask, &grant, 4), close(&ask, &grant, 4)];
    counters.close("closes", &closes).await.unwrap();
    counters.close("closes", &closes).await.unwrap();
    assert!(matches!(counters.grant(&ask).await, Err(CountersError::Stale(lease)) if lease == ask.lease));
    // More than it had is not taken back, and closes that ride along come first.
    let second = request("closes", 100, 10);
    let grant = counters.grant(&second).await.unwrap();
    assert_eq!(grant.remaining, 84);
    let closes = vec![close(&second, &grant, 1_000)];
    let third = counters.grant(&GrantRequest { closes, ..request("closes", 100, 0) }).await.unwrap();
    assert_eq!((third.units, third.remaining), (0, 94));
}

async fn never_above_the_limit_and_all_of_it(counters: Arc<dyn Counters>) {
    const MAX: u64 = 2_000;
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let counters = counters.clone();
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(task);
                let mut spent = 0;
                let mut closes = Vec::new();
                loop {
                    // A gateway has one grant of a counter under way, so each task here is a gateway's life of its own.
                    let mut ask = request("crowd", MAX, random.random_range(1..40));
                    ask.lease.gateway = format!("gw-{}", task % 3).into();
                    ask.lease.epoch = task;
                    ask.closes = std::mem::take(&mut closes);
                    let grant = counters.grant(&ask).await.unwrap();
                    if grant.units == 0 {
                        return spent;
                    }
                    let unspent = random.random_range(0..=grant.units / 2);
                    spent += u64::from(grant.units - unspent);
                    closes.push(close(&ask, &grant, unspent));
                    if random.random_bool(0.5) {
                        counters.close("crowd", &closes).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    let mut rest = 0;
    loop {
        let grant = counters.grant(&request("crowd", MAX, 64)).await.unwrap();
        rest += u64::from(grant.units);
        if grant.units == 0 {
            break;
        }
    }
    assert_eq!(spent + rest, MAX);
}

async fn a_lowered_limit_grants_nothing_more(counters: &dyn Counters) {
    counters.grant(&request("lowered", 100, 20)).await.unwrap();
    let grant = counters.grant(&request("lowered", 10, 5)).await.unwrap();
    assert_eq!((grant.units, grant.remaining), (0, 0));
    let grant = counters.grant(&request("lowered", 24, 5)).await.unwrap();
    assert_eq!((grant.units, grant.remaining), (1, 3));
}

async fn a_soft_limit_is_passed(counters: &dyn Counters) {
    let soft = |want| GrantRequest { hard: false, ..request("soft", 10, want) };
    assert_eq!(counters.grant(&soft(8)).await.unwrap().remaining, 2);
    let beyond = counters.grant(&soft(8)).await.unwrap();
    assert_eq!((beyond.units, beyond.remaining), (8, 0));
}

async fn a_forgotten_gateway_has_spent_all(counters: &dyn Counters) {
    let mut ask = request("forget", 100, 10);
    ask.lease = lease("gone");
    let grant = counters.grant(&ask).await.unwrap();
    let mut kept = request("forget", 100, 10);
    kept.lease = lease("gone.too");
    let kept_grant = counters.grant(&kept).await.unwrap();
    assert_eq!(counters.forget("gone").await.unwrap(), 10);
    assert_eq!(counters.forget("gone").await.unwrap(), 0);
    let closes = [close(&ask, &grant, 10), close(&kept, &kept_grant, 10)];
    counters.close("forget", &closes).await.unwrap();
    assert_eq!(counters.grant(&request("forget", 100, 0)).await.unwrap().remaining, 90);
}

async fn limits_beyond_what_is_exact_are_cut(counters: &dyn Counters) {
    let grant = counters.grant(&request("endless", u64::MAX, 3)).await.unwrap();
    assert_eq!((grant.units, grant.remaining), (3, super::COUNT_MAX - 3));
}

async fn real_windows_end(counters: &dyn Counters) {
    for (window, longest_ms) in [
        (LeasedWindow::Hour, 3_600_000),
        (LeasedWindow::Day, 86_400_000),
        (LeasedWindow::Month, 31 * 86_400_000_u64),
    ] {
        let ask = GrantRequest { window, ..request(&format!("window:{window:?}"), 10, 4) };
        let grant = counters.grant(&ask).await.unwrap();
        assert!(grant.ends_in_ms.is_some_and(|ms| (1..=longest_ms).contains(&ms)), "{grant:?}");
        assert!(grant.window > 0);
        // A lease of a window of long ago is closed without harm.
        let old = Close { window: grant.window - 1, ..close(&ask, &grant, 3) };
        counters.close(&ask.key, std::slice::from_ref(&old)).await.unwrap();
        let riding = GrantRequest { closes: vec![old], lease: lease("gw-2"), ..ask.clone() };
        assert_eq!(counters.grant(&riding).await.unwrap().window, grant.window);
        assert_eq!(counters.grant(&ask).await.unwrap().units, grant.units);
    }
}

/// Compares the store with the model, step by step.
async fn histories_follow_the_model(counters: &dyn Counters) {
    for seed in 0..HISTORIES {
        let mut random = StdRng::seed_from_u64(seed);
        let key = format!("history:{seed}");
        let mut model = CounterState::default();
        let mut leases: Vec<(LeaseId, u32)> = Vec::new();
        let mut serials: BTreeMap<u32, u32> = BTreeMap::new();
        for step in 0..random.random_range(5..30) {
            if random.random_bool(0.4) && !leases.is_empty() {
                let (lease, units) = leases[random.random_range(0..leases.len())].clone();
                let close = Close { lease, window: 0, unspent: random.random_range(0..=units), spent: None };
                model.close(&close);
                counters.close(&key, &[close]).await.unwrap();
                continue;
            }
            let gateway = random.random_range(0..3);
            let lease = if random.random_bool(0.3) && !leases.is_empty() {
                leases[random.random_range(0..leases.len())].0.clone()
            } else {
                let serial = serials.entry(gateway).or_insert(u32::MAX - 3);
                *serial = serial.wrapping_add(1).max(1);
                LeaseId {
                    gateway: format!("gw-{gateway}").into(),
                    epoch: random.random_range(1..3),
                    serial: *serial,
                }
            };
            let ask = GrantRequest {
                max: random.random_range(0..200),
                hard: random.random_bool(0.8),
                lease,
                ..request(&key, 0, random.random_range(0..30))
            };
            let model_ask = Ask { lease: &ask.lease, max: ask.max, hard: ask.hard, want: ask.want };
            let expected = model.grant(&model_ask);
            let place = format!("seed {seed}, step {step}: {ask:?}");
            match (counters.grant(&ask).await, expected) {
                (Ok(grant), Decision::Same(units) | Decision::Fresh(units)) => {
                    let remaining = ask.max.saturating_sub(model.granted);
                    assert_eq!((grant.units, grant.remaining), (units, remaining), "{place}");
                    leases.push((ask.lease, units));
                }
                (Err(CountersError::Stale(_)), Decision::Stale) => {}
                (other, expected) => panic!("{place}: {other:?}, the model says {expected:?}"),
            }
        }
    }
}

async fn all(counters: Arc<dyn Counters>) {
    counters.ping().await.unwrap();
    asking_again_gets_the_same_lease(&*counters).await;
    a_close_gives_back_once(&*counters).await;
    a_lowered_limit_grants_nothing_more(&*counters).await;
    a_soft_limit_is_passed(&*counters).await;
    a_forgotten_gateway_has_spent_all(&*counters).await;
    limits_beyond_what_is_exact_are_cut(&*counters).await;
    real_windows_end(&*counters).await;
    zones::windows_go_by_the_clocks_of_the_counters_zone(&*counters).await;
    histories_follow_the_model(&*counters).await;
    never_above_the_limit_and_all_of_it(counters.clone()).await;
    gateways::share_a_limit_and_return_what_is_idle(counters).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_counters_conform() {
    let dir = tempfile::tempdir().unwrap();
    all(Arc::new(EmbeddedCounters::open(dir.path(), Clock::System).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_counters_conform() {
    let server = RedisServer::start();
    all(Arc::new(Patient(server.counters(true)))).await;
}

#[tokio::test]
async fn embedded_windows_turn_while_leases_are_out() {
    const HOUR_MS: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(std::sync::atomic::AtomicI64::new(500_000 * HOUR_MS + 1));
    let counters = EmbeddedCounters::open(dir.path(), Clock::Manual(at.clone())).unwrap();
    let hourly = |max, want| GrantRequest { window: LeasedWindow::Hour, ..request("turning", max, want) };
    let first = hourly(40, 10);
    let lease = counters.grant(&first).await.unwrap();
    assert_eq!((lease.window, lease.units, lease.ends_in_ms), (500_000, 10, Some(3_599_999)));
    at.fetch_add(HOUR_MS, SeqCst);
    // The new hour has its whole quota, and the old hour's lease is closed there.
    let grant = counters.grant(&hourly(40, 0)).await.unwrap();
    assert_eq!((grant.window, grant.remaining), (500_001, 40));
    counters.close("turning", &[close(&first, &lease, 7)]).await.unwrap();
    assert_eq!(counters.grant(&hourly(40, 0)).await.unwrap().remaining, 40);
    // A clock that was a day ahead and is set right finds the hour as it left it.
    at.fetch_add(24 * HOUR_MS, SeqCst);
    counters.grant(&hourly(40, 5)).await.unwrap();
    at.fetch_sub(25 * HOUR_MS, SeqCst);
    let back = counters.grant(&hourly(40, 0)).await.unwrap();
    assert_eq!((back.window, back.remaining), (500_000, 37));
}
