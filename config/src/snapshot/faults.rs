//! What is wrong with a snapshot: every part that is at fault, and the first faults in words. Words for all would grow with the
//! subscribers of one plan. Next: `validate.rs` says what is wrong.

use std::collections::HashSet;
use std::fmt;

use super::Part;

/// Faults put into words at most.
const SHOWN_MAX: usize = 20;

/// One rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct Fault {
    /// The part that cannot be served for it; none where not even that could be read.
    pub part: Option<Part>,
    /// The thing's kind and id.
    pub place: String,
    /// What it breaks.
    pub rule: String,
}

/// All that is wrong with a snapshot.
#[derive(Debug, Default)]
pub struct Faults {
    pub(super) shown: Vec<Fault>,
    count: usize,
    parts: HashSet<Option<Part>>,
}

impl Faults {
    /// A rule that `part` breaks.
    pub fn add(&mut self, part: Part, rule: impl Into<String>) {
        self.add_at(part, &part, rule);
    }

    /// A rule that a part breaks at a place of it.
    pub fn add_at(
        &mut self,
        part: impl Into<Option<Part>>,
        place: &dyn fmt::Display,
        rule: impl Into<String>,
    ) {
        let part = part.into();
        // Those of the whole gateway are few, and every call's.
        if self.shown.len() < SHOWN_MAX || part == Some(Part::Everywhere) {
            self.shown.push(Fault { part, place: place.to_string(), rule: rule.into() });
        }
        self.count += 1;
        self.parts.insert(part);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether `part` is at fault.
    #[must_use]
    pub fn are_of(&self, part: Part) -> bool {
        self.parts.contains(&Some(part))
    }

    /// The parts that are at fault, in no order.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.iter().copied().flatten()
    }

    /// How many parts of each of [`Part::KINDS`] are at fault.
    #[must_use]
    pub fn by_kind(&self) -> [u32; Part::KINDS.len()] {
        let mut by_kind = [0_u32; Part::KINDS.len()];
        for part in &self.parts {
            let of_kind = &mut by_kind[Part::kind(*part)];
            *of_kind = of_kind.saturating_add(1);
        }
        by_kind
    }
}

/// The first, and how many more there are.
impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.shown.iter().enumerate() {
            write!(out, "{}{fault}", if n == 0 { "" } else { "; " })?;
        }
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(out, "; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ListingId, SubscriptionId};

    #[test]
    fn a_part_is_counted_once_and_words_are_few_however_much_is_wrong() {
        let mut faults = Faults::default();
        let listing = Part::Listing(ListingId::from_u128(1));
        faults.add(listing, "one rule");
        faults.add_at(listing, &"a route", "another");
        faults.add_at(None, &"snapshot", "it is not understood");
        assert_eq!(
            faults.to_string(),
            format!("{listing}: one rule; a route: another; snapshot: it is not understood")
        );
        for number in 0..1_000 {
            faults.add(Part::Subscription(SubscriptionId::from_u128(number)), "its plan is not there");
        }
        assert_eq!(faults.by_kind(), [0, 1, 0, 1_000, 0, 1]);
        assert_eq!((faults.len(), faults.shown.len()), (1_003, SHOWN_MAX));
        assert!(faults.to_string().ends_with("; and 983 more"), "{faults}");
        assert!(faults.are_of(listing) && !faults.are_of(Part::Everywhere));
        faults.add(Part::Everywhere, "no such plugin");
        assert!(faults.to_string().ends_with("gateway: no such plugin; and 983 more"), "{faults}");
    }
}
