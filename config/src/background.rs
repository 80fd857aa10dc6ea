//! Work that can wait: threads that let others go first, which answer calls. Batches of usage, the spool, lines about calls,
//! large configurations.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

/// What work on many bytes does between two breaths: some ten microseconds' worth of most kinds.
pub const AT_ONCE_BYTES: usize = 64 * 1024;
/// The niceness of a thread that gives way: it has a tenth of a processor that another keeps busy (sched(7)).
pub const GIVES_WAY_NICE: i32 = 10;
/// How long a thread that breathes works at once, and then rests.
const WORK: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_micros(50);
/// How long it works at once after a rest that took longer, since others kept the processor: it would fall behind otherwise.
const WORK_MAX: Duration = Duration::from_micros(250);

thread_local! {
    /// Of a thread that breathes: since when it has worked, and how long it will.
    static WORKS: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// This thread lets others go first that answer calls: called first thing in one whose work can wait. There is no way
/// back without a privilege, so that it is for threads that do nothing else. It breathes, too.
pub fn give_way() {
    // Linux keeps this value for each thread; where it is refused, all go on as equals.
    let _ = rustix::process::nice(GIVES_WAY_NICE);
    take_breaths();
}

/// From now on this thread rests when it comes by [`breathe`].
pub fn take_breaths() {
    WORKS.set(Some((Instant::now(), WORK)));
}

/// Called again and again in long work: a thread that takes breaths rests for a moment if its last one was a while ago, and others
/// go on. Niceness alone says how much of a processor a thread has, and not when: one that wakes up to answer a call waits until this
/// one sleeps or is interrupted, some milliseconds (Linux 6.6 and later, its sched-eevdf.rst). Whether it rested.
pub fn breathe() -> bool {
    let is_due = WORKS.get().is_some_and(|(since, work)| since.elapsed() >= work);
    if is_due {
        let begin = Instant::now();
        thread::sleep(REST);
        let end = Instant::now();
        WORKS.set(Some((end, (end - begin).clamp(WORK, WORK_MAX))));
    }
    is_due
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
        let end = Instant::now() + 10 * WORK_MAX;
        while Instant::now() < end {
            assert!(!breathe());
        }
        let rested = std::thread::spawn(|| {
            give_way();
            let end = Instant::now() + Duration::from_secs(10);
            std::iter::from_fn(|| (Instant::now() < end).then(breathe)).any(|rested| rested)
        });
        assert!(rested.join().unwrap());
    }
}
