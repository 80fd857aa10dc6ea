//! Writes to MongoDB whose outcome is known.
//!
//! A connection can break after the server has written and before it says so. Such a write is never assumed to have
//! happened or not: it is sent again, which its own guard (primary key, version) makes harmless, and when the guard
//! holds, the document is looked up for the mark of this write.

use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Document as Bson, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::{OPERATION_TIMEOUT_MS, shape, within};
use crate::store::document::{Collection, FIRST_VERSION, ID_INDEX, Index, Record};
use crate::store::error::StoreError;

/// Marks of past writes that a document keeps.
const MARKS_KEPT_MAX_ITEMS: i32 = 8;
/// How long a write of unknown outcome is asked after.
const ASK_AGAIN_MS: u64 = 20_000;
const ASK_AGAIN_DELAY_MIN_MS: u64 = 50;
const ASK_AGAIN_DELAY_MAX_MS: u64 = 1_000;

/// How long a look-up waits for the majority.
const LOOK_UP_TIMEOUT_MS: u64 = 10_000;

const DUPLICATE_KEY: i32 = 11_000;

type Documents = mongodb::Collection<Bson>;

/// What is known of a write that ended in an error.
enum Ending {
    /// It did not happen.
    Refused,
    /// Nobody knows yet.
    Unknown,
}

fn ending(error: &Error) -> Ending {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(_)) | ErrorKind::ServerSelection { .. } => Ending::Refused,
        ErrorKind::InvalidArgument { .. }
        | ErrorKind::BsonSerialization(_)
        | ErrorKind::Authentication { .. } => Ending::Refused,
        // Everything else, write concern errors among it: written perhaps, or written here and not by a majority.
        _ => Ending::Unknown,
    }
}

/// Does `once` until its outcome is known. It hears whether an earlier try may have been written.
async fn until_known<R, F>(mut once: impl FnMut(bool) -> F) -> Result<R, StoreError>
where
    F: Future<Output = Result<Result<R, StoreError>, Error>>,
{
    let deadline = Instant::now() + Duration::from_millis(ASK_AGAIN_MS);
    let mut delay_ms = ASK_AGAIN_DELAY_MIN_MS;
    let mut doubtful = false;
    loop {
        let error = match once(doubtful).await {
            Ok(known) => return known,
            Err(error) => error,
        };
        // Once in doubt, a refusal tells of this try only.
        doubtful |= matches!(ending(&error), Ending::Unknown);
        if !doubtful || Instant::now() >= deadline {
            return Err(StoreError::unavailable(error));
        }
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        delay_ms = (delay_ms * 2).min(ASK_AGAIN_DELAY_MAX_MS);
    }
}

/// A mark that no other write has.
fn new_mark() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The version and the marks of a document. A linearizable read sees every write that the primary has, once a
/// majority has it too; a majority read could miss our own write, not long after it was made.
async fn look_up(documents: &Documents, id: &str) -> Result<Option<(i64, Vec<String>)>, Error> {
    let looking = documents
        .find_one(doc! { "_id": id })
        .projection(doc! { "version": 1, "writes": 1 })
        .read_concern(ReadConcern::linearizable())
        .max_time(Duration::from_millis(LOOK_UP_TIMEOUT_MS));
    let found = within(OPERATION_TIMEOUT_MS, looking.into_future()).await?;
    Ok(found.map(|stored| {
        let marks = stored.get_array("writes").map(Vec::as_slice).unwrap_or_default();
        let marks = marks.iter().filter_map(|mark| mark.as_str().map(str::to_owned)).collect();
        (stored.get_i64("version").unwrap_or_default(), marks)
    }))
}

pub(super) async fn insert(
    documents: &Documents,
    collection: Collection,
    record: &Record,
) -> Result<(), StoreError> {
    let mark = new_mark();
    let mut stored = shape::stored_fields(collection, record, FIRST_VERSION);
    stored.insert("_id", &record.id);
    stored.insert("writes", vec![&mark]);
    let (stored, mark) = (&stored, &mark);
    until_known(|doubtful| async move {
        let error = match within(OPERATION_TIMEOUT_MS, documents.insert_one(stored).into_future()).await {
            Ok(_) => return Ok(Ok(())),
            Err(error) => error,
        };
        let Some(index) = taken_index(collection, &error) else { return Err(error) };
        // The key that is taken may be taken by our own earlier try.
        if doubtful && look_up(documents, &record.id).await?.is_some_and(|(_, marks)| marks.contains(mark)) {
            return Ok(Ok(()));
        }
        Ok(Err(StoreError::Duplicate { collection: collection.name, index }))
    })
    .await
}

pub(super) async fn replace(
    documents: &Documents,
    collection: Collection,
    record: &Record,
    version: i64,
) -> Result<i64, StoreError> {
    let mark = new_mark();
    let next = version + 1;
    let filter = doc! { "_id": &record.id, "version": version };
    let change = doc! {
        "$set": shape::stored_fields(collection, record, next),
        "$push": { "writes": { "$each": [&mark], "$slice": -MARKS_KEPT_MAX_ITEMS } },
    };
    let (filter, change, mark) = (&filter, &change, &mark);
    until_known(|doubtful| async move {
        let updating = documents.update_one(filter.clone(), change.clone());
        match within(OPERATION_TIMEOUT_MS, updating.into_future()).await {
            Ok(done) if done.matched_count > 0 => return Ok(Ok(next)),
            Ok(_) if !doubtful => return Ok(Err(StoreError::VersionMismatch)),
            Ok(_) => {}
            Err(error) => match taken_index(collection, &error) {
                Some(index) => return Ok(Err(StoreError::Duplicate { collection: collection.name, index })),
                None => return Err(error),
            },
        }
        Ok(match look_up(documents, &record.id).await? {
            Some((_, marks)) if marks.contains(mark) => Ok(next),
            // Ours may have been written, and so many after it that its mark is gone.
            Some((stored, _)) if stored >= next + i64::from(MARKS_KEPT_MAX_ITEMS) => {
                Err(StoreError::unavailable("the outcome of a replacement can no longer be told"))
            }
            _ => Err(StoreError::VersionMismatch),
        })
    })
    .await
}

/// Removes a document. When a first try is in doubt and a second finds nothing, it counts as removed by the first.
pub(super) async fn delete(documents: &Documents, id: &str) -> Result<bool, StoreError> {
    until_known(|doubtful| async move {
        let removing = documents.delete_one(doc! { "_id": id });
        let done = within(OPERATION_TIMEOUT_MS, removing.into_future()).await?;
        Ok(Ok(done.deleted_count > 0 || doubtful))
    })
    .await
}

/// Writes the keys of a multi-valued index that is new to a collection with documents in it.
pub(super) async fn write_missing_keys(
    documents: &Documents,
    collection: Collection,
    index: &Index,
) -> Result<(), StoreError> {
    let path = format!("keys.{}", index.name);
    let mut all = documents.find(doc! {}).await.map_err(StoreError::unavailable)?;
    while let Some(stored) = all.try_next().await.map_err(StoreError::unavailable)? {
        let record = shape::record(collection, stored)?;
        let Some(keys) = shape::stored_keys(index, &record.doc) else { continue };
        // A document replaced meanwhile has the keys from its writer.
        let filter = doc! { "_id": &record.id, "version": record.version };
        let updating = documents.update_one(filter, doc! { "$set": { &path: keys } });
        within(OPERATION_TIMEOUT_MS, updating.into_future()).await.map_err(StoreError::unavailable)?;
    }
    Ok(())
}

/// Which unique index refused a write, told by the name that MongoDB gives in its message.
pub(super) fn taken_index(collection: Collection, error: &Error) -> Option<&'static str> {
    let message = match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(failed)) if failed.code == DUPLICATE_KEY => &failed.message,
        ErrorKind::Command(failed) if failed.code == DUPLICATE_KEY => &failed.message,
        _ => return None,
    };
    let name = message.split(" index: ").nth(1)?.split(" dup key").next()?.trim();
    if name == "_id_" { Some(ID_INDEX) } else { collection.index_named(name) }
}
