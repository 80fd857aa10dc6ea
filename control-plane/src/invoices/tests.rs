//! Invoices over both stores: what a month holds, that each is written once and numbered without gaps however many write,
//! credit notes, and that verification finds and names what was tampered with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_docs_in_private_items)]

mod cases;
mod credits;
mod faults;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{AccountId, InvoiceId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};

use super::documents::{Invoice, Item, What};
use super::issue::Issuer;
use super::verify::verify;
use crate::ledger::{
    Amount, EntryKind, Fee, Holder, Journal, LedgerAccount, Proposal, Step, Usage, register,
};
use crate::plans::documents::Plan;
use crate::store::conformance::mongod::Mongod;
use crate::store::{Query, Store};

const DAY_MS: i64 = 86_400_000;
/// 2026-09-01T00:00:00Z.
const SEPTEMBER: Timestamp = Timestamp(1_788_220_800_000);
/// 2026-10-01T00:00:00Z.
const OCTOBER: Timestamp = Timestamp(SEPTEMBER.0 + 30 * DAY_MS);
/// 2026-11-01T00:00:00Z.
const NOVEMBER: Timestamp = Timestamp(OCTOBER.0 + 31 * DAY_MS);

/// A store with two plans, and a control plane with a clock.
struct Books {
    store: Store,
    journal: Journal,
    clock: Clock,
}

impl Books {
    async fn new(store: &Store) -> Self {
        let clock = Clock::manual(SEPTEMBER);
        // The second plan is another vendor's.
        for n in 1..=2 {
            let plan = Plan {
                id: PlanId::from_u128(n),
                listing: ListingId::from_u128(n),
                vendor: VendorId::from_u128(n),
                slug: "pro".to_owned(),
                name: "Pro".to_owned(),
                revision: 1,
                retired_at: None,
                created_at: SEPTEMBER,
                updated_at: SEPTEMBER,
            };
            store.insert(&plan).await.unwrap();
        }
        Self { store: store.clone(), journal: Journal::new(store.clone(), clock.clone()), clock }
    }

    fn set(&self, at: Timestamp) {
        if let Clock::Manual(now) = &self.clock {
            now.store(at.0, std::sync::atomic::Ordering::Relaxed);
        }
    }

    async fn append(&self, proposal: Proposal) {
        assert!(self.journal.append(&proposal).await.unwrap().fresh);
    }

    async fn issue(&self, n: u128) -> u32 {
        Issuer::new(&self.store, &self.journal, self.clock.now()).wallet(wallet(n)).await.unwrap()
    }

    async fn invoices(&self) -> Vec<Invoice> {
        let all = self.store.query::<Invoice>(&Query::by("number").limit(500)).await.unwrap();
        all.items.into_iter().map(|found| found.value).collect()
    }

    async fn faults(&self) -> Vec<String> {
        assert_eq!(crate::ledger::verify::verify(&self.store).await.unwrap().faults, []);
        verify(&self.store).await.unwrap().faults
    }
}

fn wallet(n: u128) -> LedgerAccount {
    LedgerAccount::wallet(AccountId::from_u128(n), Currency::INR)
}

fn vendor() -> LedgerAccount {
    LedgerAccount { holder: Holder::Vendor(VendorId::from_u128(1)), currency: Currency::INR }
}

fn rupees(micro: i64) -> Money {
    Money::new(micro, Currency::INR)
}

fn moves(fact: &str, kind: EntryKind, (from, to): (LedgerAccount, LedgerAccount), micro: i64) -> Proposal {
    let lines = vec![Amount { account: from, micro: -micro }, Amount { account: to, micro }];
    Proposal {
        facts: vec![fact.to_owned()],
        kind,
        step: Step::Move(lines),
        usage: None,
        fee: None,
        reason: "a test".to_owned(),
    }
}

fn top_up(fact: &str, n: u128, micro: i64) -> Proposal {
    let provider = LedgerAccount { holder: Holder::Provider, currency: Currency::INR };
    moves(fact, EntryKind::TopUp, (provider, wallet(n)), micro)
}

/// The price of the month from `begins_at`; of a change of plan where `change`.
fn fee(fact: &str, n: u128, micro: i64, begins_at: Timestamp, change: bool) -> Proposal {
    let fee = Fee {
        subscription: SubscriptionId::from_u128(n),
        plan: PlanId::from_u128(1),
        plan_revision: 1,
        begins_at,
        ends_at: begins_at.plus_ms(30 * DAY_MS),
        change,
        counted: true,
    };
    Proposal { fee: Some(fee), ..moves(fact, EntryKind::PeriodFee, (wallet(n), vendor()), micro) }
}

/// Calls that were asked for at a moment.
fn calls(fact: &str, n: u128, (before, units): (u64, u64), micro: i64, asked_at: Timestamp) -> Proposal {
    let usage = Usage {
        subscription: SubscriptionId::from_u128(n),
        plan: PlanId::from_u128(1),
        plan_revision: 1,
        period_begins_at: SEPTEMBER,
        units,
        before,
        asked_at: Some(asked_at),
    };
    Proposal { usage: Some(usage), ..moves(fact, EntryKind::Calls, (wallet(n), vendor()), micro) }
}

fn item(n: u128, what: What) -> Item {
    let (subscription, plan) = (SubscriptionId::from_u128(n), PlanId::from_u128(1));
    Item { subscription, plan, plan_revision: 1, what }
}

macro_rules! run_cases {
    ($open:expr; $($room:ident :: $case:ident),+ $(,)?) => {{
        $(
            eprintln!("case {}", stringify!($case));
            let store: Store = $open(stringify!($case)).await;
            register(&store).await.unwrap();
            super::register(&store).await.unwrap();
            crate::plans::register(&store).await.unwrap();
            crate::catalog::register(&store).await.unwrap();
            crate::vendors::register(&store).await.unwrap();
            Box::pin($room::$case(&Books::new(&store).await)).await;
        )+
    }};
}

async fn run_all_cases(open: impl AsyncFn(&'static str) -> Store) {
    run_cases!(open;
        cases::a_month_is_all_that_was_charged_in_it_and_nothing_else,
        cases::what_is_told_of_late_stands_on_the_next_invoice_by_name,
        cases::a_slow_writer_does_not_get_into_a_month_that_was_invoiced,
        cases::a_month_in_which_more_went_back_is_a_credit_note,
        cases::numbers_have_no_gap_however_many_issue_at_once,
        cases::a_charge_for_nothing_is_not_invoiced,
        cases::a_month_is_not_ended_by_a_clock_that_is_in_it,
        credits::money_goes_back_once_and_never_more_than_was_charged,
        credits::a_note_that_was_not_written_is_written_with_the_next_invoices,
        credits::what_goes_back_of_a_period_goes_back_once,
        credits::a_period_of_an_earlier_release_is_credited_by_its_invoice_alone,
        faults::what_was_tampered_with_is_found_and_named,
        faults::a_last_month_without_an_invoice_is_found,
        faults::what_a_vendor_was_credited_and_his_buyers_were_not_charged_is_found,
    );
}

/// Boxed: all cases in one are a large future.
async fn run_all(open: impl AsyncFn(&'static str) -> Store) {
    Box::pin(run_all_cases(open)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invoices_hold_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    run_all(async |case| Store::open_embedded(&folder.path().join(format!("{case}.db"))).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invoices_hold_over_mongodb() {
    let server = Mongod::start().await;
    run_all(async |case| Store::open_mongodb(&server.uri(&case[..case.len().min(40)])).await.unwrap()).await;
}
