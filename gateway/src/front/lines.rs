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
        let named = move |line: &Line| {
            let is_it = self.part(line.name).eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| self.part(line.value))
        };
        self.lines.0.iter().filter(may_be).filter_map(named)
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
