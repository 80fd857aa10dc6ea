//! Work that can wait: threads that let others go first, which answer calls. Batches of usage, the spool, lines about calls,
//! large configurations.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

/// What work on many bytes does between two breaths, some ten microseconds' worth.
pub const AT_ONCE_BYTES: usize = 64 * 1024;
/// The niceness of a thread that gives way: it has a tenth of a processor that another keeps busy (sched(7)).
pub const GIVES_WAY_NICE: i32 = 10;

/// How long a thread that gives way works at once, and then rests: most of the time it works, when others leave it any.
const WORK_AT_ONCE: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_micros(50);

thread_local! {
    /// Of a thread that gives way.
    static WORKS_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread lets others go first that answer calls: called first thing in one whose work can wait. There is no way
/// back without a privilege, so that it is for threads that do nothing else.
pub fn give_way() {
    // Linux keeps this value for each thread; where it is refused, all go on as equals.
    let _ = rustix::process::nice(GIVES_WAY_NICE);
    WORKS_SINCE.set(Some(Instant::now()));
}

/// Called again and again in long work: a thread that gives way rests for a moment, if it has worked for a while; others go on.
/// Niceness alone says how much of a processor a thread has, and not when: one that wakes up to answer a call waits until this one
/// sleeps or is interrupted, some milliseconds (Linux 6.6 and later, sched-eevdf). Whether it rested.
pub fn breathe() -> bool {
    let is_long = WORKS_SINCE.get().is_some_and(|since| since.elapsed() >= WORK_AT_ONCE);
    if is_long {
        thread::sleep(REST);
        WORKS_SINCE.set(Some(Instant::now()));
    }
    is_long
}

/// Does work; where it is long, on a thread of its own that gives way, if the system has one to give.
///
/// # Panics
/// Where the work does.
pub fn giving_way<T: Send>(is_long: bool, mut work: impl FnMut() -> T + Send) -> T {
    let done = is_long.then(|| {
        thread::scope(|scope| {
            let aside = || {
                give_way();
                work()
            };
            let thread = thread::Builder::new().name("gives way".into()).spawn_scoped(scope, aside);
            thread.ok().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    });
    done.flatten().unwrap_or_else(work)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_gives_way_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let given = std::thread::spawn(move || {
            give_way();
            nice()
        });
        let low = (before + GIVES_WAY_NICE).min(19);
        assert_eq!((given.join().unwrap(), giving_way(true, nice)), (low, low));
        assert_eq!((giving_way(false, nice), nice()), (before, before));
    }

    #[test]
    fn who_gives_way_rests_now_and_then_and_others_never() {
        let rests = || {
            let end = Instant::now() + 20 * WORK_AT_ONCE;
            std::iter::from_fn(|| (Instant::now() < end).then(breathe)).filter(|rested| *rested).count()
        };
        assert_eq!(rests(), 0);
        let given = std::thread::spawn(move || {
            give_way();
            (breathe(), rests())
        });
        let (at_once, later) = given.join().unwrap();
        assert!(!at_once && later > 0, "{at_once}, {later}");
    }
}
