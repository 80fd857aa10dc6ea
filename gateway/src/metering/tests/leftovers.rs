//! A start on a full disk with records of an earlier life: it waits for the sender to make room, and nothing is lost.

use apiclay_config::usage::GatewayEpoch;
use tokio::sync::oneshot;

use super::full::Mounted;
use super::send::Slow;
use super::*;
use crate::life::{self, Life};
use crate::metering::leftovers::batch_leftovers;
use crate::metering::{SendOptions, send_forever};

/// Batches that are to be sent.
const BATCHES: u128 = 20;
/// Calls in them, and records in none.
const CALLS: u128 = 600;

#[tokio::test]
async fn on_a_full_disk_a_start_waits_for_batches_to_be_sent() {
    let Some(disk) = Mounted::one_mib() else {
        return eprintln!("not run: mounting a disk of 1 MiB is not allowed here");
    };
    let folder = disk.0.path();
    let options = SpoolOptions { sync_ms: 60_000, ..small() };
    let (spool, mut batcher) = open(&folder.join("spool"), 1, options.clone());
    for number in 0..BATCHES {
        call(&spool, number);
        collect_all(&mut batcher);
    }
    (BATCHES..CALLS).for_each(|number| call(&spool, number));
    drop((spool, batcher));

    let (spool, batcher) = open(&folder.join("spool"), 2, options);
    let _ = std::fs::write(folder.join("of-others"), vec![0; 2 << 20]);
    let GatewayEpoch { epoch, .. } = life(2);
    assert!(life::begin(folder, &epoch, None).is_err(), "not one byte is free");
    let begun = spool.with_room(|| life::begin(folder, &epoch, None)).unwrap();
    assert_eq!(begun, Life { number: 1, epoch });
    // Somebody else takes what the reserve had.
    let _ = std::fs::write(folder.join("of-others-too"), vec![0; 2 << 20]);

    let (batcher, ledger) = (Arc::new(Mutex::new(batcher)), Arc::new(Book::default()));
    let started = tokio::time::timeout(Duration::from_millis(600), batch_leftovers(&batcher, &*ledger)).await;
    assert!(started.is_err(), "there is no room: {started:?}");
    assert_eq!(spool.stats().unbatched_records, (CALLS - BATCHES) as u64);
    let (stop, stopped) = oneshot::channel::<()>();
    let plane = Arc::new(Slow::default());
    let options = SendOptions { interval_ms: 100, shutdown_max_ms: 5_000 };
    let (of_sender, its_ledger) = (Arc::clone(&batcher), Arc::clone(&ledger));
    let sending =
        send_forever(of_sender, Arc::clone(&spool), its_ledger, Arc::clone(&plane), options, async {
            drop(stopped.await);
        });
    let sending = tokio::spawn(sending);
    let started = tokio::time::timeout(Duration::from_secs(10), batch_leftovers(&batcher, &*ledger)).await;
    started.unwrap().unwrap();
    assert_eq!(spool.stats().unbatched_records, 0);
    stop.send(()).unwrap();
    sending.await.unwrap();
    assert_eq!(*plane.events.lock(), CALLS as u64, "each arrived");
}
