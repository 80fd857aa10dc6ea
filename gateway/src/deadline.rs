//! Waits with an end, without a timer for each: those of a thread stand in one list, which a task of that thread looks through now and
//! then and wakes those whose time is over. What is ready at once never gets there. An end comes late by at most [`SWEEP_INTERVAL_MS`].

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How often a thread looks for waits that are over.
const SWEEP_INTERVAL_MS: u64 = 100;
/// Bits of a wait's number below its thread's: more waits than a thread can have in a year.
const THREAD_SHIFT: u32 = 44;

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// What `future` comes to, unless that takes longer than `time` from its first wait on.
pub fn within<F: Future>(time: Duration, future: F) -> Within<F> {
    Within { future, end: End::In(time), place: None }
}

/// The same with an end that is known.
pub fn until<F: Future>(at: Instant, future: F) -> Within<F> {
    Within { future, end: End::At(at), place: None }
}

/// A wait with an end.
pub struct Within<F> {
    future: F,
    end: End,
    /// Where it stands in its thread's list, once it has had to wait.
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    In(Duration),
    At(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    index: usize,
    /// Places are used again; a number of its own tells a wait from the next one there.
    number: u64,
}

struct Wait {
    at: Instant,
    number: u64,
    waker: Waker,
}

struct Waits {
    waits: Vec<Option<Wait>>,
    free: Vec<usize>,
    /// No other thread has it.
    next_number: u64,
    /// A task looks it through.
    swept: bool,
}

static NEXT_THREAD: AtomicU64 = AtomicU64::new(0);
thread_local! {
    static WAITS: RefCell<Waits> = RefCell::new(Waits::of_thread(NEXT_THREAD.fetch_add(1, Relaxed)));
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = Pin::new(&mut self.future).poll(task) {
            return Poll::Ready(Ok(output));
        }
        let at = match self.end {
            End::At(at) => at,
            End::In(time) => {
                let at = Instant::now() + time;
                self.end = End::At(at);
                at
            }
        };
        let (place, begins) = WAITS.with_borrow_mut(|waits| match self.place {
            Some(place) if waits.stands(place, task.waker()) => (Some(place), false),
            // Woken by the end of its time; or on another thread than before, where it is one more.
            Some(_) if Instant::now() >= at => (None, false),
            _ => (Some(waits.push(at, task.waker().clone())), !std::mem::replace(&mut waits.swept, true)),
        });
        self.place = place;
        if begins {
            tokio::spawn(sweep());
        }
        if place.is_some() { Poll::Pending } else { Poll::Ready(Err(Elapsed)) }
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // A thread that ends has no list any more. On another thread's list it stands until its end.
            let _ = WAITS.try_with(|waits| waits.borrow_mut().remove(place));
        }
    }
}

/// Looks the thread's list through as long as something stands in it. Workers take no tasks from each other (`listen.rs`), so that
/// this one stays with its list.
async fn sweep() {
    loop {
        tokio::time::sleep(Duration::from_millis(SWEEP_INTERVAL_MS)).await;
        let over = WAITS.with_borrow_mut(|waits| waits.take_over(Instant::now()));
        over.into_iter().for_each(Waker::wake);
        let ends = WAITS.with_borrow_mut(|waits| {
            waits.swept = waits.free.len() < waits.waits.len();
            !waits.swept
        });
        if ends {
            return;
        }
    }
}

impl Waits {
    fn of_thread(thread: u64) -> Self {
        Self { waits: Vec::new(), free: Vec::new(), next_number: thread << THREAD_SHIFT, swept: false }
    }

    fn push(&mut self, at: Instant, waker: Waker) -> Place {
        self.next_number += 1;
        let wait = Some(Wait { at, number: self.next_number, waker });
        let index = match self.free.pop() {
            Some(index) => {
                self.waits[index] = wait;
                index
            }
            None => {
                self.waits.push(wait);
                self.waits.len() - 1
            }
        };
        Place { index, number: self.next_number }
    }

    /// Whether it stands there still; then `waker` is whom to wake.
    fn stands(&mut self, place: Place, waker: &Waker) -> bool {
        match self.waits.get_mut(place.index) {
            Some(Some(wait)) if wait.number == place.number => {
                wait.waker.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, place: Place) {
        if let Some(wait) = self.waits.get_mut(place.index)
            && wait.as_ref().is_some_and(|wait| wait.number == place.number)
        {
            *wait = None;
            self.free.push(place.index);
        }
    }

    fn take_over(&mut self, now: Instant) -> Vec<Waker> {
        let mut over = Vec::new();
        for (index, wait) in self.waits.iter_mut().enumerate() {
            if let Some(ended) = wait.take_if(|wait| wait.at <= now) {
                self.free.push(index);
                over.push(ended.waker);
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn waiting() -> usize {
        WAITS.with_borrow(|waits| waits.waits.len() - waits.free.len())
    }

    #[tokio::test]
    async fn what_is_ready_waits_for_nothing_and_what_is_not_has_its_end() {
        let ready = within(Duration::ZERO, std::future::ready(7)).await;
        assert_eq!((ready, waiting()), (Ok(7), 0));
        let begun = Instant::now();
        let ended = within(Duration::from_millis(150), std::future::pending::<()>()).await;
        assert_eq!(ended, Err(Elapsed));
        assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
        assert_eq!(waiting(), 0);
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_or_served_leaves_its_place_to_the_next() {
        let mut first = pin!(within(Duration::from_secs(60), std::future::pending::<()>()));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = Box::pin(within(Duration::from_secs(60), std::future::pending::<()>()));
        let mut second = second;
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(waiting(), 2);
        drop(second);
        assert_eq!(waiting(), 1);
        let (tell, told) = tokio::sync::oneshot::channel();
        let third = tokio::spawn(within(Duration::from_secs(60), told));
        tokio::task::yield_now().await;
        assert_eq!(WAITS.with_borrow(|waits| waits.waits.len()), 2, "a place was not used again");
        tell.send(3).unwrap();
        assert_eq!(third.await.unwrap(), Ok(Ok(3)));
        assert_eq!(waiting(), 1);
        assert!(futures_util::poll!(&mut first).is_pending());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_wait_ends_on_whichever_thread_it_is() {
        let waits = (0..200u64).map(|n| {
            tokio::spawn(async move {
                let napping = Box::pin(async {
                    for _ in 0..3 {
                        tokio::time::sleep(Duration::from_millis(n % 7)).await;
                        tokio::task::yield_now().await;
                    }
                    std::future::pending::<()>().await;
                });
                within(Duration::from_millis(50 + n), napping).await
            })
        });
        for wait in waits.collect::<Vec<_>>() {
            let ended = tokio::time::timeout(Duration::from_secs(5), wait).await;
            assert_eq!(ended.unwrap().unwrap(), Err(Elapsed));
        }
    }
}
