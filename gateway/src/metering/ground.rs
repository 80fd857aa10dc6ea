//! What the spool stands on: the folder's segments and batches, how much room they take, and a reserve that lets
//! batches be written (and so room be made) on a disk that is full. A thread of the spool tends it: syncs, prepares
//! segments before they are needed, and finds out when room is back.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use apiclay_config::usage::GatewayEpoch;
use parking_lot::{Mutex, MutexGuard};

use super::head::segment_name;
use super::segment::Segment;
use super::shards::Shard;
use super::shelf::Shelf;
use super::spares::Spares;
use super::spool::SpoolOptions;

/// The file whose room a small batch takes when there is no other.
pub const RESERVE_NAME: &str = "reserve";
/// Room for the file of a batch of [`RESERVE_EVENTS_MAX`] events that nothing compresses.
pub const RESERVE_BYTES: u64 = 64 * 1024;
/// Events of a batch that goes into the reserve's room.
pub const RESERVE_EVENTS_MAX: usize = 96;

/// Everything in the folder.
#[derive(Debug)]
pub struct Ground {
    pub folder: PathBuf,
    pub from: GatewayEpoch,
    pub options: SpoolOptions,
    /// All segments that are not finished, oldest first. Never locked on a call's way but to add a segment.
    pub segments: Mutex<Vec<Arc<Segment>>>,
    pub spares: Spares,
    pub shards: Box<[Shard]>,
    pub shelf: Mutex<Shelf>,
    /// Held while acknowledged batches are removed, so that nobody gives up whom another is making room for.
    pub thinning: Mutex<()>,
    /// Bytes that segments, batches and reserve take.
    pub used_bytes: AtomicU64,
    pub writable: AtomicBool,
    /// Whether the reserve is there. Held while its room is in use.
    pub reserve: Mutex<bool>,
    pub next_number: AtomicU64,
}

/// Whether this is about room, and not about a broken disk.
pub fn is_full(failed: &io::Error) -> bool {
    matches!(failed.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Ground {
    /// A segment to be filled: one that is filled again, or a new one.
    ///
    /// # Errors
    /// When neither the disk nor `spool_max_bytes` has room for it.
    pub fn new_segment(&self) -> io::Result<Arc<Segment>> {
        let segment = match self.spares.take() {
            Some(spare) => spare,
            None => Arc::new(self.with_room(|| self.make_segment())?),
        };
        self.segments.lock().push(Arc::clone(&segment));
        Ok(segment)
    }

    fn make_segment(&self) -> io::Result<Segment> {
        let bytes = self.options.segment_bytes as u64;
        if self.used_bytes.fetch_add(bytes, AcqRel) + bytes > self.options.spool_max_bytes {
            self.used_bytes.fetch_sub(bytes, AcqRel);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Segment::create(&self.folder, self.next_name(), self.options.segment_bytes).inspect_err(|_| {
            self.used_bytes.fetch_sub(bytes, AcqRel);
        })
    }

    /// A name that no segment has had.
    pub fn next_name(&self) -> String {
        segment_name(&self.from.epoch, self.next_number.fetch_add(1, Relaxed))
    }

    /// Says that calls cannot be recorded any more, until [`Ground::tend`] finds room.
    pub fn out_of_room(&self, failed: &io::Error) {
        if self.writable.swap(false, AcqRel) {
            let folder = self.folder.display();
            tracing::error!(%folder, error = %failed, "no room for usage records: calls are refused until there is");
        }
    }

    /// One round of the spool's thread.
    pub fn tend(&self) {
        if let Err(failed) = self.sync() {
            tracing::error!(error = %failed, "usage records cannot be synced: a power cut would lose them");
        }
        self.clear_finished();
        self.thin_acked();
        self.find_room();
    }

    /// Makes ready what will be needed, and says whether calls may come.
    pub fn find_room(&self) {
        let ready = self.make_ready().or_else(|_| {
            // Spares are there only in case they are needed; the reserve is needed.
            self.clear_spares();
            self.make_ready()
        });
        match ready {
            Ok(()) if self.writable.swap(true, AcqRel) => {}
            Ok(()) => tracing::info!("there is room for usage records again"),
            Err(failed) => {
                self.out_of_room(&failed);
                self.shards.iter().for_each(Shard::give_up_idle);
            }
        }
    }

    /// Puts the reserve in its place, then a spare segment wherever one will be needed.
    fn make_ready(&self) -> io::Result<()> {
        // Held to the end: a batch that uses the reserve's room must not find a segment in it.
        let mut reserve = self.reserve.lock();
        if !*reserve {
            self.with_room(|| self.make_reserve())?;
            *reserve = true;
        }
        let mut found_room = self.is_writable();
        for shard in self.shards.iter().filter(|shard| shard.wants_spare()) {
            match self.new_segment() {
                Ok(spare) => {
                    shard.give_spare(spare);
                    found_room = true;
                }
                // There is room for its next records: no reason to refuse any.
                Err(_) if !shard.is_half_full() => {}
                Err(failed) => return Err(failed),
            }
        }
        // After a shortage one segment at least must be there before calls are: shards without room take from others.
        if !found_room && !self.shards[0].has_spare() {
            self.shards[0].give_spare(self.new_segment()?);
        }
        Ok(())
    }

    fn make_reserve(&self) -> io::Result<()> {
        let path = self.folder.join(RESERVE_NAME);
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path)?;
        let flags = rustix::fs::FallocateFlags::empty();
        if let Err(full) = rustix::fs::fallocate(&file, flags, 0, RESERVE_BYTES) {
            // Half a reserve serves nobody; the next round begins anew.
            let _ = std::fs::remove_file(&path);
            return Err(full.into());
        }
        self.used_bytes.fetch_add(RESERVE_BYTES, AcqRel);
        Ok(())
    }

    /// Gives the reserve's room to the holder of the guard.
    pub fn use_reserve(&self) -> MutexGuard<'_, bool> {
        let mut reserve = self.reserve.lock();
        if *reserve {
            match std::fs::remove_file(self.folder.join(RESERVE_NAME)) {
                Ok(()) => {
                    self.used_bytes.fetch_sub(RESERVE_BYTES, AcqRel);
                    *reserve = false;
                }
                Err(failed) => tracing::error!(error = %failed, "the spool's reserve cannot be used"),
            }
        }
        reserve
    }

    /// Waits until all records and marks so far are on the disk.
    ///
    /// # Errors
    /// When the disk fails, for one segment or more; they stay to be synced.
    pub fn sync(&self) -> io::Result<()> {
        self.sync_each(Segment::sync)
    }

    /// Waits until all marks so far are on the disk.
    ///
    /// # Errors
    /// As of [`Ground::sync`].
    pub fn sync_marks(&self) -> io::Result<()> {
        self.sync_each(Segment::sync_marks)
    }

    fn sync_each(&self, sync: impl Fn(&Segment) -> io::Result<()>) -> io::Result<()> {
        let segments = self.segments.lock().clone();
        segments.iter().map(|segment| sync(segment)).fold(Ok(()), io::Result::and)
    }

    pub fn is_writable(&self) -> bool {
        self.writable.load(Acquire)
    }

    /// Counts a batch's file.
    pub fn count_bytes(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Release);
    }
}
