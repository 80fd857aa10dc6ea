//! A number as a count: whole, and not below zero. Next: `json.rs`, which finds one in a body, and `mod.rs`, which reads a header's.

/// Characters of a number: one that is longer is no count.
const NUMBER_MAX_BYTES: usize = 40;
/// Whole numbers above this are not exact as floats; as a count they are beyond every limit anyway.
const WHOLE_MAX: f64 = 18_446_744_073_709_551_615.0;

/// The characters of a number, as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    text: [u8; NUMBER_MAX_BYTES],
    /// Of the number, kept or not.
    bytes: usize,
    wanted: bool,
}

impl Digits {
    /// A number begins; one that is not wanted is not kept.
    pub(super) const fn begin(wanted: bool) -> Self {
        Self { text: [0; NUMBER_MAX_BYTES], bytes: 0, wanted }
    }

    /// The next character.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.bytes).filter(|_| self.wanted) {
            *place = byte;
        }
        self.bytes = self.bytes.saturating_add(1);
    }

    /// Whether anybody asked for it.
    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Its count, where it is one.
    pub(super) fn count(&self) -> Option<u64> {
        std::str::from_utf8(self.text.get(..self.bytes)?).ok().and_then(count)
    }
}

/// A number as a count: whole, and not below zero. One that is too large for any limit is the largest there is.
pub(super) fn count(text: &str) -> Option<u64> {
    // A float may also be spelled `inf`, `nan` or `+1`, none of which is a number in JSON.
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) || text.starts_with("-i") {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let number: f64 = text.parse().ok()?;
    if number >= WHOLE_MAX {
        return Some(u64::MAX);
    }
    // Below 2^64, and whole: nothing is cut off.
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}
