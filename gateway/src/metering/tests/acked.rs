//! Acknowledged batches stay for a store that is restored, and are never why a call is refused: the oldest go as room gets
//! short, with a quota and on a real disk of 1 MiB where mounting is allowed.

use std::sync::atomic::Ordering;

use apiclay_config::clock::Clock;

use super::full::Mounted;
use super::*;
use crate::metering::batch_file::parse_name;

/// Calls in one batch.
const CALLS: u128 = 15;

/// The numbers of this folder's acknowledged batches, in ascending order.
fn acked(folder: &Path) -> Vec<u64> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let stems = names.filter_map(|name| Some(name.to_str()?.strip_suffix(ACKED_SUFFIX)?.to_owned()));
    let mut numbers: Vec<u64> = stems.map(|stem| parse_name(&stem).unwrap().1).collect();
    numbers.sort_unstable();
    numbers
}

/// Some calls, whose batch is acknowledged.
fn round(spool: &Spool, batcher: &mut Batcher, number: u128) {
    (0..CALLS).for_each(|nth| call(spool, number * CALLS + nth));
    collect_all(batcher);
    while let Some(batch) = batcher.pending().unwrap() {
        batcher.acknowledged(&batch.id).unwrap();
    }
}

/// Goes on far beyond what there is room for; `tend` is what the spool's thread gets done after each batch.
fn never_refuses(folder: &Path, options: SpoolOptions, rounds: u64, tend: impl Fn(&Spool)) {
    let (spool, mut batcher) = open(folder, 1, options);
    for number in 0..rounds {
        round(&spool, &mut batcher, u128::from(number));
        assert!(spool.is_writable(), "after {number} batches");
        tend(&spool);
        assert!(spool.is_writable(), "the spool's round after {number} batches");
    }
    let kept = acked(folder);
    assert!(kept.len() >= 20 && (kept.len() as u64) < rounds / 2, "{} are kept", kept.len());
    let newest: Vec<u64> = (rounds + 1 - kept.len() as u64..=rounds).collect();
    assert_eq!(kept, newest, "the newest are kept");
    let bytes = spool.stats().bytes;
    let found: u64 =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(bytes, found, "what is gone is not counted");
}

fn by_hand(spool_max_bytes: u64) -> SpoolOptions {
    SpoolOptions { spool_max_bytes, sync_ms: 60_000, ..small() }
}

#[test]
fn at_the_quota_the_oldest_go_before_any_call_is_refused() {
    const MAX_BYTES: u64 = 192 * 1024;
    // Once with the spool's thread in time, once with calls that find no room before it looks.
    let folder = tempfile::tempdir().unwrap();
    never_refuses(folder.path(), by_hand(MAX_BYTES), 500, |spool| spool.ground().tend());
    let folder = tempfile::tempdir().unwrap();
    never_refuses(folder.path(), by_hand(MAX_BYTES), 500, |spool| spool.ground().clear_finished());
}

#[test]
fn on_a_full_disk_the_oldest_go_before_any_call_is_refused() {
    let Some(disk) = Mounted::one_mib() else {
        return eprintln!("not run: mounting a disk of 1 MiB is not allowed here");
    };
    let folder = |name: &str| disk.0.path().join(name);
    never_refuses(&folder("tended"), by_hand(64 << 20), 1_000, |spool| spool.ground().tend());
    std::fs::remove_dir_all(folder("tended")).unwrap();
    never_refuses(&folder("untended"), by_hand(64 << 20), 1_000, |spool| spool.ground().clear_finished());
}

#[test]
fn a_round_removes_only_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let options = SpoolOptions { clock: clock.clone(), keep_hours: 2, ..by_hand(64 << 20) };
    let (spool, mut batcher) = open(folder.path(), 1, options);
    (0..100).for_each(|number| round(&spool, &mut batcher, number));
    let Clock::Manual(now) = &clock else { panic!("a manual clock") };
    now.fetch_add(7_200_001, Ordering::Relaxed);
    spool.ground().tend();
    let left = acked(folder.path()).len();
    assert!((1..100).contains(&left), "{left} are left");
    (0..10).for_each(|_| spool.ground().tend());
    assert_eq!(acked(folder.path()), [0; 0]);
}
