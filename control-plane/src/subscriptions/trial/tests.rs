//! A trial by days begins once an account and listing, over both stores, and ends when its first begin says; and its account is
//! told of that once, before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use apiclay_config::ids::{PlanId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};

use super::telling::tell_due;
use super::*;
use crate::accounts::documents::{Account, AccountState};
use crate::outbound::mail::Mail;
use crate::plans::documents::PlanRevision;
use crate::plans::terms::{Trial, UsagePrice};
use crate::store::conformance::mongod::Mongod;
use crate::subscriptions::charge::Edition;
use crate::subscriptions::documents::Subscription;

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

const HOUR_MS: i64 = 3_600_000;

/// A buyer's trials of one listing, and the mail that he gets.
struct Buyer {
    store: Store,
    mail: Mail,
    account: AccountId,
    listing: ListingId,
}

impl Buyer {
    async fn new(store: Store) -> Self {
        let account = AccountId::generate();
        store.register::<Account>().await.unwrap();
        store.register::<PlanRevision>().await.unwrap();
        store.register::<Subscription>().await.unwrap();
        store.register::<TrialBegun>().await.unwrap();
        let buyer = Account {
            id: account,
            email: format!("{account}@example.com"),
            username: account.to_string(),
            name: "Bela".to_owned(),
            password_hash: String::new(),
            email_verified_at: Some(NOW),
            admin: false,
            state: AccountState::Active,
            created_at: NOW,
            forget_at: None,
        };
        store.insert(&buyer).await.unwrap();
        Self { store, mail: Mail::outbox(), account, listing: ListingId::generate() }
    }

    /// Begins a subscription to a plan with a trial of so many days, some days after [`NOW`].
    async fn begins(&self, days: u32, day: i64, (per_call, pays): (bool, bool)) -> Subscription {
        let mut terms = terms(Some(Trial { calls: None, days: Some(days) }));
        terms.usage_price = per_call.then(|| UsagePrice::flat(Money::new(250_000, Currency::INR)));
        let (now, plan) = (NOW.plus_ms(day * DAY_MS), PlanId::generate());
        let who = (self.account, self.listing);
        let trial_ends_at = ends_at(&self.store, who, &terms, now).await.unwrap();
        let revision = PlanRevision {
            plan,
            revision: 1,
            listing: self.listing,
            terms,
            created_at: now,
            unpublished: None,
        };
        self.store.insert(&revision).await.unwrap();
        let of = (self.account, self.listing, VendorId::generate());
        let edition = Edition { plan, revision: 1 };
        let new = Subscription::new(SubscriptionId::generate(), of, edition, now);
        let new = Subscription { trial_ends_at, pays, ..new };
        self.store.insert(&new).await.unwrap();
        new
    }

    /// A turn of the job on two control planes at once, so many hours after [`NOW`]; says how many letters there are then.
    async fn letters(&self, hours: i64) -> usize {
        let (url, now) = ("https://apis.example.com/".parse().unwrap(), NOW.plus_ms(hours * HOUR_MS));
        let turn = || tell_due(&self.store, &self.mail, &url, now);
        let (one, other) = futures_util::future::join(turn(), turn()).await;
        one.unwrap();
        other.unwrap();
        self.texts().len()
    }

    fn texts(&self) -> Vec<String> {
        let sent = self.mail.sent_to(&format!("{}@example.com", self.account)).unwrap();
        sent.into_iter().map(|message| message.text).collect()
    }
}

async fn an_end_is_told_once(store: Store) {
    let buyer = Buyer::new(store).await;
    let refused = buyer.begins(14, 0, (false, false)).await;
    let paid = buyer.begins(14, 1, (true, true)).await;
    // A month that is paid for, and what has ended, are tried no more.
    let month = buyer.begins(14, 1, (false, true)).await;
    let ended = buyer.begins(12, 1, (false, false)).await;
    let found = buyer.store.get::<Subscription>(&ended.id()).await.unwrap().unwrap();
    let mut gone = found.value.clone();
    gone.end(NOW);
    buyer.store.replace(&gone, found.version).await.unwrap();
    for hours in [0, 1, 24, 9 * 24 + 1, 11 * 24 - 1] {
        assert_eq!(buyer.letters(hours).await, 0, "after {hours} hours");
    }
    assert_eq!(buyer.letters(11 * 24).await, 1, "both control planes told it, or none");
    let text = &buyer.texts()[0];
    assert!(text.contains(&NOW.plus_ms(14 * DAY_MS).to_string()), "{text}");
    assert!(text.contains(&format!("Of {} calls are refused", refused.id)), "{text}");
    assert!(text.contains(&format!("Of {} calls are paid from your wallet", paid.id)), "{text}");
    assert!(text.contains(&format!("https://apis.example.com/subscriptions/{}", paid.id)), "{text}");
    assert!(!text.contains(&month.id.to_string()) && !text.contains(&ended.id.to_string()), "{text}");
    for hours in [11 * 24, 12 * 24, 15 * 24] {
        assert_eq!(buyer.letters(hours).await, 1, "after {hours} hours");
    }
    // Bought again it is the same trial; a longer one is told of at its own time.
    buyer.begins(14, 12, (false, false)).await;
    assert_eq!(buyer.letters(13 * 24).await, 1);
    buyer.begins(30, 12, (false, false)).await;
    assert_eq!((buyer.letters(27 * 24 - 1).await, buyer.letters(27 * 24).await), (1, 2));
    assert_eq!(buyer.letters(40 * 24).await, 2);
}

async fn a_short_trial_is_told_of_at_half_and_a_late_one_at_once(store: Store) {
    for (days, told_after_hours) in [(1, 12), (2, 24), (3, 36), (4, 24)] {
        let buyer = Buyer::new(store.clone()).await;
        buyer.begins(days, 0, (false, false)).await;
        assert_eq!(buyer.letters(told_after_hours - 1).await, 0, "{days} days");
        assert_eq!(buyer.letters(told_after_hours).await, 1, "{days} days");
    }
    // A trial of the listing that was begun long ago and is nearly over; and nobody was there to tell of one that is over.
    let buyer = Buyer::new(store).await;
    buyer.begins(2, 0, (false, false)).await;
    assert_eq!(buyer.letters(3 * 24).await, 0);
    buyer.begins(8, 6, (false, false)).await;
    assert_eq!((buyer.letters(6 * 24).await, buyer.letters(6 * 24 + 1).await), (0, 1));
}

async fn embedded(folder: &Path) -> Store {
    Store::open_embedded(&folder.join("trial.db")).await.unwrap()
}

#[tokio::test]
async fn the_end_of_a_trial_is_told_once_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    an_end_is_told_once(embedded(folder.path()).await).await;
    a_short_trial_is_told_of_at_half_and_a_late_one_at_once(embedded(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_trial_is_told_once_over_mongodb() {
    let server = Mongod::start().await;
    let store = Store::open_mongodb(&server.uri("telling")).await.unwrap();
    an_end_is_told_once(store.clone()).await;
    a_short_trial_is_told_of_at_half_and_a_late_one_at_once(store).await;
}

#[tokio::test]
async fn what_was_told_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let buyer = Buyer::new(embedded(folder.path()).await).await;
    buyer.begins(14, 0, (false, false)).await;
    let Buyer { store, mail, account, listing } = buyer;
    drop(store);
    let buyer = Buyer { store: embedded(folder.path()).await, mail, account, listing };
    assert_eq!(buyer.letters(12 * 24).await, 1);
    let Buyer { store, mail, account, listing } = buyer;
    drop(store);
    let buyer = Buyer { store: embedded(folder.path()).await, mail, account, listing };
    assert_eq!(buyer.letters(13 * 24).await, 1);
}
