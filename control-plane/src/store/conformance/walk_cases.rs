//! What is true of every walk along a single-valued index: its range, its order, its pages and their cursors.

use serde_json::json;

use super::cases::{found, ids};
use super::kinds::{Account, Profile, account};
use crate::store::{Query, Store, StoreError};

/// Pages after which something is inserted on both sides of the walk.
const INSERTING_MAX_PAGES: usize = 6;

pub async fn walks_ranges_both_ways(store: &Store) {
    store.register::<Account>().await.unwrap();
    for (id, rank) in [("a", 1), ("b", -5), ("c", 3), ("d", 3), ("e", 10), ("f", 2)] {
        store.insert(&account(id, rank)).await.unwrap();
    }
    assert_eq!(found(store, Query::by("rank")).await, ["b", "a", "f", "c", "d", "e"]);
    assert_eq!(found(store, Query::by("rank").descending()).await, ["e", "d", "c", "f", "a", "b"]);
    assert_eq!(found(store, Query::by("rank").from(2)).await, ["f", "c", "d", "e"]);
    assert_eq!(found(store, Query::by("rank").below(3)).await, ["b", "a", "f"]);
    assert_eq!(found(store, Query::by("rank").from(1).below(3)).await, ["a", "f"]);
    assert_eq!(found(store, Query::by("rank").from(1).below(3).descending()).await, ["f", "a"]);
    assert_eq!(found(store, Query::by("rank").from(3).descending().limit(2)).await, ["e", "d"]);
    assert_eq!(found(store, Query::by("rank").equals(3)).await, ["c", "d"]);
    assert_eq!(found(store, Query::by("rank").equals(3).descending()).await, ["d", "c"]);
    assert!(found(store, Query::by("rank").from(3).below(3)).await.is_empty());
    assert!(found(store, Query::by("rank").from(7).below(3)).await.is_empty());
    let too_many = store.query::<Account>(&Query::by("rank").equals(3).from(1)).await;
    assert!(matches!(too_many, Err(StoreError::BadQuery { .. })));
    let unknown = store.query::<Account>(&Query::by("none")).await;
    assert!(matches!(unknown, Err(StoreError::BadQuery { .. })));
}

pub async fn walks_equality_then_range(store: &Store) {
    store.register::<Account>().await.unwrap();
    for rank in 0..10 {
        store.insert(&account(&format!("a{rank}"), rank)).await.unwrap();
    }
    let even = || Query::by("live_rank").equals(true);
    assert_eq!(found(store, even()).await, ["a0", "a2", "a4", "a6", "a8"]);
    assert_eq!(found(store, even().from(2).below(7).descending()).await, ["a6", "a4", "a2"]);
    assert_eq!(found(store, Query::by("live_rank").equals(false).from(7)).await, ["a7", "a9"]);
    assert_eq!(found(store, even().equals(4)).await, ["a4"]);
    let in_city = Account { profile: Profile { city: Some("Pune".to_owned()) }, ..account("p", 50) };
    store.insert(&in_city).await.unwrap();
    assert_eq!(found(store, Query::by("city")).await, ["p"]);
    assert_eq!(found(store, Query::by("city").from("P").below("Q")).await, ["p"]);
}

pub async fn walks_the_primary_key(store: &Store) {
    store.register::<Account>().await.unwrap();
    for id in ["d", "b", "a", "c"] {
        store.insert(&account(id, 1)).await.unwrap();
    }
    assert_eq!(found(store, Query::by("id")).await, ["a", "b", "c", "d"]);
    assert_eq!(found(store, Query::by("id").descending()).await, ["d", "c", "b", "a"]);
    assert_eq!(found(store, Query::by("id").from("b").below("d")).await, ["b", "c"]);
    assert_eq!(found(store, Query::by("id").equals("c")).await, ["c"]);
}

async fn walk_pages(store: &Store, query: Query, mut between: impl AsyncFnMut(usize)) -> Vec<String> {
    let (mut all, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.query::<Account>(&query.clone().cursor(cursor)).await.unwrap();
        all.extend(ids(&page));
        pages += 1;
        between(pages).await;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

pub async fn pages_are_stable_under_inserts(store: &Store) {
    store.register::<Account>().await.unwrap();
    // Many share a rank, so that pages end inside one.
    for number in 0..40 {
        store.insert(&account(&format!("m{number:02}"), number / 10)).await.unwrap();
    }
    for (at, query) in [
        Query::by("rank"),
        Query::by("rank").descending(),
        Query::by("live_rank").equals(true),
        Query::by("live_rank").descending(),
        Query::by("id"),
        Query::by("id").descending(),
        Query::by("rank").equals(2).descending(),
    ]
    .into_iter()
    .enumerate()
    {
        let whole = found(store, query.clone().limit(1000)).await;
        let walked = walk_pages(store, query.limit(3), async |page| {
            // Not for ever, or the walk would never end.
            let ends = if page <= INSERTING_MAX_PAGES { [("a", 0), ("z", 3)].as_slice() } else { &[] };
            for (end, rank) in ends {
                store.insert(&account(&format!("{end}{at}-{page:02}"), *rank)).await.unwrap();
            }
        })
        .await;
        let kept: Vec<_> = walked.iter().filter(|id| whole.contains(*id)).cloned().collect();
        assert_eq!(kept, whole, "query {at}");
        let mut once = walked.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), walked.len(), "query {at} gave a document twice");
    }
}

pub async fn cursors_belong_to_their_query(store: &Store) {
    store.register::<Account>().await.unwrap();
    for rank in 0..10 {
        store.insert(&account(&format!("a{rank}"), rank)).await.unwrap();
    }
    let query = Query::by("live_rank").equals(true).limit(2);
    let cursor = store.query::<Account>(&query).await.unwrap().next_cursor.unwrap();
    let garbage = ["", "%%%", "e30", &"A".repeat(20_000)].map(str::to_owned);
    for (query, cursor) in garbage.into_iter().map(|broken| (query.clone(), broken)).chain([
        (Query::by("live_rank").equals(false), cursor.clone()),
        (Query::by("live_rank").equals(true).from(5), cursor.clone()),
        (Query::by("rank"), cursor.clone()),
        (Query::by("id"), cursor),
    ]) {
        let refused = store.query::<Account>(&query.cursor(Some(cursor))).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{refused:?}");
    }
    let all = store.query::<Account>(&Query::by("rank").limit(10)).await.unwrap();
    assert!(all.items.len() == 10 && all.next_cursor.is_none());
    assert_eq!(store.query::<Account>(&Query::by("rank").limit(0)).await.unwrap().items.len(), 1);
}

pub async fn pages_are_bounded_by_bytes(store: &Store) {
    store.register::<Account>().await.unwrap();
    for id in ["a", "b", "c", "d", "e"] {
        let note = json!("x".repeat(10 * 1024 * 1024));
        store.insert(&Account { note, ..account(id, 1) }).await.unwrap();
    }
    let page = store.query::<Account>(&Query::by("rank")).await.unwrap();
    assert_eq!(ids(&page), ["a", "b", "c"]);
    let next = store.query::<Account>(&Query::by("rank").cursor(page.next_cursor)).await.unwrap();
    assert_eq!((ids(&next), next.next_cursor), (vec!["d".to_owned(), "e".to_owned()], None));
}
