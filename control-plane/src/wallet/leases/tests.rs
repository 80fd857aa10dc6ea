//! Charging by tiers over both stores: leases that end at once on two control planes, prices that give back, calls that come
//! late, and whoever dies between two steps. Each lease's calls are on record; who counts them is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_docs_in_private_items)]

use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{AccountId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};

use super::charge::{Books, Folded};
use super::documents::{Closed, Metered, WalletLease};
use super::included;
use super::reckon::units_charged;
use super::rules::{closing, hold, hold_included};
use crate::ledger::verify::verify;
use crate::ledger::{
    Amount, EntryKind, Holder, Journal, LedgerAccount, LedgerError, Proposal, Refused, Step,
};
use crate::plans::documents::PlanRevision;
use crate::plans::pricing::Pricing;
use crate::plans::terms::{Terms, Tier, TierMode, UsagePrice};
use crate::plans::units::UsageUnit;
use crate::store::conformance::mongod::Mongod;
use crate::store::{Store, Versioned};
use crate::subscriptions::charge::Edition;
use crate::subscriptions::documents::Subscription;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const MONEY: i64 = 1_000_000;
const GATEWAY: &str = "gw-1";
const EPOCH: &str = "00112233445566ff";

/// A buyer with money, a plan's price, and two control planes.
struct Shop {
    store: Store,
    planes: [Arc<Journal>; 2],
    subscription: Subscription,
    pricing: Pricing,
}

fn on(holder: Holder) -> LedgerAccount {
    LedgerAccount { holder, currency: Currency::INR }
}

impl Shop {
    /// Up to ten units at one price each, then at another.
    async fn open(store: &Store, mode: TierMode, first: i64, then: i64) -> Self {
        let money = |micro| Money::new(micro, Currency::INR);
        let tiers =
            vec![Tier { up_to: Some(10), amount: money(first) }, Tier { up_to: None, amount: money(then) }];
        let usage_price = UsagePrice {
            unit: UsageUnit::CALL,
            amount: None,
            tiers: Some(tiers),
            mode: Some(mode),
            included: None,
        };
        let pricing = Pricing::of(&usage_price).unwrap();
        let terms = Terms {
            price: money(0),
            usage_price: Some(usage_price),
            limits: Vec::new(),
            zone: None,
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
            bindings: Vec::new(),
        };
        let (plan, listing) = (PlanId::from_u128(1), ListingId::from_u128(1));
        let revision = PlanRevision { plan, revision: 1, listing, terms, created_at: NOW, unpublished: None };
        store.insert(&revision).await.unwrap();
        let sold = (AccountId::from_u128(1), listing, VendorId::from_u128(1));
        let id = SubscriptionId::from_u128(1);
        let mut subscription = Subscription::new(id, sold, Edition { plan, revision: 1 }, NOW);
        (subscription.pays, subscription.live_key) = (true, None);
        let planes = [(); 2].map(|()| Arc::new(Journal::new(store.clone(), Clock::System)));
        let shop = Self { store: store.clone(), planes, subscription, pricing };
        let lines = vec![
            Amount { account: shop.wallet(), micro: MONEY },
            Amount { account: on(Holder::Provider), micro: -MONEY },
        ];
        let top_up = Proposal {
            facts: vec!["topup:1".into()],
            kind: EntryKind::TopUp,
            step: Step::Move(lines),
            usage: None,
            fee: None,
            reason: "money".into(),
        };
        shop.planes[0].append(&top_up).await.unwrap();
        shop
    }

    fn wallet(&self) -> LedgerAccount {
        LedgerAccount::wallet(self.subscription.account, Currency::INR)
    }

    /// A lease with a hold for so many calls, which were made and are on record.
    async fn lease(&self, serial: u32, calls: u64) -> WalletLease {
        let mut lease =
            WalletLease::new((GATEWAY, EPOCH, serial), &self.subscription, Money::new(0, Currency::INR), NOW);
        let before = units_charged(
            &self.planes[0],
            self.subscription.id,
            (lease.plan, lease.plan_revision),
            &lease.period,
        )
        .await
        .unwrap();
        lease.price.micro = self.pricing.price_max_from(before);
        (lease.kept, lease.billable) = (calls, calls);
        self.store.insert(&lease).await.unwrap();
        self.planes[0].append(&hold(&lease, calls).unwrap()).await.unwrap();
        lease
    }

    /// A lease that was asked for at so much a call: nothing is held for it yet.
    async fn asked(&self, serial: u32, micro: i64) -> WalletLease {
        let price = Money::new(micro, Currency::INR);
        let lease = WalletLease::new((GATEWAY, EPOCH, serial), &self.subscription, price, NOW);
        self.store.insert(&lease).await.unwrap();
        lease
    }

    async fn known(&self, serial: u32) -> Versioned<WalletLease> {
        let id = WalletLease::id_of(GATEWAY, EPOCH, serial);
        self.store.get::<WalletLease>(&id).await.unwrap().unwrap()
    }

    /// Its gateway closes it.
    async fn close(&self, serial: u32) {
        let mut known = self.known(serial).await;
        let spent = u32::try_from(known.value.kept).unwrap();
        known.value.close(Closed { spent, folded_first: Vec::new() }, NOW);
        self.store.replace(&known.value, known.version).await.unwrap();
    }

    /// A control plane charges it, as often as there are turns.
    async fn charge(&self, plane: usize, serial: u32) {
        let books = Books { store: &self.store, journal: &self.planes[plane], now: NOW };
        books.charge(self.known(serial).await.value, &Folded::default()).await.unwrap();
    }

    /// More of its calls are told of.
    async fn told(&self, serial: u32, calls: u64) {
        let mut known = self.known(serial).await;
        known.value.kept += calls;
        known.value.billable += calls;
        self.store.replace(&known.value, known.version).await.unwrap();
    }

    /// Spent from the wallet, nothing of which is held, written off, and units counted; in a journal without a fault, in which
    /// the vendor has what they cost.
    async fn stands(&self) -> (i64, i64, u64) {
        let report = verify(&self.store).await.unwrap();
        assert_eq!((report.faults, report.open_holds), (vec![], vec![]));
        let of = |account: LedgerAccount| {
            i64::try_from(report.balances.get(&account).copied().unwrap_or(0)).unwrap()
        };
        let head = self.planes[0].head(&self.wallet().to_string()).await.unwrap();
        assert_eq!((head.posted, head.pending), (of(self.wallet()), 0));
        let period =
            WalletLease::new(("", "", 1), &self.subscription, Money::new(0, Currency::INR), NOW).period;
        let units =
            units_charged(&self.planes[0], self.subscription.id, (self.subscription.plan, 1), &period)
                .await
                .unwrap();
        // Another edition's prices know nothing of them.
        let other = (self.subscription.plan, 2);
        assert_eq!(units_charged(&self.planes[0], self.subscription.id, other, &period).await.unwrap(), 0);
        let earned = of(on(Holder::Vendor(self.subscription.vendor)));
        assert_eq!(i128::from(earned), self.pricing.cost(units), "{units} units");
        (MONEY - head.posted, -of(on(Holder::WriteOff)), units)
    }
}

async fn tiers_are_exact_however_many_leases_end_at_once(store: &Store) {
    let shop = Arc::new(Shop::open(store, TierMode::Graduated, 100, 500).await);
    for serial in 1..=12 {
        shop.lease(serial, 3).await;
        shop.close(serial).await;
    }
    let ends = (1..=12).flat_map(|serial| [(0, serial), (1, serial)]).map(|(plane, serial)| {
        let shop = Arc::clone(&shop);
        // Both control planes find each of them.
        tokio::spawn(async move { shop.charge(plane, serial).await })
    });
    for end in futures_util::future::join_all(ends).await {
        end.unwrap();
    }
    assert_eq!(shop.stands().await, (10 * 100 + 26 * 500, 0, 36));
}

async fn a_price_of_all_units_gives_back_at_a_boundary(store: &Store) {
    let shop = Shop::open(store, TierMode::Volume, 500, 300).await;
    for (serial, calls) in [(1, 10), (2, 1), (3, 1)] {
        shop.lease(serial, calls).await;
        shop.close(serial).await;
    }
    shop.charge(0, 1).await;
    // The eleventh makes the first ten cheaper: 3,300 instead of 5,000.
    shop.charge(1, 2).await;
    let head = shop.planes[0].head(&shop.wallet().to_string()).await.unwrap();
    assert_eq!(MONEY - head.posted, 3_300);
    shop.charge(0, 3).await;
    assert_eq!(shop.stands().await, (3_600, 0, 12));
}

/// Eight calls are charged, six come after their hold had ended: two of those at the lower price, and all of them count.
async fn late_calls_count_and_the_operator_bears_what_they_add(store: &Store) {
    let shop = Shop::open(store, TierMode::Graduated, 100, 500).await;
    shop.lease(1, 8).await;
    shop.close(1).await;
    shop.charge(0, 1).await;
    shop.told(1, 6).await;
    for plane in [0, 1, 0] {
        shop.charge(plane, 1).await;
    }
    assert_eq!(shop.stands().await, (800, 2 * 100 + 4 * 500, 14));
    shop.lease(2, 1).await;
    shop.close(2).await;
    shop.charge(1, 2).await;
    assert_eq!(shop.stands().await, (1_300, 2_200, 15));
}

/// The eleventh makes the first ten cheaper, which the buyer has paid.
async fn a_late_call_that_lowers_the_price_of_all_gives_back_to_the_buyer(store: &Store) {
    let shop = Shop::open(store, TierMode::Volume, 500, 300).await;
    shop.lease(1, 10).await;
    shop.close(1).await;
    shop.charge(0, 1).await;
    shop.told(1, 1).await;
    for plane in [0, 1] {
        shop.charge(plane, 1).await;
    }
    assert_eq!(shop.stands().await, (3_300, 0, 11));
    assert_eq!(shop.known(1).await.value.charged_calls, 11);
}

/// Its gateway has closed it, and whoever was about to hold money for it sleeps for longer than anybody waits.
async fn a_hold_that_comes_after_its_lease_is_over_is_not_made(store: &Store) {
    let shop = Shop::open(store, TierMode::Graduated, 100, 500).await;
    let lease = shop.asked(1, 100).await;
    shop.close(1).await;
    let books = Books { store, journal: &shop.planes[0], now: NOW.plus_ms(600_000) };
    for _ in 0..2 {
        books.charge(shop.known(1).await.value, &Folded::default()).await.unwrap();
    }
    let known = shop.known(1).await.value;
    assert_eq!((known.over_since, known.closing_since), (Some(books.now), None));
    let late = shop.planes[1].append(&hold(&lease, 3).unwrap()).await;
    assert!(matches!(late, Err(LedgerError::OtherContent { .. })), "{late:?}");
    assert_eq!(shop.stands().await, (0, 0, 0));
}

/// A store that was restored does not know what the lease was granted at: nothing is charged, and nothing is left to do.
async fn calls_of_a_lease_that_nobody_was_granted_are_done_with(store: &Store) {
    let shop = Shop::open(store, TierMode::Graduated, 100, 500).await;
    shop.asked(1, 0).await;
    shop.close(1).await;
    let books = Books { store, journal: &shop.planes[0], now: NOW.plus_ms(600_000) };
    books.charge(shop.known(1).await.value, &Folded::default()).await.unwrap();
    shop.told(1, 3).await;
    shop.charge(1, 1).await;
    assert_eq!(shop.known(1).await.value.closing_since, None);
    assert_eq!(shop.stands().await, (0, 0, 0));
}

/// Whoever ended the hold died before the lease said so; another lease is charged and more calls are told of meanwhile.
async fn what_was_charged_and_not_noted_is_charged_once(store: &Store) {
    let shop = Shop::open(store, TierMode::Graduated, 100, 500).await;
    let lease = shop.lease(1, 9).await;
    let held = shop.planes[0].by_fact(&lease.hold_fact()).await.unwrap().unwrap().made_hold().unwrap();
    shop.planes[0].append(&closing(&lease, held, &shop.pricing, 0, 0).unwrap()).await.unwrap();
    shop.lease(2, 2).await;
    for serial in [1, 2] {
        shop.close(serial).await;
    }
    shop.charge(1, 2).await;
    shop.told(1, 1).await;
    // The first turn finds what was charged, the second what is late.
    for plane in [1, 0, 1] {
        shop.charge(plane, 1).await;
    }
    let known = shop.known(1).await.value;
    assert_eq!((known.charged_calls, known.closing_since), (10, None));
    assert_eq!(shop.stands().await, (900 + 100 + 500, 500, 12));
}

/// Two control planes put them there at once, and whoever did died before anything was held; then the end of a hold is written
/// and not noted.
async fn included_calls_are_there_once_and_used_once(store: &Store) {
    let shop = Shop::open(store, TierMode::Graduated, 100, 500).await;
    let mut lease =
        WalletLease::new((GATEWAY, EPOCH, 1), &shop.subscription, Money::new(500, Currency::INR), NOW);
    (lease.included, lease.kept, lease.billable) = (20, 6, 6);
    store.insert(&lease).await.unwrap();
    let both = (0..20).map(|n| {
        let (plane, lease) = (Arc::clone(&shop.planes[n % 2]), lease.clone());
        tokio::spawn(async move { included::of_lease(&plane, &lease).await.unwrap() })
    });
    for left in futures_util::future::join_all(both).await {
        assert_eq!(left.unwrap(), 20);
    }
    let held = shop.planes[0].append(&hold_included(&lease, 6).unwrap()).await.unwrap().entry;
    assert_eq!(included::of_lease(&shop.planes[1], &lease).await.unwrap(), 14);
    let too_many = WalletLease { serial: 2, ..lease.clone() };
    let refused = shop.planes[1].append(&hold_included(&too_many, 15).unwrap()).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Refused(Refused::Floor { free_micro: 14, .. })), "{refused:?}");
    let end = closing(&lease, held.made_hold().unwrap(), &shop.pricing, 0, 0).unwrap();
    shop.planes[0].append(&end).await.unwrap();
    // Another edition says another number: that of the first holds until the month ends.
    let other = WalletLease { included: 50, ..lease.clone() };
    assert_eq!(included::of_lease(&shop.planes[1], &other).await.unwrap(), 14);
    shop.close(1).await;
    for plane in [0, 1] {
        shop.charge(plane, 1).await;
    }
    assert_eq!(shop.known(1).await.value.charged_calls, 6);
    assert_eq!(included::of_lease(&shop.planes[1], &lease).await.unwrap(), 14);
    assert_eq!(shop.stands().await, (0, 0, 0));
}

/// Both control planes say what the month's rest pays for, again and again; what is said first stands.
async fn the_rest_of_a_month_pays_once_whoever_says_it(store: &Store) {
    let shop = Arc::new(Shop::open(store, TierMode::Graduated, 100, 500).await);
    let metered = Metered { name: "token".to_owned(), units_max_per_call: 20 };
    for serial in 1..=3 {
        shop.lease(serial, 9).await;
        let mut known = shop.known(serial).await;
        (known.value.included, known.value.metered) = (13, Some(metered.clone()));
        store.replace(&known.value, known.version).await.unwrap();
        shop.close(serial).await;
    }
    let ends = (0..12).map(|n| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move { shop.charge(n % 2, u32::try_from(n / 4).unwrap() + 1).await })
    });
    for end in futures_util::future::join_all(ends).await {
        end.unwrap();
    }
    for serial in 1..=3 {
        assert_eq!(shop.known(serial).await.value.charged_calls, 9);
    }
    assert_eq!(included::of_lease(&shop.planes[0], &shop.known(1).await.value).await.unwrap(), 0);
    // 27 were used, of which 13 are included.
    assert_eq!(shop.stands().await, (10 * 100 + 4 * 500, 0, 14));
}

macro_rules! run_cases {
    ($open:expr; $($case:ident),+ $(,)?) => {{
        $(
            eprintln!("case {}", stringify!($case));
            let store: Store = $open(stringify!($case)).await;
            crate::ledger::register(&store).await.unwrap();
            crate::plans::register(&store).await.unwrap();
            super::register(&store).await.unwrap();
            Box::pin($case(&store)).await;
        )+
    }};
}

async fn run_all(open: impl AsyncFn(&'static str) -> Store) {
    run_cases!(open;
        tiers_are_exact_however_many_leases_end_at_once,
        a_price_of_all_units_gives_back_at_a_boundary,
        late_calls_count_and_the_operator_bears_what_they_add,
        what_was_charged_and_not_noted_is_charged_once,
        included_calls_are_there_once_and_used_once,
        a_late_call_that_lowers_the_price_of_all_gives_back_to_the_buyer,
        a_hold_that_comes_after_its_lease_is_over_is_not_made,
        calls_of_a_lease_that_nobody_was_granted_are_done_with,
        the_rest_of_a_month_pays_once_whoever_says_it,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn charges_by_tiers_hold_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    run_all(async |case| Store::open_embedded(&folder.path().join(format!("{case}.db"))).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn charges_by_tiers_hold_over_mongodb() {
    let server = Mongod::start().await;
    run_all(async |case| Store::open_mongodb(&server.uri(&case[..case.len().min(40)])).await.unwrap()).await;
}
