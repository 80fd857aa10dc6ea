//! When earlier lives are said to be over, and how often.

use apiclay_config::usage::BatchId;
use apiclay_config::wallet_leases::{EarlierOver, LeasesAnswer, LeasesRequest};

use super::*;
use crate::counters::wallet::{DeskError, WalletDesk};
use crate::earlier::over::{self, Look, SayOptions};

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
        let own = record(subscription, Unit { lease: 900, units: 1, slot: 0 });
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
        assert!(life.book.earlier_wallets_are_said());
        let mut look = Look::default();
        assert!(!look.is_over(&life.book, &life.batcher).unwrap());
        if epoch == 0xc1 {
            let aside = folder.path().join("spool").join("00000000000000a1-000000000001.conflict");
            std::fs::remove_file(aside).unwrap();
            assert!(look.is_over(&life.book, &life.batcher).unwrap());
        }
    }
}

#[tokio::test]
async fn a_close_that_is_refused_for_good_keeps_earlier_lives_from_being_over_only_until_its_calls_are_there()
{
    let why = || "as a test has it".to_owned();
    for (refusal, for_good) in
        [(CountersError::WalletsRefused(why()), true), (CountersError::WalletFailed(why()), false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let (noted, subscription) = (Arc::new(Noted::default()), SubscriptionId::generate());
        five_calls_and_a_kill(folder.path(), &noted, subscription).await;
        *noted.1.lock() = Some(refusal);
        let mut life = begin(folder.path(), 0xc1, &noted);
        stop_wallets(&life.book, &life.spool, Timestamp(5));
        closed(&life).await;
        let mut look = Look::default();
        assert!(
            !look.is_over(&life.book, &life.batcher).unwrap(),
            "a unit is in no batch yet: not said at all"
        );
        while life.batcher.collect(&life.ledger).unwrap().is_some() {}
        closed(&life).await;
        for id in unsent(&mut life) {
            assert!(!look.is_over(&life.book, &life.batcher).unwrap(), "{id:?} is not acknowledged");
            acknowledge(&mut life, &id);
        }
        assert_eq!(look.is_over(&life.book, &life.batcher).unwrap(), for_good);
        assert_eq!(life.book.earlier_leases(), 1, "it is still tried");
    }
}

const AT_ONCE: SayOptions = SayOptions { look_every_ms: 1, again_ms: 1, again_max_ms: 4, once_more_ms: 1 };

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
        (vec![Ok(()), Ok(())], 2),
        (vec![away(), refused(), away(), Ok(()), away(), Ok(())], 6),
        (vec![away(), Err(DeskError::Unknown)], 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // A new folder: there is nothing to wait for.
        let life = begin(folder.path(), 0xc1, &Arc::default());
        let desk = Arc::new(Answers(Mutex::new(answers), Mutex::default()));
        let batcher = Arc::new(Mutex::new(life.batcher));
        over::say(life.book, batcher, Arc::clone(&desk), "00000000000000c1".to_owned(), AT_ONCE).await;
        let over = EarlierOver { epoch: "00000000000000c1".to_owned() };
        assert_eq!(*desk.1.lock(), vec![over; said]);
    }
}

/// A control plane that holds a unit for a life that is over, which it was asked for late: after the next life said so.
struct Late(Mutex<[u32; 2]>);

#[async_trait]
impl WalletDesk for Arc<Late> {
    async fn leases(&self, _: &LeasesRequest) -> Result<LeasesAnswer, DeskError> {
        panic!("nobody asks for a lease")
    }

    async fn earlier_over(&self, _: &EarlierOver) -> Result<(), DeskError> {
        let mut under_way_and_held = self.0.lock();
        let [under_way, held] = &mut *under_way_and_held;
        *held = std::mem::take(under_way);
        Ok(())
    }

    fn is_heard(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_a_life_that_is_over_is_granted_late_is_not_held_until_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let life = begin(folder.path(), 0xc1, &Arc::default());
    let desk = Arc::new(Late(Mutex::new([1, 0])));
    let batcher = Arc::new(Mutex::new(life.batcher));
    over::say(life.book, batcher, Arc::clone(&desk), "00000000000000c1".to_owned(), AT_ONCE).await;
    assert_eq!(*desk.0.lock(), [0, 0]);
}
