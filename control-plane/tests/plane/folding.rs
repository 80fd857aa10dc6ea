//! Usage over a real store: batches in any order, doubled, and folded by two at once, are counted once each.

use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{BatchId, Ending, Event, GatewayEpoch, UsageBatch};
use apiclay_control_plane::store::{Query, Store};
use apiclay_control_plane::usage::documents::{BatchConflict, FoldCursor, StoredBatch, epoch_id};
use apiclay_control_plane::usage::fold::Fold;
use apiclay_control_plane::usage::ingest;
use apiclay_control_plane::usage::rollup::Rollup;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::demo;
use crate::support::market::{admin, code_of, gateway, who};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

struct Usage {
    store: Store,
    fold: Arc<Fold>,
    _folder: tempfile::TempDir,
}

fn fold(store: &Store) -> Arc<Fold> {
    fold_at(store, NOW)
}

fn fold_at(store: &Store, now: Timestamp) -> Arc<Fold> {
    let counter = prometheus::IntCounter::new("conflicts", "conflicts").unwrap();
    Arc::new(Fold::new(store.clone(), Clock::manual(now), counter))
}

async fn usage() -> Usage {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    store.register::<StoredBatch>().await.unwrap();
    store.register::<BatchConflict>().await.unwrap();
    store.register::<FoldCursor>().await.unwrap();
    store.register::<Rollup>().await.unwrap();
    Usage { fold: fold(&store), store, _folder: folder }
}

pub fn from() -> GatewayEpoch {
    GatewayEpoch { gateway: "gw-1".into(), epoch: "00112233445566ff".into() }
}

pub fn batch(seq: u64, calls: u128, at: Timestamp) -> UsageBatch {
    let event = |n: u128| Event {
        request: RequestId::from_u128(u128::from(seq) << 64 | n),
        subscription: SubscriptionId::from_u128(n % 7),
        credential: CredentialId::from_u128(1 + n % 5),
        route: RouteId::from_u128(n % 3),
        plan_revision: 1,
        at,
        duration_us: 500,
        status: if n % 10 == 9 { 503 } else { 200 },
        tries: 1,
        ending: Ending::Complete,
        billable: n % 10 != 9,
        kept: true,
        leases: [0; 5],
        units: apiclay_config::usage::Units::CALL,
        bytes_in: 1,
        bytes_out: u64::MAX,
    };
    let events: Vec<Event> = (0..calls).map(event).collect();
    UsageBatch::pack(BatchId { from: from(), seq }, Vec::new(), &events).unwrap()
}

pub async fn counted(store: &Store) -> (u64, u64) {
    let rollups = store.query::<Rollup>(&Query::by("id").limit(1_000)).await.unwrap().items;
    for rollup in rollups.iter().map(|found| &found.value) {
        let by_credential: u64 = rollup.credentials.iter().map(|of| of.counts.calls).sum();
        let by_cell: u64 = rollup.cells.iter().map(|cell| cell.counts.calls).sum();
        assert_eq!(by_credential, by_cell, "the same calls, sorted two ways");
    }
    let cells = rollups.iter().flat_map(|rollup| &rollup.value.cells);
    cells.fold((0, 0), |sum, cell| (sum.0 + cell.counts.calls, sum.1 + cell.counts.billable_calls))
}

#[tokio::test]
async fn the_same_batch_twenty_times_at_once_counts_once() {
    let usage = usage().await;
    let sent: Vec<_> = (0..20)
        .map(|_| {
            let (store, fold) = (usage.store.clone(), Arc::clone(&usage.fold));
            tokio::spawn(async move { ingest::take(&store, &fold, "gw-1", batch(1, 100, NOW)).await })
        })
        .collect();
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await, (100, 90));
}

#[tokio::test]
async fn batches_out_of_order_are_folded_in_order_and_a_gap_is_waited_for() {
    let usage = usage().await;
    for seq in [5, 2, 1, 4] {
        ingest::take(&usage.store, &usage.fold, "gw-1", batch(seq, 10, NOW)).await.unwrap();
    }
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await.0, 20);
    let cursor = usage.store.get::<FoldCursor>(&epoch_id(&from())).await.unwrap().unwrap().value;
    assert_eq!((cursor.folded_seq, cursor.blocked_by_gap_before), (2, Some(4)));
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(3, 10, NOW)).await.unwrap();
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await.0, 50);
    let cursor = usage.store.get::<FoldCursor>(&epoch_id(&from())).await.unwrap().unwrap().value;
    assert_eq!((cursor.folded_seq, cursor.blocked_by_gap_before), (5, None));
}

#[tokio::test]
async fn two_control_planes_that_fold_the_same_batches_count_them_once() {
    let usage = usage().await;
    for seq in 1..=40 {
        let hour_later = NOW.plus_ms(i64::try_from(seq % 3).unwrap() * 3_600_000);
        ingest::take(&usage.store, &usage.fold, "gw-1", batch(seq, 50, hour_later)).await.unwrap();
    }
    let folders: Vec<_> = (0..4)
        .map(|_| {
            let fold = fold(&usage.store);
            tokio::spawn(async move { fold.fold_all().await })
        })
        .collect();
    for folder in folders {
        folder.await.unwrap().unwrap();
    }
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await, (2_000, 1_800));
    // A folder that died before it moved the cursor: everything is folded once more.
    let mut cursor = usage.store.get::<FoldCursor>(&epoch_id(&from())).await.unwrap().unwrap();
    cursor.value.folded_seq = 0;
    usage.store.replace(&cursor.value, cursor.version).await.unwrap();
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await, (2_000, 1_800));
}

#[tokio::test]
async fn another_batch_under_a_taken_id_is_kept_and_never_counted() {
    let usage = usage().await;
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(1, 10, NOW)).await.unwrap();
    for _ in 0..2 {
        assert!(ingest::take(&usage.store, &usage.fold, "gw-1", batch(1, 11, NOW)).await.is_err());
    }
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await.0, 10);
    assert_eq!(usage.store.query::<BatchConflict>(&Query::by("id")).await.unwrap().items.len(), 1);
    assert!(ingest::take(&usage.store, &usage.fold, "gw-2", batch(2, 1, NOW)).await.is_err(), "another's");
    let mut damaged = batch(2, 5, NOW);
    damaged.event_count = 6;
    assert!(ingest::take(&usage.store, &usage.fold, "gw-1", damaged).await.is_err());
}

#[tokio::test]
async fn an_event_whose_time_is_in_no_calendar_is_counted_when_its_batch_came() {
    let usage = usage().await;
    for (seq, at) in [(1, Timestamp(i64::MAX)), (2, Timestamp(i64::MIN)), (3, Timestamp(-1))] {
        ingest::take(&usage.store, &usage.fold, "gw-1", batch(seq, 7, at)).await.unwrap();
    }
    usage.fold.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await.0, 21);
}

#[tokio::test]
async fn a_life_that_cannot_be_folded_holds_up_no_other() {
    let usage = usage().await;
    let mut damaged = batch(1, 10, NOW);
    damaged.id.from.gateway = "gw-0".into();
    usage.fold.open(&damaged.id.from).await.unwrap();
    damaged.events.truncate(4);
    usage
        .store
        .insert(&StoredBatch { batch: damaged, received_at: NOW, declared_lost: false })
        .await
        .unwrap();
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(1, 10, NOW)).await.unwrap();
    usage.fold.fold_all().await.unwrap_err();
    assert_eq!(counted(&usage.store).await, (10, 9));
}

#[tokio::test]
async fn a_life_that_was_quiet_for_hours_is_folded_again_whatever_comes_between_its_opening_and_its_batch() {
    let usage = usage().await;
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(1, 10, NOW)).await.unwrap();
    usage.fold.fold_all().await.unwrap();
    let hours_later = NOW.plus_ms(5 * 3_600_000);
    let later = fold_at(&usage.store, hours_later);
    later.fold_all().await.unwrap();
    // As `ingest` does, with another control plane's round in between.
    later.open(&from()).await.unwrap();
    fold_at(&usage.store, hours_later).fold_all().await.unwrap();
    usage
        .store
        .insert(&StoredBatch { batch: batch(2, 10, NOW), received_at: NOW, declared_lost: false })
        .await
        .unwrap();
    later.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await, (20, 18));
}

#[tokio::test]
async fn a_life_about_to_be_closed_is_kept_open_for_the_batch_that_comes() {
    let usage = usage().await;
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(1, 10, NOW)).await.unwrap();
    usage.fold.fold_all().await.unwrap();
    // Open still, because no round has closed it: the next one would.
    let hours_later = NOW.plus_ms(5 * 3_600_000);
    let later = fold_at(&usage.store, hours_later);
    later.open(&from()).await.unwrap();
    later.fold_all().await.unwrap();
    usage
        .store
        .insert(&StoredBatch { batch: batch(2, 10, NOW), received_at: NOW, declared_lost: false })
        .await
        .unwrap();
    later.fold_all().await.unwrap();
    assert_eq!(counted(&usage.store).await, (20, 18));
}

#[tokio::test]
async fn what_is_here_of_a_life_is_what_has_no_gap_before_it() {
    let usage = usage().await;
    assert_eq!(ingest::have_up_to(&usage.store, &from()).await.unwrap(), 0);
    for seq in [1, 2, 4] {
        ingest::take(&usage.store, &usage.fold, "gw-1", batch(seq, 1, NOW)).await.unwrap();
    }
    assert_eq!(ingest::have_up_to(&usage.store, &from()).await.unwrap(), 2, "not folded yet");
    usage.fold.fold_all().await.unwrap();
    assert_eq!(ingest::have_up_to(&usage.store, &from()).await.unwrap(), 2);
    ingest::take(&usage.store, &usage.fold, "gw-1", batch(3, 1, NOW)).await.unwrap();
    assert_eq!(ingest::have_up_to(&usage.store, &from()).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_an_admin_declares_lost_is_waited_for_no_more_and_never_counted() {
    let plane = demo().await;
    let (boss, buyer) = (admin(&plane, "boss").await, who(&plane, "bela").await);
    let gateway = gateway(&plane, "gw-1").await;
    let send = async |batch: UsageBatch| {
        gateway.to(Method::POST, "/usage/batches").json(&batch).send().await.unwrap()
    };
    for seq in [1, 3] {
        assert_eq!(send(batch(seq, 10, NOW)).await.status(), 200);
    }
    let life = async |ready: &dyn Fn(&Value) -> bool| {
        for _ in 0..200 {
            let shown = plane.done(&boss, Method::GET, "/admin/gateways", json!(null), 200).await;
            let life = shown["items"][0]["folding"][0].clone();
            if ready(&life) {
                return life;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("folding does not get there");
    };
    life(&|life| life["missing_seq"] == 2).await;
    let path = format!("/admin/gateways/gw-1/lives/{}/lost", from().epoch);
    let lost = |seq: u64| json!({"seq": seq, "reason": "the disk is gone"});
    plane.done(&buyer, Method::POST, &path, lost(2), 403).await;
    plane.done(&boss, Method::POST, &path, json!({"seq": 2, "reason": ""}), 400).await;
    for seq in [0, 1, 3, 4] {
        plane.done(&boss, Method::POST, &path, lost(seq), 409).await;
    }
    plane.done(&boss, Method::POST, "/admin/gateways/gw-1/lives/nothing/lost", lost(2), 404).await;
    plane.done(&boss, Method::POST, &path, lost(2), 200).await;
    plane.done(&boss, Method::POST, &path, lost(2), 200).await;
    let folded = life(&|life| life["folded_seq"] == 3).await;
    assert_eq!((&folded["missing_seq"], &folded["lost_seqs"]), (&json!(null), &json!([2])), "visibly");
    // It comes after all: it is refused, kept, and not counted behind anybody's back.
    assert_eq!(code_of(send(batch(2, 10, NOW)).await).await, (409, "batch_conflict".to_owned()));
    assert_eq!(counted(&plane.app.store).await.0, 20);
}
