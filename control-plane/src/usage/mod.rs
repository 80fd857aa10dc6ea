//! Usage: batches that gateways send (`ingest`), each once; folded in their order (`fold`) into rollups (`rollup`), one
//! document a subscription and hour; summed by the day (`days`); read (`read`) by buyers (`routes`) and vendors (`routes_vendor`). What never came is
//! declared `lost` by an admin; what is folded and old is deleted (`retention`); what is kept is held against the journal
//! (`books`); what lost counters are built anew from is `rebuild`'s. What is promised: `docs/reliability.md`.

pub mod books;
mod by_credential;
pub(crate) mod by_route;
pub mod days;
pub mod documents;
pub mod fold;
pub mod ingest;
pub mod lost;
pub(crate) mod read;
pub mod rebuild;
pub mod retention;
pub mod rollup;
pub mod routes;
pub mod routes_vendor;
pub(crate) mod series;
pub mod sums;

use crate::store::{Store, StoreError};

/// Makes its collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::StoredBatch>().await?;
    store.register::<documents::BatchConflict>().await?;
    store.register::<documents::FoldCursor>().await?;
    store.register::<retention::Retention>().await?;
    store.register::<retention::RetentionRun>().await?;
    store.register::<rebuild::documents::Rebuild>().await?;
    store.register::<rebuild::documents::Report>().await?;
    store.register::<rebuild::record::Block>().await?;
    store.register::<books::nightly::BooksRun>().await?;
    store.register::<days::DayRollup>().await?;
    store.register::<rollup::Rollup>().await
}
