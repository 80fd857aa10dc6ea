//! A counter store that is asked again while it does not answer, for checks of what it answers: on a busy machine an answer
//! may come after the deadline, which is the deadline's own test's business. Asked again under the same names it must say the
//! same, so that this hides no wrong answer; it rather asks some twice.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::counters::{Close, Counters, CountersError, Grant, GrantRequest};

/// For so long it is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before, longer than most of the breaker's.
const PAUSE: Duration = Duration::from_millis(60);

pub(super) struct Patient<C>(pub(super) C);

/// A macro, because a closure that borrows across an await cannot be said to be `Send`.
macro_rules! patiently {
    ($ask:expr, $passing:pat) => {{
        let begun = Instant::now();
        loop {
            match $ask.await {
                Err($passing) if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }};
}

#[async_trait]
impl<C: Counters> Counters for Patient<C> {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        patiently!(self.0.grant(request), CountersError::Unavailable(_))
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        patiently!(self.0.close(key, closes), CountersError::Unavailable(_))
    }

    /// The figure is told once: only what was never sent is sent again.
    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        patiently!(self.0.forget(gateway), CountersError::Unavailable(None))
    }

    async fn ping(&self) -> Result<(), CountersError> {
        patiently!(self.0.ping(), CountersError::Unavailable(_))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_silent_for_a_while_is_asked_again_and_says_the_same() {
    let server = super::RedisServer::start();
    let patient = Patient(server.counters(true));
    let ask = super::request("silent", 100, 10);
    let first = patient.grant(&ask).await.unwrap();
    // The client's deadline passes several times while the server is busy; then it has all of them to answer.
    let pause_ms = 2_000;
    server.command(&["CLIENT", "PAUSE", &pause_ms.to_string(), "ALL"]);
    let begun = Instant::now();
    let again = patient.grant(&ask).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(pause_ms / 2), "the server was not silent");
    assert_eq!((again.units, again.remaining), (first.units, first.remaining));
    let next = patient.grant(&super::request("silent", 100, 10)).await.unwrap();
    assert_eq!((next.units, next.remaining), (10, 80));
}
