//! Charges leases that are over and whose every call is on record: one entry moves what the billed calls cost from the
//! wallet to the vendor and frees the rest of the hold. Safe on every control plane at once: the entry's fact is the hold's.

use std::collections::HashMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::process::in_a_line;
use apiclay_config::usage::GatewayEpoch;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::documents::{Closed, WalletLease};
use super::grant::{change, failed};
use super::included;
use super::reckon::charged;
use super::rules::{calls_in, closing, closing_fact, late, no_hold};
use crate::app::App;
use crate::ledger::{Journal, LedgerError};
use crate::plans::pricing::Pricing;
use crate::refusal::Refusal;
use crate::store::{Document as _, Query, Store};
use crate::usage::documents::{FoldCursor, StoredBatch, batch_id, epoch_id};
use crate::usage::ingest::have_up_to;
use crate::wallet::budget::notices;

/// Leases looked at in one turn.
const TURN_MAX: usize = 500;
/// Leases charged at the same time.
const AT_ONCE_MAX: usize = 16;

/// One turn. A lease that cannot be charged keeps no other waiting.
///
/// # Errors
/// Where the store does not answer.
pub async fn charge_closed(app: &App) -> Result<(), Refusal> {
    let books = Books { store: &app.store, journal: &app.journal, now: app.clock.now() };
    let folded = Folded::default();
    let mut cursor = None;
    loop {
        let closing = Query::by("closing_since").limit(TURN_MAX).cursor(cursor);
        let page = app.store.query::<WalletLease>(&closing).await?;
        stream::iter(page.items)
            .for_each_concurrent(AT_ONCE_MAX, async |lease| {
                let id = lease.value.id();
                let (account, currency) = (lease.value.account, lease.value.price.currency);
                let charged = match books.charge(lease.value, &folded).await {
                    Ok(true) => notices::after_charge(app, account, currency).await,
                    other => other.map(drop),
                };
                if let Err(error) = charged {
                    tracing::error!(lease = id, "a lease is charged later: {}", in_a_line(&error));
                }
            })
            .await;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// How far lives are folded, as one turn has read it: later is more, so that an old answer only waits.
#[derive(Default)]
pub(super) struct Folded(Mutex<HashMap<(String, String), u64>>);

/// What charging needs.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    /// Where leases are.
    pub store: &'a Store,
    /// All money.
    pub journal: &'a Journal,
    /// The time.
    pub now: Timestamp,
}

impl Books<'_> {
    /// Whether the wallet was charged.
    pub(super) async fn charge(&self, lease: WalletLease, folded: &Folded) -> Result<bool, Refusal> {
        if lease.over_since.is_some() {
            self.charge_late(lease).await?;
            return Ok(false);
        }
        let Some(lease) = on_record(self.store, lease, folded).await? else { return Ok(false) };
        if self.end_hold(&lease).await? {
            return Ok(true);
        }
        match self.journal.append(&no_hold(&lease)).await {
            Ok(_) => change(self.store, self.now, &lease.id(), |lease, now| lease.end(None, 0, now)).await?,
            // A grant that was under way has made it since: it ends at the next turn.
            Err(LedgerError::OtherContent { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(false)
    }

    /// Ends the hold of a lease with what is on record of it; whether there is a hold.
    async fn end_hold(&self, lease: &WalletLease) -> Result<bool, Refusal> {
        let entry = self.journal.by_fact(&lease.hold_fact()).await?;
        let Some(hold) = entry.and_then(|entry| entry.made_hold()) else { return Ok(false) };
        let rest = included::rest_of_month(self.journal, lease, &hold).await?;
        // It may have been ended by one who died before it was noted: with what was on record then.
        let make = |pricing: &Pricing, before| closing(lease, hold, pricing, before, rest).map(Some);
        let ended = charged((self.store, self.journal), lease, &closing_fact(&hold), make).await?;
        let Some(ended) = ended else { return Err(Refusal::Internal("ending a hold")) };
        let calls = calls_in(&ended).saturating_add(rest);
        change(self.store, self.now, &lease.id(), |known, now| known.end(Some(ended.id), calls, now)).await?;
        Ok(true)
    }

    /// Calls that are told of after the hold has ended, for its gateway was forgotten or had lost its leases: the vendor
    /// gets what they cost, and the operator bears it. The buyer's money was freed, and may be spent.
    async fn charge_late(&self, lease: WalletLease) -> Result<(), Refusal> {
        // Under what was paid before it: later calls may come in several batches.
        let fact = format!("late:{}:{}", lease.id(), lease.charged_calls);
        let calls = if lease.price.is_zero() {
            // Of a lease that nobody was granted no call is known to be owed.
            lease.billable
        } else {
            let make = |pricing: &Pricing, before| late(&lease, &fact, pricing, before);
            let paid = charged((self.store, self.journal), &lease, &fact, make).await?;
            lease.charged_calls.saturating_add(paid.map_or(0, |paid| calls_in(&paid)))
        };
        change(self.store, self.now, &lease.id(), |known, now| known.end(None, calls, now)).await
    }

    /// Ends the holds of a gateway that will not come back: what is on record of its leases is charged, the rest is free.
    /// How many, and how many could not be ended now.
    ///
    /// # Errors
    /// Where the store does not answer; said again it does what is left.
    pub async fn forget(&self, gateway: &str) -> Result<(u64, u64), Refusal> {
        let (mut ended, mut failed) = (0, 0);
        for lease in self.open_leases(gateway).await? {
            match self.end_or_close(&lease).await {
                Ok(()) => ended += 1,
                Err(error) => {
                    tracing::error!(lease = lease.id(), "a hold was not ended: {}", in_a_line(&error));
                    failed += 1;
                }
            }
        }
        Ok((ended, failed))
    }

    async fn end_or_close(&self, lease: &WalletLease) -> Result<(), Refusal> {
        if self.end_hold(lease).await? {
            return Ok(());
        }
        // Its hold may be on its way: the job that charges looks for it.
        let none = || Closed { spent: 0, folded_first: Vec::new() };
        change(self.store, self.now, &lease.id(), |lease, now| lease.close(none(), now)).await
    }

    /// Leases of a gateway's earlier lives that nobody will close: all batches of those lives are here, and the gateway has
    /// closed whatever its folder still knew. They end with what is on record once these batches are folded.
    ///
    /// # Errors
    /// Where the store does not answer; said again it does what is left.
    pub async fn close_earlier(&self, gateway: &str, epoch: &str) -> Result<u64, Refusal> {
        let unclosed = self.open_leases(gateway).await?.into_iter();
        let unclosed: Vec<_> =
            unclosed.filter(|lease| lease.epoch != epoch && lease.closed.is_none()).collect();
        if unclosed.is_empty() {
            return Ok(0);
        }
        let mut folded_first = Vec::new();
        for life in open_lives(self.store, gateway).await? {
            let have = have_up_to(self.store, &life.from).await?;
            folded_first.push((life.from.epoch, have));
        }
        for lease in &unclosed {
            change(self.store, self.now, &lease.id(), |lease, now| {
                if lease.closed.is_none() {
                    lease.close(Closed { spent: 0, folded_first: folded_first.clone() }, now);
                }
            })
            .await?;
        }
        Ok(unclosed.len() as u64)
    }

    async fn open_leases(&self, gateway: &str) -> Result<Vec<WalletLease>, Refusal> {
        let (mut leases, mut cursor) = (Vec::new(), None);
        loop {
            let open = Query::by("open").equals(gateway).limit(TURN_MAX).cursor(cursor);
            let page = self.store.query::<WalletLease>(&open).await?;
            leases.extend(page.items.into_iter().map(|found| found.value));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(leases);
            }
        }
    }
}

/// The lives of a gateway of which there may be something to fold.
async fn open_lives(store: &Store, gateway: &str) -> Result<Vec<FoldCursor>, Refusal> {
    let (mut lives, mut cursor) = (Vec::new(), None);
    loop {
        let open = Query::by("open").equals(true).limit(TURN_MAX).cursor(cursor);
        let page = store.query::<FoldCursor>(&open).await?;
        lives.extend(
            page.items.into_iter().map(|found| found.value).filter(|life| life.from.gateway == gateway),
        );
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(lives);
        }
    }
}

/// Whether the job that charges will end a lease's hold although nothing more comes of its gateway: it was closed, and each batch
/// that its charge waits for is here.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn ends_by_itself(store: &Store, lease: &WalletLease) -> Result<bool, Refusal> {
    let Some(closed) = &lease.closed else { return Ok(false) };
    let mut is_folded = true;
    for (epoch, seq) in &closed.folded_first {
        let from = GatewayEpoch { gateway: lease.gateway.clone(), epoch: epoch.clone() };
        let cursor = store.get::<FoldCursor>(&epoch_id(&from)).await?.map(|cursor| cursor.value);
        if cursor.as_ref().is_some_and(|cursor| cursor.folded_seq >= *seq) {
            continue;
        }
        let has_gap = cursor.is_none_or(|cursor| cursor.blocked_by_gap_before.is_some());
        if has_gap || store.get::<StoredBatch>(&batch_id(&from, *seq)).await?.is_none() {
            return Ok(false);
        }
        is_folded = false;
    }
    Ok(!is_folded || on_record(store, lease.clone(), &Folded::default()).await?.is_some())
}

/// The lease as it is once every call of it is counted: all batches are folded that one may stand in, and there are as
/// many as its gateway says, or as many as there will be, for a batch of the gateway's was lost.
async fn on_record(
    store: &Store,
    lease: WalletLease,
    folded: &Folded,
) -> Result<Option<WalletLease>, Refusal> {
    let Some(closed) = lease.closed.clone() else { return Ok(None) };
    for (epoch, seq) in &closed.folded_first {
        if folded_seq(store, (&lease.gateway, epoch), folded).await? < *seq {
            return Ok(None);
        }
    }
    // Before the lease is read, or what is folded meanwhile would be taken for all that comes and not be in it.
    let is_all = lease.kept >= u64::from(closed.spent)
        || (has_lost(store, &lease.gateway).await? && is_all_folded(store, &lease, &closed).await?);
    // As it is now: what was folded since the lease was read is in it.
    let Some(lease) = store.get::<WalletLease>(&lease.id()).await?.map(|found| found.value) else {
        return Ok(None);
    };
    let spent = u64::from(closed.spent);
    if lease.kept > spent {
        tracing::warn!(
            lease = lease.id(),
            kept = lease.kept,
            spent,
            "more calls are on record than were said"
        );
    }
    Ok((is_all || lease.kept >= spent).then_some(lease))
}

/// Whether nothing waits to be folded of other lives, which may have calls of the lease that its last batch says nothing of.
async fn is_all_folded(store: &Store, lease: &WalletLease, closed: &Closed) -> Result<bool, Refusal> {
    for life in open_lives(store, &lease.gateway).await? {
        let is_waited_for = closed.folded_first.iter().any(|(epoch, _)| *epoch == life.from.epoch);
        let waits =
            life.blocked_by_gap_before.is_some() || have_up_to(store, &life.from).await? > life.folded_seq;
        if waits && !is_waited_for {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn folded_seq(store: &Store, (gateway, epoch): (&str, &str), folded: &Folded) -> Result<u64, Refusal> {
    let life = (gateway.to_owned(), epoch.to_owned());
    if let Some(seq) = folded.0.lock().get(&life) {
        return Ok(*seq);
    }
    let from = GatewayEpoch { gateway: gateway.to_owned(), epoch: epoch.to_owned() };
    let cursor = store.get::<FoldCursor>(&epoch_id(&from)).await?;
    let seq = cursor.map_or(0, |cursor| cursor.value.folded_seq);
    folded.0.lock().insert(life, seq);
    Ok(seq)
}

/// Whether an admin has declared a batch of the gateway's lost.
async fn has_lost(store: &Store, gateway: &str) -> Result<bool, Refusal> {
    let mut cursor = None;
    loop {
        let lost = Query::by("has_lost").equals(true).limit(TURN_MAX).cursor(cursor);
        let page = store.query::<FoldCursor>(&lost).await?;
        if page.items.iter().any(|life| life.value.from.gateway == gateway) {
            return Ok(true);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(false);
        }
    }
}
