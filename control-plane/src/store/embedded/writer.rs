//! The one thread that writes to the SQLite file.
//!
//! Writes that wait together become one transaction, so that one wait for the disk serves them all; each has a
//! savepoint of its own, so that a duplicate undoes itself and not its neighbours. Callers are answered after the
//! commit, never before.

use rusqlite::{Connection, ErrorCode, params};
use tokio::sync::{mpsc, oneshot};

use super::tables;
use crate::store::document::{Collection, FIRST_VERSION, ID_INDEX, Index, Record};
use crate::store::error::StoreError;

/// Writes that may wait; more callers wait before the queue.
const QUEUE_MAX_WRITES: usize = 1024;
/// Writes in one transaction.
const GROUP_MAX_WRITES: usize = 256;

/// What is to be written.
pub(super) enum Write {
    Register,
    Insert(Record),
    /// With the version that must be there.
    Replace(Record, i64),
    Delete(String),
}

struct Job {
    collection: Collection,
    write: Write,
    answer: oneshot::Sender<Result<i64, StoreError>>,
}

/// The way to the thread, which ends when the last of these is dropped.
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

impl Writer {
    pub fn start(connection: Connection) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX_WRITES);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_groups(&connection, jobs))
            .map_err(|error| StoreError::CannotOpen { source: Box::new(error) })?;
        Ok(Self { queue })
    }

    /// Writes durably. The number is the new version, or how many documents were removed.
    pub async fn write(&self, collection: Collection, write: Write) -> Result<i64, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { collection, write, answer };
        self.queue
            .send(job)
            .await
            .map_err(|_| StoreError::unavailable("the thread that writes has ended"))?;
        answered.await.map_err(|_| StoreError::unavailable("the thread that writes has ended"))?
    }
}

fn write_groups(connection: &Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_MAX_WRITES);
    while let Some(job) = jobs.blocking_recv() {
        group.push(job);
        while group.len() < GROUP_MAX_WRITES {
            let Ok(job) = jobs.try_recv() else { break };
            group.push(job);
        }
        write_group(connection, &mut group);
    }
}

fn write_group(connection: &Connection, group: &mut Vec<Job>) {
    let outcomes = transaction(connection, group);
    if outcomes.is_err() && !connection.is_autocommit() {
        // When even this fails, the next group's BEGIN does and says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    match outcomes {
        Ok(outcomes) => {
            for (job, outcome) in group.drain(..).zip(outcomes) {
                // A caller that has left needs no answer.
                let _ = job.answer.send(outcome);
            }
        }
        Err(error) => {
            let told = error.to_string();
            for job in group.drain(..) {
                let _ = job.answer.send(Err(StoreError::unavailable(told.clone())));
            }
        }
    }
}

/// All of a group, committed; an error means that none of it is acknowledged.
fn transaction(connection: &Connection, group: &[Job]) -> rusqlite::Result<Vec<Result<i64, StoreError>>> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        connection.prepare_cached("SAVEPOINT one")?.execute([])?;
        let outcome = apply(connection, job);
        // A full or failing disk makes SQLite undo the whole transaction: then no write of the group stands.
        if let (true, Err(Failure::Sqlite(error))) = (connection.is_autocommit(), outcome.as_ref()) {
            return Err(rusqlite::Error::SqliteFailure(
                error
                    .sqlite_error()
                    .copied()
                    .unwrap_or(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR)),
                Some(error.to_string()),
            ));
        }
        if outcome.is_err() {
            connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        connection.prepare_cached("RELEASE one")?.execute([])?;
        outcomes.push(outcome.map_err(|failure| failure.told(job.collection)));
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(outcomes)
}

/// Why one write was not made.
enum Failure {
    Mismatch,
    /// The keys of this multi-valued index are taken.
    Taken(&'static str),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn told(self, collection: Collection) -> StoreError {
        match self {
            Self::Mismatch => StoreError::VersionMismatch,
            Self::Taken(index) => StoreError::Duplicate { collection: collection.name, index },
            Self::Sqlite(error) => match taken_index(collection, &error) {
                Some(index) => StoreError::Duplicate { collection: collection.name, index },
                None => StoreError::unavailable(error),
            },
        }
    }
}

fn apply(connection: &Connection, job: &Job) -> Result<i64, Failure> {
    let Job { collection, write, .. } = job;
    let (collection, table) = (*collection, collection.name);
    match write {
        Write::Register => {
            tables::register(connection, collection)?;
            Ok(0)
        }
        Write::Insert(record) => {
            let sql = format!(
                r#"INSERT INTO "{table}" (id, version, schema_version, doc) VALUES (?, {FIRST_VERSION}, ?, jsonb(?))"#
            );
            let doc = record.doc.to_string();
            connection.prepare_cached(&sql)?.execute(params![record.id, record.schema, doc])?;
            write_all_keys(connection, collection, record)?;
            Ok(FIRST_VERSION)
        }
        Write::Replace(record, version) => {
            let sql = format!(
                r#"UPDATE "{table}" SET version = version + 1, schema_version = ?, doc = jsonb(?)
                   WHERE id = ? AND version = ?"#
            );
            let values = params![record.schema, record.doc.to_string(), record.id, version];
            if connection.prepare_cached(&sql)?.execute(values)? == 0 {
                return Err(Failure::Mismatch);
            }
            for index in collection.multi_indexes() {
                tables::remove_keys(connection, collection, index, &record.id)?;
            }
            write_all_keys(connection, collection, record)?;
            Ok(version + 1)
        }
        Write::Delete(id) => {
            let sql = format!(r#"DELETE FROM "{table}" WHERE id = ?"#);
            let removed = connection.prepare_cached(&sql)?.execute([id])?;
            for index in collection.multi_indexes() {
                tables::remove_keys(connection, collection, index, id)?;
            }
            Ok(i64::from(removed > 0))
        }
    }
}

fn write_all_keys(connection: &Connection, collection: Collection, record: &Record) -> Result<(), Failure> {
    for index in collection.multi_indexes() {
        tables::write_keys(connection, collection, index, &record.id, &record.doc).map_err(|error| {
            if is_constraint(&error) { Failure::Taken(index.name) } else { Failure::Sqlite(error) }
        })?;
    }
    Ok(())
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Which unique index held, told by the columns that SQLite names.
fn taken_index(collection: Collection, error: &rusqlite::Error) -> Option<&'static str> {
    let rusqlite::Error::SqliteFailure(_, Some(message)) = error else { return None };
    let columns = message.strip_prefix("UNIQUE constraint failed: ").filter(|_| is_constraint(error))?;
    if columns == format!("{}.id", collection.name) {
        return Some(ID_INDEX);
    }
    let named = |field: &&str| format!("{}.{}", collection.name, tables::column(field));
    let columns_of = |index: &Index| index.fields.iter().map(named).collect::<Vec<_>>().join(", ");
    let mut single = collection.indexes.iter().filter(|index| !index.multi && index.unique);
    single.find(|index| columns_of(index) == columns).map(|index| index.name)
}
