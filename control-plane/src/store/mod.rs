//! The document store: typed collections with declared indexes, over one SQLite file or MongoDB.
//!
//! Everything that must hold at once is one document, for there are no transactions over several; what guards it is
//! a unique index or a version. Domain folders declare their documents and call `Store`; it serialises them and
//! hands them to a `Backend`: `embedded` (SQLite) or `mongo`. One suite, `conformance`, holds both to the same.

mod document;
mod embedded;
mod error;
mod measured;
mod mongo;
mod query;

#[cfg(test)]
pub(crate) mod conformance;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus::HistogramVec;

pub use document::{DOCUMENT_MAX_BYTES, Document, FIRST_VERSION, ID_MAX_BYTES, Index, Key, Versioned};
pub use error::{Cause, StoreError};
pub use query::{PAGE_MAX_BYTES, Page, QUERY_LIMIT_DEFAULT_ITEMS, QUERY_LIMIT_MAX_ITEMS, Query};

use document::{Collection, Record};
use measured::Measured;
use query::{RecordPage, Walk};

/// What a database must do; documents come without their types.
#[async_trait]
trait Backend: Send + Sync {
    async fn register(&self, collection: Collection) -> Result<(), StoreError>;
    async fn get(&self, collection: Collection, id: &str) -> Result<Option<Record>, StoreError>;
    async fn insert(&self, collection: Collection, record: Record) -> Result<(), StoreError>;
    async fn replace(&self, collection: Collection, record: Record, version: i64) -> Result<i64, StoreError>;
    async fn delete(&self, collection: Collection, id: &str) -> Result<bool, StoreError>;
    async fn query(&self, walk: Walk) -> Result<RecordPage, StoreError>;
    async fn ping(&self) -> Result<(), StoreError>;
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

/// A handle on the store, cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    durations: HistogramVec,
}

impl Store {
    /// Opens a store in one SQLite file, and makes the file when there is none.
    pub async fn open_embedded(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(embedded::Embedded::open(path).await?))
    }

    /// Opens a store in MongoDB, in the database that the address names, or else `apiclay`.
    pub async fn open_mongodb(uri: &str) -> Result<Self, StoreError> {
        Ok(Self::over(mongo::Mongo::open(uri).await?))
    }

    fn over(backend: impl Backend + 'static) -> Self {
        let durations = measured::durations();
        Self { backend: Arc::new(Measured { backend, durations: durations.clone() }), durations }
    }

    /// How long the database takes to answer, to be shown with other metrics.
    #[must_use]
    pub fn durations(&self) -> HistogramVec {
        self.durations.clone()
    }

    /// Makes the collection and its declared indexes where they are missing; call it before the first use.
    pub async fn register<T: Document>(&self) -> Result<(), StoreError> {
        self.backend.register(Collection::of::<T>()).await
    }

    /// The document of this id.
    pub async fn get<T: Document>(&self, id: &str) -> Result<Option<Versioned<T>>, StoreError> {
        match self.backend.get(Collection::of::<T>(), id).await? {
            Some(record) => record.read().map(Some),
            None => Ok(None),
        }
    }

    /// Writes a new document, whose version is then `FIRST_VERSION`. When this returns it is durable.
    pub async fn insert<T: Document>(&self, value: &T) -> Result<(), StoreError> {
        self.backend.insert(Collection::of::<T>(), Record::write(value)?).await
    }

    /// Writes over the version that was read and returns the new version.
    pub async fn replace<T: Document>(&self, value: &T, version: i64) -> Result<i64, StoreError> {
        self.backend.replace(Collection::of::<T>(), Record::write(value)?, version).await
    }

    /// Removes a document; whether there was one.
    pub async fn delete<T: Document>(&self, id: &str) -> Result<bool, StoreError> {
        self.backend.delete(Collection::of::<T>(), id).await
    }

    /// One page of a walk along a declared index.
    pub async fn query<T: Document>(&self, query: &Query) -> Result<Page<T>, StoreError> {
        let walk = Walk::new(Collection::of::<T>(), query)?;
        if walk.is_empty() {
            return Ok(Page { items: Vec::new(), next_cursor: None });
        }
        let page = self.backend.query(walk).await?;
        let items = page.items.into_iter().map(Record::read).collect::<Result<_, _>>()?;
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.backend.ping().await
    }

    /// Copies the embedded store, as it is at one moment and while it is in use, into a new file.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.backend.backup(to).await
    }
}
