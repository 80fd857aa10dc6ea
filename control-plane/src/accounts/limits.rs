//! How often one network address may sign up, try to sign in, or invite. In memory, by each control plane for itself: what
//! must hold across all of them is counted by the guard of each account (`rules::guard`).

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::http::PeerAddress;
use crate::http::problem::{Code, Problem};

// Each `unwrap` is evaluated by the compiler: a zero here would not build, so none can fail in a process.

/// Sign-ups from one address: at once, and then one every so often.
const SIGN_UPS_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
const SIGN_UPS_PER_HOUR: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Attempts to sign in from one address, codes by mail included.
const SIGN_INS_BURST: NonZeroU32 = NonZeroU32::new(30).unwrap();
const SIGN_INS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Invitations sent from one address: each is a letter to whomever.
const INVITATIONS_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
const INVITATIONS_PER_HOUR: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// The limits, or none in a demo.
pub struct AddressLimits(Option<Limiters>);

struct Limiters {
    sign_up: DefaultKeyedRateLimiter<IpAddr>,
    sign_in: DefaultKeyedRateLimiter<IpAddr>,
    invite: DefaultKeyedRateLimiter<IpAddr>,
}

impl AddressLimits {
    /// The limits.
    #[must_use]
    pub fn on() -> Self {
        let sign_up = Quota::per_hour(SIGN_UPS_PER_HOUR).allow_burst(SIGN_UPS_BURST);
        let sign_in = Quota::per_minute(SIGN_INS_PER_MINUTE).allow_burst(SIGN_INS_BURST);
        let invite = Quota::per_hour(INVITATIONS_PER_HOUR).allow_burst(INVITATIONS_BURST);
        Self(Some(Limiters {
            sign_up: DefaultKeyedRateLimiter::keyed(sign_up),
            sign_in: DefaultKeyedRateLimiter::keyed(sign_in),
            invite: DefaultKeyedRateLimiter::keyed(invite),
        }))
    }

    /// No limits.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Whether limits hold, for those that are counted elsewhere.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts a sign-up.
    ///
    /// # Errors
    /// 429 where there were too many.
    pub fn sign_up(&self, from: PeerAddress) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |limiters| check(&limiters.sign_up, from))
    }

    /// Counts an attempt to sign in.
    ///
    /// # Errors
    /// 429 where there were too many.
    pub fn sign_in(&self, from: PeerAddress) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |limiters| check(&limiters.sign_in, from))
    }

    /// Counts an invitation.
    ///
    /// # Errors
    /// 429 where there were too many.
    pub fn invite(&self, from: PeerAddress) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |limiters| check(&limiters.invite, from))
    }

    /// Forgets addresses that have all their units back.
    pub fn forget_idle(&self) {
        if let Some(limiters) = &self.0 {
            limiters.sign_up.retain_recent();
            limiters.sign_in.retain_recent();
            limiters.invite.retain_recent();
        }
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<IpAddr>, from: PeerAddress) -> Result<(), Problem> {
    limiter.check_key(&from.0).map_err(|not_until| {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        Problem::new(Code::RateLimited, "too many attempts from your network address")
            .retry_after_s(wait.as_secs() + 1)
    })
}
