//! The change log over a real store: numbers without gaps whatever writes at once, nothing lost to a crash, and a
//! snapshot that a gateway's own rules accept at any moment.

use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::key;
use apiclay_config::money::{Currency, Money};
use apiclay_config::snapshot::{Target, Upstream};
use apiclay_control_plane::admin::everywhere::Everywhere;
use apiclay_control_plane::catalog::documents::{Listing, Route};
use apiclay_control_plane::catalog::state::State;
use apiclay_control_plane::plans::documents::{Plan, PlanRevision};
use apiclay_control_plane::plans::terms::Terms;
use apiclay_control_plane::push::{self, ChangeEntry, Push};
use apiclay_control_plane::store::{Document as _, Query, Store};
use apiclay_control_plane::subscriptions::charge::Edition;
use apiclay_control_plane::subscriptions::documents::{Credential, Subscription};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

struct Plane {
    store: Store,
    push: Arc<Push>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

async fn plane() -> Plane {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    store.register::<Listing>().await.unwrap();
    store.register::<Plan>().await.unwrap();
    store.register::<PlanRevision>().await.unwrap();
    store.register::<Subscription>().await.unwrap();
    store.register::<Credential>().await.unwrap();
    store.register::<ChangeEntry>().await.unwrap();
    store.register::<Everywhere>().await.unwrap();
    let clock = Clock::manual(NOW);
    let push = Arc::new(Push::open(store.clone(), clock.clone()).await.unwrap());
    Plane { store, push, clock, _folder: folder }
}

fn listing() -> Listing {
    let id = ListingId::generate();
    Listing {
        id,
        vendor: VendorId::from_u128(1),
        vendor_slug: "acme".into(),
        slug: "weather".into(),
        name: "Weather".into(),
        summary: "Weather".into(),
        category: None,
        tags: Vec::new(),
        state: State::Published,
        suspended: false,
        pushed: true,
        submitted_at: None,
        review_reason: None,
        upstream: Some(Upstream {
            targets: vec![Target { url: "http://192.0.2.1".into(), weight: 1 }],
            connect_timeout_ms: 1,
            read_timeout_ms: 1,
            retries_max: 0,
        }),
        routes: vec![Route {
            id: apiclay_config::ids::RouteId::generate(),
            method: "GET".into(),
            path: "/".into(),
            summary: None,
            bindings: Vec::new(),
        }],
        key_header: None,
        secrets: Vec::new(),
        bindings: Vec::new(),
        last_change: None,
        created_at: NOW,
        updated_at: NOW,
        unpublished: None,
    }
}

fn revision(listing: ListingId) -> PlanRevision {
    let price = Money::new(0, Currency::INR);
    PlanRevision {
        plan: PlanId::generate(),
        revision: 1,
        listing,
        terms: Terms {
            price,
            usage_price: None,
            limits: Vec::new(),
            zone: None,
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
            bindings: Vec::new(),
        },
        created_at: NOW,
        unpublished: None,
    }
}

fn subscription(plan: &PlanRevision) -> Subscription {
    let account = AccountId::generate();
    let sold = (account, plan.listing, VendorId::from_u128(1));
    Subscription::new(SubscriptionId::generate(), sold, Edition { plan: plan.plan, revision: 1 }, NOW)
}

fn credential(subscription: &Subscription, slot: u32) -> Credential {
    Credential {
        id: CredentialId::generate(),
        account: subscription.account,
        subscription: subscription.id,
        name: "key".into(),
        hint: "apiclay_abcd".into(),
        digest: key::digest(format!("{} {slot}", subscription.id).as_bytes()),
        slot: Some(slot),
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        unpublished: None,
    }
}

async fn revisions(store: &Store) -> Vec<u64> {
    let all = store.query::<ChangeEntry>(&Query::by("id").limit(1_000)).await.unwrap();
    all.items.iter().map(|entry| entry.value.revision).collect()
}

#[tokio::test]
async fn fifty_writers_on_two_control_planes_make_revisions_without_gaps() {
    let plane = plane().await;
    let other = Arc::new(Push::open(plane.store.clone(), plane.clock.clone()).await.unwrap());
    let listing = plane.push.insert(listing()).await.unwrap().value;
    let plan = plane.push.insert(revision(listing.id)).await.unwrap().value;
    let writers: Vec<_> = (0..50)
        .map(|n| {
            let push = if n % 2 == 0 { Arc::clone(&plane.push) } else { Arc::clone(&other) };
            let subscription = subscription(&plan);
            tokio::spawn(async move {
                push.insert(subscription.clone()).await.unwrap();
                push.insert(credential(&subscription, 0)).await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(revisions(&plane.store).await, (1..=102).collect::<Vec<u64>>());
    let snapshot = push::snapshot(&plane.store, NOW).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.subscriptions.len(), snapshot.credentials.len()), (102, 50, 50));
    let marked = plane.store.query::<Credential>(&Query::by("unpublished")).await.unwrap();
    assert!(marked.items.is_empty(), "every mark is taken away");
}

#[tokio::test]
async fn what_a_dead_writer_left_marked_is_swept_once_it_is_old_enough() {
    let plane = plane().await;
    let listing = plane.push.insert(listing()).await.unwrap().value;
    let plan = plane.push.insert(revision(listing.id)).await.unwrap().value;
    // A writer that died between the document and its revision.
    let mut left = subscription(&plan);
    left.unpublished = Some(NOW);
    plane.store.insert(&left).await.unwrap();
    assert_eq!(push::sweep(&plane.push).await.unwrap(), 0, "its writer may be alive");
    if let Clock::Manual(at) = &plane.clock {
        at.fetch_add(501, std::sync::atomic::Ordering::Relaxed);
    }
    assert_eq!(push::sweep(&plane.push).await.unwrap(), 1);
    assert_eq!(push::sweep(&plane.push).await.unwrap(), 0);
    let last = plane.store.get::<ChangeEntry>(&ChangeEntry::id_of(3)).await.unwrap().unwrap();
    assert_eq!(last.value.subject, left.id());
    // And one that died while it revoked.
    let live = plane.push.insert(credential(&left, 0)).await.unwrap();
    let mut revoked = live.value.revoked(NOW);
    revoked.unpublished = Some(NOW);
    plane.store.replace(&revoked, live.version).await.unwrap();
    assert_eq!(push::sweep(&plane.push).await.unwrap(), 1);
    assert!(push::snapshot(&plane.store, NOW).await.unwrap().credentials.is_empty());
}

#[tokio::test]
async fn a_draft_makes_no_revision_and_is_in_no_snapshot() {
    let plane = plane().await;
    let draft = Listing { pushed: false, state: State::Draft, ..listing() };
    let written = plane.push.insert(draft).await.unwrap();
    plane.push.insert(revision(written.value.id)).await.unwrap();
    let snapshot = push::snapshot(&plane.store, NOW).await.unwrap();
    assert!(snapshot.listings.is_empty() && snapshot.plans.is_empty());
    assert_eq!(revisions(&plane.store).await.len(), 1, "only the plan's, which says nothing");
}

#[tokio::test]
async fn a_retired_listing_stays_and_is_refused_so_that_the_snapshot_stays_whole() {
    let plane = plane().await;
    let listing = plane.push.insert(listing()).await.unwrap();
    let plan = plane.push.insert(revision(listing.value.id)).await.unwrap().value;
    plane.push.insert(subscription(&plan)).await.unwrap();
    let retired = Listing { state: State::Retired, ..listing.value };
    plane.push.replace(retired, listing.version).await.unwrap();
    let snapshot = push::snapshot(&plane.store, NOW).await.unwrap();
    assert!(snapshot.listings.values().all(|listing| listing.suspended));
    assert_eq!(snapshot.subscriptions.len(), 1);
}

/// Of another version, say. A new gateway would be sent nothing for it, though every gateway leaves out that one plan alone.
#[tokio::test]
async fn a_plan_that_breaks_a_rule_keeps_no_gateway_from_its_snapshot() {
    let plane = plane().await;
    let listing = plane.push.insert(listing()).await.unwrap().value;
    let sold = plane.push.insert(revision(listing.id)).await.unwrap().value;
    let mut broken = revision(listing.id);
    broken.terms.zone = Some("Mars/Olympus_Mons".to_owned());
    let broken = plane.push.insert(broken).await.unwrap().value;
    for plan in [&sold, &broken] {
        plane.push.insert(subscription(plan)).await.unwrap();
    }
    let snapshot = push::snapshot(&plane.store, NOW).await.unwrap();
    assert_eq!((snapshot.plans.len(), snapshot.subscriptions.len()), (2, 2));
    let faults = apiclay_config::snapshot::validate(&snapshot);
    let part = apiclay_config::snapshot::Part::Plan(broken.plan, broken.revision);
    assert_eq!(faults.iter().map(|fault| fault.part).collect::<Vec<_>>(), [Some(part)]);
}
