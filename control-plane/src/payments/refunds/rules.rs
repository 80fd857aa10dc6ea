//! What of a top-up can go back, and what is entered in the journal for it. Pure; `steps` and `told` act by it.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use apiclay_config::money::Money;

use super::{Refund, RefundState};
use crate::ledger::{Amount, EntryKind, Hold, Holder, LedgerAccount, Outcome, Proposal, Step};
use crate::payments::documents::{Order, Reservation, ReservationStatus};
use crate::payments::provider::ProviderRefund;

/// From asking for a refund until the reconciler takes it up: longer than whoever asked is busy with it.
pub const FIRST_DUE_AFTER_MS: i64 = 60_000;
/// Between two times that it is gone on with, at most.
const DUE_EVERY_MAX_MS: i64 = 6 * 3_600_000;
/// Refunds made at the provider's desk that an order keeps on record; what goes beyond is seen at the provider alone.
const RESERVED_MAX: usize = 200;

impl Order {
    /// What is left of a payment, in micro-units: what was credited of it, less what goes back.
    pub(in crate::payments) fn left_of(&self, payment: &str) -> i64 {
        let of = |known: &str, micro: i64| if known == payment { i128::from(micro) } else { 0 };
        let credited: i128 = self.credited.iter().map(|one| of(&one.payment, one.amount.micro)).sum();
        let reserved = self.reserved.iter().filter(|one| one.status != ReservationStatus::Free);
        let reserved: i128 = reserved.map(|one| of(&one.payment, one.amount.micro)).sum();
        // More than was credited goes back only by the provider's own word.
        i64::try_from((credited - reserved).max(0)).unwrap_or(i64::MAX)
    }

    /// The payment of which most is left, and how much. Several are credited where a buyer paid twice.
    pub(in crate::payments) fn most_left(&self) -> Option<(&str, i64)> {
        let left = self.credited.iter().map(|one| (one.payment.as_str(), self.left_of(&one.payment)));
        left.max_by_key(|(_, micro)| *micro)
    }

    /// What was said of a refund, if anything was.
    pub(super) fn reservation(&self, refund: &str) -> Option<&Reservation> {
        self.reserved.iter().find(|one| one.refund == refund)
    }

    /// Reserves a refund, or says that not so much is left. Said once: whoever comes later finds it.
    pub(super) fn reserve(&mut self, refund: &Refund) {
        if self.reservation(&refund.id.to_string()).is_none() {
            let fits = refund.amount.micro <= self.left_of(&refund.payment);
            let status = if fits { ReservationStatus::Reserved } else { ReservationStatus::Free };
            self.put(refund.id.to_string(), &refund.payment, refund.amount, status);
        }
    }

    /// A refund that was made at the provider's desk: it is given back whatever is left.
    pub(super) fn given_at_desk(&mut self, refund: &ProviderRefund) {
        if self.reservation(&refund.id).is_none() && self.reserved.len() < RESERVED_MAX {
            self.put(refund.id.clone(), &refund.payment_id, refund.amount, ReservationStatus::GivenBack);
        }
    }

    /// How a refund ended. What was given back stays so, whatever somebody slow still says.
    pub(super) fn ended(&mut self, refund: &str, given_back: bool) {
        let known = self.reserved.iter_mut().find(|one| one.refund == refund);
        if let Some(known) = known.filter(|one| one.status != ReservationStatus::GivenBack) {
            known.status = if given_back { ReservationStatus::GivenBack } else { ReservationStatus::Free };
        }
    }

    fn put(&mut self, refund: String, payment: &str, amount: Money, status: ReservationStatus) {
        self.reserved.push(Reservation { refund, payment: payment.to_owned(), amount, status });
    }
}

impl Refund {
    /// The fact that it is held under, or that nothing comes of it.
    pub(super) fn fact(&self) -> String {
        format!("refund:{}", self.id)
    }

    /// Whose money it is.
    pub(super) fn wallet(&self) -> LedgerAccount {
        LedgerAccount::wallet(self.account, self.amount.currency)
    }

    /// When it is gone on with after now: the later the older it is.
    pub(super) fn next_due(&self, now: Timestamp) -> Timestamp {
        let age_ms = now.0.saturating_sub(self.created_at.0);
        now.plus_ms(age_ms.clamp(FIRST_DUE_AFTER_MS, DUE_EVERY_MAX_MS))
    }

    /// The provider has given it back.
    pub(super) fn was_processed(&mut self, now: Timestamp) {
        if self.state != RefundState::Processed {
            self.state = RefundState::Processed;
            self.failure = None;
            self.due_at = Some(now);
        }
    }

    /// The provider has not.
    pub(super) fn has_failed(&mut self, why: &str, now: Timestamp) {
        if !matches!(self.state, RefundState::Processed | RefundState::Failed) {
            self.state = RefundState::Failed;
            self.failure = Some(why.to_owned());
            self.due_at = Some(now);
        }
    }
}

/// Keeps the money in the wallet from being spent.
pub(crate) fn hold(refund: &Refund) -> Proposal {
    let amount = Amount { account: refund.wallet(), micro: refund.amount.micro };
    proposal(refund.fact(), Step::Hold(amount), "A top-up is being given back")
}

/// Says that the wallet is too short: nobody can hold it any more.
pub(crate) fn nothing(refund: &Refund) -> Proposal {
    proposal(refund.fact(), Step::Nothing, "The wallet is too short for a refund")
}

/// The fact that a hold has ended.
pub(super) fn close_fact(hold: JournalId) -> String {
    format!("close:{hold}")
}

/// Ends the hold: the money is with the provider, or free again.
pub(crate) fn close(hold: Hold, outcome: Outcome) -> Proposal {
    let Amount { account, micro } = hold.amount;
    let provider = LedgerAccount { holder: Holder::Provider, currency: account.currency };
    let lines = match outcome {
        Outcome::Posted => {
            vec![Amount { account, micro: micro.saturating_neg() }, Amount { account: provider, micro }]
        }
        Outcome::Voided | Outcome::Expired => Vec::new(),
    };
    proposal(close_fact(hold.entry), Step::Close { hold, outcome, lines }, "A top-up given back")
}

/// Ends the hold as an admin says: the provider has given it back of this payment under this name, of which nothing else is
/// booked then.
pub(crate) fn close_as(hold: Hold, payment: &str, name: &str) -> Proposal {
    let mut posted = close(hold, Outcome::Posted);
    posted.facts.push(named_fact(payment, name));
    posted
}

/// The fact of a refund that the provider made at its desk.
pub(super) fn desk_fact(name: &str) -> String {
    format!("refund:{name}")
}

/// The fact that a refund of a payment bears this name: an admin's word of it takes it from no other payment's, whose name he
/// has misread.
pub(super) fn named_fact(payment: &str, name: &str) -> String {
    format!("refund:{payment}:{name}")
}

/// The fact of a refund that the provider made after its hold had been void.
pub(crate) fn late_fact(hold: JournalId) -> String {
    format!("late:{hold}")
}

/// The wallet pays what is free in it; what the buyer has spent already, the operator bears.
pub(crate) fn given_back(facts: &[String], wallet: LedgerAccount, micro: i64, free: i64) -> Proposal {
    let on = |holder| LedgerAccount { holder, currency: wallet.currency };
    let from_wallet = micro.min(free.max(0));
    let lines = [
        (wallet, from_wallet.saturating_neg()),
        (on(Holder::WriteOff), from_wallet.saturating_sub(micro)),
        (on(Holder::Provider), micro),
    ];
    let moved = lines.into_iter().filter(|(_, micro)| *micro != 0);
    let step = Step::Move(moved.map(|(account, micro)| Amount { account, micro }).collect());
    let facts = facts.to_vec();
    Proposal { facts, ..proposal(String::new(), step, "Given back by the payment provider") }
}

fn proposal(fact: String, step: Step, reason: &str) -> Proposal {
    Proposal {
        facts: vec![fact],
        kind: EntryKind::Refund,
        step,
        usage: None,
        fee: None,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
