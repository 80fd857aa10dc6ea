//! Counters in one SQLite file of the gateway, where there is no Redis: for one gateway, whole after any kill. A thread of
//! its own decides all grants that wait in one transaction, so that they share one write to the disk. Next: the file
//! `counters.db` in the data folder.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use apiclay_config::clock::{Clock, Timestamp};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{COUNT_MAX, Close, Counters, CountersError, Grant, GrantRequest, LeaseId};
use crate::limits::counter::{Ask, Decision, after_close, decide};
use crate::limits::windows::Window;

/// Its name in the folder.
pub const FILE: &str = "counters.db";
/// Requests that may wait for the thread.
const WAITING_MAX: usize = 4_096;
/// Requests decided in one transaction.
const BATCH_MAX: usize = 256;
/// How often counters of windows long past are removed.
const PURGE_EVERY_MS: i64 = 3_600_000;
/// Counters removed at once.
const PURGE_MAX_ROWS: u32 = 10_000;
/// The only generation: this file and its counters are one.
const GENERATION: u64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS counters (
        key TEXT NOT NULL, window INTEGER NOT NULL, granted INTEGER NOT NULL, kept_until INTEGER,
        PRIMARY KEY (key, window)) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS counters_kept_until ON counters (kept_until);
    CREATE TABLE IF NOT EXISTS leases (
        key TEXT NOT NULL, window INTEGER NOT NULL, lease TEXT NOT NULL, gateway TEXT NOT NULL, units INTEGER NOT NULL,
        PRIMARY KEY (key, window, lease)) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS latest (
        key TEXT NOT NULL, window INTEGER NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, serial INTEGER NOT NULL,
        PRIMARY KEY (key, window, gateway)) STRICT, WITHOUT ROWID;
";

/// Why the file does not open.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// SQLite says no.
    #[error("the counters' file in this gateway's data folder cannot be opened: check its disk")]
    Open(#[source] rusqlite::Error),
    /// The system gives no thread.
    #[error("no thread for the embedded counters: raise the limit on processes")]
    Thread(#[source] std::io::Error),
}

type Reply<T> = oneshot::Sender<Result<T, CountersError>>;

enum Job {
    Grant(Box<GrantRequest>, Reply<Grant>),
    Close(String, Vec<Close>, Reply<()>),
    Forget(String, Reply<u64>),
    Ping(Reply<()>),
}

/// What a job came to, told once the transaction is on the disk.
enum Done {
    Grant(Result<Grant, CountersError>, Reply<Grant>),
    Close(Reply<()>),
    Forget(u64, Reply<u64>),
    Ping(Reply<()>),
}

/// Counters of one gateway in one file.
pub struct EmbeddedCounters {
    jobs: SyncSender<Job>,
}

impl EmbeddedCounters {
    /// Opens `counters.db` in `dir`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, EmbeddedError> {
        let connection = connect(&dir.join(FILE)).map_err(EmbeddedError::Open)?;
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("counters".into())
            .spawn(move || work(connection, &waiting, &clock))
            .map_err(EmbeddedError::Thread)?;
        Ok(Self { jobs })
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, CountersError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => CountersError::Unavailable(None),
        })?;
        answer.await.map_err(|_| CountersError::Unavailable(None))?
    }
}

#[async_trait]
impl Counters for EmbeddedCounters {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        self.ask(|reply| Job::Grant(Box::new(request.clone()), reply)).await
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        self.ask(|reply| Job::Close(key.to_owned(), closes.to_vec(), reply)).await?;
        Ok(GENERATION)
    }

    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        self.ask(|reply| Job::Forget(gateway.to_owned(), reply)).await
    }

    async fn ping(&self) -> Result<(), CountersError> {
        self.ask(Job::Ping).await
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// The thread: until nobody can ask any more.
fn work(mut connection: Connection, waiting: &Receiver<Job>, clock: &Clock) {
    let mut purge_at = clock.now();
    while let Ok(first) = waiting.recv() {
        let jobs: Vec<Job> = std::iter::once(first)
            .chain(std::iter::from_fn(|| waiting.try_recv().ok()))
            .take(BATCH_MAX)
            .collect();
        let now = clock.now();
        // A job's reply is dropped with it where the transaction fails: the caller hears "unavailable", and nothing of the
        // transaction stands.
        match decide_all(&mut connection, jobs, now) {
            Ok(done) => done.into_iter().for_each(Done::tell),
            Err(error) => tracing::error!(%error, "embedded counters cannot be written"),
        }
        if now >= purge_at {
            purge_at = now.plus_ms(PURGE_EVERY_MS);
            if let Err(error) = purge(&mut connection, now) {
                tracing::warn!(%error, "old counters were not removed");
            }
        }
    }
}

fn decide_all(connection: &mut Connection, jobs: Vec<Job>, now: Timestamp) -> rusqlite::Result<Vec<Done>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = jobs.into_iter().map(|job| decide_one(&transaction, job, now)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(done)
}

fn decide_one(transaction: &Transaction<'_>, job: Job, now: Timestamp) -> rusqlite::Result<Done> {
    Ok(match job {
        Job::Grant(request, reply) => Done::Grant(grant(transaction, &request, now)?, reply),
        Job::Close(key, closes, reply) => {
            for close in &closes {
                close_one(transaction, &key, close)?;
            }
            Done::Close(reply)
        }
        Job::Forget(gateway, reply) => Done::Forget(forget(transaction, &gateway)?, reply),
        Job::Ping(reply) => Done::Ping(reply),
    })
}

impl Done {
    fn tell(self) {
        // Whoever asked may have gone; what was decided stands, and asking again says it again.
        match self {
            Self::Grant(result, reply) => drop(reply.send(result)),
            Self::Close(reply) | Self::Ping(reply) => drop(reply.send(Ok(()))),
            Self::Forget(units, reply) => drop(reply.send(Ok(units))),
        }
    }
}

fn grant(
    transaction: &Transaction<'_>,
    request: &GrantRequest,
    now: Timestamp,
) -> rusqlite::Result<Result<Grant, CountersError>> {
    for close in &request.closes {
        close_one(transaction, &request.key, close)?;
    }
    let window = Window::of(&request.key, request.window, now);
    let (key, lease) = (&request.key, &request.lease);
    let max = request.max.min(COUNT_MAX);
    let granted = granted(transaction, key, window.id)?;
    let open: Option<u32> = transaction
        .prepare_cached("SELECT units FROM leases WHERE key = ?1 AND window = ?2 AND lease = ?3")?
        .query_row(params![key, window.id, lease.to_string()], |row| row.get(0))
        .optional()?;
    let latest: Option<(String, u32)> = transaction
        .prepare_cached("SELECT epoch, serial FROM latest WHERE key = ?1 AND window = ?2 AND gateway = ?3")?
        .query_row(params![key, window.id, &*lease.gateway], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let latest = latest.and_then(|(epoch, serial)| Some((u64::from_str_radix(&epoch, 16).ok()?, serial)));
    let ask = Ask { lease, max, hard: request.hard, want: request.want };
    let units = match decide(&ask, granted, open, latest) {
        Decision::Stale => return Ok(Err(CountersError::Stale(lease.clone()))),
        Decision::Same(units) | Decision::Fresh(units @ 0) => units,
        Decision::Fresh(units) => {
            let kept_until = window.kept_until(request.window).map(|at| at.0);
            open_lease(transaction, key, window.id, lease, units, kept_until)?;
            return Ok(Ok(answer(&window, now, units, max, granted + u64::from(units))));
        }
    };
    Ok(Ok(answer(&window, now, units, max, granted)))
}

fn answer(window: &Window, now: Timestamp, units: u32, max: u64, granted: u64) -> Grant {
    Grant {
        window: window.id,
        units,
        remaining: max.saturating_sub(granted),
        ends_in_ms: window.ends_in_ms(now),
        generation: GENERATION,
    }
}

fn open_lease(
    transaction: &Transaction<'_>,
    key: &str,
    window: i64,
    lease: &LeaseId,
    units: u32,
    kept_until: Option<i64>,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO counters (key, window, granted, kept_until) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET granted = granted + ?3",
        )?
        .execute(params![key, window, units, kept_until])?;
    transaction
        .prepare_cached(
            "INSERT INTO leases (key, window, lease, gateway, units) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![key, window, lease.to_string(), &*lease.gateway, units])?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO latest (key, window, gateway, epoch, serial) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![key, window, &*lease.gateway, format!("{:016x}", lease.epoch), lease.serial])?;
    Ok(())
}

fn close_one(transaction: &Transaction<'_>, key: &str, close: &Close) -> rusqlite::Result<()> {
    let units: Option<u32> = transaction
        .prepare_cached("DELETE FROM leases WHERE key = ?1 AND window = ?2 AND lease = ?3 RETURNING units")?
        .query_row(params![key, close.window, close.lease.to_string()], |row| row.get(0))
        .optional()?;
    let Some(units) = units else { return Ok(()) };
    let granted = granted(transaction, key, close.window)?;
    let granted = i64::try_from(after_close(granted, units, close.unspent)).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("UPDATE counters SET granted = ?3 WHERE key = ?1 AND window = ?2")?
        .execute(params![key, close.window, granted])?;
    Ok(())
}

/// Units out of a counter; none of one that is not there.
fn granted(transaction: &Transaction<'_>, key: &str, window: i64) -> rusqlite::Result<u64> {
    let granted: Option<i64> = transaction
        .prepare_cached("SELECT granted FROM counters WHERE key = ?1 AND window = ?2")?
        .query_row(params![key, window], |row| row.get(0))
        .optional()?;
    Ok(granted.and_then(|granted| u64::try_from(granted).ok()).unwrap_or(0))
}

fn forget(transaction: &Transaction<'_>, gateway: &str) -> rusqlite::Result<u64> {
    let mut deletion = transaction.prepare("DELETE FROM leases WHERE gateway = ?1 RETURNING units")?;
    let units = deletion.query_map([gateway], |row| row.get::<_, u32>(0).map(u64::from))?;
    units.sum()
}

fn purge(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old: Vec<(String, i64)> = transaction
        .prepare_cached("SELECT key, window FROM counters WHERE kept_until < ?1 LIMIT ?2")?
        .query_map(params![now.0, PURGE_MAX_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (key, window) in old {
        for table in ["counters", "leases", "latest"] {
            transaction
                .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1 AND window = ?2"))?
                .execute(params![key, window])?;
        }
    }
    transaction.commit()
}
