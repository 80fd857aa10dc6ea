//! The lease book over the model store: threads on a small limit, kills, lowered limits, windows that turn.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::usage::{GatewayEpoch, LeasedWindow};
use tempfile::TempDir;

use super::*;
use crate::counters::faults::ModelCounters;

mod away;
mod histories;
mod model;
mod reports;
mod synced;
mod unheard;
mod wallets;

pub(super) const NOON_MS: i64 = 1_750_000_000_000 / 86_400_000 * 86_400_000 + 43_200_000;

/// A gateway's folder, and the store and clocks it lives with.
pub(super) struct House {
    pub(super) dir: Arc<TempDir>,
    pub(super) store: Arc<ModelCounters>,
    pub(super) wall: Arc<std::sync::atomic::AtomicI64>,
    pub(super) monotonic: Arc<AtomicU64>,
}

impl House {
    pub(super) fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub(super) fn at(dir: Arc<TempDir>) -> Self {
        let clock = Clock::manual(Timestamp(NOON_MS));
        let Clock::Manual(wall) = clock.clone() else { unreachable!() };
        let store = Arc::new(ModelCounters::new(clock));
        Self { dir, store, wall, monotonic: Arc::new(AtomicU64::new(1)) }
    }

    pub(super) fn open(&self, epoch: u64) -> (Arc<LeaseBook>, EarlierLeases) {
        self.open_in(self.dir.path(), "gw", epoch)
    }

    pub(super) fn open_in(
        &self,
        dir: &std::path::Path,
        gateway: &str,
        epoch: u64,
    ) -> (Arc<LeaseBook>, EarlierLeases) {
        let name = GatewayEpoch { gateway: gateway.into(), epoch: format!("{epoch:016x}") };
        let clock = Monotonic::Manual(self.monotonic.clone());
        LeaseBook::open(dir, self.store.clone(), BookOptions::new(name), clock).unwrap()
    }

    pub(super) fn pass_ms(&self, ms: u64) {
        self.monotonic.fetch_add(ms, SeqCst);
        self.wall.fetch_add(i64::try_from(ms).unwrap(), SeqCst);
    }
}

pub(super) fn spec(max: u64) -> CounterSpec {
    CounterSpec {
        key: "quota:sub_1:day".into(),
        window: LeasedWindow::Day,
        max,
        hard: true,
        units_per_call: 1,
    }
}

/// The batch of this number, in the one life that these tests number batches in.
pub(super) fn batch(seq: u64) -> BatchMark {
    BatchMark { life: 1, epoch: 1, seq }
}

pub(super) async fn take(tally: &Tally) -> Option<Unit> {
    for _ in 0..16 {
        match tally.take() {
            Take::Unit(unit) => return Some(unit),
            Take::Wait => tally.refill().await.ok()?,
            Take::Exhausted { .. } | Take::Unavailable => return None,
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_on_a_small_limit_are_admitted_exactly_to_it() {
    let house = House::new();
    let (book, _) = house.open(1);
    for max in [1, 7, 100, 5_003] {
        let spec = CounterSpec { key: format!("quota:{max}"), ..spec(max) };
        let admitted = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (tally, admitted) = (book.tally(&spec), admitted.clone());
                tokio::spawn(async move {
                    while take(&tally).await.is_some() {
                        admitted.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(admitted.load(SeqCst), max);
        assert!(matches!(book.tally(&spec).take(), Take::Exhausted { resets_in_ms: Some(_) }));
    }
}

#[tokio::test]
async fn a_unit_given_back_can_be_taken_again() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(3));
    let mut units = Vec::new();
    while let Some(unit) = take(&tally).await {
        units.push(unit);
    }
    assert_eq!(units.len(), 3);
    for unit in units {
        tally.give_back(unit);
        assert_eq!(tally.view().remaining, 1);
        assert!(take(&tally).await.is_some());
        assert_eq!(take(&tally).await, None);
    }
}

#[tokio::test]
async fn who_got_a_lease_since_he_ran_low_is_not_asked_for_another() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(1_000));
    // The first lease's last unit passes its low mark long before; a call then asks for the next.
    for _ in 0..=WANT_START_UNITS {
        take(&tally).await.unwrap();
    }
    let granted = house.store.granted(&spec(1).key);
    book.prefetch();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(house.store.granted(&spec(1).key), granted);
}

#[tokio::test]
async fn a_first_lease_is_as_large_as_nobody_misses() {
    for (max, units) in [(4, 1), (10_000, 8), (1_000_000, 100), (10_000_000, 1_000), (1_000_000_000, 1_024)] {
        let house = House::new();
        let (book, _) = house.open(1);
        // However long the gateway has been up.
        house.pass_ms(DRY_SLOW_MS * 2);
        take(&book.tally(&spec(max))).await.unwrap();
        assert_eq!(house.store.granted(&spec(max).key), units, "of {max}");
    }
}

#[tokio::test]
async fn under_a_lowered_limit_leases_begin_small_again() {
    let house = House::new();
    let (book, _) = house.open(1);
    take(&book.tally(&spec(10_000_000))).await.unwrap();
    take(&book.tally(&spec(2_000))).await.unwrap();
    // What was not spent of the first one goes back.
    let most = 1 + 2 * u64::from(WANT_START_UNITS);
    assert!(house.store.granted(&spec(1).key) <= most, "{}", house.store.granted(&spec(1).key));
}

#[tokio::test]
async fn a_kill_gives_back_exactly_what_was_not_spent() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(100));
    let mut leases = std::collections::BTreeMap::<u32, u32>::new();
    for _ in 0..13 {
        *leases.entry(take(&tally).await.unwrap().lease).or_default() += 1;
    }
    // 5 have a record in batch 1, said twice.
    let (first, taken) = leases.first_key_value().map(|(l, n)| (*l, *n)).unwrap();
    let recorded = taken.min(5);
    book.recorded(batch(1), first, recorded);
    book.recorded(batch(1), first, recorded);
    assert_eq!(book.counter_of(first), Some((spec(1).key.into(), NOON_MS / 86_400_000)));
    drop((book, tally));

    let (book, earlier) = house.open(2);
    assert_eq!(earlier.leases.iter().map(|l| l.spent).sum::<u32>(), 13);
    let unaccounted = book.close_earlier_epoch().await.unwrap();
    assert_eq!(house.store.granted(&spec(1).key), 13);
    assert_eq!(unaccounted.iter().map(|u| u.units).sum::<u32>(), 13 - recorded);
    // Said again until recorded, and then no more.
    assert_eq!(book.close_earlier_epoch().await.unwrap(), unaccounted);
    for (n, units) in unaccounted.iter().enumerate() {
        book.recorded(batch(2 + n as u64), units.lease, units.units);
    }
    assert_eq!(book.close_earlier_epoch().await.unwrap(), []);
    assert_eq!(book.counter_of(first), None);
    let tally = book.tally(&spec(100));
    let mut admitted = 0;
    while take(&tally).await.is_some() {
        admitted += 1;
    }
    assert_eq!(admitted, 87);
}

#[tokio::test]
async fn a_lowered_limit_holds_at_once() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(1_000));
    for _ in 0..20 {
        take(&tally).await.unwrap();
    }
    book.tally(&spec(22));
    let mut more = 0;
    while take(&tally).await.is_some() {
        more += 1;
    }
    assert_eq!(more, 2);
    book.tally(&spec(30));
    while take(&tally).await.is_some() {
        more += 1;
    }
    assert_eq!(more, 10);
}

#[tokio::test]
async fn a_lease_is_not_spent_beyond_its_window() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(10));
    let first = take(&tally).await.unwrap();
    house.pass_ms(12 * 3_600_000);
    assert_eq!(tally.take(), Take::Wait);
    let mut admitted = 0;
    while let Some(unit) = take(&tally).await {
        assert_ne!(unit.lease, first.lease);
        admitted += 1;
    }
    assert_eq!(admitted, 10);
    // Yesterday's lease was closed with today's grant, and counts what was spent then.
    let yesterday = NOON_MS / 86_400_000;
    assert_eq!(house.store.state.lock()[&(spec(1).key, yesterday)].granted, 1);
}

#[tokio::test]
async fn a_soft_counter_counts_and_lets_pass() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&CounterSpec { hard: false, ..spec(5) });
    for _ in 0..50 {
        assert_ne!(take(&tally).await.unwrap().lease, 0);
    }
    assert!(house.store.granted(&spec(1).key) >= 50);
    assert_eq!(tally.view().max, 5);
}

#[tokio::test]
async fn idle_units_go_back_and_other_gateways_use_them() {
    let house = House::new();
    let other = tempfile::tempdir().unwrap();
    let (book_a, _) = house.open(1);
    let (book_b, _) = house.open_in(other.path(), "gw2", 1);
    let (a, b) = (book_a.tally(&spec(40)), book_b.tally(&spec(40)));
    take(&a).await.unwrap();
    let mut admitted = 1;
    while take(&b).await.is_some() {
        admitted += 1;
    }
    assert!(admitted < 40);
    house.pass_ms(31_000);
    book_a.sweep(false).await;
    while take(&b).await.is_some() {
        admitted += 1;
    }
    assert_eq!(admitted, 40);
}

/// Calls take, give back and are recorded on several threads while units idle back and the limit goes up and down.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_leases_come_and_go() {
    const MAX: u64 = 3_000;
    let house = House::new();
    let (book, _) = house.open(1);
    // Batches are noted one at a time.
    let (kept, seq) = (Arc::new(AtomicU64::new(0)), Arc::new(parking_lot::Mutex::new(0)));
    let tally = book.tally(&spec(MAX));
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let (book, tally, kept, seq) = (book.clone(), tally.clone(), kept.clone(), seq.clone());
            tokio::spawn(async move {
                for n in 0..1_500 {
                    let Some(unit) = take(&tally).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    if (n + task) % 3 == 0 {
                        tally.give_back(unit);
                    } else {
                        kept.fetch_add(1, SeqCst);
                        let mut seq = seq.lock();
                        *seq += 1;
                        book.recorded(batch(*seq), unit.lease, 1);
                    }
                    if n % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        house.pass_ms(35_000 / 100);
        book.sweep(false).await;
        tokio::time::sleep(std::time::Duration::from_micros(200)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut rest = 0;
    while take(&tally).await.is_some() {
        rest += 1;
    }
    assert_eq!(kept.load(SeqCst) + rest, MAX);
}
