//! The file of the embedded counters: one row a counter and window, so that a grant, with the closes that ride along, reads
//! one row and writes one page. Next: `state.rs` says what is in a row.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Statement, Transaction, TransactionBehavior, params};

use super::state::{decode, encode};
use super::{EmbeddedError, older};
use crate::counters::CountersError;
use crate::limits::counter::CounterState;

/// What the file says of its own form; 0 is a new file, or one of before it was said.
const VERSION: i32 = 1;
/// Small, as a grant changes one row of a page and the whole page is written. Only a new file takes it.
const PAGE_BYTES: u32 = 2_048;
/// So many pages stay in memory: those of some 50,000 counters.
const CACHE_PAGES: u32 = 4_096;
/// So many pages are in the log before they are written to their places: a page that changed ten times is written there once.
const LOG_PAGES: u32 = 4_096;

pub(super) const SCHEMA: &str = "
    CREATE TABLE counters (
        key TEXT NOT NULL, window INTEGER NOT NULL, kept_until INTEGER, state BLOB NOT NULL,
        PRIMARY KEY (key, window)) STRICT, WITHOUT ROWID;
    CREATE INDEX counters_kept_until ON counters (kept_until) WHERE kept_until IS NOT NULL;
";
pub(super) const INSERT: &str =
    "INSERT INTO counters (key, window, kept_until, state) VALUES (?1, ?2, ?3, ?4)";

/// Opens the file, or makes it; one of an older form gets this one.
pub(super) fn connect(path: &Path) -> Result<Connection, EmbeddedError> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE_PAGES)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES, |_| Ok(()))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match transaction.pragma_query_value(None, "user_version", |row| row.get(0))? {
        VERSION => {}
        0 if transaction.table_exists(None, "latest")? => older::carry_over(&transaction)?,
        0 => transaction.execute_batch(SCHEMA)?,
        later => return Err(EmbeddedError::Later(later)),
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(connection)
}

/// Why a row is not read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    /// SQLite says no: nothing of the transaction stands.
    #[error(transparent)]
    File(#[from] rusqlite::Error),
    /// This row cannot be read, and others can.
    #[error(
        "counter `{0}` in counters.db is damaged: check the disk, and restore the data folder from a backup"
    )]
    Damaged(String),
}

/// What keeps all from an answer apart from what is about one counter.
pub(super) fn of_one<T>(result: Result<T, RowError>) -> rusqlite::Result<Result<T, CountersError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(RowError::File(error)) => Err(error),
        Err(damaged @ RowError::Damaged(_)) => Ok(Err(CountersError::Damaged(damaged.to_string()))),
    }
}

/// A counter's state in one window, and what the file has of it.
pub(super) struct Row {
    pub(super) state: CounterState,
    stored: Option<Vec<u8>>,
}

/// The rows, by statements that are prepared once.
pub(super) struct Rows<'c> {
    connection: &'c Connection,
    read: Statement<'c>,
    insert: Statement<'c>,
    update: Statement<'c>,
    purge: Statement<'c>,
}

impl<'c> Rows<'c> {
    pub(super) fn of(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            read: connection.prepare("SELECT state FROM counters WHERE key = ?1 AND window = ?2")?,
            insert: connection.prepare(INSERT)?,
            update: connection.prepare("UPDATE counters SET state = ?3 WHERE key = ?1 AND window = ?2")?,
            purge: connection.prepare(
                "DELETE FROM counters WHERE (key, window) IN
                 (SELECT key, window FROM counters WHERE kept_until < ?1 ORDER BY kept_until LIMIT ?2)",
            )?,
        })
    }

    /// What is written until its commit stands together, or not at all.
    pub(super) fn transaction(&self) -> rusqlite::Result<Transaction<'c>> {
        Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)
    }

    /// A counter that was never granted of is there as well: nothing of it is out.
    pub(super) fn read(&mut self, key: &str, window: i64) -> Result<Row, RowError> {
        let stored: Option<Vec<u8>> =
            self.read.query_row(params![key, window], |row| row.get(0)).optional()?;
        let state = stored.as_deref().map_or_else(|| Some(CounterState::default()), decode);
        Ok(Row { state: state.ok_or_else(|| RowError::Damaged(key.to_owned()))?, stored })
    }

    /// Writes what has changed. `kept_until` is for a row that is new.
    pub(super) fn write(
        &mut self,
        (key, window): (&str, i64),
        row: &Row,
        kept_until: Option<i64>,
    ) -> Result<(), RowError> {
        let state = encode(&row.state);
        match &row.stored {
            Some(stored) if *stored == state => {}
            Some(_) => drop(self.update.execute(params![key, window, state])?),
            None if row.state == CounterState::default() => {}
            None => drop(self.insert.execute(params![key, window, kept_until, state])?),
        }
        Ok(())
    }

    /// Counts a gateway's open leases as spent, of all counters: an operator's command, seldom given, so that it may take
    /// its time and grants need no index for it.
    pub(super) fn forget(&mut self, gateway: &str) -> Result<u64, RowError> {
        let mut units = 0;
        let mut changed = Vec::new();
        let mut all = self.connection.prepare("SELECT key, window, state FROM counters")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let (key, window): (String, i64) = (row.get(0)?, row.get(1)?);
            let stored = row.get_ref(2)?.as_blob().ok();
            let mut state = stored.and_then(decode).ok_or_else(|| RowError::Damaged(key.clone()))?;
            let theirs = state.forget(gateway);
            if theirs > 0 {
                units += theirs;
                changed.push((key, window, encode(&state)));
            }
        }
        for (key, window, state) in changed {
            self.update.execute(params![key, window, state])?;
        }
        Ok(units)
    }

    /// Removes up to `rows` counters of windows that are kept no longer, and says how many it were.
    pub(super) fn purge(&mut self, now_ms: i64, rows: u32) -> rusqlite::Result<usize> {
        self.purge.execute(params![now_ms, rows])
    }
}
