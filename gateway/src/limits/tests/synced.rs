//! What was granted is on the disk soon: the store has taken its units away for good.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn a_lease_is_on_the_disk_about_a_second_after_it_was_granted() {
    let house = House::new();
    let (book, _) = house.open(1);
    book.core.table.sync_noted().unwrap();
    let (stop, tally) = (CancellationToken::new(), book.tally(&spec(100)));
    let keeper = tokio::spawn(Arc::clone(&book).maintain(stop.clone()));
    assert!(take(&tally).await.is_some());
    assert!(book.core.table.is_noted(), "a grant is to be synced");
    tokio::time::sleep(Duration::from_millis(3 * SYNC_EVERY_MS)).await;
    assert!(!book.core.table.is_noted(), "it was");
    // Calls alone are no reason to.
    assert!(take(&tally).await.is_some());
    assert!(!book.core.table.is_noted());
    stop.cancel();
    keeper.await.unwrap();
}

#[test]
fn a_table_that_grows_is_synced_with_its_first_lease_there() {
    let house = House::new();
    let (book, _) = house.open(1);
    let table = &book.core.table;
    assert!(table.is_noted(), "it was made");
    table.sync_noted().unwrap();
    let files = || std::fs::read_dir(house.dir.path()).unwrap().count();
    let before = files();
    while files() == before {
        assert!(!table.is_noted(), "nothing was asked for");
        table.reserve().unwrap();
    }
    assert!(table.is_noted());
    table.sync_noted().unwrap();
    assert!(!table.is_noted());
}

/// A power cut left the lease as it was granted: what calls took of it since is known by their records alone.
#[tokio::test]
async fn what_is_on_record_is_not_given_back_however_old_the_lease_is() {
    let house = House::new();
    let (book, _) = house.open(1);
    let lease = take(&book.tally(&spec(100))).await.unwrap().lease;
    book.recorded(batch(1), lease, 5);
    drop(book);
    let (book, _) = house.open(2);
    assert_eq!(book.close_earlier_epoch().await.unwrap(), [], "nothing is unaccounted");
    assert_eq!(house.store.granted(&spec(1).key), 5);
}
