//! The thread of batches: packs thousands of calls and waits for the disk, and gives way meanwhile to those that answer calls. None
//! of a pool could: it would keep its low priority. The sender gives it one step after the other.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, SendError};

use apiclay_config::background::give_way;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

type Step = Box<dyn FnOnce() + Send>;

/// Ends when it is dropped and its last step is done.
pub struct BatchThread(mpsc::Sender<Step>);

impl BatchThread {
    /// Starts it. Where the system gives no thread, the runtime's pool has to do.
    pub fn start() -> Self {
        let (sender, steps) = mpsc::channel::<Step>();
        let work = move || {
            give_way();
            for step in steps {
                // Who sent it hears of it; the next step is another's.
                let _ = catch_unwind(AssertUnwindSafe(step));
            }
        };
        if let Err(failed) = std::thread::Builder::new().name("batches".into()).spawn(work) {
            tracing::warn!(error = %failed, "no thread for usage batches alone: raise the limit on processes");
        }
        Self(sender)
    }

    /// Runs a step; one that is urgent on a thread of the runtime's pool, which gives way to nobody. Should this future be
    /// dropped, the step still comes to its end.
    ///
    /// # Errors
    /// When the step panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        is_urgent: bool,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, hear) = oneshot::channel();
        // Nobody hears of it where this future was dropped.
        let step: Step = Box::new(move || drop(done.send(step())));
        if is_urgent {
            spawn_blocking(step);
        } else if let Err(SendError(step)) = self.0.send(step) {
            spawn_blocking(step);
        }
        hear.await.map_err(|_| io::Error::other("a step of the thread of batches panicked"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use std::sync::Arc;

    use apiclay_config::background::GIVES_WAY_NICE;
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn what_is_not_urgent_gives_way_and_a_panic_is_heard() {
        let nice = || getpriority_process(None).unwrap();
        let thread = BatchThread::start();
        assert_eq!(thread.run(false, nice).await.unwrap(), (nice() + GIVES_WAY_NICE).min(19));
        assert_eq!(thread.run(true, nice).await.unwrap(), nice());
        assert!(thread.run(false, || assert_eq!(1, 2)).await.is_err());
        let held = Arc::new(());
        let step = {
            let held = Arc::clone(&held);
            move || Arc::strong_count(&held)
        };
        assert_eq!(thread.run(false, step).await.unwrap(), 2);
        assert_eq!(Arc::strong_count(&held), 1, "a step that is heard of holds nothing any more");
    }
}
