//! When the control plane was last heard: each piece of the configuration stream is a word of its, heartbeats among them. Next:
//! the leases on wallets, which serve on beyond their time while nobody would grant others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Three heartbeats: the control plane is believed to be there for so long after its last word.
const HEARD_LATELY_MS: u64 = 3_000;

/// When the control plane was last heard, for whoever must know without asking.
#[derive(Clone)]
pub(super) struct LastHeard {
    since: Instant,
    /// Milliseconds from then; 0 where the stream is broken.
    at_ms: Arc<AtomicU64>,
}

impl LastHeard {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), at_ms: Arc::new(AtomicU64::new(0)) }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn note(&self) {
        self.at_ms.store(self.now_ms().max(1), Relaxed);
    }

    pub(super) fn note_broken(&self) {
        self.at_ms.store(0, Relaxed);
    }

    /// Whether it was heard within the time of some heartbeats.
    pub(super) fn is_lately(&self) -> bool {
        let at_ms = self.at_ms.load(Relaxed);
        at_ms > 0 && self.now_ms().saturating_sub(at_ms) <= HEARD_LATELY_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_believed_until_the_stream_breaks_or_falls_silent() {
        let heard = LastHeard::new();
        assert!(!heard.is_lately());
        heard.note();
        assert!(heard.is_lately());
        heard.note_broken();
        assert!(!heard.is_lately());
        let silent =
            Instant::now().checked_sub(std::time::Duration::from_millis(HEARD_LATELY_MS + 2)).unwrap();
        let heard = LastHeard { since: silent, at_ms: Arc::new(AtomicU64::new(1)) };
        assert!(!heard.is_lately());
    }
}
