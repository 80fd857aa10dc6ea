//! A segment of the spool: a mapped file of records, filled from the front by one shard and emptied by the batcher. Its
//! counters say without a look at the records whether there is anything to take and whether the file can go. The
//! spool hands out its places; a ticket writes there; the batcher takes from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::Event;

use parking_lot::Mutex;

use super::record::{self, Found, OpeningSeal, RECORD_WORDS};
use crate::mapped::Mapped;

/// How the names of segments end.
pub const SEGMENT_SUFFIX: &str = ".segment";
/// How the name of a segment with torn records ends, once the others are in batches: kept for who looks into it.
pub const TORN_SUFFIX: &str = ".torn";
/// Bytes of one record, and of the header before the first.
pub const RECORD_BYTES: usize = RECORD_WORDS * size_of::<u64>();

const MAGIC: u64 = u64::from_be_bytes(*b"APICLAYS");
/// The layout of records, [`Event`]'s fixed form included.
const FORMAT: u64 = 2;
/// While a segment is being filled nobody knows how many records it will have.
const UNKNOWN: u32 = u32::MAX;

/// One file of records.
#[derive(Debug)]
pub struct Segment {
    map: Mapped,
    path: PathBuf,
    name: String,
    places: u32,
    /// Places given away so far.
    handed: AtomicU32,
    opened: AtomicU32,
    closed: AtomicU32,
    /// Batched, or torn and counted.
    done: AtomicU32,
    torn: AtomicU32,
    /// How many will be done at the end; [`UNKNOWN`] while it is being filled.
    expected: AtomicU32,
    /// All before this place are done.
    done_before: AtomicU32,
    dirty: AtomicBool,
    /// Held while syncing: whoever finds nothing to sync may rely on it.
    syncing: Mutex<()>,
}

/// A segment that cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// Made, but killed before anything was written to it.
    Blank,
    /// Of another format, or no segment at all.
    Format(u64),
    /// The system says why.
    Io(io::Error),
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
        map.words()[1].store(FORMAT, Relaxed);
        map.words()[0].store(MAGIC, Release);
        Ok(Self::over(map, path, name))
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
        let header: Vec<u64> = map.words().iter().take(2).map(|word| word.load(Relaxed)).collect();
        match header[..] {
            [MAGIC, FORMAT] => Ok(Self::over(map, path, name)),
            [0, _] => Err(Unreadable::Blank),
            [MAGIC, format] => Err(Unreadable::Format(format)),
            _ => Err(Unreadable::Format(0)),
        }
    }

    fn over(map: Mapped, path: PathBuf, name: String) -> Self {
        let places = u32::try_from(map.words().len() / RECORD_WORDS - 1).unwrap_or(UNKNOWN - 1);
        Self {
            map,
            path,
            name,
            places,
            handed: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            done: AtomicU32::new(0),
            torn: AtomicU32::new(0),
            expected: AtomicU32::new(UNKNOWN),
            done_before: AtomicU32::new(0),
            dirty: AtomicBool::new(false),
            syncing: Mutex::new(()),
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

    fn record(&self, place: u32) -> &[AtomicU64] {
        let from = (place as usize + 1) * RECORD_WORDS;
        &self.map.words()[from..from + RECORD_WORDS]
    }

    /// Notes that the places before `next` were given away; with the last one, the segment's final count is known.
    pub fn hand_out(&self, next: u32) {
        self.handed.store(next, Release);
        if next == self.places {
            self.hand_out_no_more();
        }
    }

    /// What was handed out is all there will be.
    pub fn hand_out_no_more(&self) {
        self.expected.store(self.handed.load(Acquire), Release);
    }

    /// Whether all that was handed out is in batches.
    pub fn is_idle(&self) -> bool {
        self.done.load(Acquire) == self.handed.load(Acquire)
    }

    /// Opens a record at a place that was given away.
    pub fn begin(&self, place: u32, event: &Event) -> OpeningSeal {
        let seal = record::open(self.record(place), event);
        self.opened.fetch_add(1, Relaxed);
        self.dirty.store(true, Release);
        seal
    }

    /// Closes it.
    pub fn end(&self, place: u32, event: &Event, seal: OpeningSeal) {
        record::close(self.record(place), event, seal);
        self.after_close();
    }

    /// Closes it for a call that was abandoned.
    pub fn abandon(&self, place: u32) {
        record::interrupt(self.record(place));
        self.after_close();
    }

    fn after_close(&self) {
        self.closed.fetch_add(1, Release);
        self.dirty.store(true, Release);
    }

    /// Closed records that are in no batch.
    pub fn unbatched(&self) -> u32 {
        self.closed.load(Acquire).saturating_sub(self.done.load(Relaxed))
    }

    /// Calls under way.
    pub fn open_records(&self) -> u32 {
        self.opened.load(Relaxed).saturating_sub(self.closed.load(Relaxed))
    }

    /// Puts the closed records from the front into `events`, until there are `limit`; says their places. Torn ones are counted
    /// and passed over. Only the batcher calls this.
    pub fn closed_records(&self, limit: usize, events: &mut Vec<Event>) -> Vec<u32> {
        let mut places = Vec::new();
        let handed = self.handed.load(Acquire);
        let from = self.done_before.load(Relaxed);
        let mut all_done_so_far = true;
        for place in from..handed {
            if events.len() >= limit {
                break;
            }
            match record::read(self.record(place)) {
                Found::Closed(event) => {
                    places.push(place);
                    events.push(event);
                }
                Found::Torn => self.count_torn(place),
                Found::Batched | Found::TornCounted => {
                    if all_done_so_far {
                        self.done_before.store(place + 1, Relaxed);
                    }
                    continue;
                }
                // Being written this very moment, or under way.
                Found::Empty | Found::Open(_) => {}
            }
            all_done_so_far = false;
        }
        places
    }

    /// When the first of the closed records was opened, for a gauge.
    pub fn oldest_closed(&self) -> Option<Timestamp> {
        let mut places = self.done_before.load(Relaxed)..self.handed.load(Acquire);
        places
            .find_map(|place| if let Found::Closed(event) = self.find(place) { Some(event.at) } else { None })
    }

    /// Marks a record as being in a batch. After a power cut it may stand here as it was before it was closed, or not at
    /// all, since a batch is on the disk before it is written: the batch is what holds.
    pub fn mark_batched(&self, place: u32) {
        if place < self.places && !record::is_batched(self.record(place)) {
            record::mark_batched(self.record(place));
            self.done.fetch_add(1, AcqRel);
            self.dirty.store(true, Release);
        }
    }

    /// What stands at a place.
    pub fn find(&self, place: u32) -> Found {
        record::read(self.record(place))
    }

    /// Reports a torn record, and marks it so that it is reported once.
    pub fn count_torn(&self, place: u32) {
        tracing::error!(
            segment = self.name,
            place,
            "a usage record does not match its checksum and is left out"
        );
        record::mark_torn(self.record(place));
        self.torn.fetch_add(1, Relaxed);
        self.done.fetch_add(1, AcqRel);
        self.dirty.store(true, Release);
    }

    /// Sets the counters of a segment that an earlier life left: `written` records, all closed, `done` of them batched or
    /// torn, `torn` among these.
    pub fn take_over(&self, written: u32, done: u32, torn: u32) {
        for counter in [&self.opened, &self.closed, &self.expected] {
            counter.store(written, Relaxed);
        }
        self.torn.store(torn, Relaxed);
        self.done.store(done, Relaxed);
        self.handed.store(self.places, Release);
    }

    /// Whether every record it will ever have is in a batch.
    pub fn is_finished(&self) -> bool {
        self.done.load(Acquire) == self.expected.load(Acquire)
    }

    /// Waits until what was written since the last time is on the disk.
    ///
    /// # Errors
    /// When the disk says so; it will be tried again.
    pub fn sync(&self) -> io::Result<()> {
        let _syncing = self.syncing.lock();
        if self.dirty.swap(false, AcqRel) {
            self.map.sync().inspect_err(|_| self.dirty.store(true, Release))?;
        }
        Ok(())
    }

    /// Takes the file away, or aside where it has torn records. Says how many bytes came free.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub fn remove(&self) -> io::Result<u64> {
        if self.torn.load(Relaxed) > 0 {
            std::fs::rename(&self.path, self.path.with_extension(&TORN_SUFFIX[1..]))?;
            return Ok(0);
        }
        std::fs::remove_file(&self.path)?;
        Ok(self.bytes())
    }
}
