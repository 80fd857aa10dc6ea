//! How large an account's one trial of a listing is.

use super::*;

/// The sizes of the trials of one account that has two subscriptions to each of these plans, one inactive; of those that are
/// served and active.
fn trials(plans: impl Fn(Plan) -> Vec<Plan>) -> Vec<u64> {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    let mut snapshot = market(1);
    let first = only_subscription(&snapshot);
    let plan = snapshot.plans[&(first.plan, 1)].clone();
    (snapshot.subscriptions, snapshot.credentials) = Default::default();
    for plan in plans(plan) {
        for inactive in [false, true] {
            let id = SubscriptionId::generate();
            let held = Subscription { id, plan: plan.id, inactive, ..first.clone() };
            snapshot.apply(&Change::PutSubscription(held));
            snapshot.apply(&Change::PutCredential(Credential {
                id: CredentialId::generate(),
                subscription: id,
                digest: key::digest(id.to_string().as_bytes()),
                expires_at: None,
            }));
        }
        snapshot.apply(&Change::PutPlan(Box::new(plan)));
    }
    life.tell(whole(&snapshot));
    let runtime = life.gateway.runtime().unwrap();
    let active = runtime.credentials.values().filter(|credential| !credential.entitlement.inactive);
    active.map(|credential| credential.entitlement.counted().tallies[0].tally.view().max).collect()
}

fn trial_of(calls: u64, plan: &Plan) -> Plan {
    Plan { id: PlanId::generate(), trial_calls: Some(calls), ..plan.clone() }
}

#[test]
fn two_plans_of_one_listing_share_one_trial_of_the_larger_size() {
    assert_eq!(trials(|plan| vec![trial_of(1_000, &plan), trial_of(10, &plan)]), [1_000; 2]);
}

/// It would take calls away that were given, and give them back with the next release.
#[test]
fn a_plan_that_is_left_out_counts_for_the_size_of_the_trial_where_that_is_understood() {
    let sizes = trials(|plan| {
        vec![
            Plan { zone: Some("Mars/Olympus_Mons".to_owned()), ..trial_of(1_000, &plan) },
            Plan { listing: ListingId::generate(), ..trial_of(5_000, &plan) },
            trial_of(u64::MAX, &plan),
            trial_of(10, &plan),
        ]
    });
    assert_eq!(sizes, [1_000]);
}
