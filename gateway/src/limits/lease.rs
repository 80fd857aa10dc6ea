//! A lease at the gateway as a state machine, pure: a word a lease, in the mapped lease table. The other half of a limit is
//! the counter at the store (`counter.rs`). Next: `slot.rs`, `table.rs`.

/// Units one lease can have.
pub const LEASE_MAX_UNITS: u32 = FREE;
const FROZEN: u32 = 1 << 31;
const CLOSED: u32 = 1 << 30;
const FREE: u32 = CLOSED - 1;

/// A lease at the gateway as one word that is compared and swapped: its serial, so that a word of another lease in the same
/// place is never taken for it; its free units; and how far it is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseWord(pub u64);

impl LeaseWord {
    /// An open lease with this many free units.
    #[must_use]
    pub fn open(serial: u32, free: u32) -> Self {
        Self(u64::from(serial) << 32 | u64::from(free.min(FREE)))
    }

    /// The lease's number at the gateway; 0 where there is none.
    #[must_use]
    pub fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Units that no call has.
    #[must_use]
    pub fn free(self) -> u32 {
        self.0 as u32 & FREE
    }

    /// Being closed: its free units are on their way to the store and nobody may take them.
    #[must_use]
    pub fn is_frozen(self) -> bool {
        self.0 as u32 & FROZEN != 0
    }

    /// Closed at the store: what is free was given back by calls afterwards, and counts as spent at the store.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.0 as u32 & CLOSED != 0
    }

    /// Less so many free units, at least one; `None` where they cannot be taken.
    #[must_use]
    pub fn take(self, units: u32) -> Option<Self> {
        (!self.is_frozen() && units > 0 && self.free() >= units).then(|| Self(self.0 - u64::from(units)))
    }

    /// With so many free units more; `None` while it is frozen.
    #[must_use]
    pub fn give_back(self, units: u32) -> Option<Self> {
        (!self.is_frozen() && units <= FREE - self.free()).then(|| Self(self.0 + u64::from(units)))
    }

    /// Frozen; `None` where it is frozen or closed.
    #[must_use]
    pub fn freeze(self) -> Option<Self> {
        (!self.is_frozen() && !self.is_closed()).then(|| Self(self.0 | u64::from(FROZEN)))
    }

    /// Closed, with the units that calls gave back in the meantime.
    #[must_use]
    pub fn closed(self, given_back: u32) -> Self {
        Self(u64::from(self.serial()) << 32 | u64::from(CLOSED | given_back.min(FREE)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_word_gives_and_takes_nothing() {
        let word = LeaseWord::open(7, 4);
        assert_eq!((word.take(5), word.take(0)), (None, None));
        let frozen = word.take(3).unwrap().freeze().unwrap();
        assert_eq!((frozen.serial(), frozen.free()), (7, 1));
        assert_eq!((frozen.take(1), frozen.give_back(1), frozen.freeze()), (None, None, None));
        let closed = frozen.closed(1);
        assert_eq!(closed.take(1).map(LeaseWord::free), Some(0));
        assert_eq!(closed.freeze(), None);
    }
}
