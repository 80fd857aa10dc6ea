//! Compiles what subscriptions are allowed. What their calls are counted by is made when the first one comes, but for those that were
//! called before: rates go on, and a new limit takes effect at once. Next: `limits.rs`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use apiclay_config::snapshot::{self, Snapshot};

use super::Entitlement;
use super::compile::Compiler;
use super::trial::{Trialist, trial_until};

impl Compiler {
    /// What a subscription is allowed whose plan's edition can be served. Where the plan costs something, one that does not pay is
    /// open for the trial only; one that pays for each call goes on from its wallet; for one that pays otherwise, the period is
    /// paid, and there is neither.
    pub(super) fn entitlement(
        &self,
        subscription: &snapshot::Subscription,
        snapshot: &Snapshot,
        trials: &HashMap<Trialist, u64>,
    ) -> Option<Entitlement> {
        let key = (subscription.plan, subscription.plan_revision);
        let plan = snapshot.plans.get(&key)?;
        let pays = plan.priced && subscription.pays;
        let trial = plan.trial_calls.filter(|_| !pays || plan.per_call);
        let of_account =
            |calls| trials.get(&(subscription.account, subscription.listing)).copied().unwrap_or(calls);
        Some(Entitlement {
            subscription: subscription.id,
            account: subscription.account,
            listing: subscription.listing,
            edition: Arc::clone(self.editions.get(&key)?),
            inactive: subscription.inactive,
            ends_at: subscription.ends_at,
            trial_calls: trial.map(of_account),
            trial_until: trial_until(subscription, plan),
            wallet: pays && plan.per_call,
            unpaid: plan.priced
                && !subscription.pays
                && plan.trial_calls.is_none()
                && plan.trial_days.is_none(),
            counted: OnceLock::new(),
        })
    }
}

impl Entitlement {
    /// Where calls were counted before, they are counted on.
    pub(super) fn goes_on_from(&self, before: &Self) {
        if let Some(counted) = before.counted.get() {
            // One that was called meanwhile counts already.
            let _ = self.counted.set(Box::new(self.edition.limits.count(self, Some(counted))));
        }
    }
}
