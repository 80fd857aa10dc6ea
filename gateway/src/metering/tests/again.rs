//! Segments that are filled again: a kill or a power cut at any moment finds each record under one name, and none of the
//! generation before.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::metering::batcher::Step;
use crate::metering::head::{self, SEGMENT_SUFFIX};
use crate::metering::record::{RECORD_WORDS, Record};
use crate::metering::segment::RECORD_BYTES;
use crate::metering::{BatcherError, Left};

/// Records of a segment of [`small`].
const PLACES: u128 = 15;
/// A record lies in one sector, which a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The spool's thread does nothing by itself.
fn by_hand() -> SpoolOptions {
    SpoolOptions { sync_ms: 60_000, ..small() }
}

/// A life whose first segment is full and in a batch.
fn with_one_full(folder: &Path, number: u32) -> (Arc<Spool>, Batcher) {
    let (spool, mut batcher) = open(folder, number, by_hand());
    (0..PLACES).for_each(|number| call(&spool, number));
    collect_all(&mut batcher);
    (spool, batcher)
}

/// Ends a life as a kill does.
fn kill(spool: Arc<Spool>, batcher: Batcher) {
    drop((spool, batcher));
}

fn found(folder: &Path, life: u32) -> Left {
    open(folder, life, by_hand()).0.stats().found
}

#[test]
fn a_full_segment_is_filled_again_and_its_records_are_in_batches_once() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, by_hand());
    let mut names = std::collections::HashSet::new();
    for round in 0..20 {
        (0..PLACES).for_each(|nth| call(&spool, round * PLACES + nth));
        names.insert(file_of(folder.path(), "segment"));
        assert_eq!(files(folder.path(), SEGMENT_SUFFIX), 1, "round {round}");
        collect_all(&mut batcher);
        spool.ground().clear_finished();
    }
    assert_eq!(names.len(), 20, "no name comes again");
    assert_eq!(events(folder.path()).len(), 20 * PLACES as usize);
    let bytes = |suffix: &str| files(folder.path(), suffix) as u64 * 2048;
    let batches: u64 = spool.stats().bytes - bytes(SEGMENT_SUFFIX);
    spool.ground().clear_spares();
    assert_eq!(files(folder.path(), SEGMENT_SUFFIX), 0, "where room is short, none is kept");
    assert_eq!(spool.stats().bytes, batches);
}

#[test]
fn killed_before_or_after_it_has_its_new_name_nothing_in_it_counts() {
    for step in ["batched", "renamed", "spare"] {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut batcher) = with_one_full(folder.path(), 1);
        let sent = batcher.pending().unwrap().unwrap();
        batcher.acknowledged(&sent.id).unwrap();
        match step {
            "batched" => {}
            "renamed" => drop(spool.ground().rename_finished()),
            _ => spool.ground().clear_finished(),
        }
        kill(spool, batcher);
        assert_eq!(found(folder.path(), 2), Left::default(), "{step}");
        open(folder.path(), 3, by_hand()).0.ground().clear_finished();
        assert_eq!(files(folder.path(), SEGMENT_SUFFIX), 0);
    }
}

/// What was marked must be on the disk before the name is another: an acknowledged batch is not asked again, and the name may
/// come back.
#[test]
fn it_is_synced_before_it_has_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _batcher) = with_one_full(folder.path(), 1);
    let segment = Arc::clone(&spool.ground().segments.lock()[0]);
    assert!(!segment.unsynced.is_none());
    assert_eq!(spool.ground().rename_finished().len(), 1);
    assert!(segment.unsynced.is_none());
}

/// A power cut takes the new name back, as long as the folder is not synced.
#[test]
fn no_record_is_in_it_before_its_new_name_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, batcher) = with_one_full(folder.path(), 1);
    let before = file_of(folder.path(), "segment");
    let renewed = spool.ground().rename_finished();
    let after = file_of(folder.path(), "segment");
    assert_ne!(before, after);
    (100..105).for_each(|number| call(&spool, number));
    kill(spool, batcher);
    std::fs::rename(after, before).unwrap();
    assert_eq!(found(folder.path(), 2), Left { unbatched: 5, ..Left::default() });
    drop(renewed);
}

/// The first ten places have records of the new generation, the last of them an open one: the file, and what stood in it
/// before and after.
fn half_filled_again(folder: &Path) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let (spool, mut batcher) = with_one_full(folder, 1);
    let sent = batcher.pending().unwrap().unwrap();
    batcher.acknowledged(&sent.id).unwrap();
    spool.ground().clear_finished();
    let path = file_of(folder, "segment");
    let before = std::fs::read(&path).unwrap();
    (100..109).for_each(|number| call(&spool, number));
    std::mem::forget(spool.begin(&opening(109)).unwrap());
    kill(spool, batcher);
    assert_eq!(path, file_of(folder, "segment"));
    let after = std::fs::read(&path).unwrap();
    (path, before, after)
}

#[test]
fn killed_while_it_is_filled_again_what_is_new_is_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    half_filled_again(folder.path());
    let (spool, mut batcher) = open(folder.path(), 2, by_hand());
    assert_eq!(spool.stats().found, Left { unbatched: 10, interrupted: 1, torn: 0 });
    collect_all(&mut batcher);
    let mut numbers: Vec<_> = events(folder.path()).into_keys().filter(|number| *number >= 100).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (100..110).collect::<Vec<_>>());
}

/// Which of its sectors were written is the disk's choice.
#[test]
fn after_a_power_cut_each_record_is_of_its_own_generation_and_none_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let (path, before, after) = half_filled_again(folder.path());
    let sectors = before.len() / SECTOR_BYTES;
    for written in 0..1_u32 << sectors {
        let is_written = |at: usize| written & 1 << (at / SECTOR_BYTES) != 0;
        let bytes: Vec<u8> =
            (0..before.len()).map(|at| if is_written(at) { after[at] } else { before[at] }).collect();
        std::fs::write(&path, bytes).unwrap();
        let new = (1..=10).filter(|place| is_written(place * RECORD_BYTES)).count() as u64;
        let interrupted = u64::from(is_written(10 * RECORD_BYTES));
        let left = found(folder.path(), 2 + written);
        assert_eq!(left, Left { unbatched: new, interrupted, torn: 0 }, "sectors {written:b}");
    }
}

/// The batch was marked, and its maker failed before it knew: it marks again what is filled again by then.
#[test]
fn what_is_marked_twice_leaves_the_next_generation_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, by_hand());
    (0..PLACES).for_each(|number| call(&spool, number));
    batcher.kill_at = Some(Step::Marked);
    assert!(matches!(batcher.collect(&Book::default()), Err(BatcherError::Killed)));
    spool.ground().clear_finished();
    (100..105).for_each(|number| call(&spool, number));
    assert_eq!(files(folder.path(), SEGMENT_SUFFIX), 1, "in the same file");
    batcher.kill_at = None;
    let first = opened(&batcher.collect(&Book::default()).unwrap().unwrap());
    assert_eq!(first.unpack().unwrap().len(), PLACES as usize);
    assert_eq!(spool.stats().unbatched_records, 5);
    kill(spool, batcher);
    assert_eq!(found(folder.path(), 2), Left { unbatched: 5, ..Left::default() });
}

#[test]
fn one_with_a_torn_record_is_put_aside_and_not_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, by_hand());
    (0..PLACES).for_each(|number| call(&spool, number));
    let path = file_of(folder.path(), "segment");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"\xff", 3 * RECORD_BYTES as u64 + 5).unwrap();
    collect_all(&mut batcher);
    spool.ground().clear_finished();
    assert_eq!((files(folder.path(), SEGMENT_SUFFIX), files(folder.path(), ".torn")), (0, 1));
    assert_eq!(events(folder.path()).len(), PLACES as usize - 1);
}

#[test]
fn one_that_was_filled_in_part_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, by_hand());
    (0..5).for_each(|number| call(&spool, number));
    collect_all(&mut batcher);
    spool.ground().shards.iter().for_each(|shard| shard.give_up_idle());
    spool.ground().clear_finished();
    assert_eq!(files(folder.path(), SEGMENT_SUFFIX), 0);
}

/// Records behind one that is open have marks of their own, until it is closed.
#[test]
fn a_call_that_takes_long_keeps_nothing_from_being_marked() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut batcher) = open(folder.path(), 1, by_hand());
    call(&spool, 0);
    let long = spool.begin(&opening(1)).unwrap();
    (2..PLACES).for_each(|number| call(&spool, number));
    collect_all(&mut batcher);
    let id = batcher.pending().unwrap().unwrap().id;
    batcher.acknowledged(&id).unwrap();
    let path = file_of(folder.path(), "segment");
    let killed = std::fs::read(&path).unwrap();
    spool.end(long, &event(1));
    collect_all(&mut batcher);
    spool.ground().clear_finished();
    assert_ne!(file_of(folder.path(), "segment"), path, "it can be filled again");
    kill(spool, batcher);
    std::fs::write(&path, killed).unwrap();
    std::fs::remove_file(file_of(folder.path(), "batch")).unwrap();
    assert_eq!(found(folder.path(), 2), Left { unbatched: 1, interrupted: 1, torn: 0 });
}

/// A segment as the version before made them: marks are the records' alone, and there is one generation.
#[test]
fn a_segment_of_the_version_before_is_read_and_has_this_ones_format_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<AtomicU64> = (0..4 * RECORD_WORDS).map(|_| AtomicU64::new(0)).collect();
    head::write(&words);
    words[1].store(2, Relaxed);
    let (first, second) = (1, 2);
    for place in [first, second] {
        let record =
            Record { words: &words[place * RECORD_WORDS..(place + 1) * RECORD_WORDS], generation: 0 };
        record.close(&event(place as u128), record.open(&event(place as u128)));
        if place == first {
            record.mark_batched();
        }
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    let path = folder.path().join(format!("{}-07-00000009.segment", life(1).epoch));
    std::fs::write(&path, bytes).unwrap();
    let (spool, mut batcher) = open(folder.path(), 2, by_hand());
    assert_eq!(spool.stats().found, Left { unbatched: 1, ..Left::default() });
    assert_eq!(std::fs::read(&path).unwrap()[8..16], 3_u64.to_le_bytes());
    collect_all(&mut batcher);
    assert_eq!(events(folder.path()).into_keys().collect::<Vec<_>>(), [2]);
    spool.ground().clear_finished();
    assert!(!path.exists());
}
