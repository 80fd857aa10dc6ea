//! A batcher killed at every step, and what the next life makes of it. A kill is played by leaving the batcher where it
//! stands and opening the folder anew: mapped memory and files are as a kill would leave them.

use super::*;
use crate::metering::BatcherError;
use crate::metering::batch_file::UNFINISHED_SUFFIX;
use crate::metering::batcher::Step;

const STEPS: [Step; 7] =
    [Step::Packed, Step::Unfinished, Step::Renamed, Step::OnDisk, Step::HalfMarked, Step::Marked, Step::Told];

/// 40 calls: two segments full, a third begun; 3 of the calls are open at the kill. The first 10 are in a batch.
fn life_killed_at(folder: &Path, step: Step) {
    let (spool, mut batcher) = open(folder, 1, small());
    (0..10).for_each(|number| call(&spool, number));
    collect_all(&mut batcher);
    (10..37).for_each(|number| call(&spool, number));
    // Forgotten, not dropped: a killed process drops nothing.
    (37..40).for_each(|number| std::mem::forget(spool.begin(&opening(number)).unwrap()));
    batcher.kill_at = Some(step);
    assert!(matches!(batcher.collect(&Book::default()), Err(BatcherError::Killed)));
}

fn all_stand_once(folder: &Path) {
    let events = events(folder);
    assert_eq!(events.len(), 40);
    for (number, event) in events {
        assert_eq!(event.ending == Ending::Interrupted, number >= 37, "call {number}");
        assert_eq!(event.billable, number < 37);
    }
}

#[test]
fn killed_at_any_step_every_call_stands_in_exactly_one_batch() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        life_killed_at(folder.path(), step);
        let before = batches(folder.path());
        let (spool, mut batcher) = open(folder.path(), 2, small());
        assert_eq!(spool.stats().found.interrupted, 3, "{step:?}");
        collect_all(&mut batcher);
        all_stand_once(folder.path());
        assert_eq!(files(folder.path(), UNFINISHED_SUFFIX), 0);
        wait_until(|| files(folder.path(), ".segment") == 0);
        // What the killed life had written is sent first, and as it was.
        for batch in before {
            let sent = batcher.pending().unwrap().unwrap();
            assert_eq!(sent.body, serde_json::to_vec(&batch).unwrap());
            batcher.acknowledged(&sent.id).unwrap();
        }
    }
}

#[test]
fn killed_twice_at_any_two_steps_every_call_stands_in_exactly_one_batch() {
    for first in STEPS {
        for second in STEPS {
            let folder = tempfile::tempdir().unwrap();
            life_killed_at(folder.path(), first);
            {
                let (_spool, mut batcher) = open(folder.path(), 2, small());
                batcher.kill_at = Some(second);
                let killed = batcher.collect(&Book::default());
                assert!(matches!(killed, Err(BatcherError::Killed)), "the interrupted are there to take");
            }
            let (_spool, mut batcher) = open(folder.path(), 3, small());
            collect_all(&mut batcher);
            all_stand_once(folder.path());
        }
    }
}

#[test]
fn a_failure_at_any_step_is_made_good_by_the_next_collect() {
    for step in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut batcher) = open(folder.path(), 1, small());
        (0..40).for_each(|number| call(&spool, number));
        batcher.kill_at = Some(step);
        assert!(batcher.collect(&Book::default()).is_err());
        assert_eq!(batcher.pending().unwrap(), None, "{step:?}: not sent before its records are marked");
        batcher.kill_at = None;
        collect_all(&mut batcher);
        assert_eq!(events(folder.path()).len(), 40);
        assert!(batcher.pending().unwrap().is_some());
    }
}

#[test]
fn half_a_batch_file_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    life_killed_at(folder.path(), Step::Unfinished);
    let unfinished = file_of(folder.path(), "tmp");
    let bytes = std::fs::read(&unfinished).unwrap();
    std::fs::write(&unfinished, &bytes[..bytes.len() / 2]).unwrap();
    let (_spool, mut batcher) = open(folder.path(), 2, small());
    collect_all(&mut batcher);
    all_stand_once(folder.path());
}

/// A power cut forgets what was not synced, and a batch is synced before its records: it says what it took.
#[test]
fn what_a_power_cut_forgot_of_batched_records_is_not_batched_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, SpoolOptions { sync_ms: 60_000, ..small() });
    let mut moments = vec![];
    let mut look = || moments.push(std::fs::read(file_of(folder.path(), "segment")).unwrap());
    let tickets: Vec<_> = (0..5).map(|number| (number, spool.begin(&opening(number)).unwrap())).collect();
    look();
    tickets.into_iter().for_each(|(number, ticket)| spool.end(ticket, &event(number)));
    (5..10).for_each(|number| call(&spool, number));
    look();
    collect_all(&mut batcher);
    let segment = file_of(folder.path(), "segment");
    drop((spool, batcher));
    for (number, forgotten) in (2..).zip(moments) {
        std::fs::write(&segment, forgotten).unwrap();
        let (spool, mut batcher) = open(folder.path(), number, small());
        assert_eq!(spool.stats().found, crate::metering::Left::default());
        assert_eq!(batcher.collect(&Book::default()).unwrap(), None);
    }
    assert_eq!(events(folder.path()).len(), 10);
}

/// Nobody asks an acknowledged batch which records it took.
#[test]
fn marks_are_on_the_disk_before_their_batch_is_acknowledged_or_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, SpoolOptions { sync_ms: 60_000, ..small() });
    for number in 0..2 {
        call(&spool, number);
        let segment = Arc::clone(&spool.ground().segments.lock()[0]);
        let batch = batcher.collect(&Book::default()).unwrap().unwrap();
        assert!(!segment.unsynced.is_none());
        if number == 0 {
            batcher.acknowledged(&batch.id).unwrap();
        } else {
            batcher.set_aside(&batch.id).unwrap();
        }
        assert!(segment.unsynced.is_none(), "batch {number}");
    }
}

/// The life before was killed when its marks were in memory alone.
#[test]
fn marks_that_an_earlier_life_did_not_sync_are_synced_before_its_batch_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, SpoolOptions { sync_ms: 60_000, ..small() });
    call(&spool, 0);
    batcher.collect(&Book::default()).unwrap().unwrap();
    drop((spool, batcher));
    let (spool, mut batcher) = open(folder.path(), 2, SpoolOptions { sync_ms: 60_000, ..small() });
    let segment = Arc::clone(&spool.ground().segments.lock()[0]);
    let pending = batcher.pending().unwrap().unwrap();
    assert!(!segment.unsynced.is_none());
    batcher.acknowledged(&pending.id).unwrap();
    assert!(segment.unsynced.is_none());
}
