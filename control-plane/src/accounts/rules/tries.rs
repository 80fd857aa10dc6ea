//! Passwords tried for one account: how many were wrong of late, and how many are being looked at.
//!
//! A try takes its place before the password is looked at, and is judged when it was: only a wrong one is counted. Places
//! taken and wrong ones together are never more than may be wrong, so that of many at once none is tried beyond the limit,
//! on whichever control plane; and right ones at once wait for a place and shut nobody out. A place that nobody gives back
//! (its control plane is gone) ends by itself, and then a verdict on it is told to nobody: what is told was counted.

use apiclay_config::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::count::Count;

/// Wrong passwords within the guard's window; more are not looked at.
pub(super) const WRONG_MAX: u32 = 20;
/// A place ends after so long: well over the time that any answer may take, and clocks of control planes may differ.
const PLACE_MS: i64 = 120_000;

/// A password that is being looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    id: String,
    ends_at: Timestamp,
}

/// What is known about an account's passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tries {
    wrong: Count,
    places: Vec<Place>,
}

/// Whether another password may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It may.
    Free,
    /// As soon as one that is being looked at is judged.
    Full,
    /// Too many were wrong; not until then.
    Shut(Timestamp),
}

impl Tries {
    /// Whether another password may be looked at now.
    #[must_use]
    pub fn room_at(&self, now: Timestamp) -> Room {
        let wrong = self.wrong.at(now);
        let taken = self.places.iter().filter(|place| now < place.ends_at).count();
        if wrong >= WRONG_MAX {
            Room::Shut(self.wrong.ends_at())
        } else if wrong as usize + taken >= WRONG_MAX as usize {
            Room::Full
        } else {
            Room::Free
        }
    }

    /// Takes a place under this id, where there is one.
    pub fn begin(&mut self, id: &str, now: Timestamp) -> Room {
        let room = self.room_at(now);
        if room == Room::Free {
            self.places.retain(|place| now < place.ends_at);
            self.places.push(Place { id: id.to_owned(), ends_at: now.plus_ms(PLACE_MS) });
        }
        room
    }

    /// Gives the place of this id back, and counts what was wrong; `false` where it had ended, so that the verdict must not
    /// be told.
    pub fn end(&mut self, id: &str, wrong: bool, now: Timestamp) -> bool {
        let held = self.places.iter().any(|place| place.id == id && now < place.ends_at);
        self.places.retain(|place| place.id != id && now < place.ends_at);
        if wrong {
            self.wrong.add(now);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    const WINDOW_MS: i64 = 15 * 60_000;

    fn full() -> Tries {
        let mut tries = Tries::default();
        for n in 0..WRONG_MAX {
            assert_eq!(tries.begin(&n.to_string(), NOW), Room::Free);
        }
        assert_eq!(tries.begin("more", NOW), Room::Full);
        tries
    }

    #[test]
    fn only_wrong_ones_are_counted_and_those_under_way_keep_their_place() {
        let mut tries = full();
        for n in 0..WRONG_MAX - 1 {
            assert!(tries.end(&n.to_string(), true, NOW));
            assert_eq!(tries.room_at(NOW), Room::Full, "{n} are wrong, the others under way");
        }
        assert!(tries.end("19", false, NOW));
        assert_eq!(tries.begin("20", NOW), Room::Free);
        assert!(tries.end("20", false, NOW));
        assert_eq!(tries.begin("21", NOW), Room::Free);
        assert!(tries.end("21", true, NOW));
        let until = NOW.plus_ms(WINDOW_MS);
        assert_eq!(tries.begin("22", NOW), Room::Shut(until));
        assert_eq!(tries.begin("22", until), Room::Free);
    }

    #[test]
    fn right_ones_at_once_shut_nobody_out() {
        let mut tries = full();
        for n in 0..WRONG_MAX {
            assert!(tries.end(&n.to_string(), false, NOW));
        }
        assert_eq!(tries, Tries::default());
    }

    #[test]
    fn a_place_that_nobody_gives_back_ends_and_its_verdict_is_told_to_nobody() {
        let mut tries = full();
        let later = NOW.plus_ms(PLACE_MS);
        assert_eq!(tries.room_at(later.plus_ms(-1)), Room::Full);
        assert_eq!(tries.begin("20", later), Room::Free);
        assert!(!tries.end("0", false, later));
        assert!(!tries.end("1", true, later), "and counted all the same");
        assert!(tries.end("20", false, later));
        for n in 0..WRONG_MAX - 1 {
            assert_eq!(tries.begin(&n.to_string(), later), Room::Free);
        }
        assert_eq!(tries.begin("more", later), Room::Full);
    }
}
