//! The lease table: every lease this gateway holds, in mapped files of slots, so that a kill leaves exactly what was spent.
//! Grows a file at a time; slots are handed out under one lock, which no call ever takes. Next: `book.rs`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::slot::{SLOT_WORDS, Slot};
use crate::mapped::Mapped;

/// Leases in one file of 1 MiB.
pub const SEGMENT_SLOTS: usize = 4_096;
/// Files at most: a million leases.
pub const SEGMENTS_MAX: usize = 256;

const MAGIC: u64 = u64::from_le_bytes(*b"aclease1");
/// The file's first slot is its head: what it is, and in the first file the next serial.
const HEAD_MAGIC: usize = 0;
const HEAD_NEXT_SERIAL: usize = 1;

/// The files of one gateway's leases.
pub struct LeaseTable {
    dir: PathBuf,
    segments: [OnceLock<Mapped>; SEGMENTS_MAX],
    free: Mutex<Vec<u32>>,
}

impl LeaseTable {
    /// Whether the folder has a table: a gateway without one starts for the first time.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        segment_path(dir, 0).exists()
    }

    /// Opens the table in `dir`, or makes it. Damaged slots are emptied and counted: their units stay spent at the store.
    pub fn open(dir: &Path) -> std::io::Result<(Self, usize)> {
        let table = Self {
            dir: dir.to_path_buf(),
            segments: [const { OnceLock::new() }; SEGMENTS_MAX],
            free: Mutex::new(Vec::new()),
        };
        let mut damaged = 0;
        for index in 0..SEGMENTS_MAX {
            if !segment_path(dir, index).exists() {
                break;
            }
            let mapped = Mapped::open(&segment_path(dir, index))?;
            let words = mapped.words();
            // A file made just before a kill is all zeroes: it has no leases yet, and is as good as new.
            let magic = words[HEAD_MAGIC].load(Relaxed);
            if words.len() != SEGMENT_SLOTS * SLOT_WORDS || (magic != MAGIC && magic != 0) {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "not a lease table of this version",
                ));
            }
            words[HEAD_MAGIC].store(MAGIC, Relaxed);
            let _ = table.segments[index].set(mapped);
            for place in first_slot(index)..((index + 1) * SEGMENT_SLOTS) as u32 {
                let slot = table.slot(place);
                if !slot.is_empty() && slot.content().is_none() {
                    slot.clear();
                    damaged += 1;
                }
            }
        }
        if table.segments[0].get().is_none() {
            table.grow(0)?;
        }
        let mut free: Vec<u32> = table.places().filter(|place| table.slot(*place).is_empty()).collect();
        free.reverse();
        *table.free.lock() = free;
        Ok((table, damaged))
    }

    /// Every place there is, used or not.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        let segments = self.segments.iter().take_while(|s| s.get().is_some()).count();
        (0..segments).flat_map(|index| first_slot(index)..((index + 1) * SEGMENT_SLOTS) as u32)
    }

    /// The slot at a place that this table handed out.
    pub fn slot(&self, place: u32) -> Slot<'_> {
        let (segment, index) = (place as usize / SEGMENT_SLOTS, place as usize % SEGMENT_SLOTS);
        // Places come from this table alone, and segments never go away while it lives; a wrong place is read as the head.
        let words = self.segments[segment % SEGMENTS_MAX].get().map_or(&[][..], Mapped::words);
        Slot(&words[index * SLOT_WORDS..(index + 1) * SLOT_WORDS])
    }

    /// A free place, with a serial that no lease of this folder had.
    pub fn reserve(&self) -> std::io::Result<(u32, u32)> {
        let mut free = self.free.lock();
        if free.is_empty() {
            let index = self.segments.iter().take_while(|s| s.get().is_some()).count();
            self.grow(index)?;
            free.extend((first_slot(index)..((index + 1) * SEGMENT_SLOTS) as u32).rev());
        }
        let place = free.pop().ok_or(std::io::ErrorKind::StorageFull)?;
        let next = &self.head()[HEAD_NEXT_SERIAL];
        // Under the lock: stored before the serial is used, so that a kill cannot bring it again. 0 is no lease.
        let serial = (next.load(Relaxed) as u32).max(1);
        next.store(u64::from(serial.wrapping_add(1)), Relaxed);
        Ok((place, serial))
    }

    /// Empties a slot, for another lease to use.
    pub fn release(&self, place: u32) {
        self.slot(place).clear();
        self.free.lock().push(place);
    }

    /// Waits until the table is on the disk.
    pub fn sync(&self) -> std::io::Result<()> {
        self.segments.iter().map_while(OnceLock::get).try_for_each(Mapped::sync)
    }

    fn head(&self) -> &[AtomicU64] {
        self.segments[0].get().map_or(&[], Mapped::words)
    }

    fn grow(&self, index: usize) -> std::io::Result<()> {
        let segment = self.segments.get(index).ok_or(std::io::ErrorKind::StorageFull)?;
        let mapped = Mapped::create(&segment_path(&self.dir, index), SEGMENT_SLOTS * SLOT_WORDS)?;
        mapped.words()[HEAD_MAGIC].store(MAGIC, Relaxed);
        let _ = segment.set(mapped);
        Ok(())
    }
}

fn first_slot(segment: usize) -> u32 {
    // Past the head, which takes the first slot's place.
    (segment * SEGMENT_SLOTS + 1) as u32
}

fn segment_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("leases.{index}"))
}
