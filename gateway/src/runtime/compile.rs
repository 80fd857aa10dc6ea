//! Compiles snapshots into runtimes. Keeps what calls are counted by from one to the next, so that a new revision
//! resets nobody's window. What of a snapshot cannot be served is left out for itself, with what stands on it: calls that need it
//! are refused, and nothing of it is guessed at. Only where the plugins of the whole gateway cannot be built, nor those before, is all
//! refused.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use apiclay_config::egress::Egress;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use apiclay_config::seal::MasterKey;
use apiclay_config::snapshot::{self, Binding, Faults, Part, Plan, Snapshot};
use apiclay_plugins::by_name;

use super::credentials::Opener;
use super::listings::{bind, name_of};
use super::trial::trials;
use super::{Billable, Bound, Credential, Edition, Entitlement, LeftOut, Limits, Listing, Runtime, Table};
use crate::limits::LeaseBook;
use crate::observe::Metrics;
use crate::units::Meter;
use crate::upstreams::Upstream;

/// What outlives runtimes.
pub struct Compiler {
    pub(super) book: Arc<LeaseBook>,
    pub(super) master_key: Option<Arc<MasterKey>>,
    pub(super) egress: Egress,
    pub(super) metrics: Arc<Metrics>,
    /// Addresses that are known, and whose turn it is, outlive a revision.
    pub(super) upstreams: HashMap<ListingId, Weak<Upstream>>,
    /// Among how many gateways rates are divided.
    pub(super) live_gateways: u32,
    /// The revision that was compiled last; none where that came to nothing.
    pub(super) revision: Option<u64>,
    /// What follows from it is compiled from these: the plugins of the whole gateway,
    pub(super) everywhere: Arc<[Bound]>,
    /// what plans say,
    pub(super) editions: HashMap<(PlanId, u32), Arc<Edition>>,
    /// what subscriptions are allowed, which is there while a key opens it,
    pub(super) entitlements: HashMap<SubscriptionId, Weak<Entitlement>>,
    /// and what was left out.
    pub(super) faults: Faults,
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
        Self {
            book,
            master_key,
            egress,
            metrics,
            upstreams: HashMap::new(),
            live_gateways: 1,
            revision: None,
            everywhere: Arc::default(),
            editions: HashMap::new(),
            entitlements: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// What cannot be served of what was compiled last.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Compiles `snapshot`, its rates shared by `live_gateways`. What cannot be served of it is left out, and named
    /// ([`Self::faults`]). Where the plugins of the whole gateway are among that, those `before` stay, and there is nothing where
    /// they cannot be built either: every call would go by without.
    pub fn compile(
        &mut self,
        snapshot: &Snapshot,
        before: Option<&[Binding]>,
        live_gateways: u32,
    ) -> Option<Runtime> {
        self.revision = None;
        let mut faults = snapshot::faults_of(snapshot);
        let runtime = self.compile_all(snapshot, before, live_gateways, &mut faults);
        self.faults = faults;
        self.revision = runtime.as_ref().map(|runtime| runtime.revision);
        runtime
    }

    fn compile_all(
        &mut self,
        snapshot: &Snapshot,
        before: Option<&[Binding]>,
        live_gateways: u32,
        faults: &mut Faults,
    ) -> Option<Runtime> {
        self.live_gateways = live_gateways;
        self.everywhere = plugins_everywhere(&snapshot.bindings, before, faults)?.into();
        let mut left_out = LeftOut::new(snapshot);
        let listings = self.listings(snapshot, &mut left_out, faults);
        let editions: Vec<((PlanId, u32), Edition)> =
            snapshot.plans.iter().map(|(key, plan)| (*key, self.edition(plan, faults))).collect();
        let served = editions.into_iter().filter(|((id, n), _)| !faults.are_of(Part::Plan(*id, *n)));
        self.editions = served.map(|(key, edition)| (key, Arc::new(edition))).collect();
        let entitlements = self.entitlements(snapshot, faults);
        let mut openers = Vec::with_capacity(snapshot.credentials.len());
        for credential in snapshot.credentials.values() {
            let is_at_fault = faults.are_of(Part::Credential(credential.id));
            match entitlements.get(&credential.subscription).filter(|_| !is_at_fault) {
                Some(entitlement) => openers.push(compiled_key(credential, entitlement)),
                None => drop(left_out.credentials.insert(credential.digest)),
            }
        }
        self.upstreams.retain(|_, upstream| upstream.strong_count() > 0);
        let credentials = openers.into_iter().collect();
        let before = std::mem::take(&mut self.entitlements);
        self.entitlements = entitlements.into_iter().map(|held| held_after(&before, held)).collect();
        Some(Runtime { revision: snapshot.revision, listings, credentials, left_out: Arc::new(left_out) })
    }

    fn listings(
        &mut self,
        snapshot: &Snapshot,
        left_out: &mut LeftOut,
        faults: &mut Faults,
    ) -> Table<Arc<Listing>> {
        // What breaks a rule is not looked into any further: the rules bound what is made of it.
        let (broken, whole): (Vec<_>, Vec<_>) =
            snapshot.listings.values().partition(|listing| faults.are_of(Part::Listing(listing.id)));
        left_out.listings.extend(broken.into_iter().map(name_of));
        let everywhere = Arc::clone(&self.everywhere);
        let compiled: Vec<Listing> =
            whole.into_iter().map(|listing| self.listing(listing, &everywhere, faults)).collect();
        let (at_fault, served): (Vec<_>, Vec<_>) =
            compiled.into_iter().partition(|listing| faults.are_of(Part::Listing(listing.id)));
        left_out.listings.extend(at_fault.into_iter().map(|listing| listing.name));
        let listings: Table<Arc<Listing>> = served.into_iter().map(Arc::new).collect();
        // One of two listings of one name is served.
        left_out.listings.retain(|name| listings.get(name).is_none());
        listings
    }

    /// An edition of a plan. A plugin that acts before the plan is known would not act.
    pub(super) fn edition(&self, plan: &Plan, faults: &mut Faults) -> Edition {
        let part = Part::Plan(plan.id, plan.revision);
        for binding in plan.bindings.iter().filter(|b| by_name(&b.plugin).is_ok_and(|r| r.on_access)) {
            let rule =
                format!("`{}` acts before the plan is known: attach it to the listing", binding.plugin);
            faults.add_at(part, &plan.id, rule);
        }
        Edition {
            plan: plan.id,
            plan_text: plan.id.text(),
            revision: plan.revision,
            meter: plan.meter.as_ref().and_then(Meter::compile),
            billable: Billable::compile(plan.billable_statuses.as_deref()),
            plugins: bind(part, &plan.id, &plan.bindings, &[], faults),
            limits: Limits::new(plan, &self.book, self.live_gateways),
        }
    }

    /// What each subscription is allowed that is not at fault.
    fn entitlements(
        &self,
        snapshot: &Snapshot,
        faults: &Faults,
    ) -> HashMap<SubscriptionId, Arc<Entitlement>> {
        let is_whole = |one: &&snapshot::Subscription| !faults.are_of(Part::Subscription(one.id));
        let trials = trials(snapshot.subscriptions.values().filter(is_whole), snapshot);
        let mut entitlements = HashMap::with_capacity(snapshot.subscriptions.len());
        for subscription in snapshot.subscriptions.values().filter(is_whole) {
            if let Some(entitlement) = self.entitlement(subscription, snapshot, &trials) {
                entitlements.insert(subscription.id, Arc::new(entitlement));
            }
        }
        entitlements
    }
}

/// What is kept of an entitlement that is about to be served: it goes on from the one before. Done last, so that nearly all calls that were
/// let through by that one are counted in it already.
pub(super) fn held_after(
    before: &HashMap<SubscriptionId, Weak<Entitlement>>,
    (id, entitlement): (SubscriptionId, Arc<Entitlement>),
) -> (SubscriptionId, Weak<Entitlement>) {
    if let Some(before) = before.get(&id).and_then(Weak::upgrade) {
        entitlement.goes_on_from(&before);
    }
    (id, Arc::downgrade(&entitlement))
}

pub(super) fn compiled_key(credential: &snapshot::Credential, entitlement: &Arc<Entitlement>) -> Opener {
    let opens = Credential {
        id: credential.id,
        expires_at: credential.expires_at,
        entitlement: Arc::clone(entitlement),
    };
    Opener::new(&credential.digest, opens)
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
