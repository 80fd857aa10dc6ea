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
/// The generation, the place, and a checksum of both, as it speaks for as many records as come before that place. Of another
/// generation it says nothing, and neither while it is 0.
const DONE_WORD: usize = 2;
const PLACE_BITS: u32 = 24;
const CHECK_BITS: u32 = 16;
/// Places that a segment may have.
pub const PLACES_MAX: usize = (1 << PLACE_BITS) - 1;

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
/// When it is blank, damaged, or of another format.
pub fn check(head: &[AtomicU64]) -> Result<(), Unreadable> {
    if !is_whole(head[DONE_WORD].load(Relaxed)) {
        return Err(Unreadable::Format(0));
    }
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
    let said = head[DONE_WORD].load(Relaxed) >> CHECK_BITS;
    if said >> PLACE_BITS == u64::from(generation) { said as u32 & PLACES_MAX as u32 } else { 0 }
}

/// Says so: one store for as many records.
pub fn set_done_before(head: &[AtomicU64], generation: u32, place: u32) {
    let said = u64::from(generation) << PLACE_BITS | u64::from(place);
    head[DONE_WORD].store(said << CHECK_BITS | check_of(said), Release);
}

fn is_whole(word: u64) -> bool {
    word == 0 || word & ((1 << CHECK_BITS) - 1) == check_of(word >> CHECK_BITS)
}

/// The upper half of its CRC-32.
fn check_of(said: u64) -> u64 {
    u64::from(crc32fast::hash(&said.to_le_bytes()) >> CHECK_BITS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_said_of_one_generation_and_a_flipped_bit_of_it_is_seen() {
        let head = [const { AtomicU64::new(0) }; 3];
        write(&head);
        check(&head).unwrap();
        assert_eq!((done_before(&head, 0), done_before(&head, 7)), (0, 0));
        for (generation, place) in [(0, 1), (7, 2_047), ((1 << GENERATION_BITS) - 1, PLACES_MAX as u32)] {
            set_done_before(&head, generation, place);
            check(&head).unwrap();
            assert_eq!(done_before(&head, generation), place);
            assert_eq!(done_before(&head, generation ^ 1), 0);
            for bit in 0..u64::BITS {
                head[DONE_WORD].fetch_xor(1 << bit, Relaxed);
                assert!(check(&head).is_err(), "bit {bit}");
                head[DONE_WORD].fetch_xor(1 << bit, Relaxed);
            }
        }
    }

    #[test]
    fn generations_go_round_and_names_that_are_none_have_the_first() {
        let of = |number| generation_of(&segment_name("00ff", number));
        let all = 1_u64 << GENERATION_BITS;
        assert_eq!([of(1), of(all - 1), of(all), of(all + 1)], [1, (all - 1) as u32, 0, 1]);
        assert!(is_generation(of(all - 1)) && !is_generation(all as u32));
        assert_eq!(generation_of("00ff-03-00000007.segment"), 0, "as format 2 named them");
    }
}
