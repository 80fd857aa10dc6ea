//! The head of a segment, before its first record: what the file is, and before which place all its records are in
//! batches. And its name, which says by a number whose records count in it: `segment.rs` goes on from here.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// How the names of segments end.
pub const SEGMENT_SUFFIX: &str = ".segment";

const MAGIC: u64 = u64::from_be_bytes(*b"APICLAYS");
/// The layout of records, [`Event`](apiclay_config::usage::Event)'s fixed form included.
const FORMAT: u64 = 3;
/// The one before: files were filled once, and marks were the records' alone.
const FORMAT_BEFORE: u64 = 2;
const MAGIC_WORD: usize = 0;
const FORMAT_WORD: usize = 1;
/// The generation above, the place below: of another generation it says nothing.
const DONE_WORD: usize = 2;

/// Between the epoch and the number of a segment; format 2 had a shard's number there.
const NAME_PART: &str = "-records-";
/// Bits of a generation: what the tag of a record has room for.
const GENERATION_BITS: u32 = 24;

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

/// The name of an epoch's segment of this number.
pub fn segment_name(epoch: &str, number: u64) -> String {
    format!("{epoch}{NAME_PART}{number:08}{SEGMENT_SUFFIX}")
}

/// The generation of the records that count in a file of this name. A file has another with each name that it has had, so
/// that one rename says of all that stands in it that it counts no more.
pub fn generation_of(name: &str) -> u32 {
    let number = name.strip_suffix(SEGMENT_SUFFIX).and_then(|stem| stem.split_once(NAME_PART));
    let number = number.and_then(|(_, number)| number.parse::<u64>().ok());
    number.map_or(0, |number| number as u32 & ((1 << GENERATION_BITS) - 1))
}

/// Whether it can be one.
pub fn is_generation(number: u32) -> bool {
    number >> GENERATION_BITS == 0
}

/// Says what the file is.
pub fn write(head: &[AtomicU64]) {
    head[FORMAT_WORD].store(FORMAT, Relaxed);
    head[MAGIC_WORD].store(MAGIC, Release);
}

/// Checks that it is a segment that this version reads.
///
/// # Errors
/// When it is blank, or of another format.
pub fn check(head: &[AtomicU64]) -> Result<(), Unreadable> {
    match [head[MAGIC_WORD].load(Relaxed), head[FORMAT_WORD].load(Relaxed)] {
        [MAGIC, FORMAT] => Ok(()),
        // From now on it has marks that the version which made it would not see.
        [MAGIC, FORMAT_BEFORE] => {
            head[FORMAT_WORD].store(FORMAT, Release);
            Ok(())
        }
        [0, _] => Err(Unreadable::Blank),
        [MAGIC, format] => Err(Unreadable::Format(format)),
        _ => Err(Unreadable::Format(0)),
    }
}

/// Before which place all records are in batches.
pub fn done_before(head: &[AtomicU64], generation: u32) -> u32 {
    let word = head[DONE_WORD].load(Relaxed);
    if word >> u32::BITS == u64::from(generation) { word as u32 } else { 0 }
}

/// Says so: one store for as many records.
pub fn set_done_before(head: &[AtomicU64], generation: u32, place: u32) {
    head[DONE_WORD].store(u64::from(generation) << u32::BITS | u64::from(place), Release);
}
