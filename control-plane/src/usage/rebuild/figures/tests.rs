//! Every unit once, wherever it stands when the counters are lost.

use apiclay_config::counters::Acknowledged;
use apiclay_config::usage::GatewayEpoch;

use super::*;

const DAY: &str = "quota:sub_1:day";
const TODAY: Timestamp = Timestamp(20_000 * DAY_MS);

fn taken(units: u64) -> Vec<UnitsTaken> {
    vec![UnitsTaken { counter: DAY.into(), window: 20_000, units }]
}

fn id(gateway: &str, epoch: &str, seq: u64) -> BatchId {
    BatchId { from: GatewayEpoch { gateway: gateway.into(), epoch: epoch.into() }, seq }
}

fn lease(serial: u32, units: u32, in_batches: u32) -> LeaseInHand {
    LeaseInHand { counter: DAY.into(), window: 20_000, epoch: "e2".into(), serial, units, in_batches }
}

fn report(acknowledged: u64, unacknowledged: u64, leases: Vec<LeaseInHand>) -> RebuildReport {
    RebuildReport {
        run_id: "ab".into(),
        generation: 1,
        lives: vec![Acknowledged { epoch: "e2".into(), seq: acknowledged, except: Vec::new() }],
        unacknowledged: taken(unacknowledged),
        leases,
    }
}

fn of(reports: &[(&str, RebuildReport)], batches: &[(BatchId, u64)]) -> Vec<RebuildFigure> {
    let reports = reports.iter().map(|(gateway, report)| ((*gateway).to_owned(), report.clone())).collect();
    let mut figures = Figures::new(&reports, TODAY);
    for (id, units) in batches {
        figures.on_record(id, &taken(*units));
    }
    figures.done()
}

#[test]
fn a_unit_counts_once_whether_its_batch_has_come_unheard_or_not() {
    // Batch 2 holds 30 units. The gateway has not heard its acknowledgement, and says them itself.
    let said = [("gw-1", report(1, 30, Vec::new()))];
    let without = of(&said, &[(id("gw-1", "e2", 1), 40)]);
    let with = of(&said, &[(id("gw-1", "e2", 1), 40), (id("gw-1", "e2", 2), 30)]);
    assert_eq!(without[0].granted, 70);
    assert_eq!(with, without);
}

#[test]
fn a_batch_that_was_refused_is_left_out_and_those_after_it_count() {
    let mut said = report(3, 30, Vec::new());
    said.lives[0].except = vec![2];
    let batches = [(id("gw-1", "e2", 1), 1), (id("gw-1", "e2", 2), 30), (id("gw-1", "e2", 3), 5)];
    assert_eq!(of(&[("gw-1", said)], &batches)[0].granted, 1 + 30 + 5);
}

#[test]
fn a_lease_counts_as_granted_less_what_stands_in_batches() {
    let said = [("gw-1", report(1, 0, vec![lease(7, 25, 10)])), ("gw-2", report(0, 0, vec![lease(7, 5, 0)]))];
    let figures = of(&said, &[(id("gw-1", "e2", 1), 10)]);
    assert_eq!(figures.len(), 1);
    assert_eq!(figures[0].granted, 10 + 15 + 5);
    let named: Vec<_> = figures[0].leases.iter().map(|(gateway, lease)| (&**gateway, lease.units)).collect();
    assert_eq!(named, [("gw-1", 25), ("gw-2", 5)], "as granted, so that each can be closed");
}

#[test]
fn earlier_lives_and_forgotten_gateways_count_as_on_record() {
    let said = [("gw-1", report(1, 0, Vec::new()))];
    let batches = [(id("gw-1", "e1", 900), 3), (id("gw-1", "e2", 1), 4), (id("gone", "e9", 1), 5)];
    assert_eq!(of(&said, &batches)[0].granted, 12);
}

#[test]
fn nothing_used_is_no_figure_and_windows_keep_their_kinds() {
    assert_eq!(of(&[], &[]), []);
    let kinds = ["quota:s:hour", "quota:s:day", "quota:s:month", "trial:a:l", "trial:a:day"].map(kind_of);
    use LeasedWindow::{Day, Hour, Month, Trial};
    assert_eq!(kinds, [Hour, Day, Month, Trial, Trial]);
}

#[test]
fn windows_that_are_over_are_left_out() {
    let kept = |kind: &str, window: i64| is_kept(&format!("quota:s:{kind}"), window, TODAY);
    assert!(kept("day", 20_000 - 2) && !kept("day", 20_000 - 3));
    assert!(kept("hour", 24 * (20_000 - 1) - 1) && !kept("hour", 24 * (20_000 - 1) - 2));
    // 2024-10-04 is in month 657.
    assert!(kept("month", 657) && kept("month", 656) && !kept("month", 655));
    assert!(is_kept("trial:a:l", 0, TODAY) && kept("day", i64::MAX));
    // By the latest clocks a day ends half a day after UTC's; hours of a zone are numbered in minutes.
    assert!(kept("day@Etc/GMT+12", 20_000 - 2) && !kept("day@Etc/GMT+12", 20_000 - 4));
    let minute = 24 * 60 * (20_000 - 1);
    assert!(kept("hour@Asia/Kolkata", minute - 60) && !kept("hour@Asia/Kolkata", minute - 90));
    assert!(kept("month@Asia/Kolkata", 656) && !kept("month@Asia/Kolkata", 655));
}

/// Seeded histories of two gateways: whatever was granted and is not given back is what the figures say.
#[test]
fn the_figures_are_what_was_out_in_any_history() {
    use rand::{Rng as _, SeedableRng as _};
    for seed in 0..2_000 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let (mut out, mut reports, mut batches) = (0_u64, Vec::new(), Vec::new());
        for gateway in ["gw-1", "gw-2"] {
            let acknowledged = random.random_range(0..4_u64);
            let last = acknowledged + random.random_range(0..4_u64);
            let (mut later, mut leases) = (0, Vec::new());
            for seq in 1..=last {
                let spent = random.random_range(0..50_u64);
                out += spent;
                let unheard = seq > acknowledged;
                later += if unheard { spent } else { 0 };
                if !unheard || random.random_bool(0.5) {
                    batches.push((id(gateway, "e2", seq), spent));
                }
            }
            for serial in 1..random.random_range(1..5_u32) {
                let units = random.random_range(1..50_u32);
                let in_batches = random.random_range(0..=units);
                // What stands in batches is counted among theirs above.
                out += u64::from(units - in_batches);
                leases.push(lease(serial, units, in_batches));
            }
            reports.push((gateway, report(acknowledged, later, leases)));
        }
        let said: u64 = of(&reports, &batches).iter().map(|figure| figure.granted).sum();
        assert_eq!(said, out, "seed {seed}");
    }
}
