//! Counters in one SQLite file of the gateway, where there is no Redis: for one gateway, whole after any kill. A thread of
//! its own decides all grants that wait in one transaction, so that they share one write to the disk. Next: `file.rs` has the
//! file `counters.db` in the data folder.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use apiclay_config::clock::{Clock, Timestamp};
use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::file::{RowError, Rows, of_one};
use super::{COUNT_MAX, Close, Counters, CountersError, Grant, GrantRequest};
use crate::limits::counter::{Ask, Decision};
use crate::limits::windows::Window;

mod file;
mod older;
mod state;
#[cfg(test)]
mod tests;

/// Its name in the folder.
pub const FILE: &str = "counters.db";
/// Requests that may wait for the thread.
const WAITING_MAX: usize = 4_096;
/// Requests decided in one transaction.
const BATCH_MAX: usize = 256;
/// How often counters of windows long past are removed.
const PURGE_EVERY_MS: i64 = 3_600_000;
/// How long after a slice of them the next is removed.
const PURGE_ON_MS: i64 = 1_000;
/// Counters removed at once.
const PURGE_MAX_ROWS: u32 = 1_000;
/// The only generation: this file and its counters are one.
const GENERATION: u64 = 1;

/// Why the file does not open.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// SQLite says no.
    #[error("the counters' file in this gateway's data folder cannot be opened: check its disk")]
    Open(#[from] rusqlite::Error),
    /// A file of a version that is not known here.
    #[error("counters.db in this gateway's data folder is of a later version (form {0}): run that version")]
    Later(i32),
    /// A file of an older version, whose counters cannot be read.
    #[error(
        "counters.db in this gateway's data folder is of an older version, and counter `{0}` in it is damaged: restore \
         the folder from a backup, or move the file away, upon which all limits begin anew"
    )]
    Older(String),
    /// The system gives no thread.
    #[error("no thread for the embedded counters: raise the limit on processes")]
    Thread(#[source] std::io::Error),
}

type Reply<T> = oneshot::Sender<Result<T, CountersError>>;

enum Job {
    Grant(Box<GrantRequest>, Reply<Grant>),
    Close(String, Vec<Close>, Reply<()>),
    Forget(String, Reply<u64>),
}

/// What a job came to, told once the transaction is on the disk.
enum Done {
    Grant(Result<Grant, CountersError>, Reply<Grant>),
    Close(Result<(), CountersError>, Reply<()>),
    Forget(Result<u64, CountersError>, Reply<u64>),
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
        let connection = file::connect(&dir.join(FILE))?;
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("counters".into())
            .spawn(move || work(&connection, &waiting, &clock))
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
        self.close("", &[]).await.map(|_| ())
    }
}

/// The thread: until nobody can ask any more.
fn work(connection: &Connection, waiting: &Receiver<Job>, clock: &Clock) {
    let mut rows = match Rows::of(connection) {
        Ok(rows) => rows,
        Err(error) => return tracing::error!(%error, "embedded counters cannot be read"),
    };
    let mut purge_at = clock.now();
    while let Ok(first) = waiting.recv() {
        let jobs = std::iter::once(first).chain(waiting.try_iter()).take(BATCH_MAX);
        let now = clock.now();
        // A job's reply is dropped with it where the transaction fails: the caller hears "unavailable", and nothing of the
        // transaction stands.
        match decide_all(&mut rows, jobs, now) {
            Ok(done) => done.into_iter().for_each(Done::tell),
            Err(error) => tracing::error!(%error, "embedded counters cannot be written"),
        }
        if now >= purge_at {
            let removed = rows.purge(now.0, PURGE_MAX_ROWS).unwrap_or_else(|error| {
                tracing::warn!(%error, "old counters were not removed");
                0
            });
            purge_at =
                now.plus_ms(if removed < PURGE_MAX_ROWS as usize { PURGE_EVERY_MS } else { PURGE_ON_MS });
        }
    }
}

fn decide_all(
    rows: &mut Rows<'_>,
    jobs: impl Iterator<Item = Job>,
    now: Timestamp,
) -> rusqlite::Result<Vec<Done>> {
    let transaction = rows.transaction()?;
    let done = jobs.map(|job| decide_one(rows, job, now)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(done)
}

fn decide_one(rows: &mut Rows<'_>, job: Job, now: Timestamp) -> rusqlite::Result<Done> {
    Ok(match job {
        Job::Grant(request, reply) => {
            Done::Grant(of_one(grant(rows, &request, now))?.and_then(|granted| granted), reply)
        }
        Job::Close(key, closes, reply) => {
            Done::Close(of_one(closes.iter().try_for_each(|close| close_one(rows, &key, close)))?, reply)
        }
        Job::Forget(gateway, reply) => Done::Forget(of_one(rows.forget(&gateway))?, reply),
    })
}

impl Done {
    fn tell(self) {
        // Whoever asked may have gone; what was decided stands, and asking again says it again.
        match self {
            Self::Grant(result, reply) => drop(reply.send(result)),
            Self::Close(result, reply) => drop(reply.send(result)),
            Self::Forget(result, reply) => drop(reply.send(result)),
        }
    }
}

fn grant(
    rows: &mut Rows<'_>,
    request: &GrantRequest,
    now: Timestamp,
) -> Result<Result<Grant, CountersError>, RowError> {
    let window = Window::of(&request.key, request.window, now);
    let of_others = |close: &&Close| close.window != window.id;
    for close in request.closes.iter().filter(of_others) {
        close_one(rows, &request.key, close)?;
    }
    let mut row = rows.read(&request.key, window.id)?;
    for close in request.closes.iter().filter(|close| !of_others(close)) {
        row.state.close(close);
    }
    let max = request.max.min(COUNT_MAX);
    let ask = Ask { lease: &request.lease, max, hard: request.hard, want: request.want };
    let decision = row.state.grant(&ask);
    let kept_until = window.kept_until(request.window).map(|at| at.0);
    rows.write((&request.key, window.id), &row, kept_until)?;
    Ok(match decision {
        Decision::Stale => Err(CountersError::Stale(request.lease.clone())),
        Decision::Same(units) | Decision::Fresh(units) => Ok(Grant {
            window: window.id,
            units,
            remaining: max.saturating_sub(row.state.granted),
            ends_in_ms: window.ends_in_ms(now),
            generation: GENERATION,
        }),
    })
}

fn close_one(rows: &mut Rows<'_>, key: &str, close: &Close) -> Result<(), RowError> {
    let mut row = rows.read(key, close.window)?;
    row.state.close(close);
    // A row that is not there has no lease, so that none is made here.
    rows.write((key, close.window), &row, None)
}
