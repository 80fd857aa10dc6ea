//! Compiles what changed into the runtime before it, so that a key is served or revoked at once, however large the market. Only
//! where all that the change bears on is whole, before and after: else nothing is said, and all is compiled anew, which knows
//! what to leave out. What was left out before and has nothing to do with the change stays so.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use apiclay_config::ids::SubscriptionId;
use apiclay_config::snapshot::{Faults, Part, Snapshot, Subscription, check_part};

use super::changes::Changes;
use super::compile::{Compiler, compiled_key};
use super::listings::name_of;
use super::table::Entry as _;
use super::trial::{Trialist, trials};
use super::{Credentials, Listing, Runtime, Table};

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
        for part in parts(changes) {
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
        let subscriptions = self.changed_subscriptions(snapshot, changes, &mut faults)?;
        let credentials = self.changed_keys(before, snapshot, changes, &subscriptions)?;
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

    /// Those that changed, and those whose plan or account's trial did: whoever was there before, and may have keys, comes back.
    fn changed_subscriptions(
        &mut self,
        snapshot: &Snapshot,
        changes: &Changes,
        faults: &mut Faults,
    ) -> Option<HashSet<SubscriptionId>> {
        // One that was there and not served had a plan that was left out; its keys were, too.
        let not_served = |id: &SubscriptionId| !self.entitlements.contains_key(id);
        if changes.subscriptions.iter().any(|(id, was)| was.is_some() && not_served(id)) {
            return None;
        }
        let again = touched(snapshot, changes);
        let whole = again.iter().copied().filter(|one| !self.faults.are_of(Part::Subscription(one.id)));
        let whole: Vec<&Subscription> = whole.collect();
        let trials = trials(whole.iter().copied(), snapshot);
        let mut may_have_keys = HashSet::new();
        for subscription in whole {
            check_part(snapshot, Part::Subscription(subscription.id), faults);
            let is_changed = changes.subscriptions.contains_key(&subscription.id);
            match self.entitlement(subscription, snapshot, &trials) {
                Some(entitlement) => drop(self.entitlements.insert(subscription.id, Arc::new(entitlement))),
                None if is_changed => return None,
                // Of an edition that is left out, and stays so.
                None => continue,
            }
            if changes.subscriptions.get(&subscription.id).is_none_or(Option::is_some) {
                may_have_keys.insert(subscription.id);
            }
        }
        faults.is_empty().then_some(may_have_keys)
    }

    fn changed_keys(
        &self,
        before: &Runtime,
        snapshot: &Snapshot,
        changes: &Changes,
        subscriptions: &HashSet<SubscriptionId>,
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
            let is_second = credentials.get(&credential.digest).is_some();
            let entitlement = self.entitlements.get(&credential.subscription).filter(|_| !is_second)?;
            openers.push(compiled_key(credential, entitlement));
        }
        let others =
            snapshot.credentials.values().take(if subscriptions.is_empty() { 0 } else { usize::MAX });
        for credential in others.filter(|one| subscriptions.contains(&one.subscription)) {
            let is_served = !changes.credentials.contains_key(&credential.id)
                && credentials.get(&credential.digest).is_some_and(|known| known.id == credential.id);
            if let Some(entitlement) = self.entitlements.get(&credential.subscription).filter(|_| is_served) {
                openers.push(compiled_key(credential, entitlement));
            }
        }
        let mut halves: Vec<u128> = openers.iter().map(|opener| *opener.key()).collect();
        halves.sort_unstable();
        let is_second = halves.windows(2).any(|two| two[0] == two[1]);
        credentials.extend(openers);
        (!is_second).then_some(credentials)
    }
}

/// The subscriptions that changed, and those whose plan or account's trial did, by id.
fn touched<'s>(snapshot: &'s Snapshot, changes: &'s Changes) -> Vec<&'s Subscription> {
    let trialist = |one: &Subscription| -> Trialist { (one.account, one.listing) };
    let has_new_plan = |one: &Subscription| changes.plans.contains(&(one.plan, one.plan_revision));
    let tries = |one: &&Subscription| {
        let plan = snapshot.plans.get(&(one.plan, one.plan_revision));
        has_new_plan(one) || plan.is_some_and(|plan| plan.trial_calls.is_some())
    };
    let changed = || changes.subscriptions.keys().filter_map(|id| snapshot.subscriptions.get(id));
    let were = changes.subscriptions.values().flatten();
    let mut trialists: HashSet<Trialist> = changed().chain(were).filter(tries).map(trialist).collect();
    if !changes.plans.is_empty() {
        trialists.extend(snapshot.subscriptions.values().filter(|one| has_new_plan(one)).map(trialist));
    }
    if trialists.is_empty() {
        return changed().collect();
    }
    let is_touched = |one: &&Subscription| {
        changes.subscriptions.contains_key(&one.id) || trialists.contains(&trialist(one))
    };
    snapshot.subscriptions.values().filter(is_touched).collect()
}

/// The parts that changed and are there.
fn parts(changes: &Changes) -> impl Iterator<Item = Part> {
    let listings = changes.listings.keys().map(|id| Part::Listing(*id));
    let plans = changes.plans.iter().map(|(id, revision)| Part::Plan(*id, *revision));
    let subscriptions = changes.subscriptions.keys().map(|id| Part::Subscription(*id));
    let credentials = changes.credentials.keys().map(|id| Part::Credential(*id));
    listings.chain(plans).chain(subscriptions).chain(credentials)
}
