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
        assert_eq!(files(folder.path(), ".segment"), 0, "{step:?}: all of them are in batches");
        // What the killed life had written is sent first, and as it was.
        for batch in before {
            let sent = batcher.pending().unwrap().unwrap();
            assert_eq!(serde_json::to_vec(&sent).unwrap(), serde_json::to_vec(&batch).unwrap());
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
    let unfinished = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let unfinished =
        unfinished.filter(|path| path.extension().is_some_and(|ext| ext == "tmp")).next().unwrap();
    let bytes = std::fs::read(&unfinished).unwrap();
    std::fs::write(&unfinished, &bytes[..bytes.len() / 2]).unwrap();
    let (_spool, mut batcher) = open(folder.path(), 2, small());
    collect_all(&mut batcher);
    all_stand_once(folder.path());
}

/// A power cut forgets marks that were not synced; the batch that is not acknowledged says what it took.
#[test]
fn marks_that_a_power_cut_forgot_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, small());
    (0..10).for_each(|number| call(&spool, number));
    let segment = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|ext| ext == "segment")).next().unwrap();
    let unmarked = std::fs::read(&segment).unwrap();
    collect_all(&mut batcher);
    drop((spool, batcher));
    std::fs::write(&segment, unmarked).unwrap();
    let (spool, mut batcher) = open(folder.path(), 2, small());
    assert_eq!(spool.stats().found.unbatched, 0);
    assert_eq!(batcher.collect(&Book::default()).unwrap(), None);
}
