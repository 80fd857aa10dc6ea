//! A breaker: after a failure nothing is asked for a while, longer with each, so that a store that is away costs its callers
//! no wait. Next: `redis/link.rs` and `wallet.rs` stand behind one each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The first pause after a failure; doubled with each.
pub const BREAKER_MIN_MS: u64 = 50;
/// The longest pause.
pub const BREAKER_MAX_MS: u64 = 1_000;

/// Whether to ask.
pub(super) struct Breaker {
    start: Instant,
    open_until_ms: AtomicU64,
    pause_ms: AtomicU64,
}

impl Breaker {
    /// One that lets everything pass.
    pub(super) fn new() -> Self {
        let (open_until_ms, pause_ms) = (AtomicU64::new(0), AtomicU64::new(BREAKER_MIN_MS));
        Self { start: Instant::now(), open_until_ms, pause_ms }
    }

    /// Milliseconds since it was made; only goes forward.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether nothing is to be asked now.
    pub(super) fn is_open(&self) -> bool {
        self.now_ms() < self.open_until_ms.load(Relaxed)
    }

    /// There was an answer.
    pub(super) fn answered(&self) {
        self.pause_ms.store(BREAKER_MIN_MS, Relaxed);
    }

    /// There was none.
    pub(super) fn failed(&self) {
        let pause_ms = self.pause_ms.load(Relaxed);
        self.pause_ms.store(pause_ms.saturating_mul(2).min(BREAKER_MAX_MS), Relaxed);
        self.open_until_ms.store(self.now_ms().saturating_add(pause_ms), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_an_answer_ends_that() {
        let breaker = Breaker::new();
        assert!(!breaker.is_open());
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                let pause_ms = breaker.pause_ms.load(Relaxed);
                breaker.failed();
                assert!(breaker.is_open());
                pause_ms
            })
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        breaker.answered();
        assert_eq!(breaker.pause_ms.load(Relaxed), BREAKER_MIN_MS);
    }
}
