//! Raw usage is deleted when it is folded and old, and no other; what was counted stays counted.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use apiclay_control_plane::store::{Document as _, Query};
use apiclay_control_plane::usage::documents::StoredBatch;
use apiclay_control_plane::usage::retention::RetentionRun;
use apiclay_control_plane::usage::{ingest, lost, retention};
use reqwest::Method;
use serde_json::{Value, json};

use crate::folding::{batch, counted, from};
use crate::support::market::{Who, admin};
use crate::support::{NOW, Person, Plane, demo};

const PATH: &str = "/admin/retention";
const DAY_MS: i64 = 86_400_000;
/// Runs that may all be over before one is cut.
const RUNS_MAX: u32 = 100;

async fn seqs(plane: &Plane) -> Vec<u64> {
    let found = plane.app.store.query::<StoredBatch>(&Query::by("id")).await.unwrap().items;
    found.iter().map(|found| found.value.batch_id().seq).collect()
}

async fn take(plane: &Plane, seq: u64) {
    ingest::take(&plane.app.store, &plane.app.fold, "gw-1", batch(seq, 10, NOW)).await.unwrap();
    plane.app.fold.fold_all().await.unwrap();
}

async fn run(plane: &Plane) -> u64 {
    retention::run(&plane.app.store, plane.app.clock.now()).await.unwrap()
}

/// Lets days pass; access tokens are older than that then.
async fn pass_days(plane: &Plane, boss: &Who, days: i64) -> Who {
    plane.pass_ms(days * DAY_MS);
    let person =
        Person { email: "boss@example.com".into(), username: "boss".into(), id: boss.account.clone() };
    Who { token: plane.access(&person).await, account: person.id }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_usage_goes_when_it_is_folded_and_old_and_what_was_counted_stays() {
    let plane = demo().await;
    let boss = admin(&plane, "boss").await;
    let shown = plane.done(&boss, Method::PUT, PATH, json!({"usage_events_keep_days": 30}), 200).await;
    assert_eq!((&shown["usage_events_keep_days"], &shown["changed_by"]), (&json!(30), &json!(boss.account)));
    // 3 is awaited, so 4 and 6 are not folded.
    for seq in [1, 2, 4, 6] {
        take(&plane, seq).await;
    }
    let boss = pass_days(&plane, &boss, 31).await;
    assert_eq!(run(&plane).await, 2);
    assert_eq!(seqs(&plane).await, [4, 6], "what is not folded stays, however old");
    lost::declare(&plane.app.store, &from(), 3, plane.app.clock.now()).await.unwrap();
    take(&plane, 5).await;
    assert_eq!((seqs(&plane).await, counted(&plane.app.store).await.0), (vec![3, 4, 5, 6], 50));
    let boss = pass_days(&plane, &boss, 29).await;
    assert_eq!(
        (run(&plane).await, seqs(&plane).await),
        (1, vec![3, 5, 6]),
        "up to the first that is not old"
    );
    let boss = pass_days(&plane, &boss, 2).await;
    assert_eq!((run(&plane).await, seqs(&plane).await), (2, vec![3]), "the place of a lost batch is held");
    assert_eq!(run(&plane).await, 0);
    let shown = plane.done(&boss, Method::GET, PATH, json!(null), 200).await;
    let at = plane.app.clock.now();
    assert_eq!(shown["last_run"], json!({"at": at, "deleted_batches": 0, "deleted_batches_total": 5}));
    // What was deleted and comes again is taken and counted no second time.
    take(&plane, 1).await;
    assert_eq!(counted(&plane.app.store).await.0, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_usage_is_kept_for_ninety_days_where_nobody_says_otherwise() {
    let plane = demo().await;
    let boss = admin(&plane, "boss").await;
    take(&plane, 1).await;
    let shown = plane.done(&boss, Method::GET, PATH, json!(null), 200).await;
    assert_eq!((&shown["usage_events_keep_days"], &shown["changed_at"]), (&json!(90), &Value::Null));
    let boss = pass_days(&plane, &boss, 90).await;
    assert_eq!(run(&plane).await, 0);
    let boss = pass_days(&plane, &boss, 1).await;
    assert_eq!(run(&plane).await, 1);
    for wrong in [json!(0), json!(3_651), json!(-1), json!("90"), Value::Null] {
        plane.done(&boss, Method::PUT, PATH, json!({"usage_events_keep_days": wrong}), 400).await;
    }
    plane.done(&boss, Method::PUT, PATH, json!({"usage_events_keep_days": 30, "x": 1}), 400).await;
    plane.done(&boss, Method::PUT, PATH, json!({"usage_events_keep_days": 30}), 200).await;
    let minutes = async |body: Value, status| {
        plane.done(&boss, Method::PUT, PATH, body, status).await["usage_minutes_keep_days"].clone()
    };
    assert_eq!(minutes(json!({"usage_events_keep_days": 30}), 200).await, 90);
    let said = json!({"usage_events_keep_days": 30, "usage_minutes_keep_days": 7});
    assert_eq!(minutes(said, 200).await, 7);
    assert_eq!(minutes(json!({"usage_events_keep_days": 30}), 200).await, 7, "as it was");
    minutes(json!({"usage_events_keep_days": 30, "usage_minutes_keep_days": 0}), 400).await;
    let stale = plane.to(Method::PUT, PATH).bearer_auth(&boss.token).header("if-match", "\"0\"");
    let stale = stale.json(&json!({"usage_events_keep_days": 1})).send().await.unwrap();
    assert_eq!(stale.status(), 412);
}

/// Whoever holds usage against the books would miss what went, and not know that it is to be missed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_was_noted_before_wherever_the_run_ends() {
    let plane = demo().await;
    let store = &plane.app.store;
    take(&plane, 1).await;
    take(&plane, 2).await;
    let batches = store.query::<StoredBatch>(&Query::by("id")).await.unwrap().items;
    let later = NOW.plus_ms(91 * DAY_MS);
    let (mut steps, mut cut_short, mut runs) = (0, 0, 0);
    while cut_short == 0 || steps > 0 {
        steps += 1;
        let mut left = steps;
        let mut run = pin!(retention::run(store, later));
        let ended = poll_fn(|cx| match run.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await;
        // What was under way is written by then.
        store.delete::<StoredBatch>("none").await.unwrap();
        let gone = batches.len() - seqs(&plane).await.len();
        let noted = store.get::<RetentionRun>(RetentionRun::ID).await.unwrap();
        let before = noted.and_then(|noted| noted.value.deleted_before);
        assert!(gone == 0 || before == Some(NOW.plus_ms(DAY_MS)), "{gone} gone after {steps} steps");
        match ended {
            None => cut_short += usize::from(gone > 0),
            // Where the machine is busy each step may be over before it is looked at, and no run is cut within: again.
            Some(ended) => {
                ended.unwrap();
                (steps, runs) = (0, runs + 1);
                assert!(cut_short > 0 || runs < RUNS_MAX, "no run is ever cut after it began to delete");
            }
        }
        for batch in &batches {
            if store.get::<StoredBatch>(&batch.value.id()).await.unwrap().is_none() {
                store.insert(&batch.value).await.unwrap();
            }
        }
        store.delete::<RetentionRun>(RetentionRun::ID).await.unwrap();
    }
}
