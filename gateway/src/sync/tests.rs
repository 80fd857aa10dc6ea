//! What a gateway goes on serving when a revision, or its disk, cannot be used. Shown over a real folder, spool and counters.

mod disk;
mod kept;
mod parts;
mod reconnect;
mod trials;
mod unread;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::ids::{
    AccountId, BindingId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId,
};
use apiclay_config::key;
use apiclay_config::snapshot::{
    Binding, Change, Credential, Delta, Frame, Listing, Plan, Route, Snapshot, Subscription, Target, Upstream,
};
use apiclay_config::usage::GatewayEpoch;
use tempfile::TempDir;

use super::{Applied, Configuration, Told};
use crate::counters::embedded::EmbeddedCounters;
use crate::gateway::Gateway;
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::metering::{Spool, SpoolOptions};
use crate::observe::Metrics;
use crate::runtime::Compiler;

const KEY: &[u8] = b"apiclay_test";

/// A listing with a plan, and one who subscribed to it.
pub(crate) fn market(revision: u64) -> Snapshot {
    let (listing, plan) = (ListingId::generate(), PlanId::generate());
    let subscription = SubscriptionId::generate();
    let mut snapshot = Snapshot { revision, ..Snapshot::default() };
    let target = Target { url: "http://203.0.113.1".to_owned(), weight: 1 };
    let route = Route {
        id: RouteId::generate(),
        method: "GET".to_owned(),
        path: "/now".to_owned(),
        bindings: Vec::new(),
    };
    let changes = [
        Change::PutListing(Box::new(Listing {
            id: listing,
            vendor: VendorId::generate(),
            vendor_slug: "acme".to_owned(),
            slug: "echo".to_owned(),
            suspended: false,
            upstream: Upstream {
                targets: vec![target],
                connect_timeout_ms: 1_000,
                read_timeout_ms: 1_000,
                retries_max: 0,
            },
            routes: vec![route],
            key_header: None,
            secrets: Vec::new(),
            bindings: Vec::new(),
        })),
        Change::PutPlan(Box::new(Plan {
            id: plan,
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
        })),
        Change::PutSubscription(Subscription {
            id: subscription,
            account: AccountId::generate(),
            listing,
            plan,
            plan_revision: 1,
            inactive: false,
            ends_at: None,
            trial_until: None,
            pays: false,
        }),
        Change::PutCredential(Credential {
            id: CredentialId::generate(),
            subscription,
            digest: key::digest(KEY),
            expires_at: None,
        }),
    ];
    for change in &changes {
        snapshot.apply(change);
    }
    snapshot
}

/// A plugin that no gateway knows: what holds it is refused whole.
fn unknown_plugin() -> Vec<Binding> {
    let config = serde_json::Value::Null;
    vec![Binding { id: BindingId::generate(), plugin: "no-such".to_owned(), config, stays: false }]
}

/// A gateway's configuration over a folder, as one life of it has it.
struct Life {
    configuration: Configuration,
    gateway: Arc<Gateway>,
}

impl Life {
    fn begin(folder: &Path, epoch: u64) -> Self {
        Self::begin_with(folder, epoch, Egress::new(Vec::new(), Vec::new(), Vec::new()))
    }

    fn begin_with(folder: &Path, epoch: u64, egress: Egress) -> Self {
        let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{epoch:016x}") };
        let spool = Spool::open(&folder.join("spool"), from.clone(), SpoolOptions::default()).unwrap();
        let counters = Arc::new(EmbeddedCounters::open(folder, Clock::System).unwrap());
        let (book, _) =
            LeaseBook::open(folder, counters, BookOptions::new(from), Monotonic::system()).unwrap();
        let metrics = Metrics::new().unwrap();
        let gateway =
            Arc::new(Gateway::new(spool, Arc::clone(&metrics), Clock::System, 1_000, None, Arc::default()));
        let compiler = Compiler::new(book, None, egress, metrics);
        let configuration = Configuration::open(Arc::clone(&gateway), compiler, folder).unwrap();
        Self { configuration, gateway }
    }

    fn tell(&mut self, frames: Vec<Frame>) -> Applied {
        self.configuration.apply(frames).unwrap()
    }

    fn change(&mut self, revision: u64, changes: Vec<Change>) -> Applied {
        self.tell(vec![Frame::Delta(Delta { revision, fingerprint: None, changes })])
    }

    /// Whether a call with the key would be let through, now.
    fn opens(&self) -> bool {
        let Some(runtime) = self.gateway.runtime() else { return false };
        let Some(credential) = runtime.credentials.get(&key::digest(KEY)) else { return false };
        let over = |at: Option<Timestamp>| at.is_some_and(|at| at <= Clock::System.now());
        let entitlement = &credential.entitlement;
        let suspended = runtime.listings.get("acme/echo").is_none_or(|listing| listing.suspended);
        !(suspended || entitlement.inactive || over(entitlement.ends_at) || over(credential.expires_at))
    }
}

fn only_subscription(snapshot: &Snapshot) -> Subscription {
    snapshot.subscriptions.values().next().unwrap().clone()
}

fn only_credential(snapshot: &Snapshot) -> Credential {
    snapshot.credentials.values().next().unwrap().clone()
}

fn whole(snapshot: &Snapshot) -> Vec<Frame> {
    vec![Frame::Snapshot(Box::new(snapshot.clone()))]
}

/// As a life before left it.
fn left(folder: &Path, whole: &Snapshot, served: Option<&[Binding]>) {
    let (mut told, _) = Told::open(folder).unwrap();
    told.replace(whole.clone());
    told.keep(served).unwrap();
}

fn file(folder: &Path) -> PathBuf {
    folder.join("configuration.db")
}

#[test]
fn after_a_refused_revision_a_restart_serves_what_was_served() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market(1)));
    let applied = life.change(2, vec![Change::SetBindings(unknown_plugin())]);
    assert!(applied.wrong.is_some() && life.opens());
    drop(life);
    let mut life = Life::begin(folder.path(), 2);
    assert!(life.opens(), "nothing is served after a restart");
    assert_eq!(life.configuration.revision().0, 2);
    // And what is mended is served again.
    let applied = life.change(3, vec![Change::SetBindings(Vec::new())]);
    assert!(applied.wrong.is_none() && life.opens());
}

#[test]
fn an_empty_market_on_disk_is_served_and_not_waited_for() {
    let folder = TempDir::new().unwrap();
    Life::begin(folder.path(), 1).tell(vec![Frame::Snapshot(Box::default())]);
    let life = Life::begin(folder.path(), 2);
    assert!(life.gateway.runtime().is_some(), "calls are told that nothing can be said about them");
}

#[test]
fn a_revocation_beside_a_refused_revision_holds_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let first = market(1);
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    life.change(2, vec![Change::SetBindings(unknown_plugin())]);
    assert!(life.opens());
    life.change(3, vec![Change::RemoveCredential(only_credential(&first).id)]);
    assert!(!life.opens());
    drop(life);
    assert!(!Life::begin(folder.path(), 2).opens());
}

#[test]
fn a_refused_whole_snapshot_revokes_too() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    let mut snapshot = market(1);
    life.tell(whole(&snapshot));
    snapshot.revision = 5;
    snapshot.bindings = unknown_plugin();
    life.tell(whole(&snapshot));
    assert!(life.opens());
    snapshot.revision = 6;
    snapshot.credentials.clear();
    let applied = life.tell(whole(&snapshot));
    assert!(applied.wrong.is_some() && !life.opens(), "the key still opens");
}

#[test]
fn an_end_that_was_brought_forward_holds_though_the_rest_is_refused() {
    for key_expires in [true, false] {
        let folder = TempDir::new().unwrap();
        let mut life = Life::begin(folder.path(), 1);
        let first = market(1);
        life.tell(whole(&first));
        let ended = Some(Timestamp(1));
        let change = if key_expires {
            Change::PutCredential(Credential { expires_at: ended, ..only_credential(&first) })
        } else {
            Change::PutSubscription(Subscription { ends_at: ended, ..only_subscription(&first) })
        };
        let applied = life.change(2, vec![Change::SetBindings(unknown_plugin()), change]);
        assert!(applied.wrong.is_some() && !life.opens(), "key: {key_expires}");
    }
}
