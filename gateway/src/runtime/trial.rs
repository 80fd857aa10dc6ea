//! How far a subscription's trial goes, by calls and by days, as a snapshot has it. Pure. Next: `compile.rs`.

use std::collections::HashMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId};
use apiclay_config::snapshot::{self, Snapshot, trial_is_valid};

/// An account and the listing that it tries.
pub(super) type Trialist = (AccountId, ListingId);

/// Until when a subscription's calls are tried, where its plan's trial is counted in days; the month that is paid for has none.
pub(super) fn trial_until(subscription: &snapshot::Subscription, plan: &snapshot::Plan) -> Option<Timestamp> {
    let tried = !(plan.priced && subscription.pays) || plan.per_call;
    // One that was never begun is over.
    plan.trial_days.filter(|_| tried).map(|_| subscription.trial_until.unwrap_or(Timestamp(i64::MIN)))
}

/// How large each account's one trial of a listing is, by its `subscriptions` that are not at fault: where several of its plans have
/// one, the largest, whichever of them is looked at and whichever can be served here. One counter with two sizes would change with
/// every snapshot and release.
pub(super) fn trials<'s>(
    subscriptions: impl Iterator<Item = &'s snapshot::Subscription>,
    snapshot: &Snapshot,
) -> HashMap<Trialist, u64> {
    let mut trials = HashMap::new();
    for subscription in subscriptions.filter(|one| !one.inactive) {
        let plan = snapshot.plans.get(&(subscription.plan, subscription.plan_revision));
        let calls = plan.and_then(|plan| plan.trial_calls).filter(|calls| trial_is_valid(*calls));
        if let Some(calls) = calls {
            let largest = trials.entry((subscription.account, subscription.listing)).or_insert(calls);
            *largest = calls.max(*largest);
        }
    }
    trials
}
