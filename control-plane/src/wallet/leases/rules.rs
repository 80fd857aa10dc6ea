//! What is entered in the journal for a lease: its hold, the end of it, and what comes late. Pure; `grant` and `reckon` append
//! what is made here.

use apiclay_config::money::{Currency, Money};

use super::documents::{IncludedMonth, WalletLease};
use crate::ledger::{
    Amount, EntryKind, Hold, Holder, JournalEntry, LedgerAccount, Outcome, Proposal, Step, Usage,
};
use crate::plans::pricing::Pricing;
use crate::refusal::Refusal;
use crate::store::Document as _;
use crate::vendors::commission::Sale;

/// The hold for so many calls; none for none.
pub(crate) fn hold(lease: &WalletLease, units: u64) -> Option<Proposal> {
    let Money { micro, currency } = lease.price;
    let micro = i64::try_from(units).ok().filter(|units| *units > 0)?.checked_mul(micro)?;
    let account = LedgerAccount::wallet(lease.account, currency);
    Some(Proposal {
        facts: vec![lease.hold_fact()],
        kind: EntryKind::Calls,
        step: Step::Hold(Amount { account, micro }),
        usage: None,
        fee: None,
        reason: format!("Held for calls of {}", lease.subscription),
    })
}

/// Says that the lease has no hold: nobody makes one any more, however slow he is.
pub(crate) fn no_hold(lease: &WalletLease) -> Proposal {
    Proposal {
        facts: vec![lease.hold_fact()],
        kind: EntryKind::Calls,
        step: Step::Nothing,
        usage: None,
        fee: None,
        reason: format!("Nothing is held for calls of {}", lease.subscription),
    }
}

/// What the calls that the lease's month includes stand on.
pub(crate) fn included_account(lease: &WalletLease) -> LedgerAccount {
    lease.included_month().account()
}

/// The fact that a month has its included calls.
pub(crate) fn granted_fact(month: &IncludedMonth) -> String {
    format!("included:{}:{}", month.subscription, month.begins_at.0)
}

/// The entry that puts so many units there that a month includes.
pub(crate) fn include(month: &IncludedMonth, units: u64) -> Proposal {
    // At most `CALLS_MAX`.
    let calls = i64::try_from(units).unwrap_or(i64::MAX);
    let granted = LedgerAccount { holder: Holder::IncludedGranted, currency: Currency::CALLS };
    Proposal {
        facts: vec![granted_fact(month)],
        kind: EntryKind::Calls,
        step: Step::Move(vec![
            Amount { account: month.account(), micro: calls },
            Amount { account: granted, micro: calls.saturating_neg() },
        ]),
        usage: None,
        fee: None,
        reason: format!("{units} units included in a month of {}", month.subscription),
    }
}

/// The hold of so many calls that the month includes; none for none.
pub(crate) fn hold_included(lease: &WalletLease, units: u64) -> Option<Proposal> {
    let micro = i64::try_from(units).ok().filter(|units| *units > 0)?;
    Some(Proposal {
        facts: vec![lease.hold_fact()],
        kind: EntryKind::Calls,
        step: Step::Hold(Amount { account: included_account(lease), micro }),
        usage: None,
        fee: None,
        reason: format!("Held for included calls of {}", lease.subscription),
    })
}

/// The fact that is said of a lease on the wallet before it is charged: how many of its units the month's rest pays for.
pub(super) fn rest_fact(lease: &WalletLease) -> String {
    format!("rest:{}", lease.id())
}

/// Says that so many included units pay for units of a lease on the wallet, be it none.
pub(super) fn rest(lease: &WalletLease, units: u64) -> Result<Proposal, Refusal> {
    let step = match units {
        0 => Step::Nothing,
        units => Step::Move(used(included_account(lease), units)?),
    };
    Ok(Proposal {
        facts: vec![rest_fact(lease)],
        kind: EntryKind::Calls,
        step,
        usage: None,
        fee: None,
        reason: format!(
            "{} of {}, included, of what is held in the wallet",
            lease.told(units),
            lease.subscription
        ),
    })
}

/// Calls that a hold of a lease is for.
pub(crate) fn calls_held(lease: &WalletLease, held: &Amount) -> u64 {
    let calls = if is_included(held) { Some(held.micro) } else { held.micro.checked_div(lease.price.micro) };
    calls.and_then(|calls| u64::try_from(calls).ok()).unwrap_or(0)
}

pub(super) fn is_included(held: &Amount) -> bool {
    matches!(held.account.holder, Holder::Included { .. })
}

pub(crate) fn closing_fact(hold: &Hold) -> String {
    format!("close:{}", hold.entry)
}

/// The entry that ends a lease's hold: what its billed calls cost after those that the period counts `before`, as far as was
/// held, but for units that are paid for by the month's `rest`. More than that comes late.
pub(crate) fn closing(
    lease: &WalletLease,
    hold: Hold,
    pricing: &Pricing,
    before: u64,
    rest: u64,
) -> Result<Proposal, Refusal> {
    let calls = lease.billable.min(calls_held(lease, &hold.amount)).saturating_sub(rest);
    let of_month = is_included(&hold.amount);
    let (outcome, lines) = if calls == 0 {
        (Outcome::Voided, Vec::new())
    } else if of_month {
        (Outcome::Posted, used(hold.amount.account, calls)?)
    } else {
        (Outcome::Posted, earned(lease, hold.amount.account, cost(pricing, before, calls)?))
    };
    Ok(Proposal {
        facts: vec![closing_fact(&hold)],
        kind: EntryKind::Calls,
        step: Step::Close { hold, outcome, lines },
        // Tiers count from the first call after those that are included.
        usage: counted(lease, calls, before).filter(|_| !of_month),
        fee: None,
        reason: format!(
            "{} of {}{}",
            lease.told(calls),
            lease.subscription,
            if of_month { ", included" } else { "" }
        ),
    })
}

/// The entry by which the operator pays for calls that came after their hold had ended; none for none. What they take off the
/// price of earlier calls is the buyer's, who has paid those.
pub(crate) fn late(
    lease: &WalletLease,
    fact: &str,
    pricing: &Pricing,
    before: u64,
) -> Result<Option<Proposal>, Refusal> {
    let calls = lease.billable.saturating_sub(lease.charged_calls);
    if calls == 0 {
        return Ok(None);
    }
    let (micro, currency) = (cost(pricing, before, calls)?, lease.price.currency);
    let bearer = if micro < 0 {
        LedgerAccount::wallet(lease.account, currency)
    } else {
        LedgerAccount { holder: Holder::WriteOff, currency }
    };
    Ok(Some(Proposal {
        facts: vec![fact.to_owned()],
        kind: EntryKind::Calls,
        step: Step::Move(earned(lease, bearer, micro)),
        usage: counted(lease, calls, before),
        fee: None,
        reason: format!(
            "{} of {} that came after their hold had ended",
            lease.told(calls),
            lease.subscription
        ),
    }))
}

/// What moves to the vendor and the operator, or where it is below zero back from them.
fn earned(lease: &WalletLease, from: LedgerAccount, micro: i64) -> Vec<Amount> {
    let paid = Money::new(micro, from.currency);
    Sale::new(paid, lease.commission_basis_points).lines(from, lease.vendor)
}

/// What moves where calls that are included were made.
fn used(included: LedgerAccount, calls: u64) -> Result<Vec<Amount>, Refusal> {
    let micro = i64::try_from(calls).map_err(|_| Refusal::Internal("counting so many calls"))?;
    let used = LedgerAccount { holder: Holder::IncludedUsed, currency: Currency::CALLS };
    let from = Amount { account: included, micro: micro.saturating_neg() };
    Ok(vec![from, Amount { account: used, micro }])
}

fn counted(lease: &WalletLease, units: u64, before: u64) -> Option<Usage> {
    let period_begins_at = lease.period.begins_at;
    (units > 0).then_some(Usage {
        subscription: lease.subscription,
        plan: lease.plan,
        plan_revision: lease.plan_revision,
        period_begins_at,
        units,
        before,
        asked_at: Some(lease.asked_at),
    })
}

fn cost(pricing: &Pricing, before: u64, calls: u64) -> Result<i64, Refusal> {
    pricing.charge(before, calls).ok_or(Refusal::Internal("a charge beyond 64 bits"))
}

/// Calls that an entry charges for, or that were included and are used by it.
pub(crate) fn calls_in(entry: &JournalEntry) -> u64 {
    let used = entry.lines.iter().find(|line| line.account.holder == Holder::IncludedUsed);
    let used = used.and_then(|line| u64::try_from(line.micro).ok());
    entry.usage.map(|usage| usage.units).or(used).unwrap_or(0)
}
