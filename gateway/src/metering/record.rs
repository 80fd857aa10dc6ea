//! One record of the spool: sixteen words, of which the first fifteen are an event in its fixed form and the last says
//! what state it is in, sealed with a checksum and written last. A kill at any store leaves a record that can be told:
//! what a call *is* never changes and is sealed at its opening, so that a record killed while it was being closed is
//! still a good open one. A file is filled more than once: state and seal also say of which generation a record is, and one
//! of another counts as nothing. Segments are rows of these; recovery and the batcher read them back.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use apiclay_config::usage::{EVENT_BYTES, EVENT_IS_BYTES, Ending, Event};

use super::head::is_generation;

/// Words of one record. 128 bytes: a record never straddles a disk's sector.
pub const RECORD_WORDS: usize = EVENT_WORDS + 1;
const EVENT_WORDS: usize = EVENT_BYTES / size_of::<u64>();
const STATE_WORD: usize = EVENT_WORDS;

/// From this word on stands what a call becomes: bytes, duration, status, tries, ending, flags.
const BECOMES_WORD: usize = EVENT_IS_BYTES / size_of::<u64>();
const _: () =
    assert!(EVENT_IS_BYTES.is_multiple_of(size_of::<u64>()) && EVENT_BYTES.is_multiple_of(size_of::<u64>()));

// The states, as a hex dump shows them but for the generation, which is beneath the first letter; any two differ in many bits.
const OPEN: u32 = u32::from_be_bytes(*b"OPEN");
const CLOSED: u32 = u32::from_be_bytes(*b"CLSD");
const BATCHED: u32 = u32::from_be_bytes(*b"BTCH");
const TORN: u32 = u32::from_be_bytes(*b"TORN");

/// What stands in a record's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a record whose opening never came to its end, or of another generation: no call counts on it.
    Empty,
    /// A call under way, or one that a kill left so.
    Open(Event),
    /// A call that ended and is in no batch yet.
    Closed(Event),
    /// A call that is in a batch.
    Batched,
    /// Words that do not match their checksum: after a power cut, or on a failing disk.
    Torn,
    /// Torn, and counted as such before.
    TornCounted,
}

/// The checksum over what a call is; closing a record goes on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningSeal(u32);

impl OpeningSeal {
    /// Begun with the generation, so that no two have one seal for the same bytes.
    fn of(bytes: &[u8; EVENT_BYTES], generation: u32) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(generation);
        hasher.update(&bytes[..EVENT_IS_BYTES]);
        Self(hasher.finalize())
    }

    fn closed(self, bytes: &[u8; EVENT_BYTES]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&bytes[EVENT_IS_BYTES..]);
        hasher.finalize()
    }
}

/// The words of one record, in a file whose records are of this generation: those of another are nothing.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// All of them.
    pub words: &'a [AtomicU64],
    /// The file's.
    pub generation: u32,
}

impl Record<'_> {
    /// Writes an open record into a place that is empty, or has a record of another generation.
    pub fn open(self, event: &Event) -> OpeningSeal {
        let bytes = event.to_bytes();
        // What stood here goes first: a kill, or a look, between two stores is to find nothing, and not half of each.
        self.words[STATE_WORD].store(0, Relaxed);
        fence(Release);
        self.store(&bytes, 0);
        let seal = OpeningSeal::of(&bytes, self.generation);
        self.set_state(OPEN, seal.0);
        seal
    }

    /// Rewrites an open record closed. What the call *is* (ids, leases, time, the plan's revision) stays as it was opened.
    pub fn close(self, event: &Event, seal: OpeningSeal) {
        let bytes = event.to_bytes();
        self.store(&bytes, BECOMES_WORD);
        self.set_state(CLOSED, seal.closed(&bytes));
    }

    /// Closes an open record for a call that nobody will close any more: billed 0, its units stay spent.
    pub fn interrupt(self) {
        let bytes = self.load();
        // A record that cannot be read is left open: the next start counts it as torn.
        if let Some(event) = Event::from_bytes(&bytes) {
            let interrupted = Event { ending: Ending::Interrupted, billable: false, kept: true, ..event };
            self.close(&interrupted, OpeningSeal::of(&bytes, self.generation));
        }
    }

    /// Whether a batch has it, or it is torn and counted as such.
    pub fn is_done(self) -> bool {
        let tag = (self.words[STATE_WORD].load(Acquire) >> u32::BITS) as u32;
        matches!(tag ^ self.generation, BATCHED | TORN)
    }

    /// Reads a record and checks it.
    pub fn read(self) -> Found {
        let state = self.words[STATE_WORD].load(Acquire);
        let (tag, seal) = ((state >> u32::BITS) as u32, state as u32);
        let bytes = self.load();
        let event = || Event::from_bytes(&bytes);
        match tag ^ self.generation {
            _ if state == 0 => Found::Empty,
            BATCHED => Found::Batched,
            TORN => Found::TornCounted,
            OPEN if seal == OpeningSeal::of(&bytes, self.generation).0 => {
                event().map_or(Found::Torn, Found::Open)
            }
            CLOSED if seal == OpeningSeal::of(&bytes, self.generation).closed(&bytes) => {
                event().map_or(Found::Torn, Found::Closed)
            }
            _ if is_of_another(tag, seal, &bytes) || self.has_changed(state) => Found::Empty,
            _ => Found::Torn,
        }
    }

    /// Whether it is being opened this very moment, over one of another generation.
    fn has_changed(self, state: u64) -> bool {
        fence(Acquire);
        self.words[STATE_WORD].load(Relaxed) != state
    }

    /// Marks a record as being in a batch.
    pub fn mark_batched(self) {
        self.set_state(BATCHED, self.words[STATE_WORD].load(Relaxed) as u32);
    }

    /// Marks a torn record as counted, so that it is reported once.
    pub fn mark_torn(self) {
        self.set_state(TORN, self.words[STATE_WORD].load(Relaxed) as u32);
    }

    fn set_state(self, state: u32, seal: u32) {
        let word = u64::from(state ^ self.generation) << u32::BITS | u64::from(seal);
        self.words[STATE_WORD].store(word, Release);
    }

    fn store(self, bytes: &[u8; EVENT_BYTES], from_word: usize) {
        let words = bytes.as_chunks::<8>().0;
        for (place, word) in self.words.iter().zip(words).skip(from_word) {
            place.store(u64::from_le_bytes(*word), Relaxed);
        }
    }

    fn load(self) -> [u8; EVENT_BYTES] {
        let mut bytes = [0u8; EVENT_BYTES];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.words) {
            *place = word.load(Relaxed).to_le_bytes();
        }
        bytes
    }
}

/// Whether this is a whole record of the generation that it says it is of. A file is filled again only when all its records
/// were closed.
fn is_of_another(tag: u32, seal: u32, bytes: &[u8; EVENT_BYTES]) -> bool {
    let is_sealed = |its: u32| is_generation(its) && seal == OpeningSeal::of(bytes, its).closed(bytes);
    [CLOSED, BATCHED].iter().any(|state| is_sealed(tag ^ state))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::metering::tests::event;

    const GENERATION: u32 = 7;

    fn blank() -> Vec<AtomicU64> {
        (0..RECORD_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn of(words: &[AtomicU64]) -> Record<'_> {
        Record { words, generation: GENERATION }
    }

    /// A place with a closed record of another generation.
    fn left(generation: u32) -> Vec<AtomicU64> {
        let words = blank();
        let record = Record { words: &words, generation };
        record.close(&event(6), record.open(&event(6)));
        words
    }

    #[test]
    fn a_record_goes_from_open_to_closed_to_batched() {
        let words = blank();
        let record = of(&words);
        assert_eq!(record.read(), Found::Empty);
        let opening = Event { status: 0, bytes_out: 0, billable: false, ..event(7) };
        let seal = record.open(&opening);
        assert_eq!(record.read(), Found::Open(opening));
        record.close(&event(7), seal);
        assert_eq!(record.read(), Found::Closed(event(7)));
        assert!(!record.is_done());
        record.mark_batched();
        assert_eq!(record.read(), Found::Batched);
        assert!(record.is_done());
    }

    #[test]
    fn a_record_of_another_generation_is_nothing_and_a_damaged_one_is_torn() {
        for generation in [0, 6, 8, (1 << 24) - 1] {
            let words = left(generation);
            assert_eq!(of(&words).read(), Found::Empty);
            assert!(!of(&words).is_done());
            Record { words: &words, generation }.mark_batched();
            assert_eq!(of(&words).read(), Found::Empty, "batched in its own");
        }
        for bit in 0..RECORD_WORDS * 64 {
            let words = left(6);
            words[bit / 64].fetch_xor(1 << (bit % 64), Relaxed);
            assert_eq!(of(&words).read(), Found::Torn, "bit {bit}");
        }
    }

    /// One thread fills a place generation after generation, another looks at it.
    #[test]
    fn a_record_that_is_being_opened_over_another_is_not_torn() {
        const GENERATIONS: u32 = 200_000;
        let words = blank();
        let generation = AtomicU32::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for next in 1..GENERATIONS {
                    let record = Record { words: &words, generation: next };
                    generation.store(next, Release);
                    record.close(&event(next.into()), record.open(&event(next.into())));
                }
            });
            let mut now = 0;
            while now < GENERATIONS - 1 {
                now = generation.load(Acquire);
                let found = Record { words: &words, generation: now }.read();
                // What a look finds for a generation that is over is not acted on.
                assert!(found != Found::Torn || generation.load(Acquire) != now);
            }
        });
    }

    #[test]
    fn a_kill_at_any_store_of_opening_or_closing_leaves_nothing_or_an_open_record() {
        let opening = Event { status: 0, bytes_out: 0, billable: false, ..event(7) };
        for stores in 0..EVENT_WORDS {
            for words in [blank(), left(6)] {
                // The first of all, and then so many.
                words[STATE_WORD].store(0, Relaxed);
                for (place, word) in words.iter().zip(opening.to_bytes().as_chunks::<8>().0).take(stores) {
                    place.store(u64::from_le_bytes(*word), Relaxed);
                }
                assert_eq!(of(&words).read(), Found::Empty, "{stores} stores of the opening");
            }
        }
        for stores in 0..=EVENT_WORDS - BECOMES_WORD {
            let words = blank();
            let record = of(&words);
            record.open(&opening);
            let closing = event(7).to_bytes();
            let becomes = closing.as_chunks::<8>().0.iter().enumerate().skip(BECOMES_WORD).take(stores);
            for (place, word) in becomes {
                record.words[place].store(u64::from_le_bytes(*word), Relaxed);
            }
            assert!(matches!(record.read(), Found::Open(_)), "{stores} stores of the closing");
            record.interrupt();
            let Found::Closed(left) = record.read() else { panic!("not closed") };
            assert_eq!((left.request, left.ending), (opening.request, Ending::Interrupted));
            assert!(!left.billable && left.kept);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        for bit in 0..RECORD_WORDS * 64 {
            let words = blank();
            let record = of(&words);
            record.close(&event(7), record.open(&event(7)));
            words[bit / 64].fetch_xor(1 << (bit % 64), Relaxed);
            assert_eq!(record.read(), Found::Torn, "bit {bit}");
        }
    }
}
