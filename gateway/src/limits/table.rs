//! The lease table: every lease this gateway holds, in mapped files of slots, so that a kill leaves exactly what was spent.
//! Grows a file at a time; slots are handed out under one lock, which no call ever takes. Next: `book.rs`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
#[cfg(test)]
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};

use parking_lot::Mutex;

use super::slot::{SLOT_WORDS, Slot};
use crate::mapped::Mapped;

/// Slots of the first file, of 64 KiB; each further file has twice as many as the one before.
pub const FIRST_SEGMENT_SLOTS: usize = 256;
/// Files at most: two million leases.
pub const SEGMENTS_MAX: usize = 13;

/// Numbers go round: one is ahead of another where it is less than this away.
const SERIALS_AHEAD_MAX: u32 = 1 << 31;
const MAGIC: u64 = u64::from_le_bytes(*b"aclease1");
/// The file's first slot is its head: what it is, and in the first file the next serial.
const HEAD_MAGIC: usize = 0;
const HEAD_NEXT_SERIAL: usize = 1;

/// The files of one gateway's leases.
pub struct LeaseTable {
    dir: PathBuf,
    segments: [OnceLock<Mapped>; SEGMENTS_MAX],
    free: Mutex<Vec<u32>>,
    /// Of each file, whether a lease in it was asked for or granted since it was synced.
    unsynced: [AtomicBool; SEGMENTS_MAX],
    /// Whether a file was made since the folder was synced.
    has_grown: AtomicBool,
}

impl LeaseTable {
    /// Opens the table in `dir`, or makes it. Damaged slots are emptied and counted: their units stay spent at the store.
    pub fn open(dir: &Path) -> std::io::Result<(Self, usize)> {
        let table = Self {
            dir: dir.to_path_buf(),
            segments: [const { OnceLock::new() }; SEGMENTS_MAX],
            free: Mutex::new(Vec::new()),
            unsynced: [const { AtomicBool::new(false) }; SEGMENTS_MAX],
            has_grown: AtomicBool::new(false),
        };
        // A power cut may take a file and leave one that was made after it.
        let last = (0..SEGMENTS_MAX).rev().find(|index| segment_path(dir, *index).exists()).unwrap_or(0);
        let mut damaged = 0;
        for index in 0..=last {
            table.take_over(index)?;
            for place in places_of(index) {
                let slot = table.slot(place);
                if !slot.is_empty() && slot.content().is_none() {
                    slot.clear();
                    damaged += 1;
                }
            }
        }
        let mut free: Vec<u32> = table.places().filter(|place| table.slot(*place).is_empty()).collect();
        free.reverse();
        *table.free.lock() = free;
        Ok((table, damaged))
    }

    /// Every place there is, used or not.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        let segments = self.segments.iter().take_while(|s| s.get().is_some()).count();
        (0..segments).flat_map(places_of)
    }

    /// The slot at a place that this table handed out.
    pub fn slot(&self, place: u32) -> Slot<'_> {
        let segment = file_of(place);
        let index = place as usize + FIRST_SEGMENT_SLOTS - segment_slots(segment);
        // Places come from this table alone, and its files stay mapped while it lives.
        let words = self.segments[segment].get().map_or(&[][..], Mapped::words);
        Slot(&words[index * SLOT_WORDS..(index + 1) * SLOT_WORDS])
    }

    /// A free place, with a serial that no lease of this folder had.
    pub fn reserve(&self) -> std::io::Result<(u32, u32)> {
        let mut free = self.free.lock();
        if free.is_empty() {
            let index = self.segments.iter().take_while(|s| s.get().is_some()).count();
            self.grow(index)?;
            free.extend(places_of(index).rev());
        }
        let place = free.pop().ok_or(std::io::ErrorKind::StorageFull)?;
        let next = &self.head()[HEAD_NEXT_SERIAL];
        // Under the lock: stored before the serial is used, so that a kill cannot bring it again. 0 is no lease.
        let serial = (next.load(Relaxed) as u32).max(1);
        next.store(u64::from(serial.wrapping_add(1)), Relaxed);
        Ok((place, serial))
    }

    /// Takes note of a lease that this folder had: later ones get numbers beyond it. The head may be older than what names it,
    /// after a power cut or in a restored folder.
    pub fn had(&self, serial: u32) {
        let _free = self.free.lock();
        let next = &self.head()[HEAD_NEXT_SERIAL];
        if serial.wrapping_sub(next.load(Relaxed) as u32) < SERIALS_AHEAD_MAX {
            next.store(u64::from(serial.wrapping_add(1)), Relaxed);
        }
    }

    /// Empties a slot, for another lease to use.
    pub fn release(&self, place: u32) {
        self.slot(place).clear();
        self.free.lock().push(place);
    }

    /// Takes note that a lease was asked for or granted at this place.
    pub fn note(&self, place: u32) {
        // The head with it: what it says of the next number holds for all files.
        self.unsynced[0].store(true, Release);
        self.unsynced[file_of(place)].store(true, Release);
    }

    /// Waits until the leases noted so far are on the disk: the store took their units away for good, and without their names
    /// nobody would give them back. What calls do to them alone is not waited for.
    pub fn sync_noted(&self) -> std::io::Result<()> {
        for (mapped, unsynced) in self.segments.iter().map_while(OnceLock::get).zip(&self.unsynced) {
            // Before: what is noted meanwhile may be missed, and is synced the next time.
            if unsynced.swap(false, AcqRel) {
                mapped.sync().inspect_err(|_| unsynced.store(true, Release))?;
            }
        }
        if self.has_grown.swap(false, AcqRel) {
            self.sync_names().inspect_err(|_| self.has_grown.store(true, Release))?;
        }
        Ok(())
    }

    /// Waits until all of the table is on the disk.
    pub fn sync(&self) -> std::io::Result<()> {
        self.segments.iter().map_while(OnceLock::get).try_for_each(Mapped::sync)?;
        self.sync_names()
    }

    /// Whether [`sync_noted`](LeaseTable::sync_noted) has something to do.
    #[cfg(test)]
    pub fn is_noted(&self) -> bool {
        self.has_grown.load(Acquire) || self.unsynced.iter().any(|unsynced| unsynced.load(Acquire))
    }

    fn sync_names(&self) -> std::io::Result<()> {
        std::fs::File::open(&self.dir)?.sync_all()
    }

    fn head(&self) -> &[AtomicU64] {
        self.segments[0].get().map_or(&[], Mapped::words)
    }

    /// Opens a file of an earlier life, or makes it where that one did not.
    fn take_over(&self, index: usize) -> std::io::Result<()> {
        let path = segment_path(&self.dir, index);
        let is_finished = path.exists() && was_finished(&path)?;
        let bytes = segment_slots(index) * SLOT_WORDS * size_of::<u64>();
        // Whole but for its head it is a power cut's: some of its leases may be there.
        let is_whole = path.exists() && std::fs::metadata(&path)?.len() == bytes as u64;
        if !is_whole {
            return if is_finished { Err(foreign()) } else { self.grow(index) };
        }
        let mapped = Mapped::open(&path)?;
        mapped.words()[HEAD_MAGIC].store(MAGIC, Relaxed);
        let _ = self.segments[index].set(mapped);
        Ok(())
    }

    fn grow(&self, index: usize) -> std::io::Result<()> {
        let segment = self.segments.get(index).ok_or(std::io::ErrorKind::StorageFull)?;
        let path = segment_path(&self.dir, index);
        // Half made, by an earlier life or by a growth that failed: it never held a lease, or it would be open.
        match std::fs::remove_file(&path) {
            Err(failed) if failed.kind() != std::io::ErrorKind::NotFound => return Err(failed),
            _ => {}
        }
        let mapped = Mapped::create(&path, segment_slots(index) * SLOT_WORDS)?;
        mapped.words()[HEAD_MAGIC].store(MAGIC, Relaxed);
        let _ = segment.set(mapped);
        // Both are synced with its first lease: nothing here may wait for the disk.
        self.unsynced[index].store(true, Release);
        self.has_grown.store(true, Release);
        Ok(())
    }
}

fn segment_slots(index: usize) -> usize {
    FIRST_SEGMENT_SLOTS << index
}

/// Files double, so a place's highest bit says which file it is in, and the rest where in it.
fn file_of(place: u32) -> usize {
    ((place as usize + FIRST_SEGMENT_SLOTS) / FIRST_SEGMENT_SLOTS).ilog2() as usize
}

/// The places in a file, but for its first slot, which is the head.
fn places_of(index: usize) -> std::ops::Range<u32> {
    let first = segment_slots(index) - FIRST_SEGMENT_SLOTS;
    (first + 1) as u32..(first + segment_slots(index)) as u32
}

/// Whether a file was made to its end: one that a kill left half made has no head, and never held a lease.
fn was_finished(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::with_capacity(size_of::<u64>());
    std::fs::File::open(path)?.take(size_of::<u64>() as u64).read_to_end(&mut head)?;
    if head == MAGIC.to_le_bytes() {
        return Ok(true);
    }
    if head.iter().any(|byte| *byte != 0) { Err(foreign()) } else { Ok(false) }
}

fn foreign() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "not a lease table of this version")
}

fn segment_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("leases.{index}"))
}

#[cfg(test)]
mod tests;
