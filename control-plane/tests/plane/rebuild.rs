//! Lost counters over the real router: who is waited for, what is given out, and that a generation is given once.

use apiclay_config::counters::{Acknowledged, CountersTaken, LeaseInHand, RebuildAnswer, RebuildReport};
use apiclay_config::usage::{BatchId, GatewayEpoch, UnitsTaken, UsageBatch};
use apiclay_control_plane::admin::gateways;
use apiclay_control_plane::refusal::Refusal;
use apiclay_control_plane::usage::documents::batch_id;
use apiclay_control_plane::usage::rebuild::documents::Report;
use apiclay_control_plane::usage::rebuild::record::{BLOCK_BATCHES, Block};
use apiclay_control_plane::usage::rebuild::{HELD_MS, take, taken};
use apiclay_control_plane::usage::{ingest, retention};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;

use crate::support::{NOW, Plane, demo};

pub const DAY: &str = "quota:sub_1:day";
pub const TODAY: i64 = NOW.0 / 86_400_000;
pub const EPOCH: &str = "00112233445566ff";

pub fn report(run: &str, generation: u64, acknowledged: u64, units: u32) -> RebuildReport {
    RebuildReport {
        run_id: run.into(),
        generation,
        lives: vec![Acknowledged { epoch: EPOCH.into(), seq: acknowledged, except: Vec::new() }],
        unacknowledged: Vec::new(),
        leases: vec![LeaseInHand {
            counter: DAY.into(),
            window: TODAY,
            epoch: EPOCH.into(),
            serial: 1,
            units,
            in_batches: 0,
        }],
    }
}

pub async fn seen(plane: &Plane, id: &str) -> String {
    let (_, token) = gateways::enrol(&plane.app.store, id, NOW).await.unwrap();
    gateways::heard(&plane.app.store, id, None, NOW).await.unwrap();
    token.expose_secret().to_owned()
}

pub async fn used(plane: &Plane, gateway: &str, seq: u64, units: u64) {
    let from = GatewayEpoch { gateway: gateway.into(), epoch: EPOCH.into() };
    let taken = vec![UnitsTaken { counter: DAY.into(), window: TODAY, units }];
    let batch = UsageBatch::pack(BatchId { from, seq }, taken, &[]).unwrap();
    ingest::take(&plane.app.store, &plane.app.fold, gateway, batch).await.unwrap();
}

pub fn ready(answer: RebuildAnswer) -> (u64, u64) {
    match answer {
        RebuildAnswer::Ready { generation, figures } => (generation, figures.iter().map(|f| f.granted).sum()),
        other => panic!("not ready: {other:?}"),
    }
}

#[tokio::test]
async fn figures_are_given_once_every_gateway_that_was_seen_has_reported() {
    let plane = demo().await;
    let token = seen(&plane, "gw-1").await;
    seen(&plane, "gw-2").await;
    gateways::enrol(&plane.app.store, "never-seen", NOW).await.unwrap();
    used(&plane, "gw-1", 1, 40).await;
    used(&plane, "gw-1", 2, 1_000).await;
    used(&plane, "gw-2", 1, 5).await;
    let url = plane.base.replace("/backend/v1", "/internal/v1/counters/rebuild");
    let ask = |token: &str| {
        let ask = plane.http.post(&url).header("x-gateway-id", "gw-1").bearer_auth(token);
        ask.json(&report("aa", 1, 1, 10)).send()
    };
    assert_eq!(ask("wrong").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let answer = ask(&token).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.json::<RebuildAnswer>().await.unwrap(),
        RebuildAnswer::Waiting { gateways: vec!["gw-2".into()] }
    );
    let second = take(&plane.app.store, "gw-2", report("aa", 0, 1, 7), NOW).await.unwrap();
    assert_eq!(ready(second), (2, 40 + 10 + 5 + 7), "batch 2 of gw-1 is not acknowledged");
    // Said again, and differently: it took nothing in between, so its newer word is as true.
    let other = take(&plane.app.store, "gw-2", report("aa", 0, 1, 99), NOW).await.unwrap();
    assert_eq!(ready(other), (2, 40 + 10 + 5 + 99));
    plane.pass_ms(HELD_MS);
    let again = ask(&token).await.unwrap().json::<RebuildAnswer>().await.unwrap();
    assert_eq!(ready(again), (2, 154));
}

#[tokio::test]
async fn figures_are_made_for_one_gateway_at_a_time() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    seen(&plane, "gw-2").await;
    let ask = async |gateway: &str, after_ms: i64| {
        take(&plane.app.store, gateway, report("aa", 0, 0, 1), NOW.plus_ms(after_ms)).await.unwrap()
    };
    ask("gw-1", 0).await;
    ready(ask("gw-2", 0).await);
    assert_eq!(ask("gw-1", 1).await, RebuildAnswer::Given { gateway: "gw-2".into() });
    ready(ask("gw-2", 1).await);
    ready(ask("gw-1", HELD_MS).await);
    assert_eq!(ask("gw-2", HELD_MS).await, RebuildAnswer::Given { gateway: "gw-1".into() });
}

/// Reports are deleted in the end, and a round may wait for longer than that.
#[tokio::test]
async fn a_report_that_is_there_no_more_is_waited_for_again() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    seen(&plane, "gw-2").await;
    let store = &plane.app.store;
    let ask = async |gateway: &str| take(store, gateway, report("aa", 0, 0, 1), NOW).await.unwrap();
    ask("gw-1").await;
    store.delete::<Report>(&format!("aa:{:010}:gw-1", 1)).await.unwrap();
    assert_eq!(ask("gw-2").await, RebuildAnswer::Waiting { gateways: vec!["gw-1".into()] });
    assert_eq!(ready(ask("gw-1").await), (1, 2));
}

#[tokio::test]
async fn each_loss_has_a_generation_of_its_own() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let store = &plane.app.store;
    let ask = async |run: &str, counted: u64, units: u32| {
        ready(take(store, "gw-1", report(run, counted, 0, units), NOW).await.unwrap())
    };
    assert_eq!(ask("aa", 0, 1).await, (1, 1), "the first counters ever");
    assert_eq!(ask("bb", 1, 2).await, (2, 2), "another run");
    assert_eq!(ask("bb", 2, 3).await, (3, 3), "flushed in the same run, as one that counted there knows");
    assert_eq!(
        ask("bb", 0, 4).await,
        (3, 4),
        "nobody has taken units of them: they are still the ones to write"
    );
    takes(&plane, "bb", 3).await.unwrap();
    assert_eq!(
        ask("bb", 0, 5).await,
        (4, 5),
        "one that has not counted there need not know that they were lost"
    );
    assert_eq!(ask("cc", 70, 6).await, (71, 6), "higher than any gateway has counted under");
}

pub async fn takes(plane: &Plane, run_id: &str, generation: u64) -> Result<(), Refusal> {
    taken(&plane.app.store, &CountersTaken { run_id: run_id.into(), generation }, NOW).await
}

/// A gateway that saw counters lost, and was late to say so: others had rebuilt them by then.
#[tokio::test]
async fn a_report_counts_no_more_once_its_gateway_takes_units() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    seen(&plane, "gw-2").await;
    let store = &plane.app.store;
    let ask = async |gateway: &str, counted: u64, units: u32| {
        take(store, gateway, report("aa", counted, 0, units), NOW).await.unwrap()
    };
    ask("gw-1", 0, 1).await;
    assert_eq!(ready(ask("gw-2", 0, 1).await), (1, 2));
    takes(&plane, "aa", 1).await.unwrap();
    // Late, it opens a round beside the counters that stand; then it sees them.
    assert!(matches!(ask("gw-1", 0, 1).await, RebuildAnswer::Waiting { .. }));
    takes(&plane, "aa", 1).await.unwrap();
    // It was granted ten units; then they are lost in the same run.
    assert!(matches!(ask("gw-2", 1, 1).await, RebuildAnswer::Waiting { .. }), "its old report is not used");
    let (generation, granted) = ready(ask("gw-1", 1, 11).await);
    assert_eq!(granted, 12);
    // Figures are out: units of any counters before these would be in no report.
    assert!(takes(&plane, "aa", 1).await.is_err());
    takes(&plane, "aa", generation).await.unwrap();
    takes(&plane, "aa", generation).await.unwrap();
}

/// The server is an older process again (an old master, a machine thawed), with counters of before its successor's.
#[tokio::test]
async fn counters_of_before_a_later_run_are_rebuilt_before_units_of_them_are_taken() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    seen(&plane, "gw-2").await;
    let store = &plane.app.store;
    let ask = async |gateway: &str, run: &str, counted: u64| {
        take(store, gateway, report(run, counted, 0, 1), NOW).await.unwrap()
    };
    ask("gw-1", "aa", 0).await;
    assert_eq!(ready(ask("gw-2", "aa", 0).await).0, 1);
    takes(&plane, "aa", 1).await.unwrap();
    // A round of the successor that was not given out is over as soon as units of the older are taken.
    ask("gw-1", "bb", 1).await;
    takes(&plane, "aa", 1).await.unwrap();
    assert!(
        matches!(ask("gw-2", "bb", 1).await, RebuildAnswer::Waiting { .. }),
        "gw-1 took units since it said"
    );
    assert_eq!(ready(ask("gw-1", "bb", 1).await).0, 3);
    assert!(takes(&plane, "aa", 1).await.is_err());
    takes(&plane, "bb", 3).await.unwrap();
    assert!(takes(&plane, "aa", 1).await.is_err(), "units were taken of later ones");
    // So they are rebuilt, once.
    ask("gw-1", "aa", 3).await;
    assert_eq!(ready(ask("gw-2", "aa", 1).await).0, 4);
    takes(&plane, "aa", 4).await.unwrap();
    takes(&plane, "aa", 4).await.unwrap();
}

/// Folded batches are read by the block; those that a gateway does not know to be acknowledged are not.
#[tokio::test]
async fn batches_by_the_thousand_count_as_each_of_them_would() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let store = &plane.app.store;
    for seq in 1..=BLOCK_BATCHES + 20 {
        used(&plane, "gw-1", seq, seq).await;
    }
    let sum = |last: u64| last * (last + 1) / 2;
    let ask = async |run: &str, seq: u64, except: &[u64]| {
        let mut report = report(run, 0, seq, 7);
        report.lives[0].except = except.to_vec();
        ready(take(store, "gw-1", report, NOW).await.unwrap()).1
    };
    assert_eq!(ask("aa", BLOCK_BATCHES + 20, &[]).await, sum(BLOCK_BATCHES + 20) + 7);
    plane.app.fold.fold_all().await.unwrap();
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: EPOCH.into() };
    assert_eq!(ask("bb", BLOCK_BATCHES + 20, &[]).await, sum(BLOCK_BATCHES + 20) + 7);
    let block = store.get::<Block>(&batch_id(&from, 1)).await.unwrap().unwrap().value;
    assert_eq!((block.last_seq, block.units[0].units), (BLOCK_BATCHES, sum(BLOCK_BATCHES)));
    assert_eq!(ask("cc", BLOCK_BATCHES + 20, &[5]).await, sum(BLOCK_BATCHES + 20) - 5 + 7);
    assert_eq!(ask("dd", BLOCK_BATCHES - 1, &[]).await, sum(BLOCK_BATCHES - 1) + 7);
    store.delete::<Block>(&batch_id(&from, 1)).await.unwrap();
    assert_eq!(
        ask("ee", BLOCK_BATCHES, &[]).await,
        sum(BLOCK_BATCHES) + 7,
        "as one of before there were blocks"
    );
    assert!(store.get::<Block>(&batch_id(&from, 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn batches_that_are_deleted_stay_counted() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let store = &plane.app.store;
    for seq in 1..=40 {
        used(&plane, "gw-1", seq, 1).await;
    }
    plane.app.fold.fold_all().await.unwrap();
    let later = NOW.plus_ms(100 * 86_400_000);
    assert_eq!(retention::run(store, later).await.unwrap(), 40);
    // These are not old.
    plane.pass_ms(50 * 86_400_000);
    for seq in 41..=60 {
        used(&plane, "gw-1", seq, 1).await;
    }
    plane.app.fold.fold_all().await.unwrap();
    assert_eq!(retention::run(store, later).await.unwrap(), 0);
    let counted = async |run: &str| ready(take(store, "gw-1", report(run, 0, 60, 7), NOW).await.unwrap()).1;
    assert_eq!(counted("aa").await, 60 + 7);
    assert_eq!(retention::run(store, later.plus_ms(50 * 86_400_000)).await.unwrap(), 20);
    assert_eq!(counted("bb").await, 60 + 7);
}

#[tokio::test]
async fn twenty_that_ask_at_once_are_given_one_generation() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let store = plane.app.store.clone();
            tokio::spawn(async move { take(&store, "gw-1", report("aa", 3, 0, 9), NOW).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(ready(asked.await.unwrap().unwrap()), (4, 9));
    }
}
