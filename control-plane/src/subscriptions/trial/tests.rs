//! A trial by days begins once an account and listing, over both stores, and ends when its first begin says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use apiclay_config::money::{Currency, Money};

use super::*;
use crate::plans::terms::Trial;
use crate::store::conformance::mongod::Mongod;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn terms(trial: Option<Trial>) -> Terms {
    Terms {
        price: Money::new(1, Currency::INR),
        usage_price: None,
        limits: Vec::new(),
        zone: None,
        trial,
        concurrency_max: None,
        billable_statuses: None,
        bindings: Vec::new(),
    }
}

async fn a_trial_begins_once(store: &Store) {
    store.register::<TrialBegun>().await.unwrap();
    let (account, listing) = (AccountId::generate(), ListingId::generate());
    let ends = async |who, days, at: i64| {
        let terms = terms(Some(Trial { calls: Some(5), days: Some(days) }));
        ends_at(store, who, &terms, NOW.plus_ms(at * DAY_MS)).await.unwrap().unwrap()
    };
    let after = |days: i64| NOW.plus_ms(days * DAY_MS);
    for none in [None, Some(Trial::of_calls(5))] {
        assert_eq!(ends_at(store, (account, listing), &terms(none), NOW).await.unwrap(), None);
    }
    // Two requests at once, a later one, and one under another plan.
    let who = (account, listing);
    let (one, two) = futures_util::future::join(ends(who, 14, 0), ends(who, 14, 0)).await;
    assert_eq!(
        (one, two, ends(who, 14, 20).await, ends(who, 30, 20).await),
        (after(14), after(14), after(14), after(30))
    );
    assert_eq!(ends((account, ListingId::generate()), 14, 20).await, after(34));
    assert_eq!(ends((AccountId::generate(), listing), 14, 20).await, after(34));
}

#[tokio::test]
async fn a_trial_by_days_begins_once_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    a_trial_begins_once(&Store::open_embedded(&folder.path().join("trial.db")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_by_days_begins_once_over_mongodb() {
    let server = Mongod::start().await;
    a_trial_begins_once(&Store::open_mongodb(&server.uri("trial")).await.unwrap()).await;
}
