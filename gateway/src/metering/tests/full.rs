//! No room: calls stop before a record is lost, calls under way come to their end, batches still get out, and
//! when room is back everything goes on. Once with a quota, once on a real disk of 1 MiB where mounting is allowed.

use std::collections::HashSet;
use std::process::Command;

use super::*;
use crate::metering::SpoolFull;

/// The control plane's part: takes the events of each batch once.
#[derive(Default)]
struct Store {
    ids: HashSet<(String, u64)>,
    events: HashMap<u128, Event>,
}

impl Store {
    fn ingest(&mut self, batcher: &mut Batcher) {
        while let Some(batch) = batcher.pending().unwrap() {
            assert!(self.ids.insert((batch.id.from.epoch.clone(), batch.id.seq)));
            for event in opened(&batch).unpack().unwrap() {
                assert!(self.events.insert(event.request.as_u128(), event).is_none());
            }
            batcher.acknowledged(&batch.id).unwrap();
        }
    }
}

/// Answers calls until they are refused, three times over; between, the control plane comes back and takes what is there.
fn stops_and_goes_on(folder: &Path, options: SpoolOptions, fill: impl Fn(bool)) {
    let (spool, mut batcher) = open(folder, 1, options);
    let mut store = Store::default();
    let mut calls = 0;
    for round in 0..3 {
        wait_until(|| spool.is_writable());
        let under_way: Vec<_> =
            (0..20).map(|nth| (calls + nth, spool.begin(&opening(calls + nth)).unwrap())).collect();
        calls += 20;
        fill(true);
        // Pushed on past is_writable, until there is no place at all.
        let mut refused = 0;
        while refused == 0 {
            match spool.begin(&opening(calls)) {
                Ok(ticket) => spool.end(ticket, &event(calls)),
                Err(SpoolFull) => refused += 1,
            }
            calls += 1 - refused;
            if calls % 700 == 0 {
                // With the control plane away: batches pile up, and the disk may be full for them too.
                let _ = batcher.collect(&Book::default());
            }
        }
        assert!(!spool.is_writable(), "round {round}");
        under_way.into_iter().for_each(|(number, ticket)| spool.end(ticket, &event(number)));
        let stats = spool.stats();
        assert!(stats.unbatched_records > 0 && stats.open_records == 0);
        // Back again, the disk as full as it was: the reserve lets batches out one by one.
        while batcher.collect(&Book::default()).unwrap().is_some() {
            store.ingest(&mut batcher);
        }
        store.ingest(&mut batcher);
        assert_eq!(spool.stats().unbatched_records, 0);
        fill(false);
    }
    wait_until(|| spool.is_writable());
    call(&spool, calls);
    collect_all(&mut batcher);
    store.ingest(&mut batcher);
    assert_eq!(store.events.len() as u128, calls + 1, "nothing recorded is lost");
    assert!((0..=calls).all(|number| store.events[&number] == event(number)));
}

#[test]
fn at_the_quota_paid_traffic_stops_and_goes_on_when_room_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { spool_max_bytes: 1 << 20, sync_ms: 2, ..SpoolOptions::default() };
    stops_and_goes_on(folder.path(), options, |_| {});
}

/// Each round fills what the round before has emptied: no file is made, and batches alone take room.
#[test]
fn segments_that_are_filled_again_end_at_the_quota_too() {
    const MAX_BYTES: u64 = 256 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { spool_max_bytes: MAX_BYTES, sync_ms: 60_000, ..small() };
    let (spool, mut batcher) = open(folder.path(), 1, options);
    let mut recorded = 0;
    for number in 0..100_000 {
        let Ok(ticket) = spool.begin(&opening(number)) else { break };
        spool.end(ticket, &event(number));
        recorded += 1;
        if number % 15 == 14 {
            // The control plane is away, and the spool's thread goes its round.
            collect_all(&mut batcher);
            spool.ground().tend();
        }
    }
    assert!(recorded > 100 && !spool.is_writable(), "{recorded} records were taken");
    let bytes = spool.stats().bytes;
    assert!(bytes <= MAX_BYTES + 16 * 1024, "{bytes} bytes are taken");
}

/// A disk of its own.
pub(super) struct Mounted(pub(super) tempfile::TempDir);

impl Mounted {
    pub(super) fn one_mib() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_paid_traffic_stops_and_goes_on_when_room_is_back() {
    let Some(disk) = Mounted::one_mib() else {
        return eprintln!("not run: mounting a disk of 1 MiB is not allowed here");
    };
    let folder = disk.0.path().to_owned();
    let others = folder.join("of-others");
    let spool_folder = folder.join("spool");
    // Someone else fills the disk to its last byte, and later goes.
    let fill = |full: bool| {
        if full {
            let _ = std::fs::write(&others, vec![0u8; 2 << 20]);
        } else {
            std::fs::remove_file(&others).unwrap();
        }
    };
    stops_and_goes_on(&spool_folder, SpoolOptions { sync_ms: 2, ..SpoolOptions::default() }, fill);
}

/// Each thread wants a segment of its own, and there is room for three: they share, and none is left behind for good.
fn all_threads_go_on(folder: &Path) {
    const THREADS: u128 = 8;
    const CALLS: u128 = 4_000;
    let (spool, mut batcher) =
        open(folder, 1, SpoolOptions { spool_max_bytes: 1 << 20, sync_ms: 2, ..SpoolOptions::default() });
    let mut store = Store::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let spool = &spool;
                scope.spawn(move || {
                    let mut number = thread * CALLS;
                    while number < (thread + 1) * CALLS {
                        wait_until(|| spool.is_writable());
                        if let Ok(ticket) = spool.begin(&opening(number)) {
                            spool.end(ticket, &event(number));
                            number += 1;
                        }
                    }
                })
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            let _ = batcher.collect(&Book::default());
            store.ingest(&mut batcher);
        }
    });
    collect_all(&mut batcher);
    store.ingest(&mut batcher);
    assert_eq!(store.events.len() as u128, THREADS * CALLS);
}

#[test]
fn where_room_is_short_threads_share_it() {
    all_threads_go_on(tempfile::tempdir().unwrap().path());
    if let Some(disk) = Mounted::one_mib() {
        all_threads_go_on(disk.0.path());
    }
}

#[test]
fn a_spool_opened_on_a_full_disk_takes_nothing_until_there_is_room() {
    let Some(disk) = Mounted::one_mib() else {
        return eprintln!("not run: mounting a disk of 1 MiB is not allowed here");
    };
    let folder = disk.0.path().to_owned();
    let _ = std::fs::write(folder.join("of-others"), vec![0u8; 2 << 20]);
    let (spool, mut batcher) = open(&folder, 1, SpoolOptions { sync_ms: 2, ..SpoolOptions::default() });
    assert!(!spool.is_writable());
    assert!(spool.begin(&opening(1)).is_err());
    std::fs::remove_file(folder.join("of-others")).unwrap();
    wait_until(|| spool.is_writable());
    call(&spool, 1);
    collect_all(&mut batcher);
    assert_eq!(events(&folder).len(), 1);
}
