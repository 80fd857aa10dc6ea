//! A batch that was declared lost is told to the admin for good: whatever crashed in between, and after its life is over.

use apiclay_config::usage::{BatchId, UsageBatch};
use apiclay_control_plane::admin::gateways;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::usage::documents::{FoldCursor, StoredBatch, epoch_id};
use apiclay_control_plane::usage::{ingest, lost};
use reqwest::Method;
use serde_json::{Value, json};

use crate::folding::{batch, from};
use crate::support::market::{Who, admin, gateway};
use crate::support::{NOW, Person, Plane, demo};

const HOUR_MS: i64 = 3_600_000;

/// A life whose folding waits for every batch between these.
async fn waiting(plane: &Plane, here: &[u64]) {
    gateway(plane, "gw-1").await;
    for seq in here {
        ingest::take(&plane.app.store, &plane.app.fold, "gw-1", batch(*seq, 10, NOW)).await.unwrap();
    }
    plane.app.fold.fold_all().await.unwrap();
}

async fn cursor(plane: &Plane) -> FoldCursor {
    plane.app.store.get::<FoldCursor>(&epoch_id(&from())).await.unwrap().unwrap().value
}

async fn shown(plane: &Plane, boss: &Who) -> Value {
    let shown = plane.done(boss, Method::GET, "/admin/gateways", json!(null), 200).await;
    shown["items"][0]["folding"].clone()
}

/// The first of the two writes of `lost::declare`; a crash follows it.
async fn declared_and_crashed(plane: &Plane, seq: u64) {
    let id = BatchId { from: from(), seq };
    let batch = UsageBatch::pack(id, Vec::new(), &[]).unwrap();
    let place = StoredBatch { batch, received_at: NOW, declared_lost: true };
    plane.app.store.insert(&place).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_batch_is_declared_lost_leaves_it_on_record() {
    let plane = demo().await;
    let boss = admin(&plane, "boss").await;
    waiting(&plane, &[1, 3]).await;
    declared_and_crashed(&plane, 2).await;
    plane.app.fold.fold_all().await.unwrap();
    let cursor = cursor(&plane).await;
    assert_eq!((cursor.folded_seq, cursor.lost), (3, vec![2]));
    assert_eq!(shown(&plane, &boss).await[0]["lost_seqs"], json!([2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_declares_it_again_after_a_crash_is_told_that_it_is_lost() {
    let plane = demo().await;
    let boss = admin(&plane, "boss").await;
    waiting(&plane, &[1, 5]).await;
    // 2 is still awaited, so nothing steps over 3.
    declared_and_crashed(&plane, 3).await;
    plane.app.fold.fold_all().await.unwrap();
    let path = format!("/admin/gateways/gw-1/lives/{}/lost", from().epoch);
    let again = json!({"seq": 3, "reason": "the disk is gone"});
    let told = plane.done(&boss, Method::POST, &path, again, 200).await;
    assert_eq!((&told["lost_seqs"], &told["missing_seq"]), (&json!([3]), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_batch_is_shown_after_its_life_is_over_and_its_gateway_forgotten() {
    let plane = demo().await;
    admin(&plane, "boss").await;
    waiting(&plane, &[1, 3]).await;
    lost::declare(&plane.app.store, &from(), 2, plane.app.clock.now()).await.unwrap();
    plane.app.fold.fold_all().await.unwrap();
    plane.pass_ms(2 * HOUR_MS);
    plane.app.fold.fold_all().await.unwrap();
    let open = Query::by("open").equals(true);
    assert_eq!(plane.app.store.query::<FoldCursor>(&open).await.unwrap().items.len(), 0, "the life is over");
    let person = Person { email: String::new(), username: "boss".into(), id: String::new() };
    let boss = Who { token: plane.access(&person).await, account: person.id };
    assert_eq!(shown(&plane, &boss).await[0]["lost_seqs"], json!([2]));
    gateways::forget(&plane.app.store, "gw-1").await.unwrap();
    let told = plane.done(&boss, Method::GET, "/admin/gateways", json!(null), 200).await;
    let left = &told["items"][0];
    assert_eq!((&left["id"], &left["enrolled_at"]), (&json!("gw-1"), &json!(null)));
    assert_eq!(left["folding"][0]["lost_seqs"], json!([2]));
}
