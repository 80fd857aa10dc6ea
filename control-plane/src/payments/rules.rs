//! What a top-up goes through, and what is entered in the journal for it. Pure; `settle` and the routes act by it.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::OrderId;
use apiclay_config::money::Money;

use super::documents::{Credited, Order, TopUpStatus};
use super::provider::ProviderPayment;
use crate::ledger::{Amount, EntryKind, Holder, LedgerAccount, Proposal, Step};

/// An order that nobody has paid is asked about for this long: a failed payment can become authorised within three days.
pub const ASKED_FOR_MS: i64 = 4 * 86_400_000;
/// From making an order until the provider is asked about it.
pub const FIRST_ASKED_AFTER_MS: i64 = 15 * 60_000;
/// Between two times, at most.
const ASKED_EVERY_MAX_MS: i64 = 6 * 3_600_000;
/// From the word of a browser until the provider is asked again.
const CONFIRMING_ASKED_AFTER_MS: i64 = 5_000;

pub(crate) fn top_up(order: &Order, payment: &ProviderPayment) -> Proposal {
    let Money { micro, currency } = payment.amount;
    let provider = LedgerAccount { holder: Holder::Provider, currency };
    Proposal {
        facts: vec![format!("topup:{}", payment.id)],
        kind: EntryKind::TopUp,
        step: Step::Move(vec![
            Amount { account: LedgerAccount::wallet(order.account, currency), micro },
            Amount { account: provider, micro: micro.saturating_neg() },
        ]),
        usage: None,
        fee: None,
        reason: reason(order.id),
    }
}

/// What the journal says a top-up's entry is for.
pub(super) fn reason(order: OrderId) -> String {
    format!("Top-up {order}")
}

impl Order {
    /// A payment of it stands in the wallet.
    pub(super) fn was_paid(&mut self, credited: Credited) {
        if !self.credited.iter().any(|known| known.payment == credited.payment) {
            self.credited.push(credited);
        }
        self.status = TopUpStatus::Paid;
        self.ask_at = None;
    }

    /// The browser has shown that it is paid.
    pub(super) fn is_confirming(&mut self, now: Timestamp) {
        if matches!(self.status, TopUpStatus::Created | TopUpStatus::Expired) {
            self.status = TopUpStatus::Confirming;
            self.ask_at = Some(now.plus_ms(CONFIRMING_ASKED_AFTER_MS));
        }
    }

    /// Nothing has come of it yet: asked again after as long as it is old, until it is too old.
    pub(super) fn asked_in_vain(&mut self, now: Timestamp) {
        if self.status == TopUpStatus::Paid {
            return;
        }
        let age_ms = now.0.saturating_sub(self.created_at.0);
        // One of which the buyer has shown the provider's own word is asked about for as long as it takes.
        if age_ms >= ASKED_FOR_MS && self.status == TopUpStatus::Created {
            self.status = TopUpStatus::Expired;
            self.ask_at = None;
            return;
        }
        self.asked_later(now);
    }

    /// The provider has no order for it, and will have none.
    pub(super) fn refused(&mut self) {
        self.status = TopUpStatus::Expired;
        self.ask_at = None;
    }

    /// It could not be asked about: later, behind the others.
    pub(super) fn asked_later(&mut self, now: Timestamp) {
        let age_ms = now.0.saturating_sub(self.created_at.0);
        let shortest_ms = if self.status == TopUpStatus::Confirming {
            CONFIRMING_ASKED_AFTER_MS
        } else {
            FIRST_ASKED_AFTER_MS
        };
        self.ask_at = Some(now.plus_ms(age_ms.clamp(shortest_ms, ASKED_EVERY_MAX_MS)));
    }
}
