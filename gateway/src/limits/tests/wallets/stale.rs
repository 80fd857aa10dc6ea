//! A lease table that is older than what is on record, as a power cut or a restored folder leaves it: what a close says is never
//! less than what the batches hold.

use super::*;

/// The lease table as it stands now, in a folder of its own.
fn copy_of(till: &Till) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(till.dir.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// A life in a stale folder closes its leases; the batch that the life before made is told to it first.
async fn closed_from(till: &Till, stale: &TempDir, lease: u32, batch: BatchMark, calls: u32) {
    let book = till.open_in(stale.path(), "gw", 2);
    book.recorded(batch, lease, calls);
    assert_eq!(book.stop_earlier_wallets(), []);
    book.sweep(false).await;
    let said = till.ledger.said();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].0.serial, said[0].1.units, said[0].1.last_batch), (lease, calls, Some(batch)));
    assert!(book.earlier_wallets_are_said());
    assert_eq!((till.ledger.held(), till.ledger.charged()), (0, u64::from(calls)));
}

#[tokio::test]
async fn a_slot_that_lost_units_is_closed_with_all_that_are_on_record() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let lease = take(&tally).await.unwrap().lease;
    let stale = copy_of(&till);
    let units = take_all(&tally, 3).await;
    assert!(units.iter().all(|unit| unit.lease == lease));
    on_record(&till, &book, batch_of(1, 3), lease, 4);
    drop((book, tally));
    closed_from(&till, &stale, lease, batch_of(1, 3), 4).await;
}

#[tokio::test]
async fn a_slot_that_lost_its_grant_is_closed_with_all_that_are_on_record() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    till.ledger.lose_answers.store(1, SeqCst);
    assert!(tally.refill().await.is_err());
    let stale = copy_of(&till);
    till.pass_ms(1_000);
    let units = take_all(&tally, 3).await;
    let lease = units[0].lease;
    on_record(&till, &book, batch_of(1, 3), lease, 3);
    drop((book, tally));
    closed_from(&till, &stale, lease, batch_of(1, 3), 3).await;
}

#[tokio::test]
async fn a_name_that_is_over_though_it_was_asked_for_twice_is_closed_all_the_same() {
    for twice in [true, false] {
        let till = Till::new(1_000);
        let book = till.open(1);
        let tally = book.tally(&wallet(1));
        let first = 1;
        till.ledger.end(book.core.lease_id(first));
        if twice {
            till.ledger.lose_requests.store(1, SeqCst);
            assert!(tally.refill().await.is_err());
            till.pass_ms(1_000);
        }
        assert_ne!(take(&tally).await.unwrap().lease, first);
        book.sweep(false).await;
        let said: Vec<_> = till.ledger.said().iter().map(|(lease, spent)| (lease.serial, *spent)).collect();
        let nothing = Spent { units: 0, last_batch: None };
        assert_eq!(said, if twice { vec![(first, nothing)] } else { Vec::new() });
        assert!(!book.core.known.contains_key(&first), "its slot is free");
    }
}

#[tokio::test]
async fn no_lease_gets_a_number_that_a_record_of_an_earlier_life_names_or_a_slot_has() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let stale = copy_of(&till);
    let mut leases = Vec::new();
    for n in 0..5 {
        leases.push(take(&book.tally(&wallet(n))).await.unwrap().lease);
    }
    let last = leases[4];
    drop(book);
    // A table that knows of none of them, and a record of the last that is batched by this life.
    let book = till.open_in(stale.path(), "gw", 2);
    book.recorded(batch_of(2, 1), last, 1);
    assert_eq!(take(&book.tally(&wallet(1))).await.unwrap().lease, last + 1);
    // One of an earlier lease, of which nothing is known any more, changes nothing.
    book.recorded(batch_of(2, 2), leases[0], 1);
    assert_eq!(take(&book.tally(&wallet(2))).await.unwrap().lease, last + 2);
    drop(book);
    // A table whose head is older than its slots.
    let first = std::fs::read_dir(till.dir.path()).unwrap().map(|file| file.unwrap().path()).min().unwrap();
    crate::mapped::Mapped::open(&first).unwrap().words()[1].store(1, SeqCst);
    let book = till.open(3);
    assert_eq!(take(&book.tally(&wallet(1))).await.unwrap().lease, last + 1);
}
