//! A change of plan: what it comes to, and having it. Whoever agreed to a figure never pays more. Next: `quote`, which
//! reckons it, and `billing`, which charges; called by the API's routes and by the pages.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::PlanId;
use apiclay_config::money::Money;

use super::access;
use super::affording::can_pay;
use super::billing::{charge, terms_of, up_to_date, write};
use super::buying::{ended, has_it};
use super::charge::{Edition, Purpose};
use super::documents::Subscription;
use super::giving_back::{CallsLeft, Left, calls_bought};
use super::life::SubscriptionState;
use super::quote::{self, Quote, When};
use super::trial;
use crate::app::App;
use crate::http::Code;
use crate::ledger::Fee;
use crate::refusal::Refusal;
use crate::store::Versioned;
use crate::usage::read::billed_calls;
use crate::wallet::leases::documents::IncludedMonth;
use crate::wallet::leases::included;
use crate::{catalog, plans};

/// What a buyer wants another plan for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The plan.
    pub plan: PlanId,
    /// In the edition that its buyer was shown, where he says which.
    pub plan_revision: Option<u32>,
    /// When.
    pub when: When,
    /// By which moment its preview was reckoned.
    pub previewed_at: Option<Timestamp>,
}

/// A subscription as it is by now.
pub(crate) struct Present {
    pub found: Versioned<Subscription>,
    /// What is left of the month that is paid for, beside time.
    pub left: Left,
}

/// A change that can be made.
pub(crate) struct Possible {
    pub quote: Quote,
    /// What is charged on it once some more calls are made: what to agree to where they go on.
    pub at_most: Money,
    /// What each month costs after it.
    pub next_price: Money,
}

/// The subscription once everything is done with it that is due by now, and what can go back of its month: for whichever plans.
///
/// # Errors
/// Where the store or the journal do not answer.
pub(crate) async fn present(app: &App, found: Versioned<Subscription>) -> Result<Present, Refusal> {
    let found = up_to_date(app, found).await?;
    let left = left_of(app, &found.value).await?;
    Ok(Present { found, left })
}

/// What a change of plan comes to.
///
/// # Errors
/// Where it cannot be made.
pub(crate) async fn preview(
    app: &App,
    Present { found, left }: &Present,
    wanted: &Wanted,
) -> Result<Possible, Refusal> {
    match found.value.state() {
        SubscriptionState::Active | SubscriptionState::Unpaid => {}
        SubscriptionState::PastDue => {
            let told = "the month that has begun is to be paid first: top up, or end the subscription";
            return Err(Refusal::because(Code::PaymentDue, told));
        }
        SubscriptionState::Cancelled | SubscriptionState::Incomplete => return Err(ended()),
    }
    let edition = match wanted.when {
        // Who stays with what he has keeps it as he bought it, whether it is on sale or not.
        When::PeriodEnd if wanted.plan == found.value.plan => found.value.edition(),
        _ => on_sale(app, &found.value, wanted).await?,
    };
    let terms = terms_of(app, edition).await?;
    if terms.is_priced() && app.payments.is_none() {
        return Err(Refusal::because(Code::PaymentUnavailable, "nobody takes payments here"));
    }
    if found.value.paid.is_some_and(|paid| paid.price.currency != terms.price.currency) {
        let told = "the two plans are priced in two currencies; end this subscription and begin another";
        return Err(Refusal::because(Code::StateConflict, told));
    }
    let now = app.clock.now();
    let mut more = None;
    let quote = match (wanted.when, found.value.month()) {
        (When::PeriodEnd, Some(paid)) => {
            let becomes = found.value.renewed(edition, &terms);
            Quote::of_nothing(paid.period.ends_at, terms.price, becomes)
        }
        (When::PeriodEnd, None) => {
            let told = "no month is paid for whose end could be waited for; change now";
            return Err(Refusal::because(Code::StateConflict, told));
        }
        // Whoever sends a change again, for its answer was lost, has what it is for.
        (When::Now, _) if found.value.has_month_of(edition) => {
            Quote::of_nothing(now, terms.price, found.value.as_it_is())
        }
        (When::Now, _) => {
            let moment = quote::moment(&found.value, wanted.previewed_at, now)?;
            let left_then = left.after_more(found.value.paid.map_or(0, |paid| paid.included));
            more = Some(quote::now(&found.value, edition, &terms, moment, &left_then)?);
            quote::now(&found.value, edition, &terms, moment, left)?
        }
    };
    Ok(Possible { quote, at_most: more.unwrap_or(quote).due_now, next_price: terms.price })
}

/// The edition of a plan that a subscription can be changed to.
async fn on_sale(app: &App, subscription: &Subscription, wanted: &Wanted) -> Result<Edition, Refusal> {
    let plan = plans::access::on_sale(&app.store, wanted.plan).await?;
    if plan.listing != subscription.listing {
        let told = "this plan is of another listing; begin a subscription to it";
        return Err(Refusal::because(Code::StateConflict, told));
    }
    if wanted.plan_revision.is_some_and(|shown| shown != plan.revision) {
        let told = format!("the plan is sold in revision {} now; read it, and agree to that", plan.revision);
        return Err(Refusal::because(Code::AmountChanged, told));
    }
    catalog::access::on_sale(&app.store, plan.listing).await?;
    if plan.id != subscription.plan && access::has_live_to(&app.store, subscription.account, plan.id).await? {
        return Err(has_it());
    }
    Ok(Edition { plan: plan.id, revision: plan.revision })
}

/// Changes the plan.
///
/// # Errors
/// Where it cannot be made, costs more than its buyer agreed to, or cannot be paid.
pub(crate) async fn change(
    app: &App,
    found: Versioned<Subscription>,
    wanted: &Wanted,
    agreed: Option<Money>,
) -> Result<Versioned<Subscription>, Refusal> {
    let present = present(app, found).await?;
    let Possible { mut quote, .. } = preview(app, &present, wanted).await?;
    let found = present.found;
    let edition = quote.becomes.edition;
    let has_it_already = found.value.has_month_of(edition);
    if let Some(agreed) = agreed.filter(|_| !has_it_already)
        && (agreed.micro < quote.due_now.micro || agreed.currency != quote.due_now.currency)
    {
        let told = format!(
            "it is {} now, more than was agreed to; see the preview, agree to what it may come to, and send it again",
            quote.due_now
        );
        return Err(Refusal::because(Code::AmountChanged, told));
    }
    if wanted.when == When::PeriodEnd || has_it_already {
        let mut next = found.value.clone();
        next.next_edition = (edition != next.edition()).then_some(edition);
        next.cancels_at_end &= wanted.when == When::Now;
        return write(app, &found, next).await;
    }
    can_pay(app, &found.value, quote.due_now).await?;
    let terms = terms_of(app, edition).await?;
    let now = app.clock.now();
    if let Some(changed_at) = quote.becomes.paid.as_mut().and_then(|paid| paid.changed_at.as_mut()) {
        // Calls since the preview are deducted from what goes back of the old price, and not from the new one as well.
        *changed_at = now;
    }
    quote.becomes.trial_ends_at =
        trial::with_change(&app.store, &found.value, &terms, quote.due_now, now).await?;
    if let Some(paid) = found.value.paid.filter(|_| quote.takes_units > 0) {
        // They are to be there before they can be taken: nobody may have asked for them yet.
        included::put(&app.journal, &IncludedMonth::of_paid(&found.value, &paid), paid.included).await?;
    }
    charge(app, found, Purpose::Change, (quote.due_now, quote.takes_units), quote.becomes).await
}

/// What is left of the month that is paid for: it bounds what goes back of its price.
async fn left_of(app: &App, subscription: &Subscription) -> Result<Left, Refusal> {
    // Also where a plan without a price has taken its place: who comes back finds what he has used of it.
    let Some(paid) = subscription.paid else { return Ok(Left::default()) };
    let month = IncludedMonth::of_paid(subscription, &paid);
    let units = included::left(&app.journal, &month, subscription.included(paid.included)).await?;
    let charged_micro = match paid.counted {
        true => Some(app.journal.head(&Fee::row_of(subscription.id, paid.period.begins_at)).await?.posted),
        false => None,
    };
    let terms = terms_of(app, subscription.edition()).await?;
    let calls = match calls_bought(&paid, &terms).filter(|_| !paid.price.is_zero()) {
        Some(bought) => {
            // The minute in which the price began counts whole: else all could be made in what is left of it.
            let minutes = paid.price_began_at().minute()..paid.period.ends_at.minute().saturating_add(1);
            let made = billed_calls(&app.store, subscription.id, minutes).await?;
            Some(CallsLeft { bought, left: bought.saturating_sub(made) })
        }
        None => None,
    };
    // What a gateway held at an earlier change, and has handed back, is nobody's to give back.
    Ok(Left { units: units.min(paid.included), charged_micro, calls })
}
