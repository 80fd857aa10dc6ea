//! A segment of the spool: a mapped file of records, filled from the front by one shard and emptied by the batcher, then
//! filled again under another name, or removed. The spool hands out its places; a ticket writes there; the batcher takes
//! from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::Event;

use super::counts::Counts;
use super::head::{self, Unreadable};
use super::record::{Found, OpeningSeal, RECORD_WORDS, Record};
use super::unsynced::Unsynced;
use crate::mapped::Mapped;

/// How the name of a segment with torn records ends, once the others are in batches: kept for who looks into it.
pub const TORN_SUFFIX: &str = ".torn";
/// Bytes of one record, and of the header before the first.
pub const RECORD_BYTES: usize = RECORD_WORDS * size_of::<u64>();

/// One file of records, under one of its names.
#[derive(Debug)]
pub struct Segment {
    map: Arc<Mapped>,
    path: PathBuf,
    name: String,
    generation: u32,
    places: u32,
    /// How far its records have come.
    pub counts: Counts,
    /// All before this place are done: in batches, as the file's head says, or torn.
    done_before: AtomicU32,
    /// What the disk does not have.
    pub unsynced: Unsynced,
}

impl Segment {
    /// Makes a segment of `bytes`, its blocks allocated and its pages at hand.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn create(folder: &Path, name: String, bytes: usize) -> io::Result<Self> {
        let path = folder.join(&name);
        let map = Mapped::create(&path, bytes / RECORD_BYTES * RECORD_WORDS)?;
        map.populate()?;
        head::write(map.words());
        Ok(Self::over(Arc::new(map), path, name))
    }

    /// Opens a segment that an earlier life left.
    ///
    /// # Errors
    /// When it is blank, of another format, or cannot be read.
    pub fn open(folder: &Path, name: String) -> Result<Self, Unreadable> {
        let path = folder.join(&name);
        let length = std::fs::metadata(&path).map_err(Unreadable::Io)?.len();
        match length as usize {
            0 => return Err(Unreadable::Blank),
            bytes if bytes < 2 * RECORD_BYTES || !bytes.is_multiple_of(RECORD_BYTES) => {
                return Err(Unreadable::Format(0));
            }
            _ => {}
        }
        let map = Mapped::open(&path).map_err(Unreadable::Io)?;
        head::check(map.words())?;
        let segment = Self::over(Arc::new(map), path, name);
        // That life may have been killed before its marks were on the disk; whose batches are acknowledged now.
        segment.unsynced.note_mark();
        Ok(segment)
    }

    /// Gives the file a new name, and so a new generation: nothing that stands in it counts under that. Only where all is
    /// in batches and synced, and nobody has a place; no place of the new one is given away before the folder is synced, or
    /// a power cut could leave its records under the old name, where they are nothing.
    ///
    /// # Errors
    /// When the file cannot be renamed; it is as it was.
    pub fn renew(&self, name: String) -> io::Result<Self> {
        if head::generation_of(&name) == self.generation {
            // They go round: as rare as can be, and what stands there would count again.
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let path = self.path.with_file_name(&name);
        std::fs::rename(&self.path, &path)?;
        Ok(Self::over(Arc::clone(&self.map), path, name))
    }

    fn over(map: Arc<Mapped>, path: PathBuf, name: String) -> Self {
        let places = u32::try_from(map.words().len() / RECORD_WORDS - 1).unwrap_or(u32::MAX - 1);
        let generation = head::generation_of(&name);
        let done_before = head::done_before(map.words(), generation).min(places);
        Self {
            map,
            path,
            name,
            generation,
            places,
            counts: Counts::new(),
            done_before: AtomicU32::new(done_before),
            unsynced: Unsynced::default(),
        }
    }

    /// Its file's name; what a batch says its records came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many records it has room for.
    pub fn places(&self) -> u32 {
        self.places
    }

    /// Bytes it takes on the disk.
    pub fn bytes(&self) -> u64 {
        (self.map.words().len() * size_of::<u64>()) as u64
    }

    fn record(&self, place: u32) -> Record<'_> {
        let from = (place as usize + 1) * RECORD_WORDS;
        Record { words: &self.map.words()[from..from + RECORD_WORDS], generation: self.generation }
    }

    /// Notes that the places before `next` were given away; with the last one, the segment's final count is known.
    pub fn hand_out(&self, next: u32) {
        self.counts.hand_out(next);
        if next == self.places {
            self.counts.hand_out_no_more();
        }
    }

    /// Opens a record at a place that was given away.
    pub fn begin(&self, place: u32, event: &Event) -> OpeningSeal {
        let seal = self.record(place).open(event);
        self.counts.open();
        self.unsynced.note();
        seal
    }

    /// Closes it.
    pub fn end(&self, place: u32, event: &Event, seal: OpeningSeal) {
        self.record(place).close(event, seal);
        self.after_close();
    }

    /// Closes it for a call that was abandoned.
    pub fn abandon(&self, place: u32) {
        self.record(place).interrupt();
        self.after_close();
    }

    fn after_close(&self) {
        self.counts.close();
        self.unsynced.note();
    }

    /// Hands the closed records from the front, `limit` at most, to `take`; says their places. Torn ones are counted and passed
    /// over. Only the batcher calls this.
    pub fn closed_records(&self, limit: usize, mut take: impl FnMut(&Event)) -> Vec<u32> {
        let mut places = Vec::new();
        for place in self.done_before.load(Relaxed)..self.counts.handed() {
            if places.len() >= limit {
                break;
            }
            match self.record(place).read() {
                Found::Closed(event) => {
                    take(&event);
                    places.push(place);
                }
                Found::Torn => self.count_torn(place),
                // The first two are being written this very moment, or under way.
                Found::Empty | Found::Open(_) | Found::Batched | Found::TornCounted => {}
            }
        }
        places
    }

    /// When the first of the closed records was opened, for a gauge.
    pub fn oldest_closed(&self) -> Option<Timestamp> {
        let mut places = self.done_before.load(Relaxed)..self.counts.handed();
        places
            .find_map(|place| if let Found::Closed(event) = self.find(place) { Some(event.at) } else { None })
    }

    /// Marks records, in the order of their places, as being in a batch. After a power cut they may stand here as they were
    /// before they were closed, or not at all, since a batch is on the disk before them: the batch is what holds.
    ///
    /// Those at the front are marked by the head alone. A mark of its own, which makes a page go to the disk once more, has
    /// only what stands behind a call that is still under way.
    pub fn mark_batched(&self, places: &[u32]) {
        let (mut front, mut marked) = (self.done_before.load(Relaxed), 0);
        for place in places.iter().copied().filter(|place| *place < self.places) {
            if place == front {
                front += 1;
                marked += 1;
            } else if place > front && !self.record(place).is_done() {
                self.record(place).mark_batched();
                marked += 1;
            }
        }
        self.move_front(front);
        if marked > 0 {
            // First: who sees by the count that the segment is finished syncs it.
            self.unsynced.note_mark();
            self.counts.batch(marked);
        }
    }

    /// All before `front` are done, and what follows with marks of its own.
    fn move_front(&self, front: u32) {
        let handed = self.counts.handed();
        let front = (front..handed).find(|place| !self.record(*place).is_done()).unwrap_or(handed.max(front));
        if front > self.done_before.swap(front, AcqRel) {
            head::set_done_before(self.map.words(), self.generation, front);
        }
    }

    /// What stands at a place.
    pub fn find(&self, place: u32) -> Found {
        match self.record(place).read() {
            Found::TornCounted => Found::TornCounted,
            _ if place < self.done_before.load(Relaxed) => Found::Batched,
            found => found,
        }
    }

    /// Reports a torn record, and marks it so that it is reported once.
    pub fn count_torn(&self, place: u32) {
        tracing::error!(
            segment = self.name,
            place,
            "a usage record does not match its checksum and is left out"
        );
        self.record(place).mark_torn();
        self.unsynced.note_mark();
        self.counts.tear();
    }

    /// Sets the counts of a segment that an earlier life left, as [`Counts::take_over`] says.
    pub fn take_over(&self, written: u32, done: u32, torn: u32) {
        self.counts.take_over(self.places, written, done, torn);
        self.move_front(self.done_before.load(Relaxed));
    }

    /// Whether each of its places had a record and all are in batches: the file can be filled again. One that was filled in
    /// part could keep records of several generations.
    pub fn can_be_renewed(&self) -> bool {
        self.done_before.load(Acquire) == self.places && !self.counts.has_torn()
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// When the disk says so; it will be tried again.
    pub fn sync(&self) -> io::Result<()> {
        self.unsynced.sync(&self.map)
    }

    /// The same if there are marks among it: records alone wait for their turn.
    ///
    /// # Errors
    /// As of [`Segment::sync`].
    pub fn sync_marks(&self) -> io::Result<()> {
        self.unsynced.sync_marks(&self.map)
    }

    /// Takes the file away, or aside where it has torn records. Says how many bytes came free.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub fn remove(&self) -> io::Result<u64> {
        if self.counts.has_torn() {
            std::fs::rename(&self.path, self.path.with_extension(&TORN_SUFFIX[1..]))?;
            return Ok(0);
        }
        std::fs::remove_file(&self.path)?;
        Ok(self.bytes())
    }
}
