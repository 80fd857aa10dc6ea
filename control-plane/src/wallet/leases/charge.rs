//! Charges leases that are over and whose every call is on record: one entry moves what the billed calls cost from the
//! wallet to the vendor and frees the rest of the hold. Safe on every control plane at once: the entry's fact is the hold's.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use apiclay_config::money::Money;
use apiclay_config::usage::GatewayEpoch;

use super::documents::{Closed, WalletLease};
use super::grant::change;
use crate::app::App;
use crate::ledger::{
    Amount, EntryKind, Hold, Holder, Journal, LedgerAccount, LedgerError, Outcome, Proposal, Step,
};
use crate::refusal::Refusal;
use crate::store::{Document as _, Query, Store};
use crate::usage::documents::{FoldCursor, epoch_id};

/// Leases looked at in one turn.
const TURN_MAX: usize = 500;
/// A closed lease without a hold may still get one: a grant that was under way may take so long.
const UNDER_WAY_MAX_MS: i64 = 120_000;

/// One turn. A lease that cannot be charged keeps no other waiting.
///
/// # Errors
/// Where the store does not answer.
pub async fn charge_closed(app: &App) -> Result<(), Refusal> {
    let mut cursor = None;
    loop {
        let closing = Query::by("closing_since").limit(TURN_MAX).cursor(cursor);
        let page = app.store.query::<WalletLease>(&closing).await?;
        for lease in page.items {
            let id = lease.value.id();
            let charged = charge(&app.store, &app.journal, lease.value, app.clock.now()).await;
            if let Err(error) = charged {
                tracing::error!(
                    lease = id,
                    "a lease is charged later: {}",
                    apiclay_config::process::in_a_line(&error)
                );
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn charge(store: &Store, journal: &Journal, lease: WalletLease, now: Timestamp) -> Result<(), Refusal> {
    if lease.over_since.is_some() {
        return charge_late((store, journal, now), lease).await;
    }
    let Some(closed) = lease.closed.clone() else { return Ok(()) };
    if !is_on_record(store, &lease, &closed).await? {
        return Ok(());
    }
    let waited_ms = now.0.saturating_sub(lease.closing_since.unwrap_or_default().0);
    if end_hold(store, journal, &lease, now).await? || waited_ms < UNDER_WAY_MAX_MS {
        return Ok(());
    }
    change(store, now, &lease.id(), |lease, now| lease.end(None, 0, now)).await
}

/// Ends the hold of a lease with what is on record of it; whether there is a hold.
async fn end_hold(
    store: &Store,
    journal: &Journal,
    lease: &WalletLease,
    now: Timestamp,
) -> Result<bool, Refusal> {
    let Some(entry) = journal.by_fact(&lease.hold_fact()).await? else { return Ok(false) };
    let Some(hold) = entry.made_hold() else { return Err(Refusal::Internal("reading a hold")) };
    let charged = append(journal, &closing(lease, hold)?).await?;
    change(store, now, &lease.id(), |known, now| known.end(Some(charged), lease.billable, now)).await?;
    Ok(true)
}

/// Calls that are told of after the hold has ended, for its gateway was forgotten: the vendor gets what they cost, and the
/// operator bears it. The buyer's money was freed, and may be spent.
async fn charge_late(app: (&Store, &Journal, Timestamp), lease: WalletLease) -> Result<(), Refusal> {
    let (store, journal, now) = app;
    let late = lease.billable.saturating_sub(lease.charged_calls);
    let Money { micro: price, currency } = lease.price;
    let micro = i64::try_from(late).ok().and_then(|calls| calls.checked_mul(price));
    let micro = micro.ok_or(Refusal::Internal("a late charge beyond 64 bits"))?;
    if micro > 0 {
        let on = |holder| LedgerAccount { holder, currency };
        let lines = vec![
            Amount { account: on(Holder::WriteOff), micro: micro.saturating_neg() },
            Amount { account: on(Holder::Vendor(lease.vendor)), micro },
        ];
        append(
            journal,
            &Proposal {
                // A lease's later calls may come in several batches: each time under what was paid before.
                facts: vec![format!("late:{}:{}", lease.id(), lease.charged_calls)],
                kind: EntryKind::Calls,
                step: Step::Move(lines),
                reason: format!(
                    "{late} calls of {} that came after their hold had ended",
                    lease.subscription
                ),
            },
        )
        .await?;
    }
    change(store, now, &lease.id(), |known, now| known.end(None, lease.billable, now)).await
}

/// Ends the holds of a gateway that will not come back: what is on record of its leases is charged, the rest is free.
///
/// # Errors
/// Where the store or the journal do not answer; said again it does what is left.
pub async fn forget(store: &Store, journal: &Journal, gateway: &str, now: Timestamp) -> Result<u64, Refusal> {
    let (mut ended, mut cursor) = (0, None);
    loop {
        let theirs = Query::by("name").equals(gateway).limit(TURN_MAX).cursor(cursor);
        let page = store.query::<WalletLease>(&theirs).await?;
        for lease in page.items.into_iter().map(|found| found.value) {
            if lease.over_since.is_none() {
                if !end_hold(store, journal, &lease, now).await? {
                    change(store, now, &lease.id(), |lease, now| lease.end(None, 0, now)).await?;
                }
                ended += 1;
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(ended);
        }
    }
}

async fn append(journal: &Journal, proposal: &Proposal) -> Result<JournalId, Refusal> {
    match journal.append(proposal).await {
        Ok(appended) => Ok(appended.entry.id),
        Err(LedgerError::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!("calls cannot be charged: {}", apiclay_config::process::in_a_line(&error));
            Err(Refusal::Internal("charging calls"))
        }
    }
}

/// Whether every call of the lease is counted in it: as many as its gateway says, or, where an admin has declared a batch of
/// its life lost, all up to its last.
async fn is_on_record(store: &Store, lease: &WalletLease, closed: &Closed) -> Result<bool, Refusal> {
    if lease.kept >= u64::from(closed.spent) {
        if lease.kept > u64::from(closed.spent) {
            tracing::error!(
                lease = lease.id(),
                kept = lease.kept,
                spent = closed.spent,
                "more calls are on record than the gateway says it paid from the lease"
            );
        }
        return Ok(true);
    }
    let Some((epoch, seq)) = &closed.last_batch else { return Ok(true) };
    for life in [epoch, &lease.epoch] {
        let from = GatewayEpoch { gateway: lease.gateway.clone(), epoch: life.clone() };
        let cursor = store.get::<FoldCursor>(&epoch_id(&from)).await?;
        let lost = cursor.filter(|cursor| life != epoch || cursor.value.folded_seq >= *seq);
        if lost.is_some_and(|cursor| cursor.value.has_lost == Some(true)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The entry that ends a lease's hold: what its billed calls cost, and never more than was held.
fn closing(lease: &WalletLease, hold: Hold) -> Result<Proposal, Refusal> {
    let Money { micro: price, currency } = lease.price;
    let cost = i64::try_from(lease.billable).ok().and_then(|calls| calls.checked_mul(price));
    let micro = cost
        .filter(|micro| *micro <= hold.amount.micro)
        .ok_or(Refusal::Internal("a charge beyond its hold"))?;
    let vendor = LedgerAccount { holder: Holder::Vendor(lease.vendor), currency };
    let (outcome, lines) = if micro == 0 {
        (Outcome::Voided, Vec::new())
    } else {
        let charged = Amount { account: hold.amount.account, micro: micro.saturating_neg() };
        (Outcome::Posted, vec![charged, Amount { account: vendor, micro }])
    };
    let calls = if lease.billable == 1 { "call" } else { "calls" };
    Ok(Proposal {
        facts: vec![format!("close:{}", hold.entry)],
        kind: EntryKind::Calls,
        step: Step::Close { hold, outcome, lines },
        reason: format!("{} {calls} of {}", lease.billable, lease.subscription),
    })
}
