//! A gateway asks for calls that a wallet pays for, and says which of its leases are over. The lease stands in the store
//! before the hold stands in the journal, so that a close that overtakes its grant is not overtaken back. Next: `charge`.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};
use apiclay_config::process::in_a_line;
use apiclay_config::wallet_leases::{LeaseAsked, LeaseClosed, LeaseGranted, LeasesRequest};

use super::documents::{Closed, Metered, WalletLease};
use super::included;
use super::reckon::units_charged;
use super::rules::{calls_held, hold, hold_included, no_hold};
use crate::app::App;
use crate::http::Code;
use crate::ledger::{Ceiling, JournalEntry, LedgerError, Proposal, Refused};
use crate::plans;
use crate::plans::pricing::Pricing;
use crate::refusal::Refusal;
use crate::store::{Document as _, Store, StoreError, Versioned};
use crate::subscriptions::billing::up_to_date;
use crate::subscriptions::documents::Subscription;
use crate::vendors::commission::rate_of;
use crate::wallet::{budget, statement};

/// A lease takes at most this part of what is free, so that the last calls reach every gateway that has some.
const FREE_PART: u64 = 4;
/// Tries of one grant or close while others write.
const TRIES_MAX: u32 = 8;

/// Does what a gateway asks: notes closes, then grants.
///
/// # Errors
/// Where the lease that is asked for is over, or the store or the journal do not answer.
pub async fn answer(
    app: &App,
    gateway: &str,
    request: &LeasesRequest,
) -> Result<Option<LeaseGranted>, Refusal> {
    request.check().map_err(|wrong| Refusal::because(Code::LeaseInvalid, wrong.to_string()))?;
    let Some(subscription) = app.store.get::<Subscription>(&request.subscription.to_string()).await? else {
        return Err(Refusal::NotFound("subscription"));
    };
    for closed in &request.closes {
        close(app, gateway, &subscription.value, closed).await?;
    }
    match &request.grant {
        None => Ok(None),
        Some(asked) => {
            let subscription = in_its_month(app, subscription).await?;
            grant(app, gateway, &request.epoch, &subscription.value, asked).await.map(Some)
        }
    }
}

/// The subscription, billed where its month is over and no job has come by yet: the next one includes calls once it is paid.
async fn in_its_month(app: &App, found: Versioned<Subscription>) -> Result<Versioned<Subscription>, Refusal> {
    let now = app.clock.now();
    let is_over = found.value.paid.is_some_and(|paid| paid.period.ends_at <= now);
    if is_over && found.value.past_due_since.is_none() { up_to_date(app, found).await } else { Ok(found) }
}

async fn grant(
    app: &App,
    gateway: &str,
    epoch: &str,
    subscription: &Subscription,
    asked: &LeaseAsked,
) -> Result<LeaseGranted, Refusal> {
    let nothing = LeaseGranted { units: 0, remaining: 0 };
    let Some(mut lease) = blank(app, gateway, epoch, subscription, asked).await? else { return Ok(nothing) };
    let id = lease.id();
    match app.store.get::<WalletLease>(&id).await? {
        // Its price and its month are those of the first time.
        Some(known) => {
            lease = open(Some(known.value))?;
            if let Some(entry) = app.journal.by_fact(&lease.hold_fact()).await? {
                return granted(app, &lease, &entry).await;
            }
        }
        // Before the lease is made: whoever has nothing asks often.
        None if room(app, &lease).await?.units() == 0 => return Ok(nothing),
        None => match app.store.insert(&lease).await {
            Ok(()) => {}
            Err(StoreError::Duplicate { .. }) => {
                let known = app.store.get::<WalletLease>(&id).await?;
                lease = open(known.map(|known| known.value))?;
            }
            Err(error) => return Err(error.into()),
        },
    }
    for _ in 0..TRIES_MAX {
        let room = room(app, &lease).await?;
        let Some(proposal) = room.hold(&lease, asked.want) else { break };
        match app.journal.append_within(&proposal, room.ceiling.as_ref()).await {
            Ok(appended) => return stands(app, &lease, &appended.entry).await,
            // The same request at the same time, and another sum was free then: what stands is what was granted.
            Err(LedgerError::OtherContent { .. }) => {
                if let Some(entry) = app.journal.by_fact(&lease.hold_fact()).await? {
                    return stands(app, &lease, &entry).await;
                }
            }
            // Spent by another lease in between.
            Err(LedgerError::Refused(Refused::Floor { .. } | Refused::Ceiling { .. })) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    // No lease was made, and none will be: its fact is taken, unless the same request, at the same time, made one under it.
    match app.journal.append(&no_hold(&lease)).await {
        Ok(_) => {}
        Err(LedgerError::OtherContent { .. }) => {
            let entry = app.journal.by_fact(&lease.hold_fact()).await?;
            return stands(app, &lease, &entry.ok_or(Refusal::Internal("reading a hold"))?).await;
        }
        Err(error) => return Err(failed(error)),
    }
    change(&app.store, app.clock.now(), &id, |lease, now| {
        lease.close(Closed { spent: 0, folded_first: Vec::new() }, now);
    })
    .await?;
    Ok(nothing)
}

/// The lease as it is asked for, where its calls can be paid: by a live subscription that pays, at a price a call.
async fn blank(
    app: &App,
    gateway: &str,
    epoch: &str,
    subscription: &Subscription,
    asked: &LeaseAsked,
) -> Result<Option<WalletLease>, Refusal> {
    // A gateway that has not heard of a change of plan yet asks under the plan before: two plans may have one revision's number.
    let same = asked.plan.is_none_or(|plan| plan == subscription.plan)
        && asked.plan_revision == subscription.plan_revision;
    if !subscription.is_live() || !subscription.pays || !same {
        return Ok(None);
    }
    let revision = plans::access::revision(&app.store, subscription.plan, asked.plan_revision).await?;
    let terms = revision.value.terms;
    // A gateway from before units names no plan, and would take one unit for each call.
    if terms.metered().is_some() && asked.plan.is_none() {
        return Ok(None);
    }
    let pricing = terms.usage_price.as_ref().filter(|_| terms.is_per_call()).and_then(Pricing::of);
    let Some(pricing) = pricing else { return Ok(None) };
    let name = (gateway, epoch, asked.serial);
    let mut lease = WalletLease::new(name, subscription, Money::new(0, pricing.currency), app.clock.now());
    let edition = (lease.plan, lease.plan_revision);
    let before = units_charged(&app.journal, subscription.id, edition, &lease.period).await?;
    lease.price.micro = pricing.price_max_from(before);
    lease.commission_basis_points = rate_of(&app.store, subscription.vendor).await?;
    let now = lease.asked_at;
    let (month, included) = included::of_caller(&app.store, subscription, &terms, now).await?;
    (lease.included_in, lease.included) =
        (Some(month).filter(|month| *month != lease.included_month()), included);
    lease.metered = terms
        .metered()
        .map(|unit| Metered { name: unit.name.clone(), units_max_per_call: unit.units_max_per_call });
    Ok(Some(lease))
}

/// What a lease can be for, in units of whole calls.
struct Room {
    /// Of those that the month includes.
    included: u64,
    /// How many are paid for by what is free in the wallet and left of its budget.
    paid: u64,
    /// What a hold in the wallet may not pass.
    ceiling: Option<Ceiling>,
}

impl Room {
    const fn units(&self) -> u64 {
        self.included.saturating_add(self.paid)
    }

    /// The next hold: of included calls while there are any, else in the wallet; none for none.
    fn hold(&self, lease: &WalletLease, want: u32) -> Option<Proposal> {
        let of_call = lease.units_per_call();
        let wanted_calls = (u64::from(want) / of_call).max(1);
        let part = |free: u64| (free / of_call).div_ceil(FREE_PART).min(wanted_calls).saturating_mul(of_call);
        hold_included(lease, part(self.included)).or_else(|| hold(lease, part(self.paid)))
    }
}

/// Reads it; and where the budget alone is what refuses, or its owner has something to be told, he is.
async fn room(app: &App, lease: &WalletLease) -> Result<Room, Refusal> {
    let Money { micro, currency } = lease.price;
    let whole = |units: u64| units - units % lease.units_per_call();
    let units =
        |free: i64| free.checked_div(micro).and_then(|units| u64::try_from(units).ok()).map_or(0, whole);
    let included = whole(included::of_lease(&app.journal, lease).await.map_err(failed)?);
    let standing = statement::standing(&app.journal, lease.account, currency).await?;
    let paid = units(standing.free().micro);
    let Some(budget) = budget::find(&app.store, lease.account, currency).await? else {
        return Ok(Room { included, paid, ceiling: None });
    };
    let (budget, spending) = (budget.value, standing.spending.at(app.clock.now()));
    let ceiling = budget.ceiling();
    let within = ceiling.map_or(paid, |_| units(budget.left(spending)));
    let refused_micro = (included == 0 && within == 0 && paid > 0)
        .then(|| micro.saturating_mul(i64::try_from(lease.units_per_call()).unwrap_or(i64::MAX)));
    if let Err(error) = budget::notices::look(app, &budget, spending, refused_micro).await {
        // Told at the next look: calls do not wait for a letter.
        tracing::error!(account = %lease.account, "a budget's notice comes later: {}", in_a_line(&error));
    }
    Ok(Room { included, paid: paid.min(within), ceiling })
}

/// The lease, unless it is over.
fn open(known: Option<WalletLease>) -> Result<WalletLease, Refusal> {
    let over = || Refusal::because(Code::LeaseOver, "this lease is over; ask under another number");
    known.filter(|lease| !lease.is_over()).ok_or_else(over)
}

/// What a hold grants, unless the lease was ended while the hold was being written: then nobody may spend from it, and
/// whoever ended it, or the job that charges, ends the hold too.
async fn stands(app: &App, lease: &WalletLease, entry: &JournalEntry) -> Result<LeaseGranted, Refusal> {
    let known = app.store.get::<WalletLease>(&lease.id()).await?;
    open(known.map(|known| known.value))?;
    granted(app, lease, entry).await
}

async fn granted(app: &App, lease: &WalletLease, entry: &JournalEntry) -> Result<LeaseGranted, Refusal> {
    let units = entry.hold.map_or(0, |held| calls_held(lease, &held));
    let remaining = room(app, lease).await?.units();
    Ok(LeaseGranted { units: u32::try_from(units).unwrap_or(0), remaining })
}

/// Notes that a lease is over. One that nobody knows is noted as well: its request may still come.
async fn close(
    app: &App,
    gateway: &str,
    subscription: &Subscription,
    said: &LeaseClosed,
) -> Result<(), Refusal> {
    let last = said.last_batch.iter().map(|batch| (batch.epoch.clone(), batch.seq));
    let closed = Closed { spent: said.spent, folded_first: last.collect() };
    let id = WalletLease::id_of(gateway, &said.epoch, said.serial);
    if app.store.get::<WalletLease>(&id).await?.is_none() {
        let name = (gateway, said.epoch.as_str(), said.serial);
        let mut known = WalletLease::new(name, subscription, Money::new(0, Currency::INR), app.clock.now());
        known.close(closed.clone(), app.clock.now());
        match app.store.insert(&known).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    change(&app.store, app.clock.now(), &id, |lease, now| {
        if lease.subscription == subscription.id && lease.closed.is_none() {
            lease.close(closed.clone(), now);
        }
    })
    .await
}

/// Changes a lease, whoever else changes it at the same time.
///
/// # Errors
/// Where the store does not answer.
pub(super) async fn change(
    store: &Store,
    now: Timestamp,
    id: &str,
    change: impl Fn(&mut WalletLease, Timestamp),
) -> Result<(), Refusal> {
    for _ in 0..TRIES_MAX {
        let Some(known) = store.get::<WalletLease>(id).await? else { return Ok(()) };
        let mut changed = known.value.clone();
        change(&mut changed, now);
        if changed == known.value {
            return Ok(());
        }
        match store.replace(&changed, known.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

pub(super) fn failed(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Store(error) => error.into(),
        other => {
            tracing::error!("a hold was not written: {other}");
            Refusal::Internal("holding money for calls")
        }
    }
}
