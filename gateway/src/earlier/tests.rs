//! A wallet's lease over a kill: with the real spool, batcher, lease table and lives, and a control plane that notes what is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::path::Path;

use apiclay_config::ids::PlanId;
use apiclay_config::usage::GatewayEpoch;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::counters::{Close, Counters, CountersError, Grant, GrantRequest};
use crate::life::{self, Ledger};
use crate::limits::{BookOptions, CounterSpec, Monotonic, Take, Unit, wallet_key};
use crate::metering::{Batcher, LeaseLedger, SpoolOptions};

mod over;

#[test]
fn what_is_unaccounted_names_its_counter_as_a_call_would() {
    let subscription = SubscriptionId::generate();
    for (key, known, revision, window) in [
        (format!("quota:{subscription}:day"), Some(subscription), 0, LeasedWindow::Day),
        (format!("quota:{subscription}:month@Asia/Kolkata"), Some(subscription), 0, LeasedWindow::Month),
        ("trial:acc_1:lst_1".to_owned(), None, 0, LeasedWindow::Trial),
        (wallet_key(subscription, PlanId::from_u128(1), 9), Some(subscription), 9, LeasedWindow::Wallet),
    ] {
        let named = named(&key);
        let known = known.unwrap_or(SubscriptionId::from_u128(0));
        assert_eq!((named.subscription, named.plan_revision, named.window), (known, revision, window));
    }
}

/// Grants what is asked for, and notes what is closed, unless it refuses closes.
#[derive(Default)]
struct Noted(Mutex<Vec<Close>>, Mutex<Option<CountersError>>);

#[async_trait]
impl Counters for Noted {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        self.0.lock().extend(request.closes.iter().cloned());
        let units = request.want;
        Ok(Grant { window: 0, units, remaining: 1_000, ends_in_ms: None, generation: u64::MAX })
    }

    async fn close(&self, _: &str, closes: &[Close]) -> Result<u64, CountersError> {
        if let Some(refusal) = self.1.lock().clone() {
            return Err(refusal);
        }
        self.0.lock().extend(closes.iter().cloned());
        Ok(u64::MAX)
    }

    async fn forget(&self, _: &str) -> Result<u64, CountersError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), CountersError> {
        Ok(())
    }
}

/// One life, put together as `serve.rs` does.
struct OneLife {
    spool: Arc<Spool>,
    batcher: Batcher,
    book: Arc<LeaseBook>,
    ledger: Ledger,
}

fn begin(folder: &Path, epoch: u64, noted: &Arc<Noted>) -> OneLife {
    let epoch = format!("{epoch:016x}");
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: epoch.clone() };
    let spool = Spool::open(&folder.join("spool"), from.clone(), SpoolOptions::default()).unwrap();
    let counters: Arc<dyn Counters> = noted.clone();
    let (book, _) = LeaseBook::open(folder, counters, BookOptions::new(from), Monotonic::system()).unwrap();
    let mut batcher = Batcher::new(Arc::clone(&spool)).unwrap();
    let before = life::last(folder).unwrap();
    if let Some(before) = &before {
        batcher.retell(&before.epoch, &Ledger::new(Arc::clone(&book), before)).unwrap();
        book.sync().unwrap();
    }
    let life = life::begin(folder, &epoch, before.as_ref()).unwrap();
    let ledger = Ledger::new(Arc::clone(&book), &life);
    while batcher.collect(&ledger).unwrap().is_some() {}
    OneLife { spool, batcher, book, ledger }
}

fn record(subscription: SubscriptionId, unit: Unit) -> Event {
    Event {
        request: RequestId::generate(),
        subscription,
        credential: CredentialId::from_u128(1),
        route: RouteId::from_u128(1),
        plan_revision: 9,
        at: Timestamp(0),
        duration_us: 0,
        status: 200,
        tries: 1,
        ending: Ending::Complete,
        billable: true,
        kept: true,
        leases: [0, 0, 0, 0, unit.lease],
        units: Units::CALL,
        bytes_in: 0,
        bytes_out: 0,
    }
}

fn spec(subscription: SubscriptionId) -> CounterSpec {
    let key = wallet_key(subscription, PlanId::from_u128(1), 9);
    CounterSpec {
        key,
        window: LeasedWindow::Wallet,
        max: crate::counters::COUNT_MAX,
        hard: true,
        units_per_call: 1,
    }
}

/// A lease book that is not told.
struct Untold;

impl LeaseLedger for Untold {
    fn counter_of(&self, _: u32) -> Option<(Arc<str>, i64)> {
        panic!("a wallet is no counter")
    }

    fn recorded(&self, _: u64, _: u32, _: u32) {}
}

/// A life of five calls, and a kill: one in a batch that the book was told of, one in a batch that it was not, one closed and one
/// open in the spool, one without a record. Says which lease they are of.
async fn five_calls_and_a_kill(folder: &Path, noted: &Arc<Noted>, subscription: SubscriptionId) -> u32 {
    let mut life = begin(folder, 0xa1, noted);
    let tally = life.book.tally(&spec(subscription));
    tally.refill().await.unwrap();
    let mut units = (0..5).map(|_| match tally.take() {
        Take::Unit(unit) => unit,
        other => panic!("{other:?}"),
    });
    let mut call = || {
        let event = record(subscription, units.next().unwrap());
        (life.spool.begin(&event).unwrap(), event)
    };
    let (ticket, event) = call();
    life.spool.end(ticket, &event);
    life.batcher.collect(&life.ledger).unwrap().unwrap();
    let (ticket, event) = call();
    life.spool.end(ticket, &event);
    life.batcher.collect(&Untold).unwrap().unwrap();
    let (ticket, event) = call();
    life.spool.end(ticket, &event);
    // Forgotten, not dropped: a killed process drops nothing.
    std::mem::forget(call().0);
    units.next().unwrap().lease
}

async fn closed(life: &OneLife) {
    let stop = CancellationToken::new();
    stop.cancel();
    Arc::clone(&life.book).maintain(stop).await;
}

#[tokio::test]
async fn a_wallets_lease_is_closed_over_a_kill_with_all_that_was_spent_and_its_last_batch() {
    // Lives in between that are killed at once change nothing.
    for lives in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let (noted, subscription) = (Arc::new(Noted::default()), SubscriptionId::generate());
        let lease = five_calls_and_a_kill(folder.path(), &noted, subscription).await;
        for life in 0..lives {
            drop(begin(folder.path(), 0xb0 + life, &noted));
        }
        let mut life = begin(folder.path(), 0xc1, &noted);
        stop_wallets(&life.book, &life.spool, Timestamp(5));
        close(Arc::clone(&life.book), Arc::clone(&life.spool), Clock::System).await;
        closed(&life).await;
        assert_eq!(*noted.0.lock(), [], "one unit is in no batch yet");
        let batch = crate::metering::tests::opened(&life.batcher.collect(&life.ledger).unwrap().unwrap());
        let [event] = &batch.unpack().unwrap()[..] else { panic!("one event") };
        assert_eq!((event.ending, event.billable, event.kept), (Ending::Unaccounted, false, true));
        assert_eq!((event.subscription, event.plan_revision), (subscription, 9));
        assert_eq!((event.leases, &batch.units[..]), ([0, 0, 0, 0, lease], &[][..]));
        closed(&life).await;
        let said = noted.0.lock().clone();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].lease.epoch, said[0].lease.serial), (0xa1, lease));
        let spent = said[0].spent.unwrap();
        let last_batch = spent.last_batch.unwrap();
        assert_eq!((spent.units, last_batch.epoch, last_batch.seq), (5, 0xc1, batch.id.seq), "{lives}");
        assert_eq!(life.book.earlier_leases(), 0);
    }
}

#[tokio::test]
async fn what_is_unaccounted_is_put_on_record_once_though_a_kill_comes_right_after() {
    let folder = tempfile::tempdir().unwrap();
    let (noted, subscription) = (Arc::new(Noted::default()), SubscriptionId::generate());
    five_calls_and_a_kill(folder.path(), &noted, subscription).await;
    let life = begin(folder.path(), 0xb1, &noted);
    stop_wallets(&life.book, &life.spool, Timestamp(5));
    assert_eq!(life.spool.stats().unbatched_records, 1);
    drop(life);
    let life = begin(folder.path(), 0xc1, &noted);
    stop_wallets(&life.book, &life.spool, Timestamp(5));
    assert_eq!(life.spool.stats().unbatched_records, 0);
    closed(&life).await;
    let spent = noted.0.lock()[0].spent.unwrap();
    let last_batch = spent.last_batch.unwrap();
    assert_eq!((spent.units, last_batch.epoch, last_batch.seq), (5, 0xc1, 1));
}
