//! The store in MongoDB, for more than one machine.
//!
//! Writes are acknowledged by a majority with journal, reads are majority reads at the primary: what is read cannot
//! be rolled back. How documents look there is told in `shape`; what makes a write certain in `writes`; how an
//! index is walked in `walks`.

mod shape;
mod walks;
mod writes;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document as Bson, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database, IndexModel};

use super::Backend;
use super::document::{Collection, Index, Record};
use super::error::StoreError;
use super::query::{RecordPage, Walk};

/// The database when the address names none.
const DATABASE_DEFAULT: &str = "apiclay";
/// How long to look for a primary.
const SERVER_SELECTION_TIMEOUT_MS: u64 = 5_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// How long the majority may take to acknowledge.
const WRITE_TIMEOUT_MS: u64 = 10_000;
/// How long any one operation may take; the driver itself would wait for ever on a silent server.
const OPERATION_TIMEOUT_MS: u64 = 15_000;
/// Building an index over what is there may take longer.
const REGISTER_TIMEOUT_MS: u64 = 600_000;
const POOL_MAX_CONNECTIONS: u32 = 64;

const NAMESPACE_EXISTS: i32 = 48;
const INDEX_OPTIONS_CONFLICT: i32 = 85;
const INDEX_KEYS_CONFLICT: i32 = 86;

/// A store in one MongoDB database.
pub(super) struct Mongo {
    database: Database,
}

impl Mongo {
    pub async fn open(uri: &str) -> Result<Self, StoreError> {
        let cannot_open = |error: mongodb::error::Error| StoreError::CannotOpen { source: Box::new(error) };
        let mut options = ClientOptions::parse(uri).await.map_err(cannot_open)?;
        let ms = Duration::from_millis;
        options.app_name.get_or_insert_with(|| "apiclay".to_owned());
        options.server_selection_timeout = Some(ms(SERVER_SELECTION_TIMEOUT_MS));
        options.connect_timeout = Some(ms(CONNECT_TIMEOUT_MS));
        options.max_pool_size.get_or_insert(POOL_MAX_CONNECTIONS);
        // Not for the address to weaken: what is acknowledged here is money.
        options.retry_writes = Some(true);
        options.write_concern = Some(
            WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .w_timeout(ms(WRITE_TIMEOUT_MS))
                .build(),
        );
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let name = options.default_database.clone().unwrap_or_else(|| DATABASE_DEFAULT.to_owned());
        let client = Client::with_options(options).map_err(cannot_open)?;
        Ok(Self { database: client.database(&name) })
    }

    fn documents(&self, collection: Collection) -> mongodb::Collection<Bson> {
        self.database.collection(collection.name)
    }
}

/// Waits for the driver, but not for ever.
async fn within<R>(
    timeout_ms: u64,
    operation: impl Future<Output = mongodb::error::Result<R>> + Send,
) -> mongodb::error::Result<R> {
    match tokio::time::timeout(Duration::from_millis(timeout_ms), operation).await {
        Ok(done) => done,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

fn command_code(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        mongodb::error::ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

#[async_trait]
impl Backend for Mongo {
    async fn register(&self, collection: Collection) -> Result<(), StoreError> {
        // Made by name, so that an empty collection can be read; that it exists already is what most starts find.
        match within(OPERATION_TIMEOUT_MS, self.database.create_collection(collection.name).into_future())
            .await
        {
            Err(error) if command_code(&error) != Some(NAMESPACE_EXISTS) => {
                return Err(StoreError::unavailable(error));
            }
            _ => {}
        }
        let documents = self.documents(collection);
        let known = within(OPERATION_TIMEOUT_MS, documents.list_index_names().into_future())
            .await
            .map_err(StoreError::unavailable)?;
        for index in collection.indexes {
            if index.multi && !known.iter().any(|name| name == index.name) {
                writes::write_missing_keys(&documents, collection, index).await?;
            }
            make_index(&documents, collection, index, false).await?;
            if index.multi {
                make_index(&documents, collection, index, true).await?;
            }
        }
        Ok(())
    }

    async fn get(&self, collection: Collection, id: &str) -> Result<Option<Record>, StoreError> {
        let documents = self.documents(collection);
        let found = within(OPERATION_TIMEOUT_MS, documents.find_one(doc! { "_id": id }).into_future())
            .await
            .map_err(StoreError::unavailable)?;
        found.map(|stored| shape::record(collection, stored)).transpose()
    }

    async fn insert(&self, collection: Collection, record: Record) -> Result<(), StoreError> {
        writes::insert(&self.documents(collection), collection, &record).await
    }

    async fn replace(&self, collection: Collection, record: Record, version: i64) -> Result<i64, StoreError> {
        writes::replace(&self.documents(collection), collection, &record, version).await
    }

    async fn delete(&self, collection: Collection, id: &str) -> Result<bool, StoreError> {
        writes::delete(&self.documents(collection), id).await
    }

    async fn query(&self, walk: Walk) -> Result<RecordPage, StoreError> {
        match tokio::time::timeout(
            Duration::from_millis(OPERATION_TIMEOUT_MS),
            walks::query(&self.documents(walk.collection), &walk),
        )
        .await
        {
            Ok(page) => page,
            Err(elapsed) => Err(StoreError::unavailable(elapsed)),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        within(OPERATION_TIMEOUT_MS, self.database.run_command(doc! { "ping": 1 }).into_future())
            .await
            .map(|_| ())
            .map_err(StoreError::unavailable)
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::BackupElsewhere)
    }
}

/// Makes one index; one that was declared otherwise in an earlier release is replaced.
async fn make_index(
    documents: &mongodb::Collection<Bson>,
    collection: Collection,
    index: &Index,
    down: bool,
) -> Result<(), StoreError> {
    let name = shape::index_name(index, down);
    let model = || {
        let partial = (index.unique || index.multi).then(|| shape::is_in_index(index));
        let options = IndexOptions::builder()
            .name(name.clone())
            .unique(index.unique && !down)
            .partial_filter_expression(partial)
            .build();
        IndexModel::builder().keys(shape::index_keys(index, down)).options(options).build()
    };
    let mut made = within(REGISTER_TIMEOUT_MS, documents.create_index(model()).into_future()).await;
    if let Err(error) = &made
        && matches!(command_code(error), Some(INDEX_OPTIONS_CONFLICT | INDEX_KEYS_CONFLICT))
    {
        within(REGISTER_TIMEOUT_MS, documents.drop_index(name.as_str()).into_future())
            .await
            .map_err(StoreError::unavailable)?;
        made = within(REGISTER_TIMEOUT_MS, documents.create_index(model()).into_future()).await;
    }
    made.map(|_| ()).map_err(|error| match writes::taken_index(collection, &error) {
        Some(index) => StoreError::Duplicate { collection: collection.name, index },
        None => StoreError::unavailable(error),
    })
}
