//! A wallet's lease over a kill: with the real spool, batcher, lease table and lives, and a control plane that notes what is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::path::Path;

use apiclay_config::usage::{BatchId, GatewayEpoch};
use apiclay_config::wallet_leases::{EarlierOver, LeasesAnswer, LeasesRequest};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::over::{Look, SayOptions};
use super::*;
use crate::counters::wallet::{DeskError, WalletDesk};
use crate::counters::{Close, Counters, CountersError, Grant, GrantRequest};
use crate::life::{self, Ledger};
use crate::limits::{BookOptions, CounterSpec, Monotonic, Take, Unit, wallet_key};
use crate::metering::{Batcher, LeaseLedger, SpoolOptions};

#[test]
fn what_is_unaccounted_names_its_counter_as_a_call_would() {
    let subscription = SubscriptionId::generate();
    for (key, known, revision, window) in [
        (format!("quota:{subscription}:day"), Some(subscription), 0, LeasedWindow::Day),
        ("trial:acc_1:lst_1".to_owned(), None, 0, LeasedWindow::Trial),
        (wallet_key(subscription, 9), Some(subscription), 9, LeasedWindow::Wallet),
    ] {
        let named = named(&key);
        let known = known.unwrap_or(SubscriptionId::from_u128(0));
        assert_eq!((named.subscription, named.plan_revision, named.window), (known, revision, window));
    }
}

/// Grants what is asked for, and notes what is closed.
#[derive(Default)]
struct Noted(Mutex<Vec<Close>>);

#[async_trait]
impl Counters for Noted {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        self.0.lock().extend(request.closes.iter().cloned());
        let units = request.want;
        Ok(Grant { window: 0, units, remaining: 1_000, ends_in_ms: None, generation: u64::MAX })
    }

    async fn close(&self, _: &str, closes: &[Close]) -> Result<u64, CountersError> {
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
        bytes_in: 0,
        bytes_out: 0,
    }
}

fn spec(subscription: SubscriptionId) -> CounterSpec {
    let key = wallet_key(subscription, 9);
    CounterSpec { key, window: LeasedWindow::Wallet, max: crate::counters::COUNT_MAX, hard: true }
}

/// A lease book that is not told.
struct Untold;

impl LeaseLedger for Untold {
    fn counter_of(&self, _: u32) -> Option<(String, i64)> {
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
        let batch = life.batcher.collect(&life.ledger).unwrap().unwrap();
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

/// The ids of all batches that are to be sent, oldest first.
fn unsent(life: &mut OneLife) -> Vec<BatchId> {
    let mut ids = Vec::new();
    while let Some(batch) = life.batcher.pending().unwrap() {
        life.batcher.postpone(&batch.id);
        ids.push(batch.id);
    }
    life.batcher.resume_postponed();
    ids.sort_by(|a, b| (&a.from.epoch, a.seq).cmp(&(&b.from.epoch, b.seq)));
    ids
}

fn acknowledge(life: &mut OneLife, id: &BatchId) {
    while life.batcher.pending().unwrap().is_some_and(|first| first.id != *id) {
        let first = life.batcher.pending().unwrap().unwrap().id;
        life.batcher.postpone(&first);
    }
    life.batcher.acknowledged(id).unwrap();
    life.batcher.resume_postponed();
}

#[tokio::test]
async fn earlier_lives_are_over_once_their_leases_are_closed_and_all_their_batches_acknowledged() {
    // Whichever of the batches is the last to be acknowledged.
    for last in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let (noted, subscription) = (Arc::new(Noted::default()), SubscriptionId::generate());
        five_calls_and_a_kill(folder.path(), &noted, subscription).await;
        let mut life = begin(folder.path(), 0xc1, &noted);
        stop_wallets(&life.book, &life.spool, Timestamp(5));
        let mut look = Look::default();
        let mut is_over = |life: &OneLife| look.is_over(&life.book, &life.batcher).unwrap();
        assert!(!is_over(&life), "a lease waits for its record");
        life.batcher.collect(&life.ledger).unwrap().unwrap();
        assert!(!is_over(&life), "a lease is not closed");
        closed(&life).await;
        assert_eq!(noted.0.lock().len(), 1);
        assert!(!is_over(&life), "no batch is acknowledged");
        // This life's own calls are none of it.
        let own = record(subscription, Unit { lease: 900, slot: 0 });
        let ticket = life.spool.begin(&own).unwrap();
        life.spool.end(ticket, &own);
        life.batcher.collect(&life.ledger).unwrap().unwrap();
        let mut batches = unsent(&mut life);
        let named: Vec<_> = batches.iter().map(|id| (id.from.epoch.clone(), id.seq)).collect();
        let (a, c) = ("00000000000000a1".to_owned(), "00000000000000c1".to_owned());
        assert_eq!(named, [(a.clone(), 1), (a, 2), (c.clone(), 1), (c.clone(), 2), (c, 3)]);
        batches.truncate(4);
        let kept_back = batches.remove(last);
        for id in batches {
            acknowledge(&mut life, &id);
            assert!(!is_over(&life), "{kept_back:?} is not acknowledged");
        }
        acknowledge(&mut life, &kept_back);
        assert!(is_over(&life));
    }
}

#[tokio::test]
async fn earlier_lives_are_not_over_while_a_batch_of_theirs_is_set_aside_whichever_life_did_that() {
    let folder = tempfile::tempdir().unwrap();
    let (noted, subscription) = (Arc::new(Noted::default()), SubscriptionId::generate());
    five_calls_and_a_kill(folder.path(), &noted, subscription).await;
    for epoch in [0xb1, 0xc1] {
        let mut life = begin(folder.path(), epoch, &noted);
        stop_wallets(&life.book, &life.spool, Timestamp(5));
        while life.batcher.collect(&life.ledger).unwrap().is_some() {}
        closed(&life).await;
        for (nth, id) in unsent(&mut life).into_iter().enumerate() {
            if epoch == 0xb1 && nth == 0 {
                assert_eq!(life.batcher.pending().unwrap().unwrap().id, id);
                life.batcher.set_aside(&id).unwrap();
            } else {
                acknowledge(&mut life, &id);
            }
        }
        assert!(life.book.earlier_wallets_are_closed());
        let mut look = Look::default();
        assert!(!look.is_over(&life.book, &life.batcher).unwrap());
        if epoch == 0xc1 {
            let aside = folder.path().join("spool").join("00000000000000a1-000000000001.conflict");
            std::fs::remove_file(aside).unwrap();
            assert!(look.is_over(&life.book, &life.batcher).unwrap());
        }
    }
}

/// A control plane that answers so, one after the other, and then as the last time.
struct Answers(Mutex<Vec<Result<(), DeskError>>>, Mutex<Vec<EarlierOver>>);

#[async_trait]
impl WalletDesk for Arc<Answers> {
    async fn leases(&self, _: &LeasesRequest) -> Result<LeasesAnswer, DeskError> {
        panic!("nobody asks for a lease")
    }

    async fn earlier_over(&self, over: &EarlierOver) -> Result<(), DeskError> {
        self.1.lock().push(over.clone());
        self.0.lock().remove(0)
    }

    fn is_heard(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn that_earlier_lives_are_over_is_said_until_it_is_heard_or_not_understood() {
    let away = || Err(DeskError::Away("no".to_owned()));
    let refused = || Err(DeskError::Refused("no".to_owned()));
    for (answers, said) in [
        (vec![Ok(())], 1),
        (vec![away(), refused(), away(), Ok(())], 4),
        (vec![away(), Err(DeskError::Unknown)], 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // A new folder: there is nothing to wait for.
        let life = begin(folder.path(), 0xc1, &Arc::default());
        let desk = Arc::new(Answers(Mutex::new(answers), Mutex::default()));
        let batcher = Arc::new(Mutex::new(life.batcher));
        let options = SayOptions { look_every_ms: 1, again_ms: 1, again_max_ms: 4 };
        over::say(life.book, batcher, Arc::clone(&desk), "00000000000000c1".to_owned(), options).await;
        let over = EarlierOver { epoch: "00000000000000c1".to_owned() };
        assert_eq!(*desk.1.lock(), vec![over; said]);
    }
}
