//! Leases on wallets over a model of the control plane's side: one by one here, whole histories in `histories.rs`.

use apiclay_config::ids::{PlanId, SubscriptionId};

use super::*;
use crate::counters::{Counters, CountersError, Spent};
use model::{Ledger, Record};

mod histories;
mod model;
mod orders;
mod stale;
mod threads;
mod units;

/// How long a lease is used, here.
const MAX_MS: u64 = 5_000;
const MAX_UNITS: u32 = 20;

/// A gateway's folder, the ledger, and the clock they live with.
struct Till {
    dir: Arc<TempDir>,
    ledger: Arc<Ledger>,
    monotonic: Arc<AtomicU64>,
}

impl Till {
    fn new(balance: u64) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::at(dir, balance, 1)
    }

    /// Of calls that take so many units each.
    fn at(dir: Arc<TempDir>, balance: u64, per_call: u32) -> Self {
        Self { dir, ledger: Arc::new(Ledger::new(balance, per_call)), monotonic: Arc::new(AtomicU64::new(1)) }
    }

    fn open(&self, epoch: u64) -> Arc<LeaseBook> {
        self.open_in(self.dir.path(), "gw", epoch)
    }

    fn open_in(&self, dir: &std::path::Path, gateway: &str, epoch: u64) -> Arc<LeaseBook> {
        let from = GatewayEpoch { gateway: gateway.into(), epoch: format!("{epoch:016x}") };
        let options = BookOptions {
            wallet_lease_max_ms: MAX_MS,
            wallet_lease_units: MAX_UNITS,
            ..BookOptions::new(from)
        };
        let counters: Arc<dyn Counters> = self.ledger.clone();
        let clock = Monotonic::Manual(self.monotonic.clone());
        LeaseBook::open(dir, counters, options, clock).unwrap().0
    }

    fn pass_ms(&self, ms: u64) {
        self.monotonic.fetch_add(ms, SeqCst);
    }
}

fn wallet(subscription: u128) -> CounterSpec {
    let key = wallet_key(SubscriptionId::from_u128(subscription), PlanId::from_u128(1), 3);
    CounterSpec {
        key,
        window: LeasedWindow::Wallet,
        max: crate::counters::COUNT_MAX,
        hard: true,
        units_per_call: 1,
    }
}

/// The batch of this number in the life of this epoch.
fn batch_of(epoch: u64, seq: u64) -> BatchMark {
    BatchMark { life: epoch, epoch, seq }
}

/// Puts a lease's calls on record in a batch that the control plane gets.
fn on_record(till: &Till, book: &LeaseBook, batch: BatchMark, lease: u32, calls: u32) {
    book.recorded(batch, lease, calls);
    let records = vec![Record::billed(lease, 1); calls as usize];
    till.ledger.ingest("gw", batch.epoch, batch.seq, records);
}

async fn take_all(tally: &Tally, calls: usize) -> Vec<Unit> {
    let mut units = Vec::new();
    for _ in 0..calls {
        units.push(take(tally).await.unwrap());
    }
    units
}

#[test]
fn a_key_says_subscription_plan_and_revision() {
    let (subscription, plan) = (SubscriptionId::generate(), PlanId::generate());
    let calls = WalletCalls { subscription, plan: Some(plan), plan_revision: 7 };
    assert_eq!(wallet_of_key(&wallet_key(subscription, plan, 7)), Some(calls));
    // As an earlier version left it in the table.
    let old = WalletCalls { plan: None, ..calls };
    assert_eq!(wallet_of_key(&format!("wallet:{subscription}:7")), Some(old));
    assert_eq!(wallet_of_key(&format!("wallet:{subscription}:other:7")), None);
    assert_eq!(wallet_of_key(&format!("quota:{subscription}:day")), None);
    let longest = wallet_key(SubscriptionId::from_u128(u128::MAX), PlanId::from_u128(u128::MAX), u32::MAX);
    assert!(longest.len() <= KEY_MAX_BYTES);
}

#[tokio::test]
async fn a_lease_is_closed_once_each_of_its_units_is_in_a_batch_or_came_back() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let units = take_all(&tally, 3).await;
    till.pass_ms(MAX_MS);
    book.sweep(false).await;
    assert_eq!(till.ledger.said(), [], "calls are under way");
    assert_ne!(take(&tally).await.unwrap().lease, units[0].lease, "and yet it pays for no other");
    on_record(&till, &book, batch_of(1, 4), units[0].lease, 1);
    on_record(&till, &book, batch_of(1, 6), units[1].lease, 1);
    book.sweep(false).await;
    assert_eq!(till.ledger.said(), []);
    // Given back after it was stopped: unspent.
    tally.give_back(units[2]);
    book.sweep(false).await;
    let said = till.ledger.said();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].0.epoch, said[0].0.serial), (1, units[0].lease));
    assert_eq!((said[0].1.units, said[0].1.last_batch), (2, Some(batch_of(1, 6))));
    assert_eq!(book.counter_of(units[0].lease), None, "its slot is free");
}

#[tokio::test]
async fn a_lease_that_is_used_up_is_closed_at_once_and_an_idle_one_when_it_is_too_old() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let first = take(&tally).await.unwrap().lease;
    let mut taken = 1;
    while book.core.table.slot(book.core.known.get(&first).unwrap().place).word().free() > 0 {
        take(&tally).await.unwrap();
        taken += 1;
    }
    on_record(&till, &book, batch_of(1, 1), first, taken);
    book.sweep(false).await;
    assert_eq!(till.ledger.said().len(), 1);
    let second = take(&tally).await.unwrap();
    tally.give_back(second);
    till.pass_ms(MAX_MS - 1);
    book.sweep(false).await;
    assert_eq!(till.ledger.said().len(), 1);
    till.pass_ms(1);
    book.sweep(false).await;
    let said = till.ledger.said();
    assert_eq!((said.len(), said[1].1.units, said[1].1.last_batch), (2, 0, None));
    assert_eq!(till.ledger.held(), 0);
}

#[tokio::test]
async fn while_the_control_plane_is_away_calls_go_on_with_the_lease_in_hand_and_are_never_told_that_the_money_is_gone()
 {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let first = take(&tally).await.unwrap();
    till.ledger.away.store(true, SeqCst);
    let in_hand = tally.units_at_hand(1);
    for _ in 0..in_hand {
        till.pass_ms(MAX_MS);
        book.sweep(false).await;
        tokio::task::yield_now().await;
        assert_eq!(take(&tally).await.map(|unit| unit.lease), Some(first.lease));
    }
    assert_eq!(take(&tally).await, None);
    assert_eq!(tally.take(), Take::Unavailable);
    till.ledger.away.store(false, SeqCst);
    till.pass_ms(1_000);
    assert!(take(&tally).await.is_some());
}

#[tokio::test]
async fn an_idle_lease_is_there_still_when_the_control_plane_went_away() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let first = take(&tally).await.unwrap();
    till.ledger.away.store(true, SeqCst);
    till.pass_ms(60_000);
    book.sweep(false).await;
    assert_eq!(take(&tally).await.map(|unit| unit.lease), Some(first.lease));
}

#[tokio::test]
async fn the_next_lease_is_there_before_the_one_in_use_is_too_old() {
    let till = Till::new(10_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let mut leases = std::collections::BTreeSet::new();
    take(&tally).await.unwrap();
    // A call a second: no lease is nearly used up in its time.
    for quarter in 1..=200 {
        till.pass_ms(250);
        if quarter % 4 == 0 {
            let Take::Unit(unit) = tally.take() else { panic!("a call had to wait") };
            leases.insert(unit.lease);
        }
        book.prefetch();
        book.sweep(false).await;
        tokio::task::yield_now().await;
    }
    assert!((10..=12).contains(&leases.len()), "{}", leases.len());
}

#[tokio::test]
async fn leases_grow_while_they_are_used_up_early_and_shrink_while_they_are_not_used() {
    let till = Till::new(100_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    take_all(&tally, 300).await;
    assert_eq!(till.ledger.largest(), MAX_UNITS);
    for _ in 0..6 {
        till.pass_ms(MAX_MS);
        book.sweep(false).await;
        let unit = take(&tally).await.unwrap();
        tally.give_back(unit);
    }
    assert!(till.ledger.last_want() <= 2, "{}", till.ledger.last_want());
}

#[tokio::test]
async fn after_a_kill_a_lease_is_closed_with_all_that_was_spent_and_the_batch_of_its_last_record() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let units = take_all(&tally, 5).await;
    let lease = units[0].lease;
    assert!(units.iter().all(|unit| unit.lease == lease));
    on_record(&till, &book, batch_of(1, 9), lease, 2);
    drop((book, tally));

    let book = till.open(2);
    // A record that the kill left in the spool goes into the new life's first batch.
    on_record(&till, &book, batch_of(2, 1), lease, 1);
    let unaccounted = book.stop_earlier_wallets();
    assert_eq!(unaccounted.iter().map(|u| (u.lease, u.units)).collect::<Vec<_>>(), [(lease, 2)]);
    book.sweep(false).await;
    assert_eq!(till.ledger.said(), [], "units without a record");
    assert_eq!(book.earlier_leases(), 1);
    on_record(&till, &book, batch_of(2, 2), lease, 2);
    book.sweep(false).await;
    let said = till.ledger.said();
    assert_eq!((said[0].0.epoch, said[0].1.units, said[0].1.last_batch), (1, 5, Some(batch_of(2, 2))));
    assert_eq!(book.earlier_leases(), 0);
    assert_eq!(till.ledger.held(), 0);
}

#[tokio::test]
async fn a_lease_asked_for_and_unheard_is_closed_by_the_next_life_and_its_late_echo_makes_none() {
    for arrives in [true, false] {
        let till = Till::new(1_000);
        let book = till.open(1);
        let lost = if arrives { &till.ledger.lose_answers } else { &till.ledger.lose_requests };
        lost.store(1, SeqCst);
        let tally = book.tally(&wallet(1));
        assert!(tally.refill().await.is_err());
        assert_eq!(till.ledger.held() > 0, arrives);
        drop((book, tally));
        let book = till.open(2);
        assert_eq!(book.stop_earlier_wallets(), []);
        book.sweep(false).await;
        assert_eq!(till.ledger.said().iter().map(|(_, spent)| spent.units).collect::<Vec<_>>(), [0]);
        assert_eq!(till.ledger.held(), 0);
        till.ledger.echo(0);
        assert_eq!(till.ledger.held(), 0, "a hold that nobody knows of");
    }
}

#[tokio::test]
async fn an_asking_that_comes_late_after_it_was_answered_with_nothing_makes_no_hold() {
    let till = Till::new(0);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    till.ledger.lose_requests.store(1, SeqCst);
    assert!(tally.refill().await.is_err());
    till.pass_ms(1_000);
    tally.refill().await.unwrap();
    assert!(matches!(tally.take(), Take::Exhausted { resets_in_ms: None }));
    book.sweep(false).await;
    till.ledger.top_up(100);
    till.ledger.echo(0);
    assert_eq!(till.ledger.held(), 0, "a hold that nobody knows of");
}

#[tokio::test]
async fn wallets_are_in_no_report_of_lost_counters_and_serve_on_meanwhile() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    take(&tally).await.unwrap();
    book.refuse_grants();
    assert_eq!(book.in_hand(), (Vec::new(), Vec::new()));
    take_all(&tally, 100).await;
    let figures = book.figures()[&LeasedWindow::Wallet];
    assert_eq!(figures.open_units, till.ledger.held());
    assert_eq!(figures.units_in_hand, till.ledger.held() - 101);
    assert!(figures.leases > 1);
}

#[tokio::test]
async fn a_gateway_that_stops_closes_all_that_is_settled() {
    let till = Till::new(1_000);
    let book = till.open(1);
    let tally = book.tally(&wallet(1));
    let unit = take(&tally).await.unwrap();
    on_record(&till, &book, batch_of(1, 1), unit.lease, 1);
    book.sweep(true).await;
    assert_eq!(till.ledger.said().len(), 1);
    assert_eq!(till.ledger.held(), 0);
    assert_eq!(book.figures()[&LeasedWindow::Wallet], LeaseFigures::default());
}

#[tokio::test]
async fn one_subscriptions_closes_that_are_refused_hold_up_no_others() {
    let why = || "as a test has it".to_owned();
    for refusal in [CountersError::WalletsRefused(why()), CountersError::WalletFailed(why())] {
        let till = Till::new(1_000);
        for epoch in 1..=2 {
            let book = till.open(epoch);
            assert_eq!(book.stop_earlier_wallets(), []);
            for n in 0..40 {
                let tally = book.tally(&wallet(n));
                let unit = take(&tally).await.unwrap();
                tally.give_back(unit);
            }
            till.pass_ms(MAX_MS);
            *till.ledger.refuses.lock() = Some((wallet(7).key, refusal.clone()));
            let said = till.ledger.said().len();
            // The second life has the one that was refused in the first, and one of its own.
            book.sweep(false).await;
            assert_eq!(till.ledger.said().len() - said, 39, "{refusal}");
        }
        *till.ledger.refuses.lock() = None;
        let book = till.open(3);
        book.stop_earlier_wallets();
        book.sweep(false).await;
        assert_eq!(till.ledger.held(), 0);
    }
}
