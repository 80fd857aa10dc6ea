//! Names of headers that end at the gateway, as sets that a header's name is looked up in: most are as long as few of them.

use crate::front::lines::same;

/// A name is not longer in any set.
const LENGTH_MAX: usize = 32;

/// Names in lower case.
pub struct Names {
    by_length: &'static [&'static str],
    /// How many are shorter than each length.
    shorter: [u8; LENGTH_MAX + 2],
}

impl Names {
    /// A set of names that stand in the order of their lengths, which is checked as the program is compiled.
    #[must_use]
    pub const fn new(by_length: &'static [&'static str]) -> Self {
        let mut shorter = [0; LENGTH_MAX + 2];
        let (mut place, mut before) = (0, 0);
        while place < by_length.len() {
            let length = by_length[place].len();
            assert!(before <= length && length <= LENGTH_MAX, "names stand in the order of their lengths");
            before = length;
            place += 1;
            let mut longer = length + 1;
            while longer < shorter.len() {
                shorter[longer] += 1;
                longer += 1;
            }
        }
        Self { by_length, shorter }
    }

    /// Whether one of them is this name, in any case.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.of_length(name.len()).iter().any(|own| same(name, own.as_bytes()))
    }

    /// Those that have this length.
    #[must_use]
    pub fn of_length(&self, length: usize) -> &'static [&'static str] {
        if length > LENGTH_MAX {
            return &[];
        }
        &self.by_length[usize::from(self.shorter[length])..usize::from(self.shorter[length + 1])]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.by_length.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_length_and_in_any_case() {
        const NAMES: Names = Names::new(&["te", "host", "via-", "forwarded", "x-rewrite-url"]);
        for name in NAMES.iter() {
            assert!(NAMES.has(name.as_bytes()) && NAMES.has(name.to_ascii_uppercase().as_bytes()), "{name}");
        }
        for name in ["", "t", "tea", "hosts", "x_rewrite_url", &"x".repeat(LENGTH_MAX), &"x".repeat(100)] {
            assert!(!NAMES.has(name.as_bytes()), "{name}");
        }
        assert_eq!(NAMES.of_length(4), ["host", "via-"]);
    }
}
