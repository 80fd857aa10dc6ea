//! Histories of the spool as a whole: kills at every step, full disks, many threads. What they share stands here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

mod acked;
mod again;
mod crash;
mod full;
mod history;
mod kill;
mod leftovers;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{Ending, Event, GatewayEpoch, Units, UsageBatch};
use parking_lot::Mutex;

use super::batch_file::{ACKED_SUFFIX, BATCH_SUFFIX, read_batch};
use super::{Batcher, LeaseLedger, SealedBatch, Spool, SpoolOptions};

/// A call that came to its end, with this number as its id.
pub fn event(number: u128) -> Event {
    Event {
        request: RequestId::from_u128(number),
        subscription: SubscriptionId::from_u128(2),
        credential: CredentialId::from_u128(3),
        route: RouteId::from_u128(4),
        plan_revision: 5,
        at: Timestamp(1_700_000_000_000),
        duration_us: 900,
        status: 200,
        tries: 1,
        ending: Ending::Complete,
        billable: true,
        kept: true,
        leases: [1, 0, 2, 0, 4],
        units: Units::CALL,
        bytes_in: 7,
        bytes_out: 8,
    }
}

/// The same call as its answer begins.
pub fn opening(number: u128) -> Event {
    Event { status: 0, duration_us: 0, bytes_out: 0, billable: false, ..event(number) }
}

pub fn life(number: u32) -> GatewayEpoch {
    GatewayEpoch { gateway: "gw".into(), epoch: format!("{number:016x}") }
}

/// Small segments: 15 records each.
pub fn small() -> SpoolOptions {
    SpoolOptions { segment_bytes: 2048, spool_max_bytes: 64 << 20, ..SpoolOptions::default() }
}

pub fn open(folder: &Path, number: u32, options: SpoolOptions) -> (Arc<Spool>, Batcher) {
    let spool = Spool::open(folder, life(number), options).unwrap();
    let batcher = Batcher::new(Arc::clone(&spool)).unwrap();
    (spool, batcher)
}

/// A call from begin to end.
pub fn call(spool: &Spool, number: u128) {
    let ticket = spool.begin(&opening(number)).unwrap();
    spool.end(ticket, &event(number));
}

/// A lease book that knows every lease, and notes what it is told.
#[derive(Default)]
pub struct Book(pub Mutex<BTreeMap<(u64, u32), u32>>);

impl LeaseLedger for Book {
    fn counter_of(&self, lease: u32) -> Option<(Arc<str>, i64)> {
        Some((format!("counter-{}", lease % 2).into(), 7))
    }

    fn recorded(&self, batch_seq: u64, lease: u32, kept_units: u32) {
        self.0.lock().insert((batch_seq, lease), kept_units);
    }
}

/// A batch as whoever gets it reads it.
pub fn opened(sealed: &SealedBatch) -> UsageBatch {
    serde_json::from_slice(&sealed.body).unwrap()
}

/// Makes batches until nothing is left to take.
pub fn collect_all(batcher: &mut Batcher) {
    while batcher.collect(&Book::default()).unwrap().is_some() {}
}

/// All batches in a folder, acknowledged or not, by file name; and that each epoch's numbers have no gap.
pub fn batches(folder: &Path) -> Vec<UsageBatch> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let ours = |path: &Path| {
        let name = path.to_str().unwrap();
        name.ends_with(BATCH_SUFFIX) || name.ends_with(ACKED_SUFFIX)
    };
    let batches: Vec<UsageBatch> =
        names.iter().filter(|path| ours(path)).map(|path| read_batch(path).unwrap()).collect();
    let mut next: HashMap<String, u64> = HashMap::new();
    for batch in &batches {
        let next = next.entry(batch.id.from.epoch.clone()).or_insert(1);
        assert_eq!(batch.id.seq, *next, "the numbers of an epoch have no gap");
        *next += 1;
    }
    batches
}

/// Every event in the folder's batches, by request; and that none stands in two.
pub fn events(folder: &Path) -> HashMap<u128, Event> {
    let mut events = HashMap::new();
    for event in batches(folder).iter().flat_map(|batch| batch.unpack().unwrap()) {
        let request = event.request.as_u128();
        assert!(events.insert(request, event).is_none(), "request {request} stands in two batches");
    }
    events
}

/// How many files of the folder end so.
pub fn files(folder: &Path, suffix: &str) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(suffix)).count()
}

/// The one file of the folder with this extension.
pub fn file_of(folder: &Path, extension: &str) -> PathBuf {
    let mut paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|its| its == extension)).unwrap()
}

/// Waits for what the spool's thread does.
pub fn wait_until(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(10), "waited too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}
