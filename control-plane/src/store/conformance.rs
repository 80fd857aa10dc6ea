//! One suite for both databases: what `cases` tells of a `Store` must be true over either.
//!
//! `crash` kills the writer and the database in the middle of writes; `mongod` starts a real MongoDB for that.
//! `mongo_alone` has what only MongoDB can get wrong, `embedded_alone` what only the file can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_docs_in_private_items)]

mod cases;
mod crash;
mod embedded_alone;
pub mod kinds;
mod mongo_alone;
pub mod mongod;
mod multi_cases;
mod walk_cases;

use super::Store;

/// Runs every case, each over a store of its own.
macro_rules! run_cases {
    ($open:expr; $($room:ident :: $case:ident),+ $(,)?) => {{
        $(
            eprintln!("case {}", stringify!($case));
            let began = std::time::Instant::now();
            let store: Store = $open(stringify!($case)).await;
            Box::pin($room::$case(&store)).await;
            eprintln!("     {} ms", began.elapsed().as_millis());
        )+
    }};
}

async fn run_all(open: impl AsyncFn(&'static str) -> Store) {
    run_cases!(open;
        cases::keeps_what_was_written,
        cases::register_is_idempotent,
        cases::ids_are_unique_and_bounded,
        cases::unique_index_holds_and_is_sparse,
        cases::unique_compound_index_holds_and_is_sparse,
        cases::replace_needs_the_version,
        cases::replace_keeps_indexes_in_step,
        cases::one_of_many_replacements_wins,
        walk_cases::walks_ranges_both_ways,
        walk_cases::walks_equality_then_range,
        walk_cases::walks_the_primary_key,
        walk_cases::pages_are_stable_under_inserts,
        walk_cases::cursors_belong_to_their_query,
        cases::newer_schema_is_refused,
        cases::unstorable_documents_are_refused,
        cases::keys_are_never_operators,
        walk_cases::pages_are_bounded_by_bytes,
        multi_cases::multi_index_is_unique_across_documents,
        multi_cases::multi_index_is_sparse,
        multi_cases::multi_compound_takes_fields_of_one_element,
        multi_cases::heads_are_found_by_the_element,
        multi_cases::one_insert_of_many_takes_the_slot,
        multi_cases::a_document_with_many_keys_is_given_once,
        multi_cases::multi_index_new_to_a_collection_is_filled,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_conforms() {
    let folder = tempfile::tempdir().unwrap();
    run_all(async |case| Store::open_embedded(&folder.path().join(format!("{case}.db"))).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mongodb_conforms() {
    let server = mongod::Mongod::start().await;
    run_all(async |case| {
        // A database name has at most 63 bytes.
        let store = Store::open_mongodb(&server.uri(&case[..case.len().min(40)])).await.unwrap();
        store.ping().await.unwrap();
        store
    })
    .await;
    mongo_alone::run_all(&server).await;
}
