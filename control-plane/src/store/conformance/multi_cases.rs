//! What is true of multi-valued indexes: the ledger's idempotency keys and slots stand on these.

use super::cases::ids;
use super::kinds::{Entry, EntryBefore, Slot, entry};
use crate::store::{Query, Store, StoreError};

async fn found(store: &Store, query: Query) -> Vec<String> {
    ids(&store.query::<Entry>(&query).await.unwrap())
}

async fn taken(store: &Store, entry: &Entry) -> &'static str {
    match store.insert(entry).await {
        Err(StoreError::Duplicate { index, collection: "journal" }) => index,
        other => panic!("a duplicate was expected, not {other:?}"),
    }
}

pub async fn multi_index_is_unique_across_documents(store: &Store) {
    store.register::<Entry>().await.unwrap();
    store.insert(&entry("1", &["a", "b"], &[])).await.unwrap();
    assert_eq!(taken(store, &entry("2", &["c", "b"], &[])).await, "idem");
    assert!(store.get::<Entry>("2").await.unwrap().is_none());
    // What was refused holds no key.
    store.insert(&entry("3", &["c"], &[])).await.unwrap();
    // A document may repeat itself.
    store.insert(&entry("4", &["d", "d"], &[("w", 1), ("w", 1)])).await.unwrap();
    assert_eq!(found(store, Query::by("idem").equals("d")).await, ["4"]);
    assert_eq!(found(store, Query::by("idem").equals("b")).await, ["1"]);
    let clash = store.replace(&entry("3", &["e", "a"], &[]), 1).await;
    assert!(matches!(clash, Err(StoreError::Duplicate { index: "idem", .. })));
    assert_eq!(store.replace(&entry("3", &["e"], &[]), 1).await.unwrap(), 2);
    store.insert(&entry("5", &["c"], &[])).await.unwrap();
    store.delete::<Entry>("1").await.unwrap();
    store.insert(&entry("6", &["a", "b"], &[])).await.unwrap();
    assert_eq!(found(store, Query::by("idem")).await, ["6", "5", "4", "3"]);
}

pub async fn multi_index_is_sparse(store: &Store) {
    store.register::<Entry>().await.unwrap();
    for id in ["1", "2", "3"] {
        let mut bare = entry(id, &[], &[]);
        bare.slots.push(Slot { account: None, seq: 7 });
        bare.tags = (id == "3").then(Vec::new);
        store.insert(&bare).await.unwrap();
    }
    let mut half = entry("4", &[], &[("w", 7)]);
    half.slots.push(Slot { account: None, seq: 7 });
    store.insert(&half).await.unwrap();
    assert!(found(store, Query::by("idem")).await.is_empty());
    assert!(found(store, Query::by("tags").descending()).await.is_empty());
    assert_eq!(found(store, Query::by("slots")).await, ["4"]);
}

pub async fn multi_compound_takes_fields_of_one_element(store: &Store) {
    store.register::<Entry>().await.unwrap();
    store.insert(&entry("1", &[], &[("a", 1), ("b", 2)])).await.unwrap();
    store.insert(&entry("2", &[], &[("a", 2), ("b", 1)])).await.unwrap();
    assert_eq!(taken(store, &entry("3", &[], &[("c", 1), ("b", 2)])).await, "slots");
    assert_eq!(found(store, Query::by("slots").equals("a").equals(1)).await, ["1"]);
    assert_eq!(found(store, Query::by("slots").equals("b").equals(1)).await, ["2"]);
    assert!(found(store, Query::by("slots").equals("c")).await.is_empty());
}

/// The last entry of an account, although its document has larger numbers for others.
pub async fn heads_are_found_by_the_element(store: &Store) {
    store.register::<Entry>().await.unwrap();
    for seq in 0..30 {
        let other = ("other", 1000 - seq);
        store.insert(&entry(&format!("{seq:02}"), &[], &[("wallet", seq), other])).await.unwrap();
    }
    let head = || Query::by("slots").equals("wallet").descending().limit(1);
    assert_eq!(found(store, head()).await, ["29"]);
    assert_eq!(found(store, head().below(20)).await, ["19"]);
    assert_eq!(found(store, Query::by("slots").equals("wallet").limit(2)).await, ["00", "01"]);
    let some = Query::by("slots").equals("wallet").from(5).below(8);
    assert_eq!(found(store, some.clone()).await, ["05", "06", "07"]);
    assert_eq!(found(store, some.descending()).await, ["07", "06", "05"]);
    for query in [Query::by("slots").equals("wallet"), Query::by("slots").equals("wallet").descending()] {
        let whole = found(store, query.clone()).await;
        assert_eq!(walk_pages(store, query.limit(7)).await, whole);
        assert_eq!(whole.len(), 30);
    }
}

async fn walk_pages(store: &Store, query: Query) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.query::<Entry>(&query.clone().cursor(cursor)).await.unwrap();
        all.extend(ids(&page));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

pub async fn one_insert_of_many_takes_the_slot(store: &Store) {
    store.register::<Entry>().await.unwrap();
    for seq in 0..5 {
        let race = (0..40).map(|task| {
            let store = store.clone();
            let written =
                entry(&format!("{seq}-{task}"), &[], &[("wallet", seq), (&format!("w{task}"), seq)]);
            tokio::spawn(async move { store.insert(&written).await })
        });
        let outcomes = futures_util::future::join_all(race).await;
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(Ok(())))).count(), 1);
        let lost = |outcome: &Result<Result<(), StoreError>, _>| {
            matches!(outcome, Ok(Err(StoreError::Duplicate { index: "slots", .. })))
        };
        assert_eq!(outcomes.iter().filter(|outcome| lost(outcome)).count(), 39);
    }
    assert_eq!(found(store, Query::by("slots").equals("wallet")).await.len(), 5);
}

pub async fn a_document_with_many_keys_is_given_once(store: &Store) {
    store.register::<Entry>().await.unwrap();
    let tags = |id: &str, tags: &[&str]| Entry {
        tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
        ..entry(id, &[], &[])
    };
    store.insert(&tags("1", &["a", "d", "f"])).await.unwrap();
    store.insert(&tags("2", &["b", "c"])).await.unwrap();
    store.insert(&tags("3", &["b", "e"])).await.unwrap();
    store.insert(&tags("4", &["f"])).await.unwrap();
    assert_eq!(found(store, Query::by("tags")).await, ["1", "2", "3", "4"]);
    assert_eq!(found(store, Query::by("tags").descending()).await, ["4", "1", "3", "2"]);
    assert_eq!(found(store, Query::by("tags").equals("b").descending()).await, ["3", "2"]);
    assert_eq!(found(store, Query::by("tags").from("c").below("f")).await, ["2", "1", "3"]);
    for limit in 1..4 {
        assert_eq!(walk_pages(store, Query::by("tags").limit(limit)).await, ["1", "2", "3", "4"]);
        assert_eq!(
            walk_pages(store, Query::by("tags").descending().limit(limit)).await,
            ["4", "1", "3", "2"]
        );
    }
}

pub async fn multi_index_new_to_a_collection_is_filled(store: &Store) {
    store.register::<EntryBefore>().await.unwrap();
    store.insert(&EntryBefore(entry("1", &["a"], &[("w", 1)]))).await.unwrap();
    store.insert(&EntryBefore(entry("2", &["b"], &[("w", 2)]))).await.unwrap();
    store.register::<Entry>().await.unwrap();
    assert_eq!(found(store, Query::by("slots").equals("w").descending()).await, ["2", "1"]);
    assert_eq!(taken(store, &entry("3", &["b"], &[])).await, "idem");
}
