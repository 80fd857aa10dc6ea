//! Every rule that makes a snapshot whole. The control plane applies them before it publishes, the gateway before it
//! compiles: what passes here can be served. A fault says which part it is of, so that the gateway leaves out that one and what
//! stands on it, and nothing else.

use std::collections::BTreeSet;

use super::{
    Binding, Credential, Fault, Faults, Listing, Meter, MeterSource, Part, Plan, STATUS_RANGES_MAX, Snapshot,
    Subscription, TRIAL_DAYS_MAX, UNITS_PER_CALL_MAX, header_may_be_injected, header_may_be_metered,
    header_may_hold_keys, parse_path, parse_pointer, slug_is_valid,
};
use crate::zone::Zone;

/// Largest weight of a target.
const WEIGHT_MAX: u32 = 1_000;

/// The first rules that `snapshot` breaks; none, and it can be compiled.
#[must_use]
pub fn validate(snapshot: &Snapshot) -> Vec<Fault> {
    faults_of(snapshot).shown
}

/// All that is wrong with `snapshot`.
#[must_use]
pub fn faults_of(snapshot: &Snapshot) -> Faults {
    let mut faults = Faults::default();
    for unread in &snapshot.unread {
        let place = unread.part.map_or_else(|| "snapshot".to_owned(), |part| part.to_string());
        let rule = format!("it is not understood by this version: {}", unread.why);
        faults.add_at(unread.part, &place, rule);
    }
    let mut paths = BTreeSet::new();
    for listing in snapshot.listings.values() {
        if !paths.insert((listing.vendor_slug.as_str(), listing.slug.as_str())) {
            faults.add(Part::Listing(listing.id), "another listing has the same vendor and slug");
        }
        check_listing(listing, &mut faults);
    }
    for plan in snapshot.plans.values() {
        check_plan(snapshot, plan, &mut faults);
    }
    for subscription in snapshot.subscriptions.values() {
        check_subscription(snapshot, subscription, &mut faults);
    }
    let mut digests = BTreeSet::new();
    for credential in snapshot.credentials.values() {
        check_credential(snapshot, credential, &mut faults);
        if !digests.insert(credential.digest) {
            faults.add(Part::Credential(credential.id), "another credential has the same digest");
        }
    }
    check_part(snapshot, Part::Everywhere, &mut faults);
    faults
}

/// What is wrong with one part that is there, but for what it has in common with another of its kind.
pub fn check_part(snapshot: &Snapshot, part: Part, faults: &mut Faults) {
    match part {
        Part::Everywhere => check_bindings(part, &part, &snapshot.bindings, faults),
        Part::Listing(id) => {
            if let Some(listing) = snapshot.listings.get(&id) {
                check_listing(listing, faults);
            }
        }
        Part::Plan(id, revision) => {
            if let Some(plan) = snapshot.plans.get(&(id, revision)) {
                check_plan(snapshot, plan, faults);
            }
        }
        Part::Subscription(id) => {
            if let Some(subscription) = snapshot.subscriptions.get(&id) {
                check_subscription(snapshot, subscription, faults);
            }
        }
        Part::Credential(id) => {
            if let Some(credential) = snapshot.credentials.get(&id) {
                check_credential(snapshot, credential, faults);
            }
        }
    }
}

fn check_subscription(snapshot: &Snapshot, subscription: &Subscription, faults: &mut Faults) {
    match snapshot.plans.get(&(subscription.plan, subscription.plan_revision)) {
        None => faults.add(Part::Subscription(subscription.id), "its plan is not in the snapshot"),
        Some(plan) if plan.listing != subscription.listing => {
            faults.add(Part::Subscription(subscription.id), "its plan is of another listing");
        }
        Some(_) => {}
    }
}

fn check_credential(snapshot: &Snapshot, credential: &Credential, faults: &mut Faults) {
    if !snapshot.subscriptions.contains_key(&credential.subscription) {
        faults.add(Part::Credential(credential.id), "its subscription is not in the snapshot");
    }
}

fn check_listing(listing: &Listing, faults: &mut Faults) {
    let part = Part::Listing(listing.id);
    for slug in [&listing.vendor_slug, &listing.slug] {
        if !slug_is_valid(slug) {
            faults.add(part, "a slug is 1 to 63 lower-case letters, digits and inner hyphens");
        }
    }
    if listing.upstream.targets.is_empty() {
        faults.add(part, "its upstream has no target");
    }
    for target in &listing.upstream.targets {
        let url = url::Url::parse(&target.url).ok();
        if !url.is_some_and(|u| {
            matches!(u.scheme(), "http" | "https") && u.host().is_some() && u.query().is_none()
        }) {
            faults.add(part, "a target is an http or https address without a query");
        }
        if !(1..=WEIGHT_MAX).contains(&target.weight) {
            faults.add(part, format!("a target's weight is 1 to {WEIGHT_MAX}"));
        }
    }
    let mut seen = BTreeSet::new();
    for route in &listing.routes {
        if let Err(wrong) = parse_path(&route.path) {
            faults.add_at(part, &route.id, wrong.to_string());
        }
        if route.method.is_empty() || !route.method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            faults.add_at(part, &route.id, "a method is capital letters");
        }
        if !seen.insert((route.method.as_str(), route.path.as_str())) {
            faults.add_at(part, &route.id, "another route has the same method and path");
        }
        check_bindings(part, &route.id, &route.bindings, faults);
    }
    if let Some(header) = listing.key_header.as_deref().filter(|h| !header_may_hold_keys(h)) {
        faults.add(part, format!("keys cannot travel in the header `{header}`"));
    }
    for secret in &listing.secrets {
        if !header_may_be_injected(&secret.header) {
            faults.add(part, format!("the header `{}` cannot be injected", secret.header));
        }
    }
    check_bindings(part, &listing.id, &listing.bindings, faults);
}

fn check_plan(snapshot: &Snapshot, plan: &Plan, faults: &mut Faults) {
    let part = Part::Plan(plan.id, plan.revision);
    if !snapshot.listings.contains_key(&plan.listing) {
        faults.add(part, "its listing is not in the snapshot");
    }
    let mut windows = BTreeSet::new();
    for limit in &plan.limits {
        if !windows.insert(limit.window) {
            faults.add(part, "two limits have the same window");
        }
        if limit.max == 0 || limit.max > u64::from(u32::MAX) {
            faults.add(part, "a limit is 1 to 4294967295 calls");
        }
    }
    if let Some(zone) = plan.zone.as_deref().filter(|zone| Zone::named(zone).is_none()) {
        faults.add(part, format!("`{zone}` is no time zone that is known here"));
    }
    if plan.concurrency_max == Some(0) {
        faults.add(part, "at least one call may be in flight");
    }
    if plan.trial_calls.is_some_and(|calls| !trial_is_valid(calls)) {
        faults.add(part, "a trial is 1 to 4294967295 calls");
    }
    if plan.trial_days.is_some_and(|days| !(1..=TRIAL_DAYS_MAX).contains(&days)) {
        faults.add(part, format!("a trial is 1 to {TRIAL_DAYS_MAX} days"));
    }
    if plan.per_call && !plan.priced {
        faults.add(part, "a plan whose calls cost something is priced");
    }
    if let Some(meter) = &plan.meter {
        check_meter(part, meter, faults);
    }
    if plan.billable_statuses.as_ref().is_some_and(|s| !(1..=STATUS_RANGES_MAX).contains(&s.len())) {
        faults.add(part, format!("1 to {STATUS_RANGES_MAX} statuses are billed, or it says nothing"));
    }
    check_bindings(part, &plan.id, &plan.bindings, faults);
}

/// Whether so many calls are a trial.
#[must_use]
pub fn trial_is_valid(calls: u64) -> bool {
    (1..=u64::from(u32::MAX)).contains(&calls)
}

fn check_meter(part: Part, meter: &Meter, faults: &mut Faults) {
    if !(1..=UNITS_PER_CALL_MAX).contains(&meter.units_max_per_call) {
        faults.add(part, format!("a call is 1 to {UNITS_PER_CALL_MAX} units at most"));
    }
    if meter.units_default > meter.units_max_per_call {
        faults.add(part, "a call that says no units is not more than one is at most");
    }
    match &meter.source {
        MeterSource::Header(name) if !header_may_be_metered(name) => {
            faults.add(part, format!("units cannot be read from the header `{name}`"));
        }
        MeterSource::Header(_) => {}
        MeterSource::JsonPointer(pointer) => {
            if let Err(wrong) = parse_pointer(pointer) {
                faults.add(part, wrong.to_string());
            }
        }
    }
}

fn check_bindings(part: Part, place: &dyn std::fmt::Display, bindings: &[Binding], faults: &mut Faults) {
    let mut types = BTreeSet::new();
    for binding in bindings {
        if !types.insert((binding.plugin.as_str(), binding.stays)) {
            faults.add_at(part, place, format!("the plugin `{}` is attached twice", binding.plugin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_whose_calls_cost_something_is_priced() {
        use crate::ids::{ListingId, PlanId};
        let faults = |priced, per_call| {
            let plan = Plan {
                id: PlanId::from_u128(1),
                revision: 1,
                listing: ListingId::from_u128(1),
                limits: Vec::new(),
                zone: None,
                concurrency_max: None,
                trial_calls: None,
                trial_days: None,
                priced,
                per_call,
                meter: None,
                billable_statuses: None,
                bindings: Vec::new(),
            };
            let mut faults = Faults::default();
            check_plan(&Snapshot::default(), &plan, &mut faults);
            // Its listing is not there, which is one.
            faults.len() - 1
        };
        assert_eq!((faults(false, true), faults(true, true), faults(true, false)), (1, 0, 0));
    }
}
