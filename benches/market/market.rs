//! The market that is compiled: listings of ten routes and a plan each, subscriptions and keys spread over them. And changes of it.
//! Next: `main.rs` compiles and looks it up.

use std::fmt;

use anyhow::{Result, bail};
use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId};
use apiclay_config::key;
use apiclay_config::snapshot::{
    CONNECT_TIMEOUT_DEFAULT_MS, Change, Credential, Frame, Limit, Listing, Plan, READ_TIMEOUT_DEFAULT_MS,
    RETRIES_DEFAULT, Route, Snapshot, Subscription, Target, Upstream, Window,
};

use super::Cli;

/// A path of every listing.
pub const PATH: &str = "/resources/0/17";
/// Listings of one vendor.
const LISTINGS_A_VENDOR: u32 = 4;
/// Calls a second and a day.
const CALLS_A_SECOND: u64 = 100;
const CALLS_A_DAY: u64 = 100_000;

/// What is changed.
#[derive(Clone, Copy)]
pub enum Kind {
    PutsKey,
    RevokesKey,
    PutsSubscription,
    ChangesSubscription,
    ChangesListing,
    PutsPlan,
}

/// All of them.
pub const KINDS: [Kind; 6] = [
    Kind::PutsKey,
    Kind::RevokesKey,
    Kind::PutsSubscription,
    Kind::ChangesSubscription,
    Kind::ChangesListing,
    Kind::PutsPlan,
];

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::PutsKey => "a new key",
            Self::RevokesKey => "a key revoked",
            Self::PutsSubscription => "a new subscription",
            Self::ChangesSubscription => "a subscription changed",
            Self::ChangesListing => "a listing changed",
            Self::PutsPlan => "a new edition of a plan",
        })
    }
}

/// The market at its first revision, read from a frame as a gateway reads it.
///
/// # Errors
/// When it cannot be framed.
pub fn told(cli: &Cli) -> Result<Snapshot> {
    let payload = serde_json::to_vec(&Frame::Snapshot(Box::new(snapshot(cli))))?;
    match Frame::read(&payload) {
        Frame::Snapshot(told) => Ok(*told),
        other => bail!("read as {other:?}"),
    }
}

fn snapshot(cli: &Cli) -> Snapshot {
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    for number in 0..cli.listings {
        let listing = listing(cli, number);
        let plan = plan(number, 1);
        snapshot.plans.insert((plan.id, plan.revision), plan);
        snapshot.listings.insert(listing.id, listing);
    }
    for number in 0..cli.subscriptions {
        let subscription = subscription(cli, number.into());
        snapshot.subscriptions.insert(subscription.id, subscription);
    }
    for number in 0..cli.credentials {
        let credential = credential(cli, number.into());
        snapshot.credentials.insert(credential.id, credential);
    }
    snapshot
}

/// What a control plane tells of the change of this kind with this number: with what it stands on.
pub fn changes(cli: &Cli, kind: Kind, number: u64) -> Vec<Change> {
    // Spread over all of it.
    let spread = |parts: u32| (number as u32).wrapping_mul(2_654_435_761) % parts;
    let held = |number, inactive| {
        let subscription = Subscription { inactive, ..subscription(cli, number) };
        let plan = plan(listing_of(cli, number), 1);
        vec![Change::PutPlan(Box::new(plan)), Change::PutSubscription(subscription)]
    };
    let suspended = |nth, edition| {
        let listing = Listing { suspended: true, ..listing(cli, nth) };
        vec![Change::PutListing(Box::new(listing)), Change::PutPlan(Box::new(plan(nth, edition)))]
    };
    match kind {
        Kind::PutsKey => vec![Change::PutCredential(credential(cli, u64::from(cli.credentials) + number))],
        Kind::RevokesKey => {
            vec![Change::RemoveCredential(credential_id(u64::from(cli.credentials) + number))]
        }
        Kind::PutsSubscription => held(u64::from(cli.subscriptions) + number, false),
        Kind::ChangesSubscription => held(spread(cli.subscriptions).into(), true),
        Kind::ChangesListing => suspended(spread(cli.listings), 1),
        // Of those that were changed before.
        Kind::PutsPlan => suspended(spread(cli.listings), 2),
    }
}

fn listing_id(number: u32) -> ListingId {
    ListingId::from_u128(u128::from(number) + 1)
}

fn credential_id(number: u64) -> CredentialId {
    CredentialId::from_u128(u128::from(number) + 1)
}

fn listing(cli: &Cli, number: u32) -> Listing {
    let route = |nth: u32| Route {
        id: RouteId::from_u128(u128::from(number) << 32 | u128::from(nth)),
        method: "GET".to_owned(),
        path: format!("/resources/{nth}/{{id}}"),
        bindings: Vec::new(),
    };
    Listing {
        id: listing_id(number),
        vendor: VendorId::from_u128(u128::from(number / LISTINGS_A_VENDOR)),
        vendor_slug: format!("vendor-{}", number / LISTINGS_A_VENDOR),
        slug: format!("listing-{number}"),
        suspended: false,
        upstream: Upstream {
            targets: vec![Target { url: format!("https://api-{number}.example.com/v1"), weight: 1 }],
            connect_timeout_ms: CONNECT_TIMEOUT_DEFAULT_MS,
            read_timeout_ms: READ_TIMEOUT_DEFAULT_MS,
            retries_max: RETRIES_DEFAULT,
        },
        routes: (0..cli.routes).map(route).collect(),
        key_header: None,
        secrets: Vec::new(),
        bindings: Vec::new(),
    }
}

fn plan(number: u32, revision: u32) -> Plan {
    let limit = |window, max| Limit { window, max, hard: true };
    Plan {
        id: PlanId::from_u128(u128::from(number) + 1),
        revision,
        listing: listing_id(number),
        limits: vec![limit(Window::Second, CALLS_A_SECOND), limit(Window::Day, CALLS_A_DAY)],
        zone: None,
        concurrency_max: None,
        trial_calls: None,
        trial_days: None,
        priced: false,
        per_call: false,
        meter: None,
        billable_statuses: None,
        bindings: Vec::new(),
    }
}

/// One in ten is to the first listing, which is popular.
fn listing_of(cli: &Cli, subscription: u64) -> u32 {
    if subscription.is_multiple_of(10) { 0 } else { (subscription % u64::from(cli.listings)) as u32 }
}

fn subscription(cli: &Cli, number: u64) -> Subscription {
    let listing = listing_of(cli, number);
    Subscription {
        id: SubscriptionId::from_u128(u128::from(number) + 1),
        account: AccountId::from_u128(u128::from(number) + 1),
        listing: listing_id(listing),
        plan: PlanId::from_u128(u128::from(listing) + 1),
        plan_revision: 1,
        inactive: false,
        ends_at: None,
        trial_until: None,
        pays: false,
    }
}

fn credential(cli: &Cli, number: u64) -> Credential {
    Credential {
        id: credential_id(number),
        subscription: SubscriptionId::from_u128(u128::from(number % u64::from(cli.subscriptions)) + 1),
        digest: key::digest(format!("key {number}").as_bytes()),
        expires_at: None,
    }
}
