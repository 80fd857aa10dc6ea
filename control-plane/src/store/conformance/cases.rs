//! What is true of every store: documents, their versions, and the unique indexes that guard them.

use serde_json::json;

use super::kinds::{Account, AccountLater, Counter, account};
use crate::store::{Document, Key, Page, Query, Store, StoreError};

pub fn ids<T: Document>(page: &Page<T>) -> Vec<String> {
    page.items.iter().map(|item| item.value.id()).collect()
}

pub async fn found(store: &Store, query: Query) -> Vec<String> {
    ids(&store.query::<Account>(&query).await.unwrap())
}

fn taken(outcome: Result<(), StoreError>) -> &'static str {
    match outcome {
        Err(StoreError::Duplicate { index, .. }) => index,
        other => panic!("a duplicate was expected, not {other:?}"),
    }
}

pub async fn keeps_what_was_written(store: &Store) {
    store.register::<Account>().await.unwrap();
    let mut written = account("a", i64::MAX);
    written.note = json!({
        "$set": {"a.b": 1, "%24": "100%", "": [null, true, -1, 1.5, 1.0, [[]], {}]},
        "text": "line\nnul \u{0} ü 🦀 \" ' \\", "small": i64::MIN, "per%2E": {"$": "."},
    });
    store.insert(&written).await.unwrap();
    let read = store.get::<Account>("a").await.unwrap().unwrap();
    assert_eq!((&read.value, read.version), (&written, 1));
    assert_eq!(read.value.note.to_string(), written.note.to_string());
    assert!(store.get::<Account>("b").await.unwrap().is_none());
    assert!(store.delete::<Account>("a").await.unwrap());
    assert!(!store.delete::<Account>("a").await.unwrap());
    assert!(store.get::<Account>("a").await.unwrap().is_none());
}

pub async fn register_is_idempotent(store: &Store) {
    for _ in 0..3 {
        store.register::<Account>().await.unwrap();
        assert!(found(store, Query::by("email")).await.is_empty());
    }
}

pub async fn ids_are_unique_and_bounded(store: &Store) {
    store.register::<Account>().await.unwrap();
    store.insert(&account("a", 1)).await.unwrap();
    assert_eq!(taken(store.insert(&account("a", 2)).await), "id");
    assert_eq!(store.get::<Account>("a").await.unwrap().unwrap().value.rank, 1);
    store.insert(&account(&"x".repeat(200), 1)).await.unwrap();
    for bad in ["", "nul\0", &"x".repeat(201)] {
        assert!(matches!(store.insert(&account(bad, 1)).await, Err(StoreError::Unstorable { .. })));
        assert!(store.get::<Account>(bad).await.unwrap().is_none());
    }
}

pub async fn unique_index_holds_and_is_sparse(store: &Store) {
    store.register::<Account>().await.unwrap();
    let with = |id: &str, email: Option<&str>| Account { email: email.map(str::to_owned), ..account(id, 1) };
    store.insert(&with("a", Some("one@example"))).await.unwrap();
    assert_eq!(taken(store.insert(&with("b", Some("one@example"))).await), "email");
    assert!(store.get::<Account>("b").await.unwrap().is_none());
    for id in ["b", "c", "d"] {
        store.insert(&with(id, None)).await.unwrap();
    }
    store.insert(&with("e", Some(""))).await.unwrap();
    let clash = store.replace(&with("c", Some("one@example")), 1).await;
    assert_eq!(taken(clash.map(|_| ())), "email");
    assert_eq!(found(store, Query::by("email")).await, ["e", "a"]);
    assert_eq!(found(store, Query::by("email").equals("one@example")).await, ["a"]);
    assert!(found(store, Query::by("email").equals("none@example")).await.is_empty());
}

pub async fn unique_compound_index_holds_and_is_sparse(store: &Store) {
    store.register::<Account>().await.unwrap();
    let with = |id: &str, vendor: Option<&str>, name: Option<&str>| Account {
        vendor: vendor.map(str::to_owned),
        name: name.map(str::to_owned),
        ..account(id, 1)
    };
    store.insert(&with("a", Some("v"), Some("n"))).await.unwrap();
    assert_eq!(taken(store.insert(&with("b", Some("v"), Some("n"))).await), "vendor_name");
    store.insert(&with("c", Some("v"), Some("m"))).await.unwrap();
    store.insert(&with("d", Some("w"), Some("n"))).await.unwrap();
    for (id, vendor, name) in
        [("e", Some("v"), None), ("f", Some("v"), None), ("g", None, Some("n")), ("h", None, None)]
    {
        store.insert(&with(id, vendor, name)).await.unwrap();
    }
    assert_eq!(found(store, Query::by("vendor_name").equals("v")).await, ["c", "a"]);
    assert_eq!(found(store, Query::by("vendor_name").equals("v").equals("n")).await, ["a"]);
    assert_eq!(found(store, Query::by("vendor_name").descending()).await, ["d", "a", "c"]);
}

pub async fn replace_needs_the_version(store: &Store) {
    store.register::<Account>().await.unwrap();
    store.insert(&account("a", 1)).await.unwrap();
    assert_eq!(store.replace(&account("a", 2), 1).await.unwrap(), 2);
    assert!(matches!(store.replace(&account("a", 3), 1).await, Err(StoreError::VersionMismatch)));
    assert!(matches!(store.replace(&account("a", 3), 3).await, Err(StoreError::VersionMismatch)));
    assert!(matches!(store.replace(&account("b", 3), 1).await, Err(StoreError::VersionMismatch)));
    assert_eq!(store.replace(&account("a", 4), 2).await.unwrap(), 3);
    let read = store.get::<Account>("a").await.unwrap().unwrap();
    assert_eq!((read.value.rank, read.version), (4, 3));
}

pub async fn replace_keeps_indexes_in_step(store: &Store) {
    store.register::<Account>().await.unwrap();
    let with = |id: &str, email: &str| Account { email: Some(email.to_owned()), ..account(id, 1) };
    store.insert(&with("a", "old")).await.unwrap();
    store.replace(&with("a", "new"), 1).await.unwrap();
    assert!(found(store, Query::by("email").equals("old")).await.is_empty());
    assert_eq!(found(store, Query::by("email").equals("new")).await, ["a"]);
    store.insert(&with("b", "old")).await.unwrap();
    store.delete::<Account>("a").await.unwrap();
    store.insert(&with("c", "new")).await.unwrap();
}

/// A hundred tasks add one each; every version is won once, so no addition is lost.
pub async fn one_of_many_replacements_wins(store: &Store) {
    store.register::<Counter>().await.unwrap();
    store.insert(&Counter { id: "c".to_owned(), value: 0 }).await.unwrap();
    let race = (0..100).map(|task| {
        let store = store.clone();
        tokio::spawn(async move { store.replace(&Counter { id: "c".to_owned(), value: task }, 1).await })
    });
    let wins =
        futures_util::future::join_all(race).await.into_iter().filter(|win| matches!(win, Ok(Ok(2)))).count();
    assert_eq!(wins, 1);
    let add = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let mut read = store.get::<Counter>("c").await.unwrap().unwrap();
                read.value.value += 1;
                match store.replace(&read.value, read.version).await {
                    Ok(version) => break version,
                    Err(StoreError::VersionMismatch) => {
                        let pause = rand::random_range(0..20);
                        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
    });
    let before = store.get::<Counter>("c").await.unwrap().unwrap();
    let mut versions: Vec<i64> =
        futures_util::future::join_all(add).await.into_iter().map(Result::unwrap).collect();
    versions.sort_unstable();
    assert_eq!(versions, (3..103).collect::<Vec<_>>());
    let after = store.get::<Counter>("c").await.unwrap().unwrap();
    assert_eq!(after.value.value, before.value.value + 100);
}

pub async fn newer_schema_is_refused(store: &Store) {
    store.register::<Account>().await.unwrap();
    store.insert(&account("old", 1)).await.unwrap();
    assert_eq!(store.get::<AccountLater>("old").await.unwrap().unwrap().value.0.rank, 1);
    store.insert(&AccountLater(account("new", 2))).await.unwrap();
    let refused = store.get::<Account>("new").await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { stored: 2, known: 1, .. })), "{refused:?}");
    let refused = store.query::<Account>(&Query::by("rank")).await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { .. })));
}

pub async fn unstorable_documents_are_refused(store: &Store) {
    store.register::<Account>().await.unwrap();
    let mut deep = json!(1);
    for _ in 0..90 {
        deep = json!([deep]);
    }
    for note in [json!(u64::MAX), deep, json!("x".repeat(13 * 1024 * 1024))] {
        let refused = store.insert(&Account { note, ..account("a", 1) }).await;
        assert!(matches!(refused, Err(StoreError::Unstorable { .. })));
    }
    let refused = store.insert(&Account { email: Some("nul\0".to_owned()), ..account("a", 1) }).await;
    assert!(matches!(refused, Err(StoreError::Unstorable { .. })));
}

pub async fn keys_are_never_operators(store: &Store) {
    store.register::<Account>().await.unwrap();
    store.insert(&Account { email: Some("a".to_owned()), ..account("a", 1) }).await.unwrap();
    for text in ["{\"$ne\": null}", "$gt", "' OR 1=1 --", "%", "\u{0}"] {
        assert!(store.get::<Account>(text).await.unwrap().is_none());
        assert!(!store.delete::<Account>(text).await.unwrap());
        assert!(found(store, Query::by("email").equals(text)).await.is_empty());
        assert!(found(store, Query::by("email").equals(Key::from(text))).await.is_empty());
    }
    assert!(found(store, Query::by("email").equals(true)).await.is_empty());
}
