//! Calls on several threads while leases are stopped and closed under them: what a close says is what calls kept, and nothing is
//! lost.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;

const TASKS: u64 = 4;
const CALLS: u64 = 2_000;

/// The batches of the one gateway, made one at a time.
#[derive(Default)]
struct Batches(Mutex<u64>);

impl Batches {
    fn make(&self, till: &Till, book: &LeaseBook, leases: &mut Vec<u32>) {
        let mut seq = self.0.lock();
        *seq += 1;
        let mark = batch_of(1, *seq);
        let mut kept = BTreeMap::<u32, u32>::new();
        leases.iter().for_each(|lease| *kept.entry(*lease).or_default() += 1);
        let records = leases.drain(..).map(|lease| Record::billed(lease, 1)).collect();
        // The book first: a close that it says at once finds its batch missing, and waits for it.
        kept.into_iter().for_each(|(lease, units)| book.recorded(mark, lease, units));
        till.ledger.ingest("gw", 1, *seq, records);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_close_says_is_what_calls_kept_however_threads_come_between() {
    let till = Arc::new(Till::new(TASKS * CALLS));
    let book = till.open(1);
    let batches = Arc::new(Batches::default());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (till, book, batches) = (till.clone(), book.clone(), batches.clone());
            tokio::spawn(async move {
                let tally = book.tally(&wallet(1));
                let (mut leases, mut held) = (Vec::new(), Vec::new());
                for n in 0..CALLS {
                    if let Some(unit) = take(&tally).await {
                        held.push(unit);
                    }
                    // Calls overlap, so that leases are stopped while units of them are out.
                    if held.len() > 3 || n % 5 == 0 {
                        for (nth, unit) in held.drain(..).enumerate() {
                            if (n + task) as usize % 3 == nth % 3 {
                                tally.give_back(unit);
                            } else {
                                leases.push(unit.lease);
                            }
                        }
                    }
                    if leases.len() > 16 {
                        batches.make(&till, &book, &mut leases);
                    }
                    if n % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                leases.extend(held.iter().map(|unit| unit.lease));
                batches.make(&till, &book, &mut leases);
            })
        })
        .collect();
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        till.pass_ms(MAX_MS / 4);
        book.sweep(false).await;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    for _ in 0..3 {
        till.pass_ms(MAX_MS);
        book.sweep(false).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    till.ledger.is_even();
    assert!(till.ledger.charged() > TASKS * CALLS / 4, "{}", till.ledger.charged());
    assert_eq!(book.figures()[&LeasedWindow::Wallet], LeaseFigures::default());
}
