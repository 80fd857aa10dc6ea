//! Compiles snapshots into runtimes. Keeps rates, concurrency and tallies from one to the next, so that a new revision
//! resets nobody's window. What of a snapshot cannot be served is left out for itself, with what stands on it: calls that need it
//! are refused, and nothing of it is guessed at. Only where the plugins of the whole gateway cannot be built, nor those before, is all
//! refused.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use apiclay_config::egress::Egress;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use apiclay_config::seal::MasterKey;
use apiclay_config::snapshot::{self, Binding, Faults, Part, Plan, Snapshot, Window};
use apiclay_plugins::by_name;

use super::listings::{bind, name_of};
use super::{
    Billable, Bound, Concurrency, Credential, Credentials, Edition, Entitlement, LeftOut, Listing, Rate,
    Runtime,
};
use crate::limits::LeaseBook;
use crate::observe::Metrics;
use crate::units::Meter;
use crate::upstreams::Upstream;

type RateKey = (SubscriptionId, Window);

/// What outlives runtimes.
pub struct Compiler {
    pub(super) book: Arc<LeaseBook>,
    pub(super) master_key: Option<Arc<MasterKey>>,
    pub(super) egress: Egress,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rates: HashMap<RateKey, Weak<Rate>>,
    pub(super) concurrency: HashMap<SubscriptionId, Weak<Concurrency>>,
    /// With what they were compiled from: addresses that are known, and whose turn it is, outlive a revision.
    pub(super) upstreams: HashMap<ListingId, (snapshot::Upstream, Weak<Upstream>)>,
}

impl Compiler {
    /// A compiler with nothing kept yet.
    #[must_use]
    pub fn new(
        book: Arc<LeaseBook>,
        master_key: Option<Arc<MasterKey>>,
        egress: Egress,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (rates, concurrency, upstreams) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { book, master_key, egress, metrics, rates, concurrency, upstreams }
    }

    /// Compiles `snapshot`, its rates shared by `live_gateways`. What cannot be served of it is left out, and named. Where the
    /// plugins of the whole gateway are among that, those `before` stay, and there is nothing where they cannot be built
    /// either: every call would go by without.
    pub fn compile(
        &mut self,
        snapshot: &Snapshot,
        before: Option<&[Binding]>,
        live_gateways: u32,
    ) -> (Option<Runtime>, Faults) {
        let mut faults = snapshot::faults_of(snapshot);
        let Some(everywhere) = plugins_everywhere(&snapshot.bindings, before, &mut faults) else {
            return (None, faults);
        };
        // What breaks a rule is not looked into any further: the rules bound what is made of it.
        let (broken, whole): (Vec<_>, Vec<_>) =
            snapshot.listings.values().partition(|listing| faults.are_of(Part::Listing(listing.id)));
        let compiled: Vec<Listing> =
            whole.into_iter().map(|listing| self.listing(listing, &everywhere, &mut faults)).collect();
        let editions: Vec<((PlanId, u32), Edition)> =
            snapshot.plans.iter().map(|(key, plan)| (*key, edition(plan, &mut faults))).collect();
        let mut left_out = LeftOut::new(snapshot);
        left_out.listings.extend(broken.into_iter().map(name_of));
        let mut listings = HashMap::with_capacity(compiled.len());
        for listing in compiled {
            if faults.are_of(Part::Listing(listing.id)) {
                left_out.listings.insert(listing.name);
            } else {
                listings.insert(listing.name.clone(), Arc::new(listing));
            }
        }
        // One of two listings of one name is served.
        left_out.listings.retain(|name| !listings.contains_key(name));
        let served = editions.into_iter().filter(|((id, n), _)| !faults.are_of(Part::Plan(*id, *n)));
        let editions = served.map(|(key, edition)| (key, Arc::new(edition))).collect();
        let entitlements = self.entitlements(snapshot, &editions, &faults, live_gateways);
        let mut credentials = Credentials::with_capacity(snapshot.credentials.len());
        for credential in snapshot.credentials.values() {
            let is_at_fault = faults.are_of(Part::Credential(credential.id));
            match entitlements.get(&credential.subscription).filter(|_| !is_at_fault) {
                Some(entitlement) => {
                    credentials.insert(&credential.digest, compiled_key(credential, entitlement));
                }
                None => drop(left_out.credentials.insert(credential.digest)),
            }
        }
        self.rates.retain(|_, rate| rate.strong_count() > 0);
        self.concurrency.retain(|_, concurrency| concurrency.strong_count() > 0);
        self.upstreams.retain(|_, (_, upstream)| upstream.strong_count() > 0);
        (Some(Runtime { revision: snapshot.revision, listings, credentials, left_out }), faults)
    }
}

fn compiled_key(credential: &snapshot::Credential, entitlement: &Arc<Entitlement>) -> Credential {
    Credential { id: credential.id, expires_at: credential.expires_at, entitlement: Arc::clone(entitlement) }
}

/// The plugins of the whole gateway, or those before.
fn plugins_everywhere(
    told: &[Binding],
    before: Option<&[Binding]>,
    faults: &mut Faults,
) -> Option<Vec<Bound>> {
    let part = Part::Everywhere;
    let bound = bind(part, &part, told, &[], faults);
    if !faults.are_of(part) {
        return Some(bound);
    }
    let known = faults.len();
    let bound = bind(part, &"the plugins before", before?, &[], faults);
    (faults.len() == known).then_some(bound)
}

/// An edition of a plan. A plugin that acts before the plan is known would not act.
fn edition(plan: &Plan, faults: &mut Faults) -> Edition {
    let part = Part::Plan(plan.id, plan.revision);
    for binding in plan.bindings.iter().filter(|b| by_name(&b.plugin).is_ok_and(|r| r.on_access)) {
        let rule = format!("`{}` acts before the plan is known: attach it to the listing", binding.plugin);
        faults.add_at(part, &plan.id, rule);
    }
    Edition {
        plan: plan.id,
        revision: plan.revision,
        meter: plan.meter.as_ref().and_then(Meter::compile),
        billable: Billable::compile(plan.billable_statuses.as_deref()),
        plugins: bind(part, &plan.id, &plan.bindings, &[], faults),
    }
}
