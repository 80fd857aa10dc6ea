//! The market that the gateway serves in a benchmark: one listing before the upstream, one plan with limits that
//! nothing reaches, a subscription and a key for each buyer. Written into the gateway's folder as the last good
//! configuration, from which it starts without a control plane.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId};
use apiclay_config::key;
use apiclay_config::snapshot::{
    CONNECT_TIMEOUT_DEFAULT_MS, Credential, Limit, Listing, Plan, READ_TIMEOUT_DEFAULT_MS, RETRIES_DEFAULT,
    Route, Snapshot, Subscription, Target, Upstream, Window,
};
use apiclay_gateway::sync::Told;
use secrecy::ExposeSecret as _;

/// Where the listing stands at the gateway.
pub const LISTING_PATH: &str = "/bench/echo";
/// Keys that the load uses at most; the others are only there to be looked among.
pub const USED_KEYS_MAX: usize = 50_000;
/// Calls a second and a day that no buyer reaches here.
const LIMIT_CALLS: u64 = 1_000_000_000;

/// Buyers with their keys.
pub struct Market {
    listing: Listing,
    /// Without its limits.
    plan: Plan,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    credentials: BTreeMap<CredentialId, Credential>,
    /// The keys themselves.
    pub keys: Vec<String>,
}

impl Market {
    /// A market of so many keys, at least one, before `upstream`.
    pub fn new(upstream: SocketAddr, keys: u32) -> Self {
        let listing = listing(upstream);
        let plan = plan(listing.id);
        let (subscriptions, credentials, all) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut market = Self { listing, plan, subscriptions, credentials, keys: all };
        for _ in 0..keys.max(1) {
            let secret = key::generate();
            let subscription = subscription(&market.plan);
            let id = CredentialId::generate();
            let digest = key::digest(secret.expose_secret().as_bytes());
            let credential = Credential { id, subscription: subscription.id, digest, expires_at: None };
            market.credentials.insert(id, credential);
            market.subscriptions.insert(subscription.id, subscription);
            market.keys.push(secret.expose_secret().to_owned());
        }
        market
    }

    /// The keys that the load uses.
    pub fn used(&self) -> &[String] {
        &self.keys[..self.keys.len().min(USED_KEYS_MAX)]
    }

    /// Writes it below `data`, as a gateway's configuration, with a plan of these limits.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, data: &Path, limits: &[Window]) -> Result<()> {
        let limit = |window: &Window| Limit { window: *window, max: LIMIT_CALLS, hard: true };
        let plan = Plan { limits: limits.iter().map(limit).collect(), ..self.plan.clone() };
        let snapshot = Snapshot {
            revision: 1,
            listings: BTreeMap::from([(self.listing.id, self.listing.clone())]),
            plans: BTreeMap::from([((plan.id, plan.revision), plan)]),
            subscriptions: self.subscriptions.clone(),
            credentials: self.credentials.clone(),
            ..Snapshot::default()
        };
        let folder = data.join("gateway");
        fs::create_dir_all(&folder).context("making the gateway's folder")?;
        let (mut told, _) = Told::open(&folder)?;
        told.replace(snapshot);
        Ok(told.keep(None)?)
    }
}

fn listing(upstream: SocketAddr) -> Listing {
    let route = Route {
        id: RouteId::generate(),
        method: "GET".to_owned(),
        path: "/{size}".to_owned(),
        bindings: Vec::new(),
    };
    Listing {
        id: ListingId::generate(),
        vendor: VendorId::generate(),
        vendor_slug: "bench".to_owned(),
        slug: "echo".to_owned(),
        suspended: false,
        upstream: Upstream {
            targets: vec![Target { url: format!("http://{upstream}"), weight: 1 }],
            connect_timeout_ms: CONNECT_TIMEOUT_DEFAULT_MS,
            read_timeout_ms: READ_TIMEOUT_DEFAULT_MS,
            retries_max: RETRIES_DEFAULT,
        },
        routes: vec![route],
        key_header: None,
        secrets: Vec::new(),
        bindings: Vec::new(),
    }
}

fn plan(listing: ListingId) -> Plan {
    Plan {
        id: PlanId::generate(),
        revision: 1,
        listing,
        limits: Vec::new(),
        concurrency_max: None,
        zone: None,
        trial_calls: None,
        trial_days: None,
        priced: false,
        per_call: false,
        meter: None,
        billable_statuses: None,
        bindings: Vec::new(),
    }
}

fn subscription(plan: &Plan) -> Subscription {
    Subscription {
        id: SubscriptionId::generate(),
        account: AccountId::generate(),
        listing: plan.listing,
        plan: plan.id,
        plan_revision: plan.revision,
        inactive: false,
        ends_at: None,
        trial_until: None,
        pays: false,
    }
}
