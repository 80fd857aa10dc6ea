//! Lease books of two gateways over one store, with their background work and real time: together they admit exactly the
//! limit, what one holds idle comes to the other, and a gateway that stops returns what it has.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use apiclay_config::usage::GatewayEpoch;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::limits::{BookOptions, CounterSpec, LeaseBook, Monotonic, Take};

const MAX: u64 = 700;

struct Gateway {
    book: Arc<LeaseBook>,
    stop: CancellationToken,
    work: JoinHandle<()>,
    _dir: TempDir,
}

fn start(counters: &Arc<dyn Counters>, name: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let epoch = GatewayEpoch { gateway: name.into(), epoch: "00000000000000aa".into() };
    let options = BookOptions { idle_return_ms: 800, lease_wait_ms: 5_000, ..BookOptions::new(epoch) };
    let (book, _) = LeaseBook::open(dir.path(), counters.clone(), options, Monotonic::system()).unwrap();
    let stop = CancellationToken::new();
    let work = tokio::spawn(book.clone().maintain(stop.clone()));
    Gateway { book, stop, work, _dir: dir }
}

pub(super) async fn share_a_limit_and_return_what_is_idle(counters: Arc<dyn Counters>) {
    let spec = CounterSpec {
        key: "shared".into(),
        window: LeasedWindow::Trial,
        max: MAX,
        hard: true,
        units_per_call: 1,
    };
    let gateways = [start(&counters, "book-a"), start(&counters, "book-b")];
    let admitted = Arc::new(AtomicU64::new(0));
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let (tally, admitted) = (gateways[n % 2].book.tally(&spec), admitted.clone());
            tokio::spawn(async move {
                // Until nothing came for longer than idle units take to go back.
                let mut since = std::time::Instant::now();
                let mut taken = 0;
                while since.elapsed() < Duration::from_millis(3_000) {
                    match tally.take() {
                        Take::Unit(unit) => {
                            taken += 1;
                            if taken % 10 == 0 {
                                tally.give_back(unit);
                            } else {
                                admitted.fetch_add(1, SeqCst);
                            }
                            since = std::time::Instant::now();
                        }
                        Take::Wait => tally.refill().await.unwrap(),
                        Take::Exhausted { .. } => tokio::time::sleep(Duration::from_millis(20)).await,
                        Take::Unavailable => panic!("unavailable"),
                    }
                    if n % 4 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(admitted.load(SeqCst), MAX);
    // One more unit of limit, which a gateway takes on lease and has not spent when it stops.
    let spec = CounterSpec { max: MAX + 3, ..spec };
    let tally = gateways[0].book.tally(&spec);
    tally.refill().await.unwrap();
    for gateway in gateways {
        gateway.stop.cancel();
        gateway.work.await.unwrap();
    }
    let grant = counters.grant(&request("shared", MAX + 3, 0)).await.unwrap();
    assert_eq!(grant.remaining, 3);
}
