//! One record of the spool: sixteen words, of which the first fifteen are an event in its fixed form and the last says
//! what state it is in, sealed with a checksum and written last. A kill at any store leaves a record that can be told:
//! what a call *is* never changes and is sealed at its opening, so that a record killed while it was being closed is
//! still a good open one. Segments are rows of these; recovery and the batcher read them back.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use apiclay_config::usage::{EVENT_BYTES, EVENT_IS_BYTES, Ending, Event};

/// Words of one record. 128 bytes: a record never straddles a disk's sector.
pub const RECORD_WORDS: usize = EVENT_WORDS + 1;
const EVENT_WORDS: usize = EVENT_BYTES / size_of::<u64>();
const STATE_WORD: usize = EVENT_WORDS;

/// From this word on stands what a call becomes: bytes, duration, status, tries, ending, flags.
const BECOMES_WORD: usize = EVENT_IS_BYTES / size_of::<u64>();
const _: () =
    assert!(EVENT_IS_BYTES.is_multiple_of(size_of::<u64>()) && EVENT_BYTES.is_multiple_of(size_of::<u64>()));

// The states, as a hex dump shows them; any two differ in many bits.
const OPEN: u32 = u32::from_be_bytes(*b"OPEN");
const CLOSED: u32 = u32::from_be_bytes(*b"CLSD");
const BATCHED: u32 = u32::from_be_bytes(*b"BTCH");
const TORN: u32 = u32::from_be_bytes(*b"TORN");

/// What stands in a record's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a record whose opening never came to its end: no call counts on it.
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
    fn of(bytes: &[u8; EVENT_BYTES]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..EVENT_IS_BYTES]);
        Self(hasher.finalize())
    }

    fn closed(self, bytes: &[u8; EVENT_BYTES]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&bytes[EVENT_IS_BYTES..]);
        hasher.finalize()
    }
}

fn state_word(state: u32, seal: u32) -> u64 {
    u64::from(state) << u32::BITS | u64::from(seal)
}

/// Writes an open record into an empty place.
pub fn open(record: &[AtomicU64], event: &Event) -> OpeningSeal {
    let bytes = event.to_bytes();
    store(record, &bytes, 0);
    let seal = OpeningSeal::of(&bytes);
    record[STATE_WORD].store(state_word(OPEN, seal.0), Release);
    seal
}

/// Rewrites an open record closed. What the call *is* (ids, leases, time, the plan's revision) stays as it was opened.
pub fn close(record: &[AtomicU64], event: &Event, seal: OpeningSeal) {
    let bytes = event.to_bytes();
    store(record, &bytes, BECOMES_WORD);
    record[STATE_WORD].store(state_word(CLOSED, seal.closed(&bytes)), Release);
}

/// Closes an open record for a call that nobody will close any more: billed 0, its units stay spent.
pub fn interrupt(record: &[AtomicU64]) {
    let bytes = load(record);
    // A record that cannot be read is left open: the next start counts it as torn.
    if let Some(event) = Event::from_bytes(&bytes) {
        let interrupted = Event { ending: Ending::Interrupted, billable: false, kept: true, ..event };
        close(record, &interrupted, OpeningSeal::of(&bytes));
    }
}

/// Whether a batch has it.
pub fn is_batched(record: &[AtomicU64]) -> bool {
    record[STATE_WORD].load(Acquire) >> u32::BITS == u64::from(BATCHED)
}

/// Reads a record and checks it.
pub fn read(record: &[AtomicU64]) -> Found {
    let state = record[STATE_WORD].load(Acquire);
    let seal = state as u32;
    let bytes = load(record);
    let event = || Event::from_bytes(&bytes);
    match (state >> u32::BITS) as u32 {
        0 if seal == 0 => Found::Empty,
        BATCHED => Found::Batched,
        TORN => Found::TornCounted,
        OPEN if seal == OpeningSeal::of(&bytes).0 => event().map_or(Found::Torn, Found::Open),
        CLOSED if seal == OpeningSeal::of(&bytes).closed(&bytes) => {
            event().map_or(Found::Torn, Found::Closed)
        }
        _ => Found::Torn,
    }
}

/// Marks a record as being in a batch.
pub fn mark_batched(record: &[AtomicU64]) {
    mark(record, BATCHED);
}

/// Marks a torn record as counted, so that it is reported once.
pub fn mark_torn(record: &[AtomicU64]) {
    mark(record, TORN);
}

fn mark(record: &[AtomicU64], state: u32) {
    let seal = record[STATE_WORD].load(Relaxed) as u32;
    record[STATE_WORD].store(state_word(state, seal), Release);
}

fn store(record: &[AtomicU64], bytes: &[u8; EVENT_BYTES], from_word: usize) {
    let words = bytes.as_chunks::<8>().0;
    for (place, word) in record.iter().zip(words).skip(from_word) {
        place.store(u64::from_le_bytes(*word), Relaxed);
    }
}

fn load(record: &[AtomicU64]) -> [u8; EVENT_BYTES] {
    let mut bytes = [0u8; EVENT_BYTES];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(record) {
        *place = word.load(Relaxed).to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::tests::event;

    fn blank() -> Vec<AtomicU64> {
        (0..RECORD_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_record_goes_from_open_to_closed_to_batched() {
        let record = blank();
        assert_eq!(read(&record), Found::Empty);
        let opening = Event { status: 0, bytes_out: 0, billable: false, ..event(7) };
        let seal = open(&record, &opening);
        assert_eq!(read(&record), Found::Open(opening));
        close(&record, &event(7), seal);
        assert_eq!(read(&record), Found::Closed(event(7)));
        assert!(!is_batched(&record));
        mark_batched(&record);
        assert_eq!(read(&record), Found::Batched);
    }

    #[test]
    fn a_kill_at_any_store_of_opening_or_closing_leaves_nothing_or_an_open_record() {
        let opening = Event { status: 0, bytes_out: 0, billable: false, ..event(7) };
        for stores in 0..EVENT_WORDS {
            let record = blank();
            for (place, word) in record.iter().zip(opening.to_bytes().as_chunks::<8>().0).take(stores) {
                place.store(u64::from_le_bytes(*word), Relaxed);
            }
            assert_eq!(read(&record), Found::Empty, "{stores} stores of the opening");
        }
        for stores in 0..=EVENT_WORDS - BECOMES_WORD {
            let record = blank();
            open(&record, &opening);
            let closing = event(7).to_bytes();
            let words = closing.as_chunks::<8>().0.iter().enumerate().skip(BECOMES_WORD).take(stores);
            for (place, word) in words {
                record[place].store(u64::from_le_bytes(*word), Relaxed);
            }
            assert!(matches!(read(&record), Found::Open(_)), "{stores} stores of the closing");
            interrupt(&record);
            let Found::Closed(left) = read(&record) else { panic!("not closed") };
            assert_eq!((left.request, left.ending), (opening.request, Ending::Interrupted));
            assert!(!left.billable && left.kept);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        for bit in 0..RECORD_WORDS * 64 {
            let record = blank();
            let seal = open(&record, &event(7));
            close(&record, &event(7), seal);
            record[bit / 64].fetch_xor(1 << (bit % 64), Relaxed);
            assert_eq!(read(&record), Found::Torn, "bit {bit}");
        }
    }
}
