//! What a call takes, by what its plan costs and who pays: over compiled snapshots, a model of the counters, and a wallet that is
//! a number.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::ids::{AccountId, CredentialId, PlanId, RequestId, SubscriptionId};
use apiclay_config::key;
use apiclay_config::snapshot::{self, Change, Limit, Plan, Snapshot, Subscription, Window};
use apiclay_config::usage::GatewayEpoch;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use tempfile::TempDir;

use super::*;
use crate::context::{Context, Head, HeaderLines};
use crate::counters::faults::ModelCounters;
use crate::counters::wallet::{Stores, TopUp};
use crate::counters::{Close, Counters, CountersError, Grant, GrantRequest};
use crate::gateway::Gateway;
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::metering::{Spool, SpoolOptions};
use crate::observe::Metrics;
use crate::runtime::{Compiler, Credential};
use crate::sync::tests::market;

mod days;

/// A wallet that is worth so many calls, a call a lease.
#[derive(Default)]
struct Purse {
    calls: AtomicU32,
    away: AtomicBool,
    asked: AtomicU32,
}

#[async_trait]
impl Counters for Purse {
    async fn grant(&self, _: &GrantRequest) -> Result<Grant, CountersError> {
        if self.away.load(SeqCst) {
            return Err(CountersError::Unavailable(None));
        }
        self.asked.fetch_add(1, SeqCst);
        let units = u32::from(self.calls.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok());
        let remaining = u64::from(self.calls.load(SeqCst));
        Ok(Grant { window: 0, units, remaining, ends_in_ms: None, generation: u64::MAX })
    }

    async fn close(&self, _: &str, _: &[Close]) -> Result<u64, CountersError> {
        Ok(u64::MAX)
    }

    async fn forget(&self, _: &str) -> Result<u64, CountersError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), CountersError> {
        Ok(())
    }
}

struct Shop {
    gateway: Gateway,
    credential: Credential,
    purse: Arc<Purse>,
    compiler: Compiler,
    snapshot: Snapshot,
    _folder: TempDir,
}

/// When the subscriber's trial by days is over, where the plan has one.
const TRIED_UNTIL: Timestamp = Timestamp(1_000);

/// A shop with one subscriber; `terms` changes the plan.
fn shop(pays: bool, calls: u32, terms: impl FnOnce(&mut Plan)) -> Shop {
    let mut snapshot = market(1);
    terms(snapshot.plans.values_mut().next().unwrap());
    let subscriber = snapshot.subscriptions.values_mut().next().unwrap();
    (subscriber.pays, subscriber.trial_until) = (pays, Some(TRIED_UNTIL));
    let folder = tempfile::tempdir().unwrap();
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{:016x}", 1) };
    let spool = Spool::open(&folder.path().join("spool"), from.clone(), SpoolOptions::default()).unwrap();
    let purse = Arc::new(Purse { calls: AtomicU32::new(calls), ..Purse::default() });
    let counters = Arc::new(ModelCounters::new(Clock::System));
    let stores = Arc::new(Stores { counters, wallets: purse.clone() });
    let (book, _) =
        LeaseBook::open(folder.path(), stores, BookOptions::new(from), Monotonic::system()).unwrap();
    let metrics = Metrics::new().unwrap();
    let top_up = Arc::<TopUp>::default();
    top_up.learn(&"https://apis.example.com/wallet".parse().unwrap());
    let gateway = Gateway::new(spool, Arc::clone(&metrics), Clock::System, 1_000, None, top_up);
    let egress = Egress::new(Vec::new(), Vec::new(), Vec::new());
    let mut compiler = Compiler::new(book, None, egress, metrics);
    let runtime = compiler.compile(&snapshot, None, 1).unwrap();
    let credential = runtime.credentials.values().next().unwrap().clone();
    Shop { gateway, credential, purse, compiler, snapshot, _folder: folder }
}

impl Shop {
    /// One call, as a lane takes it through this phase.
    async fn call(&self) -> Result<Context, Rejection> {
        self.call_at(Timestamp(0)).await
    }

    async fn call_at(&self, at: Timestamp) -> Result<Context, Rejection> {
        let mut context = Context::new(at);
        context.credential = Some(self.credential.clone());
        let headers = HeaderMap::new();
        for _ in 0..8 {
            let head = Head { method: "GET", path: "/", host: b"", headers: &HeaderLines(&headers) };
            let mut call = Call { head, context: &mut context, gateway: &self.gateway };
            let Some(waits_for) = reserve(&mut call)? else { return Ok(context) };
            assert!(context.held.is_empty(), "a call that waits holds nothing");
            let refilled = self.credential.entitlement.counted().tallies[waits_for].tally.refill().await;
            refilled.map_err(|_| Rejection::CountersUnavailable)?;
        }
        panic!("a call waits for ever");
    }

    fn refused(&self, rejection: &Rejection) -> (u16, &'static str) {
        (rejection.status(), rejection.code())
    }
}

/// Which leases a call's event names.
fn of(context: &Context) -> [bool; 5] {
    context.leases().map(|lease| lease != 0)
}

const TRIAL: [bool; 5] = [false, false, false, true, false];
const WALLET: [bool; 5] = [false, false, false, false, true];
const NOTHING: [bool; 5] = [false; 5];

fn per_call(plan: &mut Plan) {
    (plan.priced, plan.per_call) = (true, true);
}

#[tokio::test]
async fn one_who_cannot_pay_has_the_trial_and_no_more() {
    for by_call in [false, true] {
        let shop = shop(false, 100, |plan| {
            (plan.priced, plan.per_call, plan.trial_calls) = (true, by_call, Some(3));
        });
        for _ in 0..3 {
            assert_eq!(of(&keep(shop.call().await.unwrap())), TRIAL);
        }
        let rejection = shop.call().await.err().unwrap();
        assert_eq!(shop.refused(&rejection), (429, "trial_exhausted"));
        assert_eq!(shop.purse.asked.load(SeqCst), 0);
    }
}

/// Keeps a call's units, as one that is answered does.
fn keep(mut context: Context) -> Context {
    context.settled = true;
    context
}

#[tokio::test]
async fn one_who_pays_by_the_call_has_the_trial_first_and_then_his_money() {
    let shop = shop(true, 2, |plan| {
        per_call(plan);
        plan.trial_calls = Some(3);
    });
    for _ in 0..3 {
        assert_eq!(of(&keep(shop.call().await.unwrap())), TRIAL);
    }
    assert_eq!(shop.purse.asked.load(SeqCst), 0, "while the trial lasts no money is held");
    for _ in 0..2 {
        assert_eq!(of(&keep(shop.call().await.unwrap())), WALLET);
    }
    let rejection = shop.call().await.err().unwrap();
    assert_eq!(shop.refused(&rejection), (402, "balance_exhausted"));
    let problem = rejection.problem(RequestId::generate());
    let link = problem.headers.iter().find(|(name, _)| *name == "link").map(|(_, value)| value.clone());
    assert_eq!(link.unwrap(), "<https://apis.example.com/wallet>; rel=\"payment\"");
}

#[tokio::test]
async fn where_the_control_plane_is_away_nobody_is_told_that_his_money_is_gone() {
    let shop = shop(true, 1, per_call);
    assert_eq!(of(&keep(shop.call().await.unwrap())), WALLET);
    shop.purse.away.store(true, SeqCst);
    let rejection = shop.call().await.err().unwrap();
    assert_eq!(shop.refused(&rejection), (503, "counters_unavailable"));
    // Also for the next, which does not wait.
    let rejection = shop.call().await.err().unwrap();
    assert_eq!(shop.refused(&rejection), (503, "counters_unavailable"));
}

#[tokio::test]
async fn one_whose_period_is_paid_has_neither_trial_nor_wallet() {
    let shop = shop(true, 0, |plan| (plan.priced, plan.trial_calls) = (true, Some(1)));
    for _ in 0..3 {
        assert_eq!(of(&keep(shop.call().await.unwrap())), NOTHING);
    }
    assert_eq!(shop.purse.asked.load(SeqCst), 0);
}

#[tokio::test]
async fn a_plan_that_costs_something_is_not_open_to_one_who_does_not_pay_and_has_no_trial() {
    let shop = shop(false, 100, per_call);
    let rejection = shop.call().await.err().unwrap();
    assert_eq!(shop.refused(&rejection), (429, "trial_exhausted"));
}

#[tokio::test]
async fn a_free_plan_is_as_it_was_whoever_pays() {
    for pays in [false, true] {
        let shop = shop(pays, 100, |plan| plan.trial_calls = Some(1));
        assert_eq!(of(&keep(shop.call().await.unwrap())), TRIAL);
        let rejection = shop.call().await.err().unwrap();
        assert_eq!(shop.refused(&rejection), (429, "trial_exhausted"));
        let open = self::shop(pays, 0, |_| {});
        assert_eq!(of(&keep(open.call().await.unwrap())), NOTHING);
    }
}

#[tokio::test]
async fn a_call_that_its_quota_refuses_costs_nothing() {
    let shop = shop(true, 3, |plan| {
        per_call(plan);
        plan.limits = vec![Limit { window: Window::Day, max: 2, hard: true }];
    });
    for _ in 0..2 {
        let expected = [false, true, false, false, true];
        assert_eq!(of(&keep(shop.call().await.unwrap())), expected);
    }
    for _ in 0..5 {
        let rejection = shop.call().await.err().unwrap();
        assert_eq!(shop.refused(&rejection), (429, "quota_exhausted"));
    }
    assert_eq!(shop.purse.asked.load(SeqCst), 3, "the third unit goes from call to call");
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_answer_gives_back_and_one_after_it_keeps() {
    let shop = shop(true, 1, per_call);
    drop(shop.call().await.unwrap());
    let unit = shop.call().await.unwrap();
    assert_eq!(shop.purse.asked.load(SeqCst), 1);
    drop(keep(unit));
    assert!(matches!(shop.call().await, Err(Rejection::BalanceExhausted(_))));
}

#[tokio::test]
async fn limits_are_told_in_the_plans_zone() {
    use crate::phases::limits_left::{RATELIMIT, RATELIMIT_POLICY, rate_limit_headers};
    for (zone, policy) in [
        (None, "\"day\";q=9;w=86400"),
        (Some("Asia/Kolkata"), "\"day\";q=9;w=86400"),
        // Its days are of 23, 24 and 25 hours.
        (Some("America/New_York"), "\"day\";q=9"),
    ] {
        let shop = shop(false, 0, |plan| {
            plan.limits = vec![Limit { window: Window::Day, max: 9, hard: true }];
            plan.zone = zone.map(str::to_owned);
        });
        let context = shop.call().await.unwrap();
        let mut told = HeaderMap::new();
        rate_limit_headers(&context, &mut |name, value| {
            drop(told.insert(name.clone(), HeaderValue::from_bytes(value).unwrap()));
        });
        assert_eq!(told[RATELIMIT_POLICY], policy);
        let now = Clock::System.now();
        let day = apiclay_config::zone::Zone::named(zone.unwrap_or("UTC")).unwrap().day(now);
        let left = told[RATELIMIT].to_str().unwrap();
        let seconds: i64 = left.rsplit_once("t=").unwrap().1.parse().unwrap();
        let meant = (day.ends.0 - now.0) / 1_000;
        // A day may end between the call and this look.
        assert!((seconds - meant).abs() <= 30 || meant > 82_000, "{left}, not {meant}");
    }
}

#[tokio::test]
async fn calls_after_a_change_of_plan_are_of_no_lease_from_before_it() {
    let mut shop = shop(true, 10, per_call);
    shop.call().await.unwrap();
    let wallet = |credential: &Credential| Arc::clone(&credential.entitlement.counted().tallies[0].tally);
    let before = wallet(&shop.credential);
    // Another plan at another price, in a revision of the same number.
    let other = PlanId::generate();
    let sold = shop.snapshot.plans.values().next().unwrap().clone();
    shop.snapshot.plans.insert((other, sold.revision), Plan { id: other, ..sold });
    shop.snapshot.subscriptions.values_mut().next().unwrap().plan = other;
    let runtime = shop.compiler.compile(&shop.snapshot, None, 1).unwrap();
    let after = wallet(runtime.credentials.values().next().unwrap());
    assert!(!Arc::ptr_eq(&before, &after), "one lease has calls at two prices");
}

#[tokio::test]
async fn all_subscriptions_of_an_account_to_a_listing_have_one_trial() {
    let mut shop = shop(false, 0, |plan| (plan.priced, plan.trial_calls) = (true, Some(3)));
    let first = shop.snapshot.subscriptions.values().next().unwrap().clone();
    // The same buyer once more, and somebody else.
    for (name, account) in [("again", first.account), ("other", AccountId::generate())] {
        let id = SubscriptionId::generate();
        shop.snapshot.apply(&Change::PutSubscription(Subscription { id, account, ..first.clone() }));
        shop.snapshot.apply(&Change::PutCredential(snapshot::Credential {
            id: CredentialId::generate(),
            subscription: id,
            digest: key::digest(name.as_bytes()),
            expires_at: None,
        }));
    }
    let runtime = shop.compiler.compile(&shop.snapshot, None, 2).unwrap();
    let of_key = |name: &str| runtime.credentials.get(&key::digest(name.as_bytes())).unwrap().clone();
    let credentials = [shop.credential.clone(), of_key("again"), of_key("other")];
    // Turn by turn, until nobody has any left.
    let mut served = [0; 3];
    for turn in 0..5 * credentials.len() {
        let who = turn % credentials.len();
        shop.credential = credentials[who].clone();
        match shop.call().await {
            Ok(context) => {
                assert_eq!(of(&keep(context)), TRIAL);
                served[who] += 1;
            }
            Err(rejection) => assert_eq!(shop.refused(&rejection), (429, "trial_exhausted")),
        }
    }
    assert_eq!(served, [2, 1, 3], "three of the account, by whichever key, and three of the other's");
}
