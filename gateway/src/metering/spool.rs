//! The spool: where a call's record is opened before the first byte of its answer and closed before the last, in mapped
//! memory that outlives a kill of the process. Opening and closing are a few dozen stores, no system call, no allocation.
//! The batcher takes the closed records from here.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use apiclay_config::background::give_way;
use apiclay_config::clock::Clock;
use apiclay_config::usage::{Event, GatewayEpoch};
use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::ground::{Ground, is_full};
use super::head::PLACES_MAX;
use super::record::OpeningSeal;
use super::recovery::{self, Left, RecoveryError};
use super::segment::{RECORD_BYTES, Segment};
use super::shards::{self, Shard};

const LOCK_NAME: &str = "lock";
/// A segment has a header and some records, or it would be all overhead.
const SEGMENT_MIN_BYTES: usize = 4 * RECORD_BYTES;
/// What its head can say of.
const SEGMENT_MAX_BYTES: usize = (PLACES_MAX + 1) * RECORD_BYTES;

/// What a spool may take, and how often it syncs.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Size of a segment; small, so that a full disk is noticed in small steps.
    pub segment_bytes: usize,
    /// What segments and batches may take together before calls are refused.
    pub spool_max_bytes: u64,
    /// How much a power cut can lose.
    pub sync_ms: u64,
    /// How long acknowledged batches are kept for a store that is restored from a backup.
    pub keep_hours: u32,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024,
            spool_max_bytes: 4 * 1024 * 1024 * 1024,
            sync_ms: 50,
            keep_hours: 24,
            clock: Clock::System,
        }
    }
}

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has the folder.
    #[error(
        "another process uses the spool in {folder}: stop it, or give this gateway a data folder of its own"
    )]
    InUse {
        /// The spool's folder.
        folder: String,
    },
    /// The epoch cannot be part of a file's name.
    #[error("`{epoch}` is no epoch: it must be 16 hexadecimal digits")]
    Epoch {
        /// What was given.
        epoch: String,
    },
    /// The settings make no sense together.
    #[error(
        "segment_bytes is {segment_bytes}: it must be a multiple of {RECORD_BYTES}, from {SEGMENT_MIN_BYTES} to {SEGMENT_MAX_BYTES}"
    )]
    SegmentBytes {
        /// What was given.
        segment_bytes: usize,
    },
    /// The folder cannot be used.
    #[error("cannot use the spool in {folder}: check its owner, permissions and disk")]
    Folder {
        /// The spool's folder.
        folder: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What earlier lives left cannot be taken over.
    #[error("cannot take over the usage records in the spool")]
    Recovery(#[from] RecoveryError),
}

/// There is no room for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for a usage record: free space in the gateway's data folder, or raise spool_max_bytes")]
pub struct SpoolFull;

/// Figures for gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Bytes on the disk, batches and reserve included.
    pub bytes: u64,
    /// Calls whose answer is under way.
    pub open_records: u64,
    /// Closed records that are in no batch yet.
    pub unbatched_records: u64,
    /// Batches that the control plane has not acknowledged.
    pub pending_batches: u64,
    /// Age of the oldest closed record that the control plane has not acknowledged; 0 where there is none.
    pub oldest_unacked_ms: u64,
    /// Batches set aside in this life: the control plane has others under their ids, or their files are damaged.
    pub set_aside_batches: u64,
    /// What was found at the start.
    pub found: Left,
}

/// The records of calls.
#[derive(Debug)]
pub struct Spool {
    ground: Arc<Ground>,
    found: Left,
    /// Dropped, it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the one batcher exists.
    pub(super) batcher: Mutex<bool>,
    /// Locked for as long as the process lives; the kernel lets go of it at a kill.
    lock: File,
}

impl Spool {
    /// Opens the spool in `dir` for a new life, and takes over what earlier ones left there.
    ///
    /// # Errors
    /// When the folder is another process's, cannot be used, or holds what this version cannot read.
    pub fn open(dir: &Path, from: GatewayEpoch, options: SpoolOptions) -> Result<Arc<Self>, SpoolError> {
        let bytes = options.segment_bytes;
        if !bytes.is_multiple_of(RECORD_BYTES) || !(SEGMENT_MIN_BYTES..=SEGMENT_MAX_BYTES).contains(&bytes) {
            return Err(SpoolError::SegmentBytes { segment_bytes: bytes });
        }
        if from.epoch.len() != 16 || !from.epoch.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SpoolError::Epoch { epoch: from.epoch });
        }
        let folder = |source| SpoolError::Folder { folder: dir.display().to_string(), source };
        std::fs::create_dir_all(dir).map_err(folder)?;
        let lock = File::create(dir.join(LOCK_NAME)).map_err(folder)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(SpoolError::InUse { folder: dir.display().to_string() });
        }
        let (ground, found) = recovery::recover(dir, from, options)?;
        ground.find_room();
        let ground = Arc::new(ground);
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("spool".into()).spawn({
            let ground = Arc::clone(&ground);
            move || tend_until(&ground, &stopped)
        });
        let thread = Some(thread.map_err(folder)?);
        Ok(Arc::new(Self { ground, found, stop: Some(stop), thread, batcher: Mutex::new(false), lock }))
    }

    /// Opens the call's record. Called before the first byte of the answer's head is written to the client.
    ///
    /// # Errors
    /// When there is no room; nothing is recorded then, and the call must not be answered.
    pub fn begin(&self, opening: &Event) -> Result<Ticket, SpoolFull> {
        let shard = &self.ground.shards[shards::of_this_thread()];
        let (segment, place) = match shard.place(&self.ground) {
            Ok(place) => place,
            Err(failed) => {
                self.ground.out_of_room(&failed);
                self.ground.shards.iter().find_map(Shard::place_left).ok_or(SpoolFull)?
            }
        };
        let seal = segment.begin(place, opening);
        Ok(Ticket { segment, place, seal, closed: false })
    }

    /// Closes it: bytes, duration, status, tries, ending and flags as in `closing`; what the call is (ids, leases,
    /// time, the plan's revision) stays as it was opened. Called before the last write of the answer.
    pub fn end(&self, ticket: Ticket, closing: &Event) {
        ticket.close(closing);
    }

    /// Whether calls may be admitted: false once a segment cannot be allocated, true again when room is back.
    /// There is still room then for the calls under way.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.ground.is_writable()
    }

    /// Figures for gauges.
    #[must_use]
    pub fn stats(&self) -> SpoolStats {
        let segments = self.ground.segments.lock().clone();
        let shelf = self.ground.shelf.lock();
        let unbatched = segments.iter().filter(|segment| segment.counts.unbatched() > 0);
        let oldest = unbatched.filter_map(|segment| segment.oldest_closed()).chain(shelf.oldest_call()).min();
        let age_ms = oldest.map_or(0, |oldest| self.ground.options.clock.now().0.saturating_sub(oldest.0));
        SpoolStats {
            bytes: self.ground.used_bytes.load(Acquire),
            open_records: segments.iter().map(|segment| u64::from(segment.counts.under_way())).sum(),
            unbatched_records: segments.iter().map(|segment| u64::from(segment.counts.unbatched())).sum(),
            pending_batches: shelf.pending() as u64,
            oldest_unacked_ms: u64::try_from(age_ms).unwrap_or(0),
            set_aside_batches: shelf.set_aside_count(),
            found: self.found,
        }
    }

    /// In which life of which gateway.
    #[must_use]
    pub fn from(&self) -> &GatewayEpoch {
        &self.ground.from
    }

    /// Does what needs a little room on the spool's disk. Where it is full, acknowledged batches go, and then the reserve.
    ///
    /// # Errors
    /// When that is not enough, or of what `attempt` fails else.
    pub fn with_room<T>(&self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match self.ground.with_room(&attempt) {
            Err(full) if is_full(&full) => {
                let _in_use = self.ground.use_reserve();
                attempt()
            }
            done => done,
        }
    }

    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the spool's thread had panicked: the last records may not be synced");
        }
        // Closing the file is not enough: a child process that is just being started may have inherited it.
        if let Err(failed) = rustix::fs::flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(error = %failed, "the spool's folder stays locked until this process ends");
        }
    }
}

fn tend_until(ground: &Ground, stopped: &mpsc::Receiver<()>) {
    give_way();
    let every = Duration::from_millis(ground.options.sync_ms.max(1));
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
        ground.tend();
    }
    if let Err(failed) = ground.sync() {
        tracing::error!(error = %failed, "the last usage records cannot be synced");
    }
}

/// A call's open record. Dropped without [`Spool::end`] (its future was cancelled, say) it closes the record as
/// interrupted: billed 0, its units stay spent.
#[derive(Debug)]
#[must_use = "dropping it says that the call was interrupted"]
pub struct Ticket {
    segment: Arc<Segment>,
    place: u32,
    seal: OpeningSeal,
    closed: bool,
}

impl Ticket {
    fn close(mut self, closing: &Event) {
        self.segment.end(self.place, closing, self.seal);
        self.closed = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.closed {
            self.segment.abandon(self.place);
        }
    }
}
