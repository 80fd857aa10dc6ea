//! The journal over both stores, its verification against planted faults, and whole histories against a simple model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_docs_in_private_items)]

mod cases;
mod exports;
mod faults;
mod histories;
mod spendings;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{AccountId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::Currency;

use super::{Amount, EntryKind, Holder, Journal, LedgerAccount, Proposal, Step, Usage, register};
use crate::store::Store;
use crate::store::conformance::mongod::Mongod;

pub fn wallet(n: u128) -> LedgerAccount {
    LedgerAccount::wallet(AccountId::from_u128(n), Currency::INR)
}

pub fn of(holder: Holder) -> LedgerAccount {
    LedgerAccount { holder, currency: Currency::INR }
}

pub fn vendor(n: u128) -> LedgerAccount {
    of(Holder::Vendor(VendorId::from_u128(n)))
}

pub fn amount(account: LedgerAccount, micro: i64) -> Amount {
    Amount { account, micro }
}

pub fn proposal(fact: &str, kind: EntryKind, step: Step) -> Proposal {
    Proposal {
        facts: vec![fact.to_owned()],
        kind,
        step,
        usage: None,
        fee: None,
        reason: "a test, \"quoted\"; twice".to_owned(),
    }
}

/// So many units of subscription 1's first period.
pub fn usage(before: u64, units: u64) -> Usage {
    let (subscription, plan) = (SubscriptionId::from_u128(1), PlanId::from_u128(1));
    Usage {
        subscription,
        plan,
        plan_revision: 1,
        period_begins_at: Timestamp(0),
        units,
        before,
        asked_at: None,
    }
}

pub fn top_up(fact: &str, account: LedgerAccount, micro: i64) -> Proposal {
    let lines = vec![amount(account, micro), amount(of(Holder::Provider), -micro)];
    proposal(fact, EntryKind::TopUp, Step::Move(lines))
}

pub fn fee(fact: &str, account: LedgerAccount, micro: i64) -> Proposal {
    let lines = vec![amount(account, -micro), amount(vendor(1), micro)];
    proposal(fact, EntryKind::PeriodFee, Step::Move(lines))
}

pub fn journal(store: &Store) -> Journal {
    Journal::new(store.clone(), Clock::System)
}

macro_rules! run_cases {
    ($open:expr; $($room:ident :: $case:ident),+ $(,)?) => {{
        $(
            eprintln!("case {}", stringify!($case));
            let store: Store = $open(stringify!($case)).await;
            register(&store).await.unwrap();
            Box::pin($room::$case(&store)).await;
        )+
    }};
}

async fn run_all(open: impl AsyncFn(&'static str) -> Store) {
    run_cases!(open;
        cases::a_fact_is_written_once_and_with_one_content,
        cases::of_a_hundred_debits_at_once_on_a_balance_for_one_one_is_made,
        cases::a_hold_is_charged_once_and_its_rest_is_free,
        cases::a_fact_is_held_or_nothing_comes_of_it,
        cases::a_post_never_takes_more_than_was_held,
        cases::units_of_a_period_are_counted_with_what_they_cost,
        cases::a_post_gives_back_only_for_units_that_became_cheaper,
        cases::balances_are_the_sums_of_lines_also_behind_a_checkpoint,
        faults::every_planted_fault_is_found_and_named,
        spendings::many_at_once_do_not_pass_a_ceiling_until_the_month_turns,
        faults::units_that_were_tampered_with_are_found_and_named,
        exports::hledger_balances_to_the_same_figures,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_holds_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    run_all(async |case| Store::open_embedded(&folder.path().join(format!("{case}.db"))).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_holds_over_mongodb() {
    let server = Mongod::start().await;
    run_all(async |case| Store::open_mongodb(&server.uri(&case[..case.len().min(40)])).await.unwrap()).await;
}
