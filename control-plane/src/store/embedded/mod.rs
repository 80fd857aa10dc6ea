//! The embedded store: one SQLite file, for one machine.
//!
//! One thread writes (`writer`), several connections read (`reads`); SQLite's write-ahead log lets them do so at the
//! same time, also beside another process on the same file. How documents lie in tables is told in `tables`.

mod reads;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::document::{Collection, Record};
use super::error::StoreError;
use super::query::{RecordPage, Walk};
use super::{Backend, document::ID_MAX_BYTES};
use writer::{Write, Writer};

/// How long one process waits for another that writes to the same file.
const BUSY_TIMEOUT_MS: u64 = 10_000;
/// How often opening is tried again while another process makes the file.
const OPEN_TRIES_MAX: u32 = 50;
const OPEN_RETRY_DELAY_MS: u64 = 20;
/// Connections that read; more would wait for the same cores.
const READ_CONNECTIONS_MAX: usize = 4;
/// Prepared statements that a connection keeps: some for each collection and index.
const STATEMENTS_MAX: usize = 256;
/// The log is cut back to this after a burst of writes.
const WAL_KEPT_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// A store in one file.
pub(super) struct Embedded {
    writer: Writer,
    readers: Arc<Readers>,
}

/// Open connections for reading, and as many permits.
struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Embedded {
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        run_blocking(move || Self::open_blocking(&path)).await
    }

    fn open_blocking(path: &Path) -> Result<Self, StoreError> {
        make_private(path).map_err(|error| StoreError::CannotOpen { source: Box::new(error) })?;
        let mut tries = 0;
        let writing = loop {
            match connect(path).and_then(|connection| tables::lay_out(&connection).map(|()| connection)) {
                // SQLite does not wait while another process turns the log on, so we do.
                Err(StoreError::CannotOpen { source }) if tries < OPEN_TRIES_MAX && is_busy(&*source) => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(OPEN_RETRY_DELAY_MS));
                }
                other => break other?,
            }
        };
        let mut idle = Vec::with_capacity(READ_CONNECTIONS_MAX);
        for _ in 0..READ_CONNECTIONS_MAX {
            let reading = connect(path)?;
            reading.pragma_update(None, "query_only", true).map_err(cannot_open)?;
            idle.push(reading);
        }
        let permits = Arc::new(Semaphore::new(READ_CONNECTIONS_MAX));
        Ok(Self {
            writer: Writer::start(writing)?,
            readers: Arc::new(Readers { idle: Mutex::new(idle), permits }),
        })
    }

    /// Runs a read on an idle connection, off the async threads.
    async fn read<R, F>(&self, reading: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    {
        let permit =
            Arc::clone(&self.readers.permits).acquire_owned().await.map_err(StoreError::unavailable)?;
        let readers = Arc::clone(&self.readers);
        run_blocking(move || {
            // The permit goes into the thread: a caller that leaves must not free it before the connection is back.
            let _permit = permit;
            let lease = ReadLease::take(&readers)?;
            lease.connection().and_then(reading)
        })
        .await
    }
}

/// A read connection on loan; it goes back when the loan ends, also by a panic.
struct ReadLease<'readers> {
    readers: &'readers Readers,
    connection: Option<Connection>,
}

impl<'readers> ReadLease<'readers> {
    fn take(readers: &'readers Readers) -> Result<Self, StoreError> {
        let connection = readers.idle.lock().pop();
        Ok(Self { readers, connection })
    }

    fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::unavailable("no read connection is left"))
    }
}

impl Drop for ReadLease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.idle.lock().push(connection);
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn register(&self, collection: Collection) -> Result<(), StoreError> {
        self.writer.write(collection, Write::Register).await.map(|_| ())
    }

    async fn get(&self, collection: Collection, id: &str) -> Result<Option<Record>, StoreError> {
        if id.len() > ID_MAX_BYTES {
            return Ok(None);
        }
        let id = id.to_owned();
        self.read(move |connection| reads::get(connection, collection, &id)).await
    }

    async fn insert(&self, collection: Collection, record: Record) -> Result<(), StoreError> {
        self.writer.write(collection, Write::Insert(record)).await.map(|_| ())
    }

    async fn replace(&self, collection: Collection, record: Record, version: i64) -> Result<i64, StoreError> {
        self.writer.write(collection, Write::Replace(record, version)).await
    }

    async fn delete(&self, collection: Collection, id: &str) -> Result<bool, StoreError> {
        self.writer.write(collection, Write::Delete(id.to_owned())).await.map(|removed| removed > 0)
    }

    async fn query(&self, walk: Walk) -> Result<RecordPage, StoreError> {
        self.read(move |connection| reads::query(connection, &walk)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read(reads::ping).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        self.read(move |connection| backup(connection, to)).await
    }
}

/// Copies everything in one step: one reading transaction, which writers need not wait for.
fn backup(from: &Connection, to: PathBuf) -> Result<(), StoreError> {
    let partial = to.with_added_extension("partial");
    let copied = copy(from, &to, &partial);
    if copied.is_err() {
        // What is left of a failed copy is in nobody's way; the failure itself is what is told.
        let _ = std::fs::remove_file(&partial);
    }
    copied.map_err(|source| StoreError::Backup { to, source })
}

fn copy(from: &Connection, to: &Path, partial: &Path) -> Result<(), super::Cause> {
    if to.try_exists()? {
        return Err("there is a file of this name already".into());
    }
    make_private(partial)?;
    let mut copy = Connection::open(partial)?;
    let step = rusqlite::backup::Backup::new(from, &mut copy)?.step(-1)?;
    if step != rusqlite::backup::StepResult::Done {
        return Err(format!("SQLite ended the copy with {step:?}").into());
    }
    // One file without a log beside it is easier to carry.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(partial)?.sync_all()?;
    std::fs::rename(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

/// Makes an empty file that only its owner reads, for SQLite to fill; its log takes the same permissions.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(cannot_open)?;
    let set = || -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Each commit is on the disk before it is acknowledged; the writer makes one commit of many writes.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT_MAX_BYTES)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(())
    };
    set().map_err(cannot_open)?;
    Ok(connection)
}

fn cannot_open(error: rusqlite::Error) -> StoreError {
    StoreError::CannotOpen { source: Box::new(error) }
}

fn is_busy(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code).is_some_and(|code| {
        matches!(code, rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    })
}

async fn run_blocking<R, F>(work: F) -> Result<R, StoreError>
where
    R: Send + 'static,
    F: FnOnce() -> Result<R, StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => Err(StoreError::unavailable(panicked)),
    }
}
