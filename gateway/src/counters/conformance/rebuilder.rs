//! The driver of rebuilds between a real Redis and a control plane that does what the test says: no unit is taken before the
//! control plane has heard that units are taken, and figures of a later round come first.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use apiclay_config::counters::{CountersTaken, LeaseInHand, RebuildAnswer, RebuildFigure, RebuildReport};
use apiclay_config::usage::GatewayEpoch;
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use super::*;
use crate::counters::redis::RedisCounters;
use crate::limits::{BookOptions, CounterSpec, LeaseBook, Monotonic, Take, Tally};
use crate::metering::tests::{Book, call};
use crate::metering::{Batcher, Spool, SpoolOptions};
use crate::rebuild::{RebuildDesk, RebuildError, RebuildMetrics, Rebuilder, report_of};

const MAX: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Desk {
    waiting: AtomicBool,
    /// Takes no report.
    refuses: AtomicBool,
    /// Done before the next figures are answered.
    before_figures: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// How long figures take.
    slow_ms: AtomicU64,
    /// As if figures of a later round were out.
    replaced: AtomicBool,
    generation: AtomicU64,
    /// Reports, and generations whose units are taken.
    said: Mutex<Vec<Result<RebuildReport, u64>>>,
}

impl Desk {
    fn reports(&self) -> usize {
        self.said.lock().iter().filter(|said| said.is_ok()).count()
    }
}

#[async_trait]
impl RebuildDesk for Arc<Desk> {
    async fn rebuild(&self, report: &RebuildReport) -> Result<RebuildAnswer, RebuildError> {
        self.said.lock().push(Ok(report.clone()));
        if self.refuses.load(SeqCst) {
            return Err(RebuildError::ControlPlane("413 Payload Too Large".into()));
        }
        if self.waiting.load(SeqCst) {
            return Ok(RebuildAnswer::Waiting { gateways: vec!["gw-2".into()] });
        }
        if let Some(done) = self.before_figures.lock().take() {
            done();
        }
        tokio::time::sleep(Duration::from_millis(self.slow_ms.load(SeqCst))).await;
        let figure = RebuildFigure {
            counter: "quota:rebuilt".into(),
            kind: LeasedWindow::Trial,
            window: 0,
            granted: report.leases.iter().map(|lease| u64::from(lease.units)).sum(),
            leases: report.leases.iter().map(|lease| ("gw-1".to_owned(), lease.clone())).collect(),
        };
        let generation = self.generation.fetch_max(report.generation + 1, SeqCst).max(report.generation + 1);
        Ok(RebuildAnswer::Ready { generation, figures: vec![figure] })
    }

    async fn taken(&self, taken: &CountersTaken) -> Result<(), RebuildError> {
        if self.replaced.load(SeqCst) {
            return Err(RebuildError::Replaced);
        }
        self.said.lock().push(Err(taken.generation));
        Ok(())
    }
}

async fn until(done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes until nothing is at hand: how many.
async fn take_all(tally: &Tally) -> u64 {
    let mut units = 0;
    loop {
        match tally.take() {
            Take::Unit(_) => units += 1,
            Take::Wait => {
                if tally.refill().await.is_err() {
                    return units;
                }
            }
            Take::Exhausted { .. } | Take::Unavailable => return units,
        }
    }
}

/// Takes one, as soon as there is one.
async fn take_one(tally: &Tally) -> u64 {
    let begun = std::time::Instant::now();
    loop {
        match tally.take() {
            Take::Unit(_) => return 1,
            Take::Wait => drop(tally.refill().await),
            Take::Exhausted { .. } | Take::Unavailable => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        assert!(begun.elapsed() < PATIENCE, "no unit came");
    }
}

/// A gateway whose counters are at this server, and which is being rebuilt as long as this lives.
struct Gateway {
    counters: Arc<RedisCounters>,
    book: Arc<LeaseBook>,
    spool: Arc<Spool>,
    batcher: Arc<Mutex<Batcher>>,
    desk: Arc<Desk>,
    metrics: RebuildMetrics,
    running: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Gateway {
    fn at(server: &RedisServer, desk: Desk) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let counters = Arc::new(server.counters(false));
        let from = GatewayEpoch { gateway: "gw-1".into(), epoch: format!("{:016x}", 7) };
        let store: Arc<dyn Counters> = Arc::clone(&counters) as Arc<dyn Counters>;
        let (book, _) =
            LeaseBook::open(folder.path(), store, BookOptions::new(from.clone()), Monotonic::system())
                .unwrap();
        let spool = Spool::open(&folder.path().join("spool"), from, SpoolOptions::default()).unwrap();
        let batcher = Arc::new(Mutex::new(Batcher::new(Arc::clone(&spool)).unwrap()));
        let desk = Arc::new(desk);
        let metrics = RebuildMetrics {
            lost: IntGauge::new("lost", "lost").unwrap(),
            rebuilt: IntCounter::new("rebuilt", "rebuilt").unwrap(),
        };
        let rebuilder = Rebuilder {
            counters: Arc::clone(&counters),
            book: Arc::clone(&book),
            batcher: Arc::clone(&batcher),
            desk: Arc::clone(&desk),
            metrics: metrics.clone(),
        };
        let running = tokio::spawn(rebuilder.run());
        Self { counters, book, spool, batcher, desk, metrics, running, _folder: folder }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_before_counters_were_lost_once_more_are_not_taken_for_theirs() {
    let server = Arc::new(RedisServer::start());
    let desk = Desk::default();
    // Others have rebuilt them and taken units meanwhile, and then the server was emptied in the same run.
    let emptied = Arc::clone(&server);
    *desk.before_figures.lock() = Some(Box::new(move || emptied.command(&["FLUSHALL"])));
    let gateway = Gateway::at(&server, desk);
    until(|| gateway.metrics.rebuilt.get() > 0).await;
    assert_eq!(gateway.desk.reports(), 2, "asked for anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_that_took_long_to_make_are_written_all_the_same() {
    let server = RedisServer::start();
    let gateway = Gateway::at(&server, Desk { slow_ms: AtomicU64::new(10_500), ..Desk::default() });
    until(|| gateway.metrics.rebuilt.get() > 0).await;
    assert_eq!(gateway.desk.reports(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_was_not_taken_is_made_anew() {
    let server = RedisServer::start();
    let gateway = Gateway::at(&server, Desk { refuses: AtomicBool::new(true), ..Desk::default() });
    until(|| gateway.desk.reports() > 0).await;
    call(&gateway.spool, 1);
    gateway.batcher.lock().collect(&Book::default()).unwrap().unwrap();
    let said = || gateway.desk.said.lock().last().cloned().and_then(Result::ok);
    until(|| said().is_some_and(|report| report.lives[0].except == [1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_asks_more_and_more_seldom_and_sees_at_once_that_counters_stand() {
    let server = RedisServer::start();
    let gateway = Gateway::at(&server, Desk { waiting: AtomicBool::new(true), ..Desk::default() });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reports = gateway.desk.reports();
    assert!((2..=5).contains(&reports), "{reports} in 3 s");
    let before = std::time::Instant::now();
    drop(server.counters(true));
    until(|| gateway.metrics.lost.get() == 0).await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[test]
fn leases_that_are_too_many_for_a_report_count_as_spent() {
    let lease = |serial: u32| LeaseInHand {
        counter: format!("quota:{:0>100}:month", serial % 10),
        window: 1,
        epoch: format!("{:016x}", 7),
        serial,
        units: 5,
        in_batches: 2,
    };
    let sums = || BTreeMap::from([((lease(3).counter.into(), 1), 100)]);
    let of = |leases: u32| report_of("aa".into(), 1, Vec::new(), sums(), (0..leases).map(lease).collect());
    let few = of(20);
    assert_eq!((few.leases.len(), few.unacknowledged.len()), (20, 1));
    let many = of(100_000);
    assert_eq!((many.leases.len(), many.unacknowledged.len()), (0, 10));
    assert_eq!(many.unacknowledged.iter().map(|taken| taken.units).sum::<u64>(), 100 + 3 * 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_stops_reports_writes_says_so_and_takes_units_again() {
    let server = RedisServer::start();
    let gateway = Gateway::at(&server, Desk::default());
    let Gateway { counters, book, desk, metrics, .. } = &gateway;
    let window = LeasedWindow::Trial;
    let tally = book.tally(&CounterSpec {
        key: "quota:rebuilt".into(),
        window,
        max: MAX,
        hard: true,
        units_per_call: 1,
    });

    // An empty server is asked about like one that lost its memory.
    let mut taken = take_one(&tally).await;
    assert_eq!((desk.reports(), counters.generation()), (1, 1));

    // Lost, and another gateway does not report: what is in hand serves, and no more.
    desk.waiting.store(true, SeqCst);
    server.command(&["FLUSHALL"]);
    until(|| desk.reports() > 3).await;
    assert_eq!(metrics.lost.get(), 1);
    let in_hand = match &desk.said.lock()[2] {
        Ok(report) => report.leases.iter().map(|lease| u64::from(lease.units)).sum::<u64>(),
        Err(generation) => panic!("units of {generation} are taken"),
    };
    taken += take_all(&tally).await;
    assert_eq!(taken, in_hand, "taken since the first");

    // It reports; and while figures of a later round are out, units of this one are not taken.
    desk.replaced.store(true, SeqCst);
    desk.waiting.store(false, SeqCst);
    until(|| metrics.rebuilt.get() >= 3).await;
    assert_eq!(take_all(&tally).await, 0);
    desk.replaced.store(false, SeqCst);
    taken += take_one(&tally).await;
    assert!(counters.generation() >= 3);
    assert_eq!(metrics.lost.get(), 0);
    let last = desk.said.lock().last().cloned();
    assert_eq!(last, Some(Err(counters.generation())), "units are taken after that was said");
    loop {
        taken += take_all(&tally).await;
        if taken == MAX {
            break;
        }
        taken += take_one(&tally).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(take_all(&tally).await, 0, "beyond the limit");
}
