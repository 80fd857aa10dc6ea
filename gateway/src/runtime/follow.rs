//! Compiles what changed into the runtime before it, so that a key is served or revoked at once, however large the market. Only
//! where all that the change bears on is whole, before and after: else nothing is said, and all is compiled anew, which knows
//! what to leave out. What was left out before and has nothing to do with the change stays so.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use apiclay_config::ids::SubscriptionId;
use apiclay_config::snapshot::{Faults, Part, Snapshot, Subscription, check_part};

use super::changes::Changes;
use super::compile::{Compiler, compiled_key, held_after};
use super::listings::name_of;
use super::table::Entry as _;
use super::trial::{Trialist, trials};
use super::{Credentials, Entitlement, Listing, Runtime, Table};

type Entitlements = HashMap<SubscriptionId, Arc<Entitlement>>;

impl Compiler {
    /// What `changes` led to from `before`, which was compiled last, for as many gateways; none where it cannot be told from what
    /// changed.
    pub fn follow(
        &mut self,
        before: &Runtime,
        snapshot: &Snapshot,
        changes: &Changes,
        live_gateways: u32,
    ) -> Option<Runtime> {
        // Where this is cut off, all is compiled the next time.
        let is_last = self.revision.take() == Some(before.revision) && live_gateways == self.live_gateways;
        if changes.all || !is_last || self.bears_on_what_is_left_out(before, snapshot, changes) {
            return None;
        }
        let mut faults = Faults::default();
        for part in changes.parts() {
            check_part(snapshot, part, &mut faults);
        }
        if !faults.is_empty() {
            return None;
        }
        let listings = self.changed_listings(before, snapshot, changes, &mut faults)?;
        for key in &changes.plans {
            let edition = self.edition(snapshot.plans.get(key)?, &mut faults);
            self.editions.insert(*key, Arc::new(edition));
        }
        if !faults.is_empty() {
            return None;
        }
        let entitlements = self.changed_subscriptions(snapshot, changes, &mut faults)?;
        let credentials = self.changed_keys(before, snapshot, changes, &entitlements)?;
        for changed in entitlements {
            let (id, held) = held_after(&self.entitlements, changed);
            self.entitlements.insert(id, held);
        }
        let left_out = Arc::clone(&before.left_out);
        self.revision = Some(snapshot.revision);
        Some(Runtime { revision: snapshot.revision, listings, credentials, left_out })
    }

    /// Whether what changed may be among what is left out, or decides about that.
    fn bears_on_what_is_left_out(&self, before: &Runtime, snapshot: &Snapshot, changes: &Changes) -> bool {
        let names: BTreeSet<Box<str>> = changes.listings.values().flatten().cloned().collect();
        let now = changes.listings.keys().filter_map(|id| snapshot.listings.get(id)).map(name_of);
        let names: BTreeSet<Box<str>> = names.into_iter().chain(now).collect();
        let digest_now = |id| snapshot.credentials.get(id).map(|now| now.digest);
        let digests: HashSet<_> =
            changes.credentials.iter().flat_map(|(id, was)| [*was, digest_now(id)]).flatten().collect();
        let is_named = |path: &str| names.iter().any(|name| **name == *path);
        snapshot.unread.iter().filter_map(|unread| unread.path.as_deref()).any(is_named)
            || digests.iter().any(|digest| before.left_out.credentials.contains(digest))
            || self.faults.parts().any(|part| match part {
                Part::Everywhere => false,
                Part::Listing(id) => {
                    let name = snapshot.listings.get(&id).map(name_of);
                    changes.listings.contains_key(&id) || name.is_some_and(|name| names.contains(&name))
                }
                Part::Plan(id, revision) => {
                    let plan = snapshot.plans.get(&(id, revision));
                    changes.plans.contains(&(id, revision))
                        || plan.is_some_and(|plan| changes.listings.contains_key(&plan.listing))
                }
                Part::Subscription(id) => {
                    let plan = snapshot.subscriptions.get(&id).map(|one| (one.plan, one.plan_revision));
                    changes.subscriptions.contains_key(&id)
                        || plan.is_some_and(|plan| changes.plans.contains(&plan))
                }
                Part::Credential(id) => {
                    let known = snapshot.credentials.get(&id);
                    changes.credentials.contains_key(&id)
                        || known.is_some_and(|key| changes.subscriptions.contains_key(&key.subscription))
                }
            })
    }

    fn changed_listings(
        &mut self,
        before: &Runtime,
        snapshot: &Snapshot,
        changes: &Changes,
        faults: &mut Faults,
    ) -> Option<Table<Arc<Listing>>> {
        let mut listings = before.listings.clone();
        for (id, name) in &changes.listings {
            let was = name.as_deref().and_then(|name| listings.get(name).filter(|was| was.id == *id));
            if let Some(was) = was.cloned() {
                listings.remove(&was.name);
            }
        }
        let everywhere = Arc::clone(&self.everywhere);
        for id in changes.listings.keys() {
            let listing = self.listing(snapshot.listings.get(id)?, &everywhere, faults);
            // Of two listings with one name it takes all to say which is served.
            if !faults.is_empty() || listings.get(&listing.name).is_some() {
                return None;
            }
            listings.insert(Arc::new(listing));
        }
        Some(listings)
    }

    /// What those are allowed that changed, those whose plan or account's trial did, and those who had no key and get one.
    fn changed_subscriptions(
        &self,
        snapshot: &Snapshot,
        changes: &Changes,
        faults: &mut Faults,
    ) -> Option<Entitlements> {
        // One that was there and not served had a plan that was left out; its keys were, too.
        let not_served = |id: &SubscriptionId| !self.entitlements.contains_key(id);
        if changes.subscriptions.iter().any(|(id, was)| was.is_some() && not_served(id)) {
            return None;
        }
        let put = changes.credentials.keys().filter_map(|id| snapshot.credentials.get(id));
        let without_key = put.map(|credential| credential.subscription).filter(|id| !self.has_keys(*id));
        let named: BTreeSet<SubscriptionId> =
            changes.subscriptions.keys().copied().chain(without_key).collect();
        let again = touched(snapshot, changes, &named);
        let whole = again.iter().copied().filter(|one| !self.faults.are_of(Part::Subscription(one.id)));
        let whole: Vec<&Subscription> = whole.collect();
        let trials = trials(whole.iter().copied(), snapshot);
        let mut entitlements = Entitlements::new();
        for subscription in whole {
            check_part(snapshot, Part::Subscription(subscription.id), faults);
            match self.entitlement(subscription, snapshot, &trials) {
                Some(entitlement) => drop(entitlements.insert(subscription.id, Arc::new(entitlement))),
                None if named.contains(&subscription.id) => return None,
                // Of an edition that is left out, and stays so.
                None => {}
            }
        }
        faults.is_empty().then_some(entitlements)
    }

    fn has_keys(&self, subscription: SubscriptionId) -> bool {
        self.entitlements.get(&subscription).is_some_and(|entitlement| entitlement.strong_count() > 0)
    }

    fn changed_keys(
        &self,
        before: &Runtime,
        snapshot: &Snapshot,
        changes: &Changes,
        entitlements: &Entitlements,
    ) -> Option<Credentials> {
        let mut credentials = before.credentials.clone();
        for (id, digest) in &changes.credentials {
            let known = digest.and_then(|digest| credentials.get(&digest).map(|known| (digest, known.id)));
            if let Some((digest, _)) = known.filter(|(_, known)| known == id) {
                credentials.remove(&digest);
            }
        }
        let mut openers = Vec::new();
        for credential in changes.credentials.keys().filter_map(|id| snapshot.credentials.get(id)) {
            // Of two keys with one digest it takes all to say which opens.
            if credentials.get(&credential.digest).is_some() {
                return None;
            }
            let known = || self.entitlements.get(&credential.subscription)?.upgrade();
            let entitlement = entitlements.get(&credential.subscription).cloned().or_else(known)?;
            openers.push(compiled_key(credential, &entitlement));
        }
        // Others are looked for only where there may be any.
        if entitlements.keys().any(|id| self.has_keys(*id)) {
            for credential in snapshot.credentials.values() {
                let Some(entitlement) = entitlements.get(&credential.subscription) else { continue };
                let is_served = !changes.credentials.contains_key(&credential.id)
                    && credentials.get(&credential.digest).is_some_and(|known| known.id == credential.id);
                if is_served {
                    openers.push(compiled_key(credential, entitlement));
                }
            }
        }
        let mut halves: Vec<u128> = openers.iter().map(|opener| *opener.key()).collect();
        halves.sort_unstable();
        let is_second = halves.windows(2).any(|two| two[0] == two[1]);
        credentials.extend(openers);
        (!is_second).then_some(credentials)
    }
}

/// The subscriptions that are named, and those whose plan or account's trial changed, by id.
fn touched<'s>(
    snapshot: &'s Snapshot,
    changes: &Changes,
    named: &BTreeSet<SubscriptionId>,
) -> Vec<&'s Subscription> {
    let trialist = |one: &Subscription| -> Trialist { (one.account, one.listing) };
    let has_new_plan = |one: &Subscription| changes.plans.contains(&(one.plan, one.plan_revision));
    let tries = |one: &Subscription| {
        let plan = snapshot.plans.get(&(one.plan, one.plan_revision));
        has_new_plan(one) || plan.is_some_and(|plan| plan.trial_calls.is_some())
    };
    let now: Vec<&Subscription> = named.iter().filter_map(|id| snapshot.subscriptions.get(id)).collect();
    let were = changes.subscriptions.values().flatten().filter(|one| tries(one)).map(trialist);
    let mut trialists: HashSet<Trialist> =
        now.iter().filter(|one| tries(one)).map(|one| trialist(one)).chain(were).collect();
    if !changes.plans.is_empty() {
        trialists.extend(snapshot.subscriptions.values().filter(|one| has_new_plan(one)).map(trialist));
    }
    if trialists.is_empty() {
        return now;
    }
    let is_touched = |one: &&Subscription| named.contains(&one.id) || trialists.contains(&trialist(one));
    snapshot.subscriptions.values().filter(is_touched).collect()
}
