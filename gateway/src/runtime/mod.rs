//! A snapshot, compiled: what a call needs, ready to look up. What cannot be served whole is left out whole; routes hold built
//! plugins, so that one that cannot be built cannot be represented. Rates and tallies live on from one runtime to the next.

mod billable;
mod changes;
mod compile;
mod credentials;
mod entitlements;
mod follow;
mod left_out;
mod limits;
mod listings;
pub mod rates;
mod routes;
mod table;
#[cfg(test)]
mod tests;
mod trial;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{
    AccountId, BindingId, CredentialId, IdText, ListingId, PlanId, RouteId, SubscriptionId,
};
use apiclay_config::usage::{LEASED_WINDOWS, LeasedWindow};
use apiclay_plugins::Plugin;
use arrayvec::ArrayVec;
use http::{HeaderName, HeaderValue, Method};

pub use billable::Billable;
pub use changes::Changes;
pub use compile::Compiler;
pub use credentials::Credentials;
pub use left_out::LeftOut;
pub use rates::Rate;
pub use routes::Routes;
pub use table::Table;

use limits::Limits;
use rates::RATES_MAX;
use table::Entry;

use crate::limits::Tally;
use crate::observe::ListingCalls;
use crate::units::Meter;
use crate::upstreams::Upstream;

/// Everything at one revision, ready to serve.
pub struct Runtime {
    /// The snapshot's revision.
    pub revision: u64,
    /// Listings by vendor's slug and own slug, `vendor/listing`.
    pub listings: Table<Arc<Listing>>,
    /// Keys by digest.
    pub credentials: Credentials,
    /// What of it cannot be served here.
    pub left_out: Arc<LeftOut>,
}

/// A listing, ready to serve.
pub struct Listing {
    /// Its id.
    pub id: ListingId,
    /// `vendor/listing`, as in paths and metrics.
    pub name: Box<str>,
    /// Refused by the operator's word.
    pub suspended: bool,
    /// Path below the listing to the routes there.
    pub routes: Routes,
    /// Where calls go.
    pub upstream: Arc<Upstream>,
    /// The header that buyers' keys travel in.
    pub key_header: HeaderName,
    /// Headers that the gateway adds for the vendor.
    pub injected: Vec<(HeaderName, HeaderValue)>,
    /// Plugins of the gateway and of this listing, for calls that found no route.
    pub plugins: Vec<Bound>,
    /// Where its calls are counted.
    pub calls: Arc<ListingCalls>,
}

/// Vendors choose names: nobody else knows how they are spread.
static SPREAD: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Entry for Arc<Listing> {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }

    fn hash(name: &str) -> u64 {
        SPREAD.hash_one(name)
    }
}

/// A route, ready to serve.
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// Its method.
    pub method: Method,
    /// Plugins of gateway, listing and route, in the order they run in.
    pub plugins: Box<[Bound]>,
}

/// A built plugin.
#[derive(Clone)]
pub struct Bound {
    /// The binding it was built from.
    pub binding: BindingId,
    /// Its type's name.
    pub name: &'static str,
    /// Its place in the registry's order.
    pub order: usize,
    /// Whether a narrower one of its type stands beside it and does not replace it.
    pub stays: bool,
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
}

/// A key, ready to look up.
#[derive(Clone)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// What it opens.
    pub entitlement: Arc<Entitlement>,
}

/// What a subscription is allowed.
pub struct Entitlement {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Whose it is.
    pub account: AccountId,
    /// What may be called.
    pub listing: ListingId,
    /// Under which plan.
    pub edition: Arc<Edition>,
    /// Refused.
    pub inactive: bool,
    /// Refused from then on.
    pub ends_at: Option<Timestamp>,
    /// How many calls are tried, where they are counted.
    pub trial_calls: Option<u64>,
    /// Where calls are tried for days: until when.
    pub trial_until: Option<Timestamp>,
    /// Calls after the trial are paid from a wallet.
    pub wallet: bool,
    /// Refused as a used-up trial is: the plan costs something, and neither a trial nor money opens it.
    pub unpaid: bool,
    /// Made for its first call: of a large market most wait for one.
    counted: OnceLock<Box<Counted>>,
}

/// What a subscription's calls are counted by.
pub struct Counted {
    /// The subscription's id, as upstreams and the log are told it.
    pub subscription: IdText,
    /// Rates by second and minute.
    pub rates: ArrayVec<Arc<Rate>, RATES_MAX>,
    /// Calls in flight.
    pub concurrency: Option<Arc<Concurrency>>,
    /// What a call takes a unit of: the trial or else the wallet, in this order, and the quotas.
    pub tallies: ArrayVec<Quota, LEASED_WINDOWS>,
    /// What of it is told with each answer and stays, once it was told.
    pub policy: OnceLock<Box<str>>,
}

/// One edition of a plan: what all its subscriptions have alike.
pub struct Edition {
    /// The plan.
    pub plan: PlanId,
    /// Its text, which upstreams are told.
    pub plan_text: IdText,
    /// Which edition of it.
    pub revision: u32,
    /// How units are known, where the plan counts others than calls.
    pub meter: Option<Meter>,
    /// Which answers are billed.
    pub billable: Billable,
    /// Plugins of the plan; they replace those of the same type.
    pub plugins: Vec<Bound>,
    /// How its calls are limited.
    limits: Limits,
}

impl Entitlement {
    /// What its calls are counted by.
    #[must_use]
    pub fn counted(&self) -> &Counted {
        self.counted.get_or_init(|| Box::new(self.edition.limits.count(self, None)))
    }

    /// The subscription's id as text: made with its first call, where that was let in.
    #[must_use]
    pub fn subscription_text(&self) -> IdText {
        self.counted.get().map_or_else(|| self.subscription.text(), |counted| counted.subscription)
    }

    /// Reads what a call will read of its counters, all at once: one after the other, each phase would wait for its own.
    pub fn touch(&self) {
        if self.inactive {
            return;
        }
        let counted = self.counted();
        counted.rates.iter().for_each(|rate| rate.touch());
        counted.tallies.iter().for_each(|quota| quota.tally.touch());
    }

    /// Whether a trial by days is over at this moment; there may be none.
    #[must_use]
    pub fn trial_is_over(&self, now: Timestamp) -> bool {
        self.trial_until.is_some_and(|until| until <= now)
    }

    /// Whether a call needs a unit of such a counter at this moment: none of a trial that is over by the day, and no money while
    /// a trial lasts that is counted in days alone.
    #[must_use]
    pub fn needs(&self, window: LeasedWindow, now: Timestamp) -> bool {
        match window {
            LeasedWindow::Trial => !self.trial_is_over(now),
            LeasedWindow::Wallet => {
                self.trial_until.is_none() || self.trial_is_over(now) || self.trial_calls.is_some()
            }
            LeasedWindow::Hour | LeasedWindow::Day | LeasedWindow::Month => true,
        }
    }
}

/// One counter that a call needs a unit of.
pub struct Quota {
    /// Its window.
    pub window: LeasedWindow,
    /// Refuse at the limit.
    pub hard: bool,
    /// How long its windows are, where all of them are of one length.
    pub seconds: Option<u32>,
    /// The counter.
    pub tally: Arc<Tally>,
}

/// Calls in flight of one subscription on this gateway.
pub struct Concurrency {
    max: AtomicU32,
    now: AtomicU32,
}

/// A call in flight; counted back when it goes.
pub struct InFlight(Arc<Concurrency>);

impl Concurrency {
    /// None in flight, `max` at most.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { max: AtomicU32::new(max), now: AtomicU32::new(0) }
    }

    /// A plan's new maximum.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// One more, where there is room.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let max = self.max.load(Ordering::Relaxed);
        self.now
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then_some(now + 1))
            .ok()
            .map(|_| InFlight(Arc::clone(self)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The plugins of a call: its route's, with the plan's in place of those of the same type, in the order they run in.
pub fn with_plan<'a>(route: &'a [Bound], plan: &'a [Bound]) -> impl Iterator<Item = &'a Bound> {
    // Most plans have none: the route's stand in order.
    let (alone, merged) = if plan.is_empty() { (route, Vec::new()) } else { (&[][..], merged(route, plan)) };
    alone.iter().chain(merged)
}

fn merged<'a>(route: &'a [Bound], plan: &'a [Bound]) -> Vec<&'a Bound> {
    let others = route.iter().filter(|bound| !plan.iter().any(|own| own.name == bound.name));
    let mut merged: Vec<&Bound> = others.chain(plan).collect();
    merged.sort_by_key(|bound| bound.order);
    merged
}
