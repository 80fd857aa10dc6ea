//! Rates by second and minute: GCRA (the virtual scheduling algorithm of ITU-T I.371) by the `governor` crate, burst = max.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use apiclay_config::snapshot::Window;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// A new one asks the processor what it is, which a virtual machine's host answers: 40 us.
static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

/// Compares the processor's clock with the machine's, which takes up to 200 ms: else the first call under a rate would wait for it.
pub fn set_clock() {
    LazyLock::force(&CLOCK);
}

/// Rates that a plan can have: one by second, one by minute.
pub const RATES_MAX: usize = 2;

/// One subscription's rate in one window, on this gateway. In this order, so that what a call reads stands together.
#[repr(C, align(64))]
pub struct Rate {
    /// The plan's maximum.
    pub max: u32,
    /// This gateway's share of it.
    pub share: u32,
    /// Second or minute.
    pub window: Window,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
}

/// What is left of a rate after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateView {
    /// Calls that may follow at once.
    pub remaining: u32,
}

impl Rate {
    /// `max` calls a window, shared by `live_gateways`; each gets one at least.
    #[must_use]
    pub fn new(window: Window, max: u32, live_gateways: u32) -> Option<Self> {
        let share = NonZeroU32::new(max.div_ceil(live_gateways.max(1)))?;
        let period = Duration::from_secs(seconds(window)?) / share.get();
        let quota = Quota::with_period(period)?.allow_burst(share);
        let clock = CLOCK.clone();
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Some(Self { window, max, share: share.get(), limiter, clock })
    }

    /// The same rate with another maximum or share: what was used of the old one is used of the new one, so that no change
    /// gives a fresh burst.
    #[must_use]
    pub fn succeeded_by(&self, max: u32, live_gateways: u32) -> Option<Self> {
        let next = Self::new(self.window, max, live_gateways)?;
        // Asking takes one; nobody asks this one again but calls that began before.
        let left = self.take().map_or(0, |view| view.remaining.saturating_add(1));
        let used = u64::from(self.share.saturating_sub(left)) * u64::from(next.share);
        let used = u32::try_from(used.div_ceil(u64::from(self.share.max(1)))).unwrap_or(u32::MAX);
        if let Some(used) = NonZeroU32::new(used.min(next.share)) {
            // At most the burst, which a new limiter has.
            let _ = next.limiter.check_n(used);
        }
        Some(next)
    }

    /// Reads what [`Self::take`] will read, so that the memory is on its way.
    pub fn touch(&self) {
        black_box(self.max);
    }

    /// Takes one call.
    ///
    /// # Errors
    /// How long until the next would be let through, in milliseconds.
    pub fn take(&self) -> Result<RateView, u64> {
        match self.limiter.check() {
            Ok(state) => Ok(RateView { remaining: state.remaining_burst_capacity() }),
            Err(not_yet) => {
                let wait = not_yet.wait_time_from(self.clock.now());
                Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// The length of a rate's window; `None` for windows that are counted from leases.
#[must_use]
pub const fn seconds(window: Window) -> Option<u64> {
    match window {
        Window::Second => Some(1),
        Window::Minute => Some(60),
        Window::Hour | Window::Day | Window::Month => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_its_burst_through_and_says_when_to_come_again() {
        let rate = Rate::new(Window::Minute, 6, 2).unwrap();
        for left in (0..3).rev() {
            assert_eq!(rate.take(), Ok(RateView { remaining: left }));
        }
        let wait_ms = rate.take().unwrap_err();
        assert!((15_000..=20_000).contains(&wait_ms), "{wait_ms}");
        assert!(Rate::new(Window::Day, 6, 1).is_none());
    }

    #[test]
    fn a_change_of_gateways_or_maximum_gives_no_fresh_burst() {
        let rate = Rate::new(Window::Minute, 10, 1).unwrap();
        for _ in 0..10 {
            rate.take().unwrap();
        }
        let halved = rate.succeeded_by(10, 2).unwrap();
        assert!(halved.take().is_err(), "5 more calls came with a second gateway");
        let whole = halved.succeeded_by(10, 1).unwrap();
        assert!(whole.take().is_err(), "10 more calls came when it left");

        let half_used = Rate::new(Window::Minute, 10, 1).unwrap();
        for _ in 0..5 {
            half_used.take().unwrap();
        }
        let raised = half_used.succeeded_by(20, 1).unwrap();
        assert_eq!((0..20).filter(|_| raised.take().is_ok()).count(), 10);
    }
}
