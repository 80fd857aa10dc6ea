//! A head's header lines, by where they stand in the buffer that it was read into: nothing is copied, and the room for them is used
//! again. Phases and plugins read them through [`HeadLines`].

use std::ops::Range;

use apiclay_plugins::Headers;
use http::HeaderName;

use crate::context::CallHeaders;

/// Where the lines of one head stand.
#[derive(Debug, Default)]
pub struct Lines(Vec<Line>);

#[derive(Debug, Clone, Copy)]
struct Line {
    name: (u32, u32),
    value: (u32, u32),
}

/// Lines with the bytes that they stand in.
#[derive(Debug, Clone, Copy)]
pub struct HeadLines<'a> {
    bytes: &'a [u8],
    lines: &'a Lines,
}

impl Lines {
    /// Takes note of where these headers stand in `bytes`, which they were parsed from.
    pub fn set(&mut self, bytes: &[u8], headers: &[httparse::Header<'_>]) {
        self.0.clear();
        self.0.extend(headers.iter().map(|header| Line {
            name: place(bytes, header.name.as_bytes()),
            value: place(bytes, header.value),
        }));
    }

    /// The lines with their bytes, which are those of [`Self::set`].
    #[must_use]
    pub const fn of<'a>(&'a self, bytes: &'a [u8]) -> HeadLines<'a> {
        HeadLines { bytes, lines: self }
    }
}

/// Where a part of `bytes` begins and ends in it. Heads are far below 4 GiB.
fn place(bytes: &[u8], part: &[u8]) -> (u32, u32) {
    let Range { start, end } = range(bytes, part);
    (start as u32, end as u32)
}

/// The same, for any part of a head.
#[must_use]
pub fn range(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
    // An empty part may stand anywhere.
    if part.is_empty() || start > bytes.len() { 0..0 } else { start..start + part.len() }
}

/// Whether two names are one, be it in another case: by eight bytes at once, as heads are full of names.
#[must_use]
pub fn same(name: &[u8], other: &[u8]) -> bool {
    if name.len() != other.len() {
        return false;
    }
    let (Some(end), Some(other_end)) = (name.last_chunk(), other.last_chunk()) else {
        return name.eq_ignore_ascii_case(other);
    };
    let words = name.as_chunks().0.iter().zip(other.as_chunks().0);
    // The last eight bytes may have some in them that stand in the word before.
    lower(*end) == lower(*other_end) && words.into_iter().all(|(word, other)| lower(*word) == lower(*other))
}

/// Eight bytes with ASCII's capitals in lower case.
fn lower(bytes: [u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(bytes);
    // Without their highest bit, no byte's sum runs over into the next.
    let low = word & (0x7f * EACH);
    let from_a = low + u64::from(0x80 - b'A') * EACH;
    let beyond_z = low + u64::from(0x7f - b'Z') * EACH;
    let capitals = from_a & !beyond_z & !word & (0x80 * EACH);
    word | (capitals >> 2)
}

impl<'a> HeadLines<'a> {
    /// Another part of the head.
    #[must_use]
    pub fn bytes(self, range: &Range<usize>) -> &'a [u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Each line: its name as sent, a token of ASCII (RFC 9110, section 5.6.2), and its value.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.lines.0.iter().map(move |line| (self.part(line.name), self.part(line.value)))
    }

    /// Each value under this name.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        // By length first: most lines are not looked at.
        let may_be = move |line: &&Line| (line.name.1 - line.name.0) as usize == name.len();
        let is_it = move |line: &&Line| same(self.part(line.name), name.as_bytes());
        self.lines.0.iter().filter(may_be).filter(is_it).map(move |line| self.part(line.value))
    }

    fn part(self, (start, end): (u32, u32)) -> &'a [u8] {
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl Headers for HeadLines<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.all(name.as_str()).next()
    }
}

impl CallHeaders for HeadLines<'_> {
    fn values(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8])) {
        self.all(name.as_str()).for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn names_are_the_same_as_byte_by_byte(name in proptest::collection::vec(proptest::num::u8::ANY, 0..40), place: usize, byte: u8) {
            for mut other in [name.clone(), name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
                proptest::prop_assert!(same(&name, &other) && same(&other, &name));
                let Some(place) = place.checked_rem(name.len()) else { continue };
                for byte in [byte, other[place] ^ 0x20, other[place] ^ 0x80] {
                    other[place] = byte;
                    proptest::prop_assert_eq!(same(&name, &other), name.eq_ignore_ascii_case(&other));
                }
            }
        }
    }

    #[test]
    fn every_byte_has_the_case_it_has() {
        for byte in 0..=255 {
            let lower = lower([byte; 8]).to_le_bytes();
            assert_eq!(lower, [byte.to_ascii_lowercase(); 8]);
        }
    }
}
