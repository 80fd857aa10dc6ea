//! What a buyer does with a subscription: begins, ends, resumes it (`changing` changes it). Each brings it up to date first, so
//! that no charge in hand is forgotten. Next: `billing`, which charges; called by the API's routes and by the pages.

use apiclay_config::ids::{AccountId, PlanId, SubscriptionId};
use apiclay_config::money::Money;

use super::access;
use super::affording::{can_pay, was_made};
use super::billing::{charge, give_up, is_callable, rate, terms_of, up_to_date, write};
use super::charge::{Edition, Purpose};
use super::documents::Subscription;
use super::life::SubscriptionState;
use super::quote::When;
use super::rules::SUBSCRIPTIONS_PER_ACCOUNT_MAX;
use super::trial;
use crate::app::App;
use crate::http::Code;
use crate::plans::rules::{Payment, payment};
use crate::plans::terms::Terms;
use crate::refusal::Refusal;
use crate::store::{FIRST_VERSION, Query, StoreError, Versioned};
use crate::{catalog, plans};

/// Buys a plan: in the edition that the buyer was shown, where he says which.
///
/// # Errors
/// Where the plan is not on sale, is another edition's by now or cannot be paid, or the buyer has it already.
pub(crate) async fn subscribe(
    app: &App,
    account: AccountId,
    id: SubscriptionId,
    (plan, shown): (PlanId, Option<u32>),
) -> Result<Versioned<Subscription>, Refusal> {
    let plan = plans::access::on_sale(&app.store, plan).await?;
    let listing = catalog::access::on_sale(&app.store, plan.listing).await.map_err(|refusal| {
        if let Refusal::NotFound(_) = refusal { Refusal::NotFound("plan") } else { refusal }
    })?;
    // What an earlier try of the same request wrote was agreed to then.
    if shown.is_some_and(|shown| shown != plan.revision)
        && app.store.get::<Subscription>(&id.to_string()).await?.is_none()
    {
        let told = format!("the plan is sold in revision {} now; read it, and agree to that", plan.revision);
        return Err(Refusal::because(Code::AmountChanged, told));
    }
    let revision = plans::access::revision(&app.store, plan.id, plan.revision).await?;
    let revision_terms = revision.value.terms.clone();
    let price = revision_terms.price;
    let payment = payment(&revision_terms, app.payments.is_some())?;
    // No gateway hears of the subscription before what it names.
    app.push.publish(listing).await?;
    app.push.publish(revision).await?;
    let edition = Edition { plan: plan.id, revision: plan.revision };
    let now = app.clock.now();
    let mut new = Subscription::new(id, (account, plan.listing, plan.vendor), edition, now);
    if payment == Payment::ByTheMonth {
        let rate = rate(app, &new, Purpose::Start).await?;
        let begun = Subscription::begun(edition, &revision_terms, now);
        new.charge(Purpose::Start, (price, rate), begun, now);
    } else {
        new.pays = payment.pays();
    }
    let begun = begin(app, new, &revision_terms).await?;
    if begun.value.charges == 0 {
        return Ok(begun);
    }
    let after = up_to_date(app, begun).await?;
    was_made(app, &after.value, (Purpose::Start, 1), price).await?;
    Ok(after)
}

/// Writes a subscription that begins, or finds the one that an earlier try of the same request wrote.
async fn begin(app: &App, mut new: Subscription, terms: &Terms) -> Result<Versioned<Subscription>, Refusal> {
    if let Some(known) = app.store.get::<Subscription>(&new.id.to_string()).await? {
        return Ok(if known.value.charges == 0 { app.push.publish(known).await? } else { known });
    }
    let (from, below) = Subscription::live_keys_of(new.account);
    let mine = Query::by("live").from(from).below(below).limit(SUBSCRIPTIONS_PER_ACCOUNT_MAX);
    if app.store.query::<Subscription>(&mine).await?.items.len() >= SUBSCRIPTIONS_PER_ACCOUNT_MAX {
        let detail = format!("at most {SUBSCRIPTIONS_PER_ACCOUNT_MAX} live subscriptions an account");
        return Err(Refusal::because(Code::LimitReached, detail));
    }
    if access::has_live_to(&app.store, new.account, new.plan).await? {
        return Err(has_it());
    }
    new.trial_ends_at = trial::ends_at(&app.store, (new.account, new.listing), terms, new.created_at).await?;
    let written = if new.charging.is_some() {
        can_pay(app, &new, terms.price).await?;
        // No gateway has a use for it before it is paid.
        app.store.insert(&new).await.map(|()| Versioned { value: new, version: FIRST_VERSION })
    } else {
        app.push.insert(new).await
    };
    match written {
        Err(StoreError::Duplicate { index: "live", .. }) => Err(has_it()),
        written => Ok(written?),
    }
}

/// Ends a subscription: with the period that is paid for, or at once where nothing is or its owner wants it so. What is paid
/// for is not given back.
///
/// # Errors
/// Where somebody else wrote in between, or the store does not answer.
pub(crate) async fn cancel(
    app: &App,
    found: Versioned<Subscription>,
    when: Option<When>,
) -> Result<Versioned<Subscription>, Refusal> {
    // No charge is made for what has ended: whether the month that is due is paid is settled first.
    let found = up_to_date(app, give_up(app, found).await?).await?;
    let mut next = found.value.clone();
    if !next.is_live() {
        return Ok(found);
    }
    match when.unwrap_or(if next.month().is_some() { When::PeriodEnd } else { When::Now }) {
        When::PeriodEnd if next.month().is_some() => (next.cancels_at_end, next.next_edition) = (true, None),
        When::PeriodEnd | When::Now => next.end(app.clock.now()),
    }
    write(app, &found, next).await
}

/// Goes on with a subscription: takes a cancellation back, pays a month that is due, or begins to pay after a trial or where
/// it had stopped.
///
/// # Errors
/// Where it has ended, its listing cannot be called, it costs something else than its buyer agreed to, or the wallet does not
/// have the money.
pub(crate) async fn resume(
    app: &App,
    found: Versioned<Subscription>,
    agreed: Option<Money>,
) -> Result<Versioned<Subscription>, Refusal> {
    let found = up_to_date(app, found).await?;
    let (state, edition) = (found.value.state(), found.value.edition());
    match state {
        SubscriptionState::Cancelled | SubscriptionState::Incomplete => Err(ended()),
        SubscriptionState::PastDue => {
            let Some(amount) = found.value.charging.as_ref().map(|charge| charge.sale.amount) else {
                return Ok(found);
            };
            can_be_charged(app, &found.value, (amount, agreed)).await?;
            let after = up_to_date(app, found).await?;
            match after.value.state() {
                SubscriptionState::PastDue => Err(Refusal::Changed),
                _ => Ok(after),
            }
        }
        _ if found.value.cancels_at_end => {
            let mut next = found.value.clone();
            next.cancels_at_end = false;
            write(app, &found, next).await
        }
        _ => {
            let terms = terms_of(app, edition).await?;
            if found.value.pays || terms.price.is_zero() || app.payments.is_none() {
                return Ok(found);
            }
            can_be_charged(app, &found.value, (terms.price, agreed)).await?;
            let becomes = Subscription::begun(edition, &terms, app.clock.now());
            charge(app, found, Purpose::Resume, (terms.price, 0), becomes).await
        }
    }
}

/// Whether a month that is due can be charged: its listing can be called, it is what the buyer agreed to, and he has it.
async fn can_be_charged(
    app: &App,
    subscription: &Subscription,
    (amount, agreed): (Money, Option<Money>),
) -> Result<(), Refusal> {
    if !is_callable(app, subscription).await? {
        let told = "its listing cannot be called at the moment, so nothing is charged for it";
        return Err(Refusal::because(Code::StateConflict, told));
    }
    if agreed.is_some_and(|agreed| agreed != amount) {
        let told = format!("it is {amount} now; agree to that");
        return Err(Refusal::because(Code::AmountChanged, told));
    }
    can_pay(app, subscription, amount).await
}

pub(super) fn has_it() -> Refusal {
    let told = "you have a live subscription to this plan already, or one that changes to it";
    Refusal::because(Code::AlreadySubscribed, told)
}

pub(super) fn ended() -> Refusal {
    Refusal::because(Code::SubscriptionInactive, "this subscription has ended; begin another")
}
