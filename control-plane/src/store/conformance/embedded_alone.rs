//! What only the file can get wrong: two processes at once, a copy while it is written to, a newer layout.

use std::path::Path;

use super::kinds::{Counter, Entry, entry};
use crate::store::{Query, Store, StoreError};

fn counter(id: String) -> Counter {
    Counter { id, value: 1 }
}

/// Two stores on one file share nothing but the file, like two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_on_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = || async {
        let store = Store::open_embedded(&path).await.unwrap();
        store.register::<Counter>().await.unwrap();
        store.register::<Entry>().await.unwrap();
        store
    };
    let (one, other) = tokio::join!(open(), open());
    let writes = (0..400).map(|number| {
        let store = if number % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move {
            store.insert(&counter(format!("{number:03}"))).await.unwrap();
            let slot = number / 2;
            store.insert(&entry(&format!("{number:03}"), &[&format!("key {slot}")], &[])).await.is_ok()
        })
    });
    let won =
        futures_util::future::join_all(writes).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 200);
    for store in [&one, &other] {
        assert_eq!(store.query::<Counter>(&Query::by("id").limit(1000)).await.unwrap().items.len(), 400);
        assert_eq!(store.query::<Entry>(&Query::by("idem").limit(1000)).await.unwrap().items.len(), 200);
    }
}

/// Each copy is the store at one moment: number n is there only with all before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backup_of_a_live_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.db")).await.unwrap();
    store.register::<Counter>().await.unwrap();
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0..2000 {
                store.insert(&counter(format!("{number:04}"))).await.unwrap();
            }
        }
    });
    for copy in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let to = folder.path().join(format!("copy-{copy}.db"));
        store.backup(&to).await.unwrap();
        let copied = Store::open_embedded(&to).await.unwrap();
        copied.register::<Counter>().await.unwrap();
        let last = copied.query::<Counter>(&Query::by("id").descending().limit(1)).await.unwrap();
        let count = last.items.first().map_or(0, |item| item.value.id.parse::<usize>().unwrap() + 1);
        let mut seen = 0;
        let mut cursor = None;
        loop {
            let page = copied.query::<Counter>(&Query::by("id").limit(1000).cursor(cursor)).await.unwrap();
            seen += page.items.len();
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, count);
    }
    let again = store.backup(&folder.path().join("copy-0.db")).await;
    assert!(matches!(again, Err(StoreError::Backup { .. })));
    writing.await.unwrap();
}

#[tokio::test]
async fn newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Store::open_embedded(&path).await.unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open_embedded(&path).await.err();
    assert!(matches!(refused, Some(StoreError::NewerLayout { stored: 99, .. })), "{refused:?}");
    let nowhere = Store::open_embedded(Path::new("/nowhere/store.db")).await.err();
    assert!(matches!(nowhere, Some(StoreError::CannotOpen { .. })), "{nowhere:?}");
}
