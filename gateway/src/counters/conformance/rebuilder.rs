//! The driver of rebuilds between a real Redis and a control plane that does what the test says: no unit is taken before the
//! control plane has heard that units are taken, and figures of a later round come first.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildFigure, RebuildReport};
use apiclay_config::usage::GatewayEpoch;
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use super::*;
use crate::limits::{BookOptions, CounterSpec, LeaseBook, Monotonic, Take, Tally};
use crate::metering::{Batcher, Spool, SpoolOptions};
use crate::rebuild::{RebuildDesk, RebuildError, RebuildMetrics, Rebuilder};

const MAX: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Desk {
    waiting: AtomicBool,
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
        if self.waiting.load(SeqCst) {
            return Ok(RebuildAnswer::Waiting { gateways: vec!["gw-2".into()] });
        }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_stops_reports_writes_says_so_and_takes_units_again() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let counters = Arc::new(server.counters(false));
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: format!("{:016x}", 7) };
    let store: Arc<dyn Counters> = Arc::clone(&counters) as Arc<dyn Counters>;
    let (book, _) =
        LeaseBook::open(folder.path(), store, BookOptions::new(from.clone()), Monotonic::system()).unwrap();
    let spool = Spool::open(&folder.path().join("spool"), from, SpoolOptions::default()).unwrap();
    let batcher = Arc::new(Mutex::new(Batcher::new(spool).unwrap()));
    let desk = Arc::new(Desk::default());
    let metrics = RebuildMetrics {
        lost: IntGauge::new("lost", "lost").unwrap(),
        rebuilt: IntCounter::new("rebuilt", "rebuilt").unwrap(),
    };
    let rebuilder = Rebuilder {
        counters: Arc::clone(&counters),
        book: Arc::clone(&book),
        batcher,
        desk: Arc::clone(&desk),
        metrics: metrics.clone(),
    };
    let running = tokio::spawn(rebuilder.run());
    let window = LeasedWindow::Trial;
    let tally = book.tally(&CounterSpec { key: "quota:rebuilt".into(), window, max: MAX, hard: true });

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
    running.abort();
}
