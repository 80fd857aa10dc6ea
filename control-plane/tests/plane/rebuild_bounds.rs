//! Lost counters in markets that are old or large, and what a gateway must not say.

use apiclay_config::counters::{
    COUNTED_MAX, CountersTaken, LeaseInHand, REPORT_MAX_BYTES, RebuildAnswer, RebuildReport,
};
use apiclay_config::usage::{BatchId, GatewayEpoch, UnitsTaken, UsageBatch};
use apiclay_control_plane::refusal::Refusal;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::usage::documents::{FoldCursor, batch_id, epoch_id};
use apiclay_control_plane::usage::ingest;
use apiclay_control_plane::usage::rebuild::record::{self, Block};
use apiclay_control_plane::usage::rebuild::{take, taken};

use crate::rebuild::{DAY, EPOCH, TODAY, ready, report, seen, used};
use crate::support::{NOW, Plane, demo};

const HOUR_MS: i64 = 3_600_000;

fn life() -> GatewayEpoch {
    GatewayEpoch { gateway: "gw-1".into(), epoch: EPOCH.into() }
}

async fn counted(plane: &Plane, run: &str, seq: u64) -> u64 {
    ready(take(&plane.app.store, "gw-1", report(run, 0, seq, 7), NOW).await.unwrap()).1
}

#[tokio::test]
async fn a_life_that_is_over_is_added_up_to_its_last_batch() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    for seq in 1..=20 {
        used(&plane, "gw-1", seq, seq).await;
    }
    plane.app.fold.fold_all().await.unwrap();
    let block = async || plane.app.store.get::<Block>(&batch_id(&life(), 1)).await.unwrap();
    assert_eq!(counted(&plane, "aa", 20).await, 210 + 7);
    assert!(block().await.is_none(), "more may come");
    plane.pass_ms(2 * HOUR_MS);
    plane.app.fold.fold_all().await.unwrap();
    let cursor = plane.app.store.get::<FoldCursor>(&epoch_id(&life())).await.unwrap().unwrap();
    assert_eq!(cursor.value.open, None);
    assert_eq!(counted(&plane, "bb", 20).await, 210 + 7);
    assert_eq!(block().await.unwrap().value.last_seq, 20);
    assert_eq!(counted(&plane, "cc", 20).await, 210 + 7);
    // Opened again by a batch that was late.
    used(&plane, "gw-1", 21, 100).await;
    assert_eq!(counted(&plane, "dd", 21).await, 310 + 7);
    assert_eq!(counted(&plane, "ee", 20).await, 210 + 7);
}

/// Batches of a block may have been deleted, so it cannot be taken apart.
#[tokio::test]
async fn a_block_of_batches_that_a_gateway_says_itself_is_not_counted() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let mut cursor = FoldCursor::new(life(), NOW);
    cursor.folded_seq = 20;
    plane.app.store.insert(&cursor).await.unwrap();
    for (first_seq, units) in [(1, 40), (11, 500)] {
        let units = vec![UnitsTaken { counter: DAY.into(), window: TODAY, units }];
        let block = Block { from: life(), first_seq, last_seq: first_seq + 9, units };
        plane.app.store.insert(&block).await.unwrap();
    }
    assert_eq!(counted(&plane, "aa", 10).await, 40 + 7);
}

/// A batch of many counters with long names; the store takes a few of them in one document, and not all.
fn large(seq: u64) -> UsageBatch {
    let counter = |nth: u64| format!("quota:{:0>280}:day", seq * 100_000 + nth);
    let taken = |nth| UnitsTaken { counter: counter(nth).into(), window: TODAY, units: 1 };
    UsageBatch::pack(BatchId { from: life(), seq }, (0..12_000).map(taken).collect(), &[]).unwrap()
}

#[tokio::test]
async fn many_counters_make_more_blocks_and_none_is_too_large() {
    let plane = demo().await;
    for seq in 1..=4 {
        ingest::take(&plane.app.store, &plane.app.fold, "gw-1", large(seq)).await.unwrap();
    }
    plane.app.fold.fold_all().await.unwrap();
    record::add_up(&plane.app.store, &life(), 4).await.unwrap();
    let blocks = plane.app.store.query::<Block>(&Query::by("id")).await.unwrap().items;
    let rows: Vec<_> = blocks.iter().map(|block| (block.value.first_seq, block.value.last_seq)).collect();
    assert!(rows.len() > 1 && rows[0].0 == 1 && rows[rows.len() - 1].1 == 4, "{rows:?}");
    assert!(rows.windows(2).all(|two| two[0].1 + 1 == two[1].0), "{rows:?}");
    assert_eq!(blocks.iter().map(|block| block.value.units.len()).sum::<usize>(), 4 * 12_000);
}

fn with_leases(leases: u32) -> RebuildReport {
    let mut said = report("aa", 0, 0, 1);
    let counter = format!("quota:{:0>110}:month", 1);
    let lease = |serial| LeaseInHand { counter: counter.clone(), serial, ..said.leases[0].clone() };
    said.leases = (1..=leases).map(lease).collect();
    said
}

#[tokio::test]
async fn a_report_is_refused_exactly_where_the_store_could_not_keep_it() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let one = with_leases(2).kept_bytes() - with_leases(1).kept_bytes();
    let leases = u32::try_from(REPORT_MAX_BYTES / one - 1).unwrap();
    let answer = take(&plane.app.store, "gw-1", with_leases(leases), NOW).await.unwrap();
    assert_eq!(ready(answer).1, u64::from(leases));
    let refused = take(&plane.app.store, "gw-1", with_leases(leases + 2), NOW).await.unwrap_err();
    assert!(matches!(refused, Refusal::Because { .. }), "{refused:?}");
}

#[tokio::test]
async fn what_no_gateway_of_ours_says_is_refused() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let with = |change: fn(&mut RebuildReport)| {
        let mut said = report("aa", 0, 0, 1);
        change(&mut said);
        said
    };
    let wrong = [
        report("", 0, 0, 1),
        report("a:b", 0, 0, 1),
        report(&"a".repeat(65), 0, 0, 1),
        report("aa", u64::MAX, 0, 1),
        report("aa", COUNTED_MAX + 1, 0, 1),
        with(|said| said.leases[0].in_batches = 2),
        with(|said| said.leases[0].epoch = "00112233445566fg".into()),
        with(|said| said.lives[0].epoch = "00112233445566f".into()),
        with(|said| said.lives[0].except = vec![u64::MAX]),
        with(|said| {
            let counter = DAY.into();
            said.unacknowledged = vec![UnitsTaken { counter, window: TODAY, units: COUNTED_MAX + 1 }];
        }),
    ];
    for said in wrong {
        let refused = take(&plane.app.store, "gw-1", said.clone(), NOW).await;
        assert!(matches!(refused, Err(Refusal::Because { .. })), "{said:?}: {refused:?}");
    }
    for (run, generation) in [("a".repeat(65), 1), ("aa".to_owned(), COUNTED_MAX + 1)] {
        let said = CountersTaken { run_id: run, generation };
        assert!(
            matches!(taken(&plane.app.store, &said, NOW).await, Err(Refusal::Because { .. })),
            "{said:?}"
        );
    }
    let units = vec![UnitsTaken { counter: DAY.into(), window: TODAY, units: COUNTED_MAX + 1 }];
    let batch = UsageBatch::pack(BatchId { from: life(), seq: 1 }, units, &[]).unwrap();
    assert!(ingest::take(&plane.app.store, &plane.app.fold, "gw-1", batch).await.is_err());
}

#[tokio::test]
async fn sums_end_where_the_store_and_redis_do() {
    let plane = demo().await;
    seen(&plane, "gw-1").await;
    let from = life();
    let mut cursor = FoldCursor::new(from.clone(), NOW);
    cursor.folded_seq = 20;
    plane.app.store.insert(&cursor).await.unwrap();
    for first_seq in [1, 11] {
        let units = vec![UnitsTaken { counter: DAY.into(), window: TODAY, units: i64::MAX.cast_unsigned() }];
        let block = Block { from: from.clone(), first_seq, last_seq: first_seq + 9, units };
        plane.app.store.insert(&block).await.unwrap();
    }
    let said = take(&plane.app.store, "gw-1", report("aa", 0, 20, 7), NOW).await.unwrap();
    let RebuildAnswer::Ready { figures, .. } = said else { panic!("{said:?}") };
    assert_eq!(figures[0].granted, 2 * COUNTED_MAX - 1);
}
