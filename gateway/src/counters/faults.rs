//! Counters of the tests: the pure state machine behind a lock, with a clock that is set, and faults on request. Next: the
//! conformance suite compares stores with it, and the lease book's histories run over it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use apiclay_config::clock::Clock;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Close, Counters, CountersError, Grant, GrantRequest};
use crate::limits::counter::{Ask, CounterState, Decision};
use crate::limits::windows::Window;

/// The only generation: a model loses nothing.
pub(crate) const GENERATION: u64 = 1;

/// The model, and what goes wrong with it.
pub(crate) struct ModelCounters {
    pub(crate) clock: Clock,
    pub(crate) state: Mutex<BTreeMap<(String, i64), CounterState>>,
    /// Requests that are decided while their answer is lost.
    pub(crate) lose_answers: AtomicU64,
    /// Requests that never arrive.
    pub(crate) lose_requests: AtomicU64,
    pub(crate) grants: AtomicU64,
}

impl ModelCounters {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            lose_answers: AtomicU64::new(0),
            lose_requests: AtomicU64::new(0),
            grants: AtomicU64::new(0),
        }
    }

    /// Units out of a counter, over all its windows.
    pub(crate) fn granted(&self, key: &str) -> u64 {
        self.state.lock().iter().filter(|((k, _), _)| k == key).map(|(_, s)| s.granted).sum()
    }

    fn fails(count: &AtomicU64) -> bool {
        count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
    }

    fn closes(state: &mut BTreeMap<(String, i64), CounterState>, key: &str, closes: &[Close]) {
        for close in closes {
            if let Some(counter) = state.get_mut(&(key.to_owned(), close.window)) {
                counter.close(close);
            }
        }
    }
}

#[async_trait]
impl Counters for ModelCounters {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        if Self::fails(&self.lose_requests) {
            return Err(CountersError::Unavailable(None));
        }
        self.grants.fetch_add(1, SeqCst);
        let now = self.clock.now();
        let window = Window::of(&request.key, request.window, now);
        let (decision, granted) = {
            let mut state = self.state.lock();
            Self::closes(&mut state, &request.key, &request.closes);
            let counter = state.entry((request.key.clone(), window.id)).or_default();
            let ask = Ask { lease: &request.lease, max: request.max, hard: request.hard, want: request.want };
            (counter.grant(&ask), counter.granted)
        };
        if Self::fails(&self.lose_answers) {
            return Err(CountersError::Unavailable(None));
        }
        match decision {
            Decision::Stale => Err(CountersError::Stale(request.lease.clone())),
            Decision::Same(units) | Decision::Fresh(units) => Ok(Grant {
                window: window.id,
                units,
                remaining: request.max.saturating_sub(granted),
                ends_in_ms: window.ends_in_ms(now),
                generation: GENERATION,
            }),
        }
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        if Self::fails(&self.lose_requests) {
            return Err(CountersError::Unavailable(None));
        }
        Self::closes(&mut self.state.lock(), key, closes);
        if Self::fails(&self.lose_answers) {
            return Err(CountersError::Unavailable(None));
        }
        Ok(GENERATION)
    }

    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        Ok(self.state.lock().values_mut().map(|counter| counter.forget(gateway)).sum())
    }

    async fn ping(&self) -> Result<(), CountersError> {
        Ok(())
    }
}
