//! The sender against a control plane that is away, forgets to answer, and refuses: each batch is taken once, what is
//! sent again is the same to the byte, and at shutdown what is there goes out.

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::*;
use crate::metering::batch_file::CONFLICT_SUFFIX;
use crate::metering::sender::BEHIND_RECORDS;
use crate::metering::{BatchSink, PostError, SealedBatch, SendOptions, send_forever};

#[derive(Default)]
struct Plane {
    taken: Mutex<BTreeMap<(String, u64), Vec<u8>>>,
    posts: Mutex<u64>,
    away: Mutex<bool>,
    came_back: Mutex<bool>,
}

#[async_trait]
impl BatchSink for Arc<Plane> {
    async fn post(&self, batch: &SealedBatch) -> Result<(), PostError> {
        let post = {
            let mut posts = self.posts.lock();
            *posts += 1;
            *posts
        };
        if *self.away.lock() {
            return Err(PostError::Retry("away".into()));
        }
        let events = opened(batch).unpack().unwrap();
        if events.iter().any(|event| event.request.as_u128() == 666) {
            return Err(PostError::Conflict("another batch".into()));
        }
        if events.iter().any(|event| event.request.as_u128() == 999) {
            return Err(PostError::Refused("not this one".into()));
        }
        let bytes = batch.body.to_vec();
        let id = (batch.id.from.epoch.clone(), batch.id.seq);
        let before = self.taken.lock().insert(id, bytes.clone());
        assert!(before.is_none_or(|before| before == bytes), "sent again, but not the same");
        // The batch was taken, and the answer is lost: the sender must send it again.
        if post % 3 == 1 { Err(PostError::Retry("answer lost".into())) } else { Ok(()) }
    }

    fn came_back(&self) -> bool {
        std::mem::take(&mut *self.came_back.lock())
    }

    async fn have(&self, lives: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>, PostError> {
        let taken = self.taken.lock();
        let up_to =
            |epoch: &String| (1..).take_while(|seq| taken.contains_key(&(epoch.clone(), *seq))).count();
        Ok(lives.keys().map(|epoch| (epoch.clone(), up_to(epoch) as u64)).collect())
    }
}

impl Plane {
    fn events(&self) -> usize {
        let taken = self.taken.lock();
        let batches = taken.values().map(|bytes| serde_json::from_slice::<UsageBatch>(bytes).unwrap());
        batches.map(|batch| batch.event_count as usize).sum()
    }
}

async fn until(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_record_arrives_once_whatever_the_control_plane_does() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = open(folder.path(), 1, small());
    let plane = Arc::new(Plane::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let options = SendOptions { interval_ms: 5, shutdown_max_ms: 10_000 };
    let sending = tokio::spawn(send_forever(
        Arc::new(Mutex::new(batcher)),
        Arc::clone(&spool),
        Arc::new(Book::default()),
        Arc::clone(&plane),
        options,
        async { drop(stopped.await) },
    ));
    for number in 0..20 {
        call(&spool, number);
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    let all_sent = || spool.stats().pending_batches == 0 && spool.stats().unbatched_records == 0;
    until(|| plane.events() == 20 && all_sent()).await;

    *plane.away.lock() = true;
    let posts = *plane.posts.lock();
    call(&spool, 20);
    until(|| *plane.posts.lock() > posts).await;
    (21..40).for_each(|number| call(&spool, number));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(spool.stats().unbatched_records, 19, "they wait in the spool, not in files");
    assert!(spool.stats().oldest_unacked_ms > 0);
    *plane.away.lock() = false;
    until(|| plane.events() == 40 && all_sent()).await;

    call(&spool, 666);
    until(|| spool.stats().set_aside_batches == 1).await;
    call(&spool, 999);
    until(|| spool.stats().pending_batches == 1 && spool.stats().unbatched_records == 0).await;
    call(&spool, 40);
    until(|| plane.events() == 41).await;

    call(&spool, 41);
    stop.send(()).unwrap();
    sending.await.unwrap();
    assert_eq!(plane.events(), 42);
    assert_eq!(files(folder.path(), CONFLICT_SUFFIX), 1);
    assert_eq!(spool.stats().pending_batches, 1, "the refused one stays for the next life");
}

#[tokio::test]
async fn at_shutdown_what_cannot_be_sent_by_the_deadline_stays_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = open(folder.path(), 1, small());
    let plane = Arc::new(Plane { away: Mutex::new(true), ..Plane::default() });
    call(&spool, 1);
    let options = SendOptions { interval_ms: 5, shutdown_max_ms: 300 };
    let started = Instant::now();
    let book = Arc::new(Book::default());
    let batcher = Arc::new(Mutex::new(batcher));
    send_forever(batcher, Arc::clone(&spool), book, plane, options, std::future::ready(())).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    drop(spool);
    assert_eq!(events(folder.path()).len(), 1);
}

#[test]
fn what_the_control_plane_is_not_known_to_have_is_said_by_life_with_its_units() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    for number in 1..=3 {
        call(&spool, number);
        collect_all(&mut batcher);
    }
    let first = batcher.pending().unwrap().unwrap().id;
    batcher.postpone(&first);
    let second = batcher.pending().unwrap().unwrap().id;
    batcher.acknowledged(&second).unwrap();
    let said = |batcher: &Batcher| {
        let (lives, units) = batcher.unacknowledged().unwrap();
        let lives: Vec<_> = lives.into_iter().map(|life| (life.epoch, life.seq, life.except)).collect();
        (lives, units.values().sum::<u64>())
    };
    let (lives, units) = said(&batcher);
    assert_eq!(lives.len(), 1);
    assert_eq!((&*lives[0].0, lives[0].1), (&*life(1).epoch, 3));
    assert_eq!((lives[0].2.len(), units), (2, 4), "the refused and the waiting; each call took two units");
    drop((batcher, spool));
    let (_spool, batcher) = open(folder.path(), 2, small());
    let (lives, units) = said(&batcher);
    assert_eq!(lives[1], (life(2).epoch, 0, Vec::new()), "this life has made none");
    assert_eq!((&*lives[0].0, lives[0].2.len(), units), (&*life(1).epoch, 2, 4));
}

#[tokio::test]
async fn a_control_plane_restored_from_a_copy_is_given_again_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    // Of an earlier life, and of this one.
    let (spool, mut batcher) = open(folder.path(), 1, small());
    let plane = Arc::new(Plane::default());
    call(&spool, 0);
    let batch = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    plane.taken.lock().insert((batch.id.from.epoch.clone(), 1), serde_json::to_vec(&batch).unwrap());
    batcher.acknowledged(&batch.id).unwrap();
    drop((spool, batcher));
    let (spool, batcher) = open(folder.path(), 2, small());
    let (stop, stopped) = oneshot::channel::<()>();
    let options = SendOptions { interval_ms: 5, shutdown_max_ms: 10_000 };
    let ledger = Arc::new(Book::default());
    let batcher = Arc::new(Mutex::new(batcher));
    let sending = send_forever(batcher, Arc::clone(&spool), ledger, Arc::clone(&plane), options, async {
        drop(stopped.await);
    });
    let sending = tokio::spawn(sending);
    for number in 1..10 {
        call(&spool, number);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let settled = || spool.stats().pending_batches == 0 && spool.stats().unbatched_records == 0;
    until(|| plane.events() == 10 && settled()).await;
    let before = plane.taken.lock().clone();
    plane.taken.lock().retain(|(epoch, seq), _| *epoch == life(2).epoch && *seq <= 2);
    assert!(plane.events() < 10);
    *plane.came_back.lock() = true;
    until(|| plane.events() == 10 && settled()).await;
    assert_eq!(*plane.taken.lock(), before, "the same batches, to the byte");
    stop.send(()).unwrap();
    sending.await.unwrap();
}

/// Notes the niceness of who tells it, by batch.
#[derive(Default)]
struct Niceness(Mutex<BTreeMap<u64, i32>>);

impl LeaseLedger for Niceness {
    fn counter_of(&self, _: u32) -> Option<(Arc<str>, i64)> {
        Some(("counter".into(), 7))
    }

    fn recorded(&self, batch_seq: u64, _: u32, _: u32) {
        self.0.lock().insert(batch_seq, rustix::process::getpriority_process(None).unwrap());
    }
}

#[tokio::test]
async fn batches_give_way_to_calls_unless_they_fall_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = open(folder.path(), 1, SpoolOptions::default());
    (0..=u128::from(BEHIND_RECORDS)).for_each(|number| call(&spool, number));
    let (book, batcher) = (Arc::new(Niceness::default()), Arc::new(Mutex::new(batcher)));
    let options = SendOptions { interval_ms: 5, shutdown_max_ms: 20_000 };
    let (ledger, plane) = (Arc::clone(&book), Arc::new(Plane::default()));
    send_forever(batcher, Arc::clone(&spool), ledger, plane, options, std::future::ready(())).await;
    let told = book.0.lock();
    let own = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(told[&1], own, "so many are behind that calls wait for them");
    let low = (own + apiclay_config::background::GIVES_WAY_NICE).min(19);
    // A step that was begun before the shutdown may leave a second one with as many in sight.
    assert!(told.values().skip(2).all(|nice| *nice == low) && told.len() > 2, "{told:?}");
}

/// Takes its time.
#[derive(Default)]
pub(super) struct Slow {
    pub(super) events: Mutex<u64>,
}

#[async_trait]
impl BatchSink for Arc<Slow> {
    async fn post(&self, batch: &SealedBatch) -> Result<(), PostError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        *self.events.lock() += batch.event_count as u64;
        Ok(())
    }

    fn came_back(&self) -> bool {
        false
    }

    async fn have(&self, _: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>, PostError> {
        Ok(BTreeMap::new())
    }
}

#[tokio::test]
async fn while_a_backlog_is_sent_batches_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    for number in 0..50 {
        call(&spool, number);
        collect_all(&mut batcher);
    }
    let plane = Arc::new(Slow::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let (ledger, batcher) = (Arc::new(Book::default()), Arc::new(Mutex::new(batcher)));
    let options = SendOptions { interval_ms: 200, shutdown_max_ms: 100 };
    let sending = send_forever(batcher, Arc::clone(&spool), ledger, Arc::clone(&plane), options, async {
        drop(stopped.await);
    });
    let sending = tokio::spawn(sending);
    until(|| *plane.events.lock() > 0).await;
    for number in 100..102 {
        let recorded = Instant::now();
        call(&spool, number);
        until(|| spool.stats().unbatched_records == 0).await;
        assert!(recorded.elapsed() < Duration::from_secs(1), "{:?}", recorded.elapsed());
    }
    assert!(spool.stats().pending_batches > 10, "the backlog is there still");
    stop.send(()).unwrap();
    sending.await.unwrap();
}
