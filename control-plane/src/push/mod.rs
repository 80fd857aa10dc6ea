//! Configuration on its way to the gateways. A domain writes its document through [`Push`]: marked, then numbered by an
//! insert into `changes` at last + 1, then the mark taken away. Streams (`stream`) send from there; a sweep (`sweep`)
//! numbers what a crash left marked.

mod changes;
mod documents;
mod gateway_caller;
pub mod routes;
mod snapshot;
mod stream;
mod sweep;

use apiclay_config::clock::{Clock, Timestamp};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

pub use documents::{ChangeEntry, Kind, Published};
pub use gateway_caller::GatewayCaller;
pub use snapshot::build as snapshot;
pub use sweep::sweep;

use crate::store::{Query, Store, StoreError, Versioned};

/// How often the number after the last is tried before the store is said to be at fault. Within one process writers
/// queue, so only as many control planes as there are can be in each other's way.
const NUMBERING_TRIES_MAX: u32 = 200;
/// Revisions that are kept; a gateway that lacks more is sent everything.
pub const CHANGES_KEEP: u64 = 100_000;
/// How often the change log is looked at for other control planes' revisions.
pub const POLL_INTERVAL_MS: u64 = 250;

/// The one way by which documents reach gateways.
pub struct Push {
    store: Store,
    clock: Clock,
    /// The last revision known here. Whoever holds it numbers the next one.
    numbering: Mutex<u64>,
    /// The last revision known here, for those who wait for the next.
    latest: watch::Sender<u64>,
    /// Ends the streams, which have no end of their own.
    closing: CancellationToken,
}

impl Push {
    /// Begins where the change log ends.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn open(store: Store, clock: Clock) -> Result<Self, StoreError> {
        let last = last_revision(&store).await?;
        Ok(Self {
            store,
            clock,
            numbering: Mutex::new(last),
            latest: watch::Sender::new(last),
            closing: CancellationToken::new(),
        })
    }

    /// Writes a new document and tells gateways. When this returns, it has its revision.
    ///
    /// # Errors
    /// Where the store refuses it or does not answer; what was written by then is swept later.
    pub async fn insert<T: Published>(&self, mut value: T) -> Result<Versioned<T>, StoreError> {
        *value.mark() = value.concerns_gateways().then(|| self.clock.now());
        self.store.insert(&value).await?;
        self.publish(Versioned { value, version: crate::store::FIRST_VERSION }).await
    }

    /// The same for a document whose id a request chose: where an earlier try of that request wrote it, gives that one.
    ///
    /// # Errors
    /// As [`Push::insert`], but for a document that is there under this id.
    pub async fn insert_once<T: Published>(&self, value: T) -> Result<Versioned<T>, StoreError> {
        let id = value.id();
        match self.insert(value).await {
            // Whichever unique index held: the same document would be held by all of them.
            Err(error @ StoreError::Duplicate { .. }) => match self.store.get::<T>(&id).await? {
                Some(before) => self.publish(before).await,
                None => Err(error),
            },
            written => written,
        }
    }

    /// Writes over `version` and tells gateways. When this returns, it has its revision.
    ///
    /// # Errors
    /// As [`Push::insert`], and where another version is stored.
    pub async fn replace<T: Published>(
        &self,
        mut value: T,
        version: i64,
    ) -> Result<Versioned<T>, StoreError> {
        let before = *value.mark();
        // A mark that a crash left stays the older one: the sweep's clock runs from there.
        *value.mark() =
            if value.concerns_gateways() { before.or_else(|| Some(self.clock.now())) } else { before };
        let version = self.store.replace(&value, version).await?;
        self.publish(Versioned { value, version }).await
    }

    /// Numbers a document that is still marked. Whoever writes something that needs it calls this first, so that no gateway
    /// hears of the one before the other.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn publish<T: Published>(&self, mut marked: Versioned<T>) -> Result<Versioned<T>, StoreError> {
        if marked.value.mark().is_none() {
            return Ok(marked);
        }
        self.announce(T::KIND, &marked.value.id()).await?;
        let mut cleared = marked.value.clone();
        *cleared.mark() = None;
        match self.store.replace(&cleared, marked.version).await {
            Ok(version) => Ok(Versioned { value: cleared, version }),
            // Somebody wrote meanwhile: that write has a mark of its own, and numbers it.
            Err(StoreError::VersionMismatch) => Ok(marked),
            Err(error) => Err(error),
        }
    }

    /// Inserts the next revision.
    async fn announce(&self, kind: Kind, subject: &str) -> Result<u64, StoreError> {
        let mut last = self.numbering.lock().await;
        for _ in 0..NUMBERING_TRIES_MAX {
            let entry =
                ChangeEntry { revision: *last + 1, kind, subject: subject.to_owned(), at: self.clock.now() };
            match self.store.insert(&entry).await {
                Ok(()) => {
                    *last = entry.revision;
                    self.latest.send_if_modified(|known| advance(known, entry.revision));
                    return Ok(entry.revision);
                }
                // Another control plane has that number: the one after its last is next.
                Err(StoreError::Duplicate { .. }) => *last = last_revision(&self.store).await?,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable { source: "the change log never stood still to be written to".into() })
    }

    /// Looks for revisions of other control planes, and drops what no gateway is sent any more.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn poll(&self) -> Result<u64, StoreError> {
        let last = last_revision(&self.store).await?;
        self.latest.send_if_modified(|known| advance(known, last));
        Ok(last)
    }

    /// Drops revisions older than [`CHANGES_KEEP`].
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn prune(&self) -> Result<(), StoreError> {
        let Some(end) = self.latest().checked_sub(CHANGES_KEEP) else { return Ok(()) };
        let old = Query::by("id").below(ChangeEntry::id_of(end)).limit(1_000);
        for entry in self.store.query::<ChangeEntry>(&old).await?.items {
            self.store.delete::<ChangeEntry>(&ChangeEntry::id_of(entry.value.revision)).await?;
        }
        Ok(())
    }

    /// The last revision known here.
    #[must_use]
    pub fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// To wait for revisions to come.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Ends every stream: this process is about to.
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn advance(known: &mut u64, to: u64) -> bool {
    let ahead = to > *known;
    *known = (*known).max(to);
    ahead
}

async fn last_entry(store: &Store) -> Result<Option<ChangeEntry>, StoreError> {
    let last = store.query::<ChangeEntry>(&Query::by("id").descending().limit(1)).await?;
    Ok(last.items.into_iter().next().map(|entry| entry.value))
}

async fn last_revision(store: &Store) -> Result<u64, StoreError> {
    Ok(last_entry(store).await?.map_or(0, |entry| entry.revision))
}
