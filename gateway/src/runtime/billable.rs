//! Which answers of the upstream are billed, as a table of bits: looked up once a call, in phase settle.

use apiclay_config::snapshot::{STATUS_RANGES_MAX, StatusRange};

/// From here on an answer says that the vendor failed, which is not billed unless a plan names it.
const SERVER_ERRORS_FROM: u16 = 500;
/// A bit a status: up to 639, of which there are none from 600 on.
const WORDS: usize = 10;

/// The statuses of billed answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billable([u64; WORDS]);

impl Billable {
    /// What a plan names, or where it names nothing all but the vendor's failures.
    #[must_use]
    pub fn compile(named: Option<&[StatusRange]>) -> Self {
        let is_named = |status: u16| match named {
            Some(ranges) => ranges.iter().take(STATUS_RANGES_MAX).any(|range| range.contains(status)),
            None => status < SERVER_ERRORS_FROM,
        };
        let mut words = [0; WORDS];
        for (word, first) in words.iter_mut().zip((0_u16..).step_by(64)) {
            *word = (0..64).filter(|bit| is_named(first + bit)).map(|bit| 1 << bit).sum();
        }
        Self(words)
    }

    /// Whether an answer with this status is billed.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        let word = self.0.get(usize::from(status / 64)).copied().unwrap_or(0);
        word >> (status % 64) & 1 == 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_names_is_billed_and_without_a_word_all_but_failures() {
        let silent = Billable::compile(None);
        for status in 100..=u16::MAX {
            assert_eq!(silent.contains(status), status < 500, "{status}");
        }
        let named: Vec<StatusRange> = ["2XX", "404", "599"].map(|text| text.parse().unwrap()).to_vec();
        let named = Billable::compile(Some(&named));
        for status in 0..=u16::MAX {
            let expected = (200..300).contains(&status) || status == 404 || status == 599;
            assert_eq!(named.contains(status), expected, "{status}");
        }
    }
}
