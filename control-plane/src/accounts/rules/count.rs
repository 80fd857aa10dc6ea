//! The count of something within a quarter of an hour: codes sent (`guard`), wrong passwords (`tries`).

use apiclay_config::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a count holds from its first.
pub(super) const WINDOW_MS: i64 = 15 * 60_000;

/// The count of something within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Count {
    count: u32,
    ends_at: Timestamp,
}

impl Count {
    pub(super) fn at(self, now: Timestamp) -> u32 {
        if now < self.ends_at { self.count } else { 0 }
    }

    pub(super) fn ends_at(self) -> Timestamp {
        self.ends_at
    }

    pub(super) fn add(&mut self, now: Timestamp) {
        if now >= self.ends_at {
            *self = Self { count: 0, ends_at: now.plus_ms(WINDOW_MS) };
        }
        self.count = self.count.saturating_add(1);
    }
}
