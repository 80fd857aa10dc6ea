//! Lives without a kill: what goes in comes out once, across threads and restarts; and what a record costs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::usage::Ending;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::metering::batch_file::batch_name;
use crate::metering::head::SEGMENT_SUFFIX;
use crate::metering::spares::SPARES_MAX;
use crate::metering::{BatcherError, RecoveryError, SpoolError};

#[test]
fn a_call_ends_in_one_batch_with_its_units() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    let ticket = spool.begin(&opening(1)).unwrap();
    assert_eq!(batcher.collect(&Book::default()).unwrap(), None, "an open record is in no batch");
    assert_eq!((spool.stats().open_records, spool.stats().unbatched_records), (1, 0));
    spool.end(ticket, &event(1));
    call(&spool, 2);
    assert_eq!((spool.stats().open_records, spool.stats().unbatched_records), (0, 2));
    let book = Book::default();
    let batch = opened(&batcher.collect(&book).unwrap().unwrap());
    assert_eq!(batch.unpack().unwrap(), [event(1), event(2)]);
    assert_eq!(
        batch.units.iter().map(|taken| (&*taken.counter, taken.units)).collect::<BTreeMap<_, _>>(),
        BTreeMap::from([("counter-0", 2), ("counter-1", 2)]),
        "a quota's and a trial's; a wallet is no counter"
    );
    assert_eq!(*book.0.lock(), BTreeMap::from([((1, 1), 2), ((1, 2), 2), ((1, 4), 2)]));
    let sealed = batcher.pending().unwrap().unwrap();
    assert_eq!((&sealed.id, opened(&sealed)), (&batch.id, batch.clone()));
    let file = std::fs::read(file_of(folder.path(), "batch")).unwrap();
    assert_eq!(
        file.split(|byte| *byte == b'\n').nth(1),
        Some(&*sealed.body),
        "what is sent is what is on the disk"
    );
    batcher.acknowledged(&batch.id).unwrap();
    assert_eq!(batcher.pending().unwrap(), None);
    assert_eq!((spool.stats().pending_batches, spool.stats().unbatched_records), (0, 0));
}

#[test]
fn an_abandoned_call_is_interrupted_and_not_billed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    drop(spool.begin(&opening(1)).unwrap());
    let batch = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    let [event] = &batch.unpack().unwrap()[..] else { panic!("one event") };
    assert_eq!((event.ending, event.billable, event.kept), (Ending::Interrupted, false, true));
}

#[test]
fn full_segments_go_but_for_a_few_and_acknowledged_batches_stay_as_long_as_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let options = SpoolOptions { clock: clock.clone(), keep_hours: 2, sync_ms: 5, ..small() };
    let (spool, mut batcher) = open(folder.path(), 1, options);
    (0..300).for_each(|number| call(&spool, number));
    wait_until(|| files(folder.path(), SEGMENT_SUFFIX) == 21); // twenty full ones and one at hand
    collect_all(&mut batcher);
    wait_until(|| files(folder.path(), SEGMENT_SUFFIX) == SPARES_MAX + 1);
    let id = batcher.pending().unwrap().unwrap().id;
    batcher.acknowledged(&id).unwrap();
    assert_eq!(batcher.give_again(&id.from.epoch, id.seq).unwrap(), 0, "the store has it");
    assert_eq!(batcher.give_again(&id.from.epoch, id.seq - 1).unwrap(), 1);
    assert_eq!(batcher.pending().unwrap().unwrap().id, id);
    batcher.acknowledged(&id).unwrap();
    let Clock::Manual(now) = &clock else { panic!("a manual clock") };
    now.fetch_add(3_600_000, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(files(folder.path(), ACKED_SUFFIX), 1);
    now.fetch_add(3_600_001, Ordering::Relaxed);
    wait_until(|| files(folder.path(), ACKED_SUFFIX) == 0);
    assert_eq!(spool.stats().oldest_unacked_ms, 0);
}

#[test]
fn a_folder_is_one_process_and_an_epoch_one_life() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = open(folder.path(), 1, small());
    assert!(matches!(Spool::open(folder.path(), life(2), small()), Err(SpoolError::InUse { .. })));
    assert!(matches!(Batcher::new(Arc::clone(&spool)), Err(BatcherError::Second)));
    call(&spool, 1);
    drop((spool, batcher));
    let again = Spool::open(folder.path(), life(1), small());
    assert!(matches!(again, Err(SpoolError::Recovery(RecoveryError::EpochUsed { .. }))));
    open(folder.path(), 2, small());
}

#[test]
fn the_next_life_sends_the_same_batches_again_and_takes_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    call(&spool, 1);
    let first = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    call(&spool, 2);
    let second = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    batcher.acknowledged(&first.id).unwrap();
    call(&spool, 3);
    drop((spool, batcher));

    let (spool, mut batcher) = open(folder.path(), 2, small());
    assert_eq!((spool.stats().found.unbatched, spool.stats().pending_batches), (1, 1));
    let again = batcher.pending().unwrap().unwrap();
    assert_eq!(again.body, serde_json::to_vec(&second).unwrap());
    let book = Book::default();
    batcher.retell(&life(1).epoch, &book).unwrap();
    assert_eq!(book.0.lock().len(), 6, "two batches, three leases each");
    let rest = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    assert_eq!((rest.id.from.clone(), rest.id.seq), (life(2), 1));
    assert_eq!(rest.unpack().unwrap(), [event(3)]);
    assert_eq!(events(folder.path()).len(), 3);
}

#[test]
fn a_damaged_acknowledged_batch_keeps_no_life_from_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    for number in 1..=2 {
        call(&spool, number);
        let batch = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
        batcher.acknowledged(&batch.id).unwrap();
    }
    drop((spool, batcher));
    let first = folder.path().join(batch_name(&life(1).epoch, 1, ACKED_SUFFIX));
    std::fs::write(first, b"nonsense\n{}").unwrap();
    let (_spool, batcher) = open(folder.path(), 2, small());
    let book = Book::default();
    batcher.retell(&life(1).epoch, &book).unwrap();
    let told: Vec<u64> = book.0.lock().keys().map(|(seq, _)| *seq).collect();
    assert_eq!(told, [2, 2, 2], "the other batch's three leases");
}

#[test]
fn a_torn_record_is_counted_and_its_segment_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = open(folder.path(), 1, small());
    call(&spool, 1);
    call(&spool, 2);
    drop((spool, batcher));
    let path = file_of(folder.path(), "segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[128 + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (spool, mut batcher) = open(folder.path(), 2, small());
    assert_eq!((spool.stats().found.torn, spool.stats().found.unbatched), (1, 1));
    collect_all(&mut batcher);
    assert_eq!(events(folder.path()).into_keys().collect::<Vec<_>>(), [2]);
    wait_until(|| (files(folder.path(), SEGMENT_SUFFIX), files(folder.path(), ".torn")) == (0, 1));
}

/// Threads open, close and abandon in an order of their own, hand tickets to each other, while batches are made.
#[test]
fn over_many_threads_every_call_stands_in_exactly_one_batch() {
    const THREADS: u128 = 8;
    const CALLS: u128 = 3_000;
    let seed: u64 =
        std::env::var("SEED").ok().map_or_else(|| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, SpoolOptions { sync_ms: 2, ..small() });
    let handed_over = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let abandoned: HashSet<u128> = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                collect_all(&mut batcher);
            }
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (spool, handed_over) = (&spool, &handed_over);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed ^ thread as u64);
                    let mut open = Vec::new();
                    let mut abandoned = HashSet::new();
                    for number in thread * CALLS..(thread + 1) * CALLS {
                        open.push((number, spool.begin(&opening(number)).unwrap()));
                        while open.len() > random.random_range(0..40) {
                            let (number, ticket) = open.swap_remove(random.random_range(0..open.len()));
                            match random.random_range(0..10) {
                                0 => drop((abandoned.insert(number), ticket)),
                                1 => handed_over.lock().push((number, ticket)),
                                _ => spool.end(ticket, &event(number)),
                            }
                        }
                        let other = handed_over.lock().pop();
                        if let Some((number, ticket)) = other {
                            spool.end(ticket, &event(number));
                        }
                    }
                    abandoned.extend(open.iter().map(|(number, _)| *number));
                    abandoned
                })
            })
            .collect();
        let abandoned = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        done.store(true, Ordering::Release);
        collecting.join().unwrap();
        abandoned
    });
    let rest = handed_over.into_inner();
    let abandoned: HashSet<u128> =
        abandoned.into_iter().chain(rest.iter().map(|(number, _)| *number)).collect();
    drop(rest);
    collect_all(&mut batcher);
    let events = events(folder.path());
    assert_eq!(events.len(), (THREADS * CALLS) as usize);
    for (number, event) in events {
        assert_eq!(event.ending == Ending::Interrupted, abandoned.contains(&number), "call {number}");
    }
    assert_eq!((spool.stats().open_records, spool.stats().unbatched_records), (0, 0));
}

/// Printed, not asserted: `cargo nextest run --no-capture what_a_record_costs`, with `--release`.
#[test]
fn what_a_record_costs() {
    const CALLS: u32 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let (spool, _batcher) = open(folder.path(), 1, SpoolOptions::default());
    let (opening, closing) = (opening(1), event(1));
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for _ in 0..CALLS {
        let before = Instant::now();
        let ticket = spool.begin(&opening).unwrap();
        spool.end(ticket, &closing);
        slowest = slowest.max(before.elapsed());
    }
    let each = started.elapsed() / CALLS;
    println!("begin + end: {each:?} each (the clock included), slowest {slowest:?}");
}
