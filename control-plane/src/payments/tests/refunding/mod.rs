//! Refunds of ours, step by step over either store: whoever dies in between, whoever comes at the same time, and however
//! the provider answers. After each, the books are whole and no wallet is below nothing.

mod answers;
mod steps;

use apiclay_config::ids::{AccountId, OrderId, RefundId, VendorId};

use super::*;
use crate::ledger::verify::verify;
use crate::ledger::{Amount, EntryKind, Holder, Journal, LedgerAccount, Proposal, Step};
use crate::payments::PaymentError;
use crate::payments::documents::{Handled, Order, ReservationStatus, TopUpStatus};
use crate::payments::provider::{PaymentProvider, ProviderRefund, RefundStatus};
use crate::payments::refunds::{Refund, RefundState};
use crate::payments::simulator::Api;
use crate::payments::till::Till;
use crate::store::conformance::mongod::Mongod;
use crate::store::{Store, Versioned};

/// A store with a paid top-up in it, a provider, and two control planes' journals.
struct Shop<'a> {
    desk: Desk,
    store: &'a Store,
    journals: [Journal; 2],
    account: AccountId,
}

impl<'a> Shop<'a> {
    async fn open(store: &'a Store, refunds_at_once: bool) -> Self {
        crate::ledger::register(store).await.unwrap();
        crate::payments::register(store).await.unwrap();
        let desk = Desk::with(|settings| settings.refunds_at_once = refunds_at_once).await;
        let journals = [(); 2].map(|()| Journal::new(store.clone(), Clock::System));
        Self { desk, store, journals, account: AccountId::generate() }
    }

    fn till(&self) -> Till<'_> {
        self.till_of(0, &self.desk.provider)
    }

    fn till_of<'t>(&'t self, plane: usize, provider: &'t dyn PaymentProvider) -> Till<'t> {
        Till {
            store: self.store,
            journal: &self.journals[plane],
            provider,
            now: Timestamp(1_700_000_000_000),
        }
    }

    /// A top-up that was paid: the order's id, and the payment's name.
    async fn topped_up(&self, whole: i64) -> (String, String) {
        let id = OrderId::generate();
        let order = Order {
            id,
            account: self.account,
            amount: rupees(whole),
            provider_order: Some(self.desk.order(&id.to_string(), whole).await.id),
            status: TopUpStatus::Created,
            credited: Vec::new(),
            reserved: Vec::new(),
            created_at: Timestamp(1_700_000_000_000),
            ask_at: None,
        };
        self.store.insert(&order).await.unwrap();
        let paid = self.desk.simulator.pay(order.provider_order.as_deref().unwrap()).unwrap();
        let known = self.store.get::<Order>(&id.to_string()).await.unwrap().unwrap();
        let order = self.till().ask(known).await.unwrap();
        assert_eq!(order.value.status, TopUpStatus::Paid);
        (id.to_string(), paid.payment_id)
    }

    /// A refund that was asked for; no step is made.
    async fn asked(&self, (order, payment): &(String, String), whole: i64) -> Versioned<Refund> {
        let refund = Refund {
            id: RefundId::generate(),
            order: order.parse().unwrap(),
            payment: payment.clone(),
            account: self.account,
            amount: rupees(whole),
            reason: "a test".to_owned(),
            by: AccountId::from_u128(1),
            state: RefundState::Asked,
            failure: None,
            provider_refund: None,
            created_at: Timestamp(1_700_000_000_000),
            due_at: Some(Timestamp(1_700_000_000_000)),
        };
        self.store.insert(&refund).await.unwrap();
        self.now(&refund).await
    }

    async fn now(&self, refund: &Refund) -> Versioned<Refund> {
        self.store.get::<Refund>(&refund.id.to_string()).await.unwrap().unwrap()
    }

    async fn reserved(&self, order: &str, refund: &Refund) -> Option<ReservationStatus> {
        let order = self.store.get::<Order>(order).await.unwrap().unwrap().value;
        order.reserved.iter().find(|one| one.refund == refund.id.to_string()).map(|one| one.status)
    }

    fn wallet(&self) -> LedgerAccount {
        LedgerAccount::wallet(self.account, Currency::INR)
    }

    /// In whole rupees: what stands in the wallet, and what of it is held. The books are whole.
    async fn wallet_is(&self, posted: i64, held: i64) {
        let head = self.journals[0].head(&self.wallet().to_string()).await.unwrap();
        assert_eq!((head.posted / 1_000_000, head.pending / 1_000_000), (posted, held));
        let report = verify(self.store).await.unwrap();
        assert_eq!(report.faults, []);
        let open: i64 = report.open_holds.iter().map(|hold| hold.amount.micro).sum();
        assert_eq!(open / 1_000_000, held);
    }

    async fn spends(&self, whole: i64, fact: &str) {
        let holder = Holder::Vendor(VendorId::from_u128(1));
        let vendor = LedgerAccount { holder, currency: Currency::INR };
        let lines = vec![
            Amount { account: self.wallet(), micro: -whole * 1_000_000 },
            Amount { account: vendor, micro: whole * 1_000_000 },
        ];
        let spent = Proposal {
            facts: vec![fact.to_owned()],
            kind: EntryKind::PeriodFee,
            step: Step::Move(lines),
            usage: None,
            fee: None,
            reason: "spent".to_owned(),
        };
        self.journals[0].append(&spent).await.unwrap();
    }

    /// Every event that was told so far, acted on by each control plane; what was done of the last.
    async fn hears_all(&self) -> Vec<Handled> {
        let mut handled = Vec::new();
        for event in self.desk.events().await {
            for plane in 0..2 {
                let till = self.till_of(plane, &self.desk.provider);
                handled.push(till.act(&event.happened).await.unwrap());
            }
        }
        handled
    }

    async fn at_provider(&self, payment: &str) -> Vec<ProviderRefund> {
        self.desk.provider.refunds_of(payment, Currency::INR).await.unwrap()
    }
}

fn name_of(refund: &Versioned<Refund>) -> String {
    refund.value.provider_refund.clone().unwrap()
}

macro_rules! run_cases {
    ($open:expr; $($room:ident :: $case:ident),+ $(,)?) => {{
        $(
            eprintln!("case {}", stringify!($case));
            let store: Store = $open(stringify!($case)).await;
            Box::pin($room::$case(&store)).await;
        )+
    }};
}

async fn run_all(open: impl AsyncFn(&'static str) -> Store) {
    run_cases!(open;
        steps::a_top_up_goes_back_in_parts_and_no_further,
        steps::of_many_at_once_no_more_than_was_captured_goes_back,
        steps::whoever_dies_between_two_steps_is_followed_by_another,
        steps::a_wallet_that_is_too_short_gives_nothing_back_then_or_later,
        answers::what_the_provider_does_not_give_back_is_free_again,
        answers::a_provider_that_is_away_slow_or_loses_its_answer_gives_back_once,
        answers::an_event_may_overtake_the_answer_and_come_again,
        answers::a_no_that_was_none_is_booked_when_it_shows,
        answers::what_only_bears_the_name_of_ours_was_made_at_the_desk,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refunds_hold_over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    run_all(async |case| Store::open_embedded(&folder.path().join(format!("{case}.db"))).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refunds_hold_over_mongodb() {
    let server = Mongod::start().await;
    run_all(async |case| Store::open_mongodb(&server.uri(&case[..case.len().min(40)])).await.unwrap()).await;
}
