//! Drives subscriptions against the journal: a charge in hand is made or declined there, once, whoever gets to it first, and
//! the subscription says what came of it. Safe on every control plane at once. Called by whoever does something with a
//! subscription, before and after, and by a job for those that wait.

use apiclay_config::money::Money;
use apiclay_config::process::in_a_line;
use futures_util::{StreamExt as _, stream};

use super::affording::was_made;
use super::charge::{Becomes, Charge, Edition, Purpose};
use super::documents::Subscription;
use super::letters;
use super::life::Due;
use super::trial;
use crate::accounts::documents::Account;
use crate::app::App;
use crate::catalog;
use crate::ledger::{LedgerError, Refused};
use crate::plans;
use crate::plans::documents::PlanRevision;
use crate::plans::terms::Terms;
use crate::refusal::Refusal;
use crate::store::{Query, StoreError, Versioned};
use crate::vendors::commission::rate_of;
use crate::wallet::budget;

/// Subscriptions looked at in one page of a turn.
const TURN_MAX: usize = 500;
/// Subscriptions brought up to date at the same time.
const AT_ONCE_MAX: usize = 8;
/// Steps of one subscription in one go: months that passed unseen, and writes of others in between.
const STEPS_MAX: u32 = 64;

/// What came of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Made,
    /// The money is not there; it may be later.
    Refused,
    Declined,
}

/// One turn of the job: every subscription whose time has come. One that fails keeps no other waiting.
///
/// # Errors
/// Where the store does not answer.
pub async fn bill_due(app: &App) -> Result<(), Refusal> {
    let (now, mut cursor) = (app.clock.now(), None);
    loop {
        let due = Query::by("wakes_at").below(now.plus_ms(1).to_string()).limit(TURN_MAX).cursor(cursor);
        let page = app.store.query::<Subscription>(&due).await?;
        stream::iter(page.items)
            .for_each_concurrent(AT_ONCE_MAX, async |found| {
                let id = found.value.id;
                if let Err(error) = up_to_date(app, found).await {
                    tracing::error!(subscription = %id, "a subscription is billed later: {}", in_a_line(&error));
                }
            })
            .await;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// The subscription once everything is done with it that is due by now.
///
/// # Errors
/// Where the store or the journal do not answer; done again, it goes on where it was.
pub async fn up_to_date(
    app: &App,
    mut found: Versioned<Subscription>,
) -> Result<Versioned<Subscription>, Refusal> {
    for _ in 0..STEPS_MAX {
        let now = app.clock.now();
        let mut next = found.value.clone();
        let mut last = false;
        match found.value.due(now) {
            Due::Nothing => return Ok(found),
            Due::End => next.end(now),
            Due::Renew(edition) => {
                let terms = terms_of(app, edition).await?;
                let mut becomes = next.renewed(edition, &terms);
                if edition != next.edition() {
                    let price = terms.price;
                    becomes.trial_ends_at = trial::with_change(&app.store, &next, &terms, price, now).await?;
                }
                let rate = rate(app, &next, Purpose::Renewal).await?;
                next.charge(Purpose::Renewal, (terms.price, rate), becomes, now);
            }
            Due::Finish(charge) => {
                let came = match make(app, &found.value, &charge).await? {
                    Came::Refused => decline(app, &found.value, &charge).await?,
                    came => came,
                };
                settle(app, &mut next, &charge, came).await?;
            }
            Due::GiveUp(charge) => {
                let came = decline(app, &found.value, &charge).await?;
                settle(app, &mut next, &charge, came).await?;
            }
            // What cannot be called is not charged for: until it can be, or the grace is over.
            Due::Try(_) if !is_callable(app, &next).await? => {
                next.refused(now);
                last = true;
            }
            Due::Try(charge) => {
                let came = make(app, &found.value, &charge).await?;
                last = came == Came::Refused;
                settle(app, &mut next, &charge, came).await?;
            }
        }
        found = match write(app, &found, next).await {
            Ok(written) => {
                tell(app, &found.value, &written.value).await?;
                if last {
                    return Ok(written);
                }
                written
            }
            // Somebody else did it.
            Err(Refusal::Changed) => again(app, &found.value).await?,
            Err(error) => return Err(error),
        };
    }
    Err(Refusal::Changed)
}

/// Writes what became of a subscription, and tells gateways where it concerns them.
pub(super) async fn write(
    app: &App,
    before: &Versioned<Subscription>,
    mut next: Subscription,
) -> Result<Versioned<Subscription>, Refusal> {
    let concerns_gateways = next.served() != before.value.served();
    if next.edition() != before.value.edition() {
        // No gateway hears of a subscription before what it names; where that is gone, what was paid is had nevertheless.
        let id = PlanRevision::id_of(next.plan, next.plan_revision);
        if let Some(revision) = app.store.get::<PlanRevision>(&id).await? {
            app.push.publish(revision).await?;
        }
    }
    let put = async |next: Subscription| match concerns_gateways {
        true => app.push.replace(next, before.version).await,
        false => {
            let version = app.store.replace(&next, before.version).await?;
            Ok(Versioned { value: next, version })
        }
    };
    match put(next.clone()).await {
        // The plan was bought once more, beside this change: both stand, and both are the buyer's to end.
        Err(StoreError::Duplicate { index: "live", .. }) => {
            next.live_key = next.live_key.map(|key| format!("{key}:{}", next.id));
            Ok(put(next).await?)
        }
        written => Ok(written?),
    }
}

/// Makes a charge in the journal, or finds what came of it.
async fn make(app: &App, subscription: &Subscription, charge: &Charge) -> Result<Came, Refusal> {
    let (account, currency) = (subscription.account, charge.sale.amount.currency);
    // What goes back to a buyer passes no budget of his.
    let ceiling = match charge.sale.amount.micro {
        1.. => budget::ceiling(&app.store, account, currency).await?,
        _ => None,
    };
    match app.journal.append_within(&charge.made(subscription), ceiling.as_ref()).await {
        Ok(_) => {
            if let Err(error) = budget::notices::after_charge(app, account, currency).await {
                tracing::error!(%account, "a budget's notice comes later: {}", in_a_line(&error));
            }
            Ok(Came::Made)
        }
        // Another content under a charge's fact is that it was declined.
        Err(LedgerError::OtherContent { .. }) => Ok(Came::Declined),
        // Of the wallet, of included units that were to be taken, or of what is left of a period's charges.
        Err(LedgerError::Refused(
            Refused::Floor { .. } | Refused::Ceiling { .. } | Refused::GivenBack { .. },
        )) => Ok(Came::Refused),
        Err(error) => Err(failed(error)),
    }
}

/// Settles in the journal that a charge will not be made, so that no slow writer makes it afterwards; unless it was.
async fn decline(app: &App, subscription: &Subscription, charge: &Charge) -> Result<Came, Refusal> {
    match app.journal.append(&charge.declined(subscription)).await {
        Ok(_) => Ok(Came::Declined),
        Err(LedgerError::OtherContent { .. }) => Ok(Came::Made),
        Err(error) => Err(failed(error)),
    }
}

/// What a subscription is by what came of its charge.
async fn settle(app: &App, next: &mut Subscription, charge: &Charge, came: Came) -> Result<(), Refusal> {
    let now = app.clock.now();
    match came {
        Came::Made => {
            if charge.becomes.trial_ends_at.is_some() {
                let terms = terms_of(app, charge.becomes.edition).await?;
                trial::begins(&app.store, next, charge, &terms).await?;
            }
            next.made(now);
        }
        Came::Declined => next.declined(now),
        Came::Refused => next.refused(now),
    }
    Ok(())
}

/// Charges a subscription so much, taking so many included units back in the same entry, and says what it is then.
///
/// # Errors
/// Where the wallet does not have the money, or somebody else wrote in between.
pub(super) async fn charge(
    app: &App,
    found: Versioned<Subscription>,
    purpose: Purpose,
    (amount, takes_units): (Money, u64),
    becomes: Becomes,
) -> Result<Versioned<Subscription>, Refusal> {
    let mut next = found.value.clone();
    let rate = rate(app, &next, purpose).await?;
    next.charge(purpose, (amount, rate), becomes, app.clock.now());
    if let Some(charge) = &mut next.charging {
        charge.takes_units = takes_units;
    }
    let number = next.charges;
    let written = write(app, &found, next).await?;
    let after = up_to_date(app, written).await?;
    was_made(app, &after.value, (purpose, number), amount).await?;
    Ok(after)
}

/// Whether calls of a subscription are served, as far as its listing goes.
pub(super) async fn is_callable(app: &App, subscription: &Subscription) -> Result<bool, Refusal> {
    Ok(catalog::access::any(&app.store, subscription.listing).await?.value.is_callable())
}

/// What the operator keeps of a charge, in basis points: within a month that is paid for, what he keeps of that month, so that
/// what goes back comes from where it went; else what he has decided on.
pub(super) async fn rate(
    app: &App,
    subscription: &Subscription,
    purpose: Purpose,
) -> Result<u32, StoreError> {
    let of_month = subscription.paid.filter(|_| purpose == Purpose::Change);
    match of_month.and_then(|paid| paid.commission_basis_points) {
        Some(rate) => Ok(rate),
        None => rate_of(&app.store, subscription.vendor).await,
    }
}

/// The subscription without a renewal in hand: where it was not paid by now, it never is.
pub(super) async fn give_up(
    app: &App,
    found: Versioned<Subscription>,
) -> Result<Versioned<Subscription>, Refusal> {
    let renewal = found.value.charging.clone().filter(|charge| charge.purpose == Purpose::Renewal);
    let Some(charge) = renewal else { return Ok(found) };
    let mut next = found.value.clone();
    let came = decline(app, &found.value, &charge).await?;
    settle(app, &mut next, &charge, came).await?;
    write(app, &found, next).await
}

/// The subscription as it is now.
pub(super) async fn again(
    app: &App,
    subscription: &Subscription,
) -> Result<Versioned<Subscription>, Refusal> {
    let found = app.store.get::<Subscription>(&subscription.id.to_string()).await?;
    found.ok_or(Refusal::NotFound("subscription"))
}

/// The terms of an edition.
pub(super) async fn terms_of(app: &App, edition: Edition) -> Result<Terms, Refusal> {
    Ok(plans::access::revision(&app.store, edition.plan, edition.revision).await?.value.terms)
}

/// Tells the buyer by mail that a renewal was not paid, or was given up. Whoever wrote that tells it: should he die before,
/// the page says it still.
async fn tell(app: &App, before: &Subscription, after: &Subscription) -> Result<(), Refusal> {
    if before.state() == after.state() {
        return Ok(());
    }
    let Some(letter) = letters::of(&app.app_url, after) else { return Ok(()) };
    if let Some(account) = app.store.get::<Account>(&after.account.to_string()).await? {
        app.mail.send(&account.value.email, letter, app.clock.now());
    }
    Ok(())
}

fn failed(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Store(error) => error.into(),
        LedgerError::Contended => Refusal::Changed,
        other => {
            tracing::error!("a subscription was not charged: {}", in_a_line(&other));
            Refusal::Internal("charging a subscription")
        }
    }
}
