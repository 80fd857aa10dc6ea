//! What is entered in the journal for a lease: its hold, the end of it, and what comes late. Pure; `grant` and `charge` append
//! what is made here.

use apiclay_config::money::Money;

use super::documents::WalletLease;
use crate::ledger::{Amount, EntryKind, Hold, Holder, JournalEntry, LedgerAccount, Outcome, Proposal, Step};
use crate::refusal::Refusal;

/// The hold for so many calls; none for none.
pub(super) fn hold(lease: &WalletLease, units: u64) -> Option<Proposal> {
    let Money { micro, currency } = lease.price;
    let micro = i64::try_from(units).ok().filter(|units| *units > 0)?.checked_mul(micro)?;
    let account = LedgerAccount::wallet(lease.account, currency);
    Some(Proposal {
        facts: vec![lease.hold_fact()],
        kind: EntryKind::Calls,
        step: Step::Hold(Amount { account, micro }),
        reason: format!("Held for calls of {}", lease.subscription),
    })
}

pub(super) fn closing_fact(hold: &Hold) -> String {
    format!("close:{}", hold.entry)
}

/// The entry that ends a lease's hold: what its billed calls cost, as far as was held. More than that comes late.
pub(super) fn closing(lease: &WalletLease, hold: Hold) -> Result<Proposal, Refusal> {
    let Money { micro: price, currency } = lease.price;
    let held = hold.amount.micro.checked_div(price).and_then(|calls| u64::try_from(calls).ok()).unwrap_or(0);
    let calls = lease.billable.min(held);
    let micro = cost(calls, price)?;
    let vendor = LedgerAccount { holder: Holder::Vendor(lease.vendor), currency };
    let (outcome, lines) = if micro == 0 {
        (Outcome::Voided, Vec::new())
    } else {
        let charged = Amount { account: hold.amount.account, micro: micro.saturating_neg() };
        (Outcome::Posted, vec![charged, Amount { account: vendor, micro }])
    };
    Ok(Proposal {
        facts: vec![closing_fact(&hold)],
        kind: EntryKind::Calls,
        step: Step::Close { hold, outcome, lines },
        reason: format!("{} of {}", told(calls), lease.subscription),
    })
}

/// The entry by which the operator pays for calls that came after their hold had ended; none for none.
pub(super) fn late(lease: &WalletLease, fact: String) -> Result<Option<Proposal>, Refusal> {
    let calls = lease.billable.saturating_sub(lease.charged_calls);
    let Money { micro: price, currency } = lease.price;
    let micro = cost(calls, price)?;
    if micro == 0 {
        return Ok(None);
    }
    let on = |holder| LedgerAccount { holder, currency };
    let lines = vec![
        Amount { account: on(Holder::WriteOff), micro: micro.saturating_neg() },
        Amount { account: on(Holder::Vendor(lease.vendor)), micro },
    ];
    Ok(Some(Proposal {
        facts: vec![fact],
        kind: EntryKind::Calls,
        step: Step::Move(lines),
        reason: format!("{} of {} that came after their hold had ended", told(calls), lease.subscription),
    }))
}

fn told(calls: u64) -> String {
    if calls == 1 { "1 call".to_owned() } else { format!("{calls} calls") }
}

fn cost(calls: u64, price: i64) -> Result<i64, Refusal> {
    let micro = i64::try_from(calls).ok().and_then(|calls| calls.checked_mul(price));
    micro.ok_or(Refusal::Internal("a charge beyond 64 bits"))
}

/// Calls that an entry pays a vendor for.
pub(super) fn calls_in(entry: &JournalEntry, price: Money) -> u64 {
    let earned = entry.lines.iter().find(|line| matches!(line.account.holder, Holder::Vendor(_)));
    let calls = earned.and_then(|line| line.micro.checked_div(price.micro));
    calls.and_then(|calls| u64::try_from(calls).ok()).unwrap_or(0)
}
