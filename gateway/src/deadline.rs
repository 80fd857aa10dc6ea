//! Waits with an end, without a timer for each: those that begin on a thread stand in one list, which a task looks through now and
//! then and wakes those whose time is over. What is ready at once never gets there. An end comes late by [`SWEEP_INTERVAL_MS`] and
//! what the thread does meanwhile. A thread's runtimes follow each other: waits of two that run by turns would have one task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a list is looked through.
const SWEEP_INTERVAL_MS: u64 = 100;

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

/// Where a wait stands.
#[derive(Clone, Copy)]
struct Place {
    waits: &'static Mutex<Waits>,
    index: usize,
    /// Places are used again; a number of its own tells a wait from the next one there.
    number: u64,
}

struct Wait {
    at: Instant,
    number: u64,
    waker: Waker,
}

#[derive(Default)]
struct Waits {
    waits: Vec<Option<Wait>>,
    free: Vec<usize>,
    next_number: u64,
    /// No wait ends before.
    earliest: Option<Instant>,
    /// A task looks it through.
    swept: bool,
}

thread_local! {
    /// The thread's own, so that its lock is free nearly always. It outlives the thread: a wait may go on elsewhere.
    static WAITS: &'static Mutex<Waits> = Box::leak(Box::default());
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = Pin::new(&mut self.future).poll(task) {
            return Poll::Ready(Ok(output));
        }
        match self.place {
            Some(place) if place.waits.lock().stands(place, task.waker()) => Poll::Pending,
            // The list knows it no more: its time is over.
            Some(_) => Poll::Ready(Err(Elapsed)),
            None => {
                let at = match self.end {
                    End::At(at) => at,
                    End::In(time) => Instant::now() + time,
                };
                self.place = Some(stand(at, task.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<F> Within<F> {
    /// Whether it had to wait.
    pub const fn has_waited(&self) -> bool {
        self.place.is_some()
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.waits.lock().remove(place);
        }
    }
}

fn stand(at: Instant, waker: Waker) -> Place {
    let waits = WAITS.with(|waits| *waits);
    let mut list = waits.lock();
    let (index, number) = list.push(at, waker);
    let begins = !std::mem::replace(&mut list.swept, true);
    // A runtime that ends drops what is spawned at once, which takes the lock.
    drop(list);
    if begins {
        tokio::spawn(sweep(Sweeper(waits)));
    }
    Place { waits, index, number }
}

/// Who looks a list through: when he goes, be it with his runtime, the next wait there brings another.
struct Sweeper(&'static Mutex<Waits>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.lock().swept = false;
    }
}

/// Looks the list through as long as something stands in it.
async fn sweep(sweeper: Sweeper) {
    loop {
        tokio::time::sleep(Duration::from_millis(SWEEP_INTERVAL_MS)).await;
        let over = sweeper.0.lock().take_over(Instant::now());
        over.into_iter().for_each(Waker::wake);
        let mut list = sweeper.0.lock();
        if list.free.len() == list.waits.len() {
            // The room of a peak is not kept.
            (list.waits, list.free) = (Vec::new(), Vec::new());
            // Said under the lock: whoever stands there next finds it so.
            list.swept = false;
            drop(list);
            std::mem::forget(sweeper);
            return;
        }
    }
}

impl Waits {
    fn push(&mut self, at: Instant, waker: Waker) -> (usize, u64) {
        self.next_number += 1;
        let number = self.next_number;
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        let wait = Some(Wait { at, number, waker });
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
        (index, number)
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
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return over;
        }
        for (index, wait) in self.waits.iter_mut().enumerate() {
            if let Some(ended) = wait.take_if(|wait| wait.at <= now) {
                self.free.push(index);
                over.push(ended.waker);
            }
        }
        self.earliest = self.waits.iter().flatten().map(|wait| wait.at).min();
        over
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn waiting() -> usize {
        WAITS.with(|waits| {
            let list = waits.lock();
            list.waits.len() - list.free.len()
        })
    }

    #[tokio::test]
    async fn what_is_ready_waits_for_nothing_and_what_is_not_has_its_end() {
        let mut ready = within(Duration::ZERO, std::future::ready(7));
        assert_eq!(((&mut ready).await, ready.has_waited(), waiting()), (Ok(7), false, 0));
        let begun = Instant::now();
        let mut long = within(Duration::from_millis(150), std::future::pending::<()>());
        assert_eq!(((&mut long).await, long.has_waited()), (Err(Elapsed), true));
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
        assert_eq!(WAITS.with(|waits| waits.lock().waits.len()), 2, "a place was not used again");
        tell.send(3).unwrap();
        assert_eq!(third.await.unwrap(), Ok(Ok(3)));
        assert_eq!(waiting(), 1);
        assert!(futures_util::poll!(&mut first).is_pending());
    }

    #[test]
    fn a_thread_whose_runtime_went_is_served_by_the_next() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let ended = runtime.block_on(async {
                let _left = tokio::spawn(within(Duration::from_secs(60), std::future::pending::<()>()));
                let short = within(Duration::from_millis(10), std::future::pending::<()>());
                tokio::time::timeout(Duration::from_secs(5), short).await
            });
            assert_eq!(ended.unwrap(), Err(Elapsed));
        }
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
