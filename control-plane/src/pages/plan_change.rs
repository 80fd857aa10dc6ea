//! `/subscriptions/{id}/plans`: the listing's other plans, and what each would cost this subscription now or with its next
//! month. The figures are `subscriptions::quote`'s, and a form carries what its reader saw, so that he never pays more.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{PlanId, SubscriptionId};
use apiclay_config::money::{Currency, Money};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::chart::Width;
use super::form::PostedBy;
use super::frame::{Frame, render, render_as};
use super::plan_shown::{self, PlanShown};
use super::refused::Refused;
use super::subscription::SubscriptionPage;
use super::subscriptions::{bought, shown_revision};
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::http::{Code, Path, Problem};
use crate::plans;
use crate::plans::documents::Plan;
use crate::plans::view::{self, PlanView};
use crate::refusal::Refusal;
use crate::store::Versioned;
use crate::subscriptions::access;
use crate::subscriptions::buying;
use crate::subscriptions::changing::{self, Possible, Present, Wanted};
use crate::subscriptions::charge::Edition;
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::giving_back::{Bound, Left};
use crate::subscriptions::quote::When;
use crate::subscriptions::trial;

/// A plan to change to.
struct Offer {
    plan: PlanShown,
    /// What it comes to now, in a sentence; none where it can only be had later, or not at all.
    now: Option<String>,
    /// What it may come to, for his calls go on while he decides.
    due_at_most: String,
    /// The moment from which it can be had with the next month.
    later: Option<String>,
    /// Whether it is the present plan, which another is to follow.
    keeps: bool,
    /// Why it cannot be had.
    refused: Option<String>,
}

#[derive(Template)]
#[template(path = "plan_change.html")]
struct PlanChangePage {
    frame: Frame,
    id: SubscriptionId,
    listing: String,
    plan: String,
    has_month: bool,
    ends: bool,
    previewed_at: Timestamp,
    offers: Vec<Offer>,
}

/// What a form says of the plan to have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    plan: PlanId,
    /// As shown.
    plan_revision: String,
    when: When,
    previewed_at: Timestamp,
    /// Micro-units, as shown.
    due_now: String,
}

/// What a form says of going on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resumed {
    /// Micro-units, as shown.
    due_now: String,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<SubscriptionId>,
) -> Answer {
    let found = access::own(&app.store, id, visitor.account.id).await?;
    render(&app, &page(&app, &visitor, &found).await?)
}

async fn page(
    app: &App,
    visitor: &Visitor,
    found: &Versioned<Subscription>,
) -> Result<PlanChangePage, Problem> {
    let present = changing::present(app, found.clone()).await?;
    let found = &present.found;
    let (listing, plan) = bought(app, &found.value).await?;
    let previewed_at = app.clock.now();
    let mut offers = Vec::new();
    let (mine, next) = (found.value.edition(), found.value.next_edition);
    for other in plans::access::heads(&app.store, listing.id).await? {
        let sold = Edition { plan: other.value.id, revision: other.value.revision };
        // What he has, and what he has decided on, are his as they were sold.
        let edition = [Some(mine), next].into_iter().flatten().find(|own| own.plan == sold.plan);
        // The present plan is an offer only to whoever has decided on another.
        let is_offered = if edition.is_some() { next.is_some() } else { other.value.retired_at.is_none() };
        if !is_offered {
            continue;
        }
        let Edition { plan, revision } = edition.unwrap_or(sold);
        let terms = plans::access::revision(&app.store, plan, revision).await?.value.terms;
        let mut view = view::present(&Plan { revision, ..other.value }, &terms);
        view.trial = view.trial.filter(|_| trial::comes_with_change(&terms));
        offers.push(offer(app, &present, &view, previewed_at).await?);
    }
    offers.sort_by_key(|offer| (!offer.keeps, offer.plan.order));
    Ok(PlanChangePage {
        frame: Frame::new(app, Some(visitor), "subscriptions"),
        id: found.value.id,
        has_month: found.value.paid.is_some(),
        ends: found.value.cancels_at_end,
        listing: listing.name,
        plan: plan.name,
        previewed_at,
        offers,
    })
}

async fn offer(
    app: &App,
    present: &Present,
    view: &PlanView,
    previewed_at: Timestamp,
) -> Result<Offer, Problem> {
    let (plan, Present { found, left }) = (view.id, present);
    let mut offer = Offer {
        plan: plan_shown::present(view, None, app.payments.is_some()),
        now: None,
        due_at_most: "0".to_owned(),
        later: found.value.month().map(|paid| words::moment(paid.period.ends_at)),
        keeps: plan == found.value.plan,
        refused: None,
    };
    if found.value.next_edition.is_some_and(|next| next.plan == plan) {
        offer.refused = offer.later.take().map(|at| format!("Yours from {at} on."));
        return Ok(offer);
    }
    if offer.keeps {
        return Ok(offer);
    }
    let wanted = Wanted { plan, plan_revision: None, when: When::Now, previewed_at: Some(previewed_at) };
    match changing::preview(app, present, &wanted).await {
        Ok(Possible { quote, at_most, .. }) => {
            offer.due_at_most = at_most.micro.to_string();
            let included = found.value.month().map_or(0, |paid| paid.included);
            let why = why_no_more(quote.bound, included, left);
            let told = told((&quote.due_now, &at_most), found.value.paid.is_some());
            offer.now = Some(format!("{told}{why}"));
        }
        Err(refusal @ Refusal::Because { .. }) => {
            (offer.refused, offer.later) = (Some(words::sentence(&refusal.to_string())), None);
        }
        Err(refusal) => return Err(refusal.into()),
    }
    Ok(offer)
}

fn told((due, at_most): (&Money, &Money), has_month: bool) -> String {
    let rest = if has_month { " for the rest of this month" } else { " for the first month" };
    let back = |due: &Money| words::money(&Money::new(due.micro.saturating_neg(), due.currency));
    let told = match due.micro {
        0 => "Costs nothing now".to_owned(),
        1.. => format!("{}{rest}", words::money(due)),
        _ => format!("{} goes back into your wallet", back(due)),
    };
    match at_most.micro {
        _ if at_most == due => format!("{told}."),
        1.. if due.micro >= 0 => format!("{told}, at most {} if your calls go on.", words::money(at_most)),
        1.. => format!("{told}; if your calls go on, at most {} is charged.", words::money(at_most)),
        _ => format!("{told}, at least {} if your calls go on.", back(at_most)),
    }
}

/// Why less goes back of the present month than is left of its time, in a sentence behind the figure.
fn why_no_more(bound: Option<Bound>, included: u64, left: &Left) -> String {
    match bound {
        Some(Bound::IncludedUnits) => format!(
            " Of the present month no more goes back than its included part that is unused: {} of {included}.",
            left.units
        ),
        Some(Bound::CallsLeft) => left.calls.map_or_else(String::new, |calls| {
            let (left, all) = (calls.left, calls.bought);
            format!(
                " Of the present month no more goes back than its calls that are unused: {left} of {all}."
            )
        }),
        Some(Bound::ChargesLeft) => " The rest of the present month was given back already.".to_owned(),
        Some(Bound::TimeLeft) | None => String::new(),
    }
}

/// Changes the plan.
pub(super) async fn change(
    State(app): State<App>,
    Path(id): Path<SubscriptionId>,
    posted: PostedBy<Chosen>,
) -> Answer {
    let PostedBy { visitor, given } = posted;
    let found = access::own(&app.store, id, visitor.account.id).await?;
    let Chosen { plan, plan_revision, when, previewed_at, due_now } = given;
    let due_now = micro(&due_now)?;
    let due_now = if when == When::Now { due_now } else { 0 };
    let agreed = Some(Money::new(due_now, currency_of(&app, &found.value).await?));
    let wanted = Wanted {
        plan,
        plan_revision: Some(shown_revision(&plan_revision)?),
        when,
        previewed_at: Some(previewed_at),
    };
    let done = match changing::change(&app, found.clone(), &wanted, agreed).await {
        Ok(_) if when == When::Now => "plan_changed",
        Ok(decided) if decided.value.next_edition.is_none() => "plan_kept",
        Ok(_) => "plan_changes",
        Err(refusal) => {
            let refused = Refused::of(refusal)?;
            // Read again: it may have been brought up to date, or somebody else changed it.
            let found = access::own(&app.store, id, visitor.account.id).await?;
            let (status, mut again) = (refused.status, page(&app, &visitor, &found).await?);
            again.frame = again.frame.refusing(refused);
            return render_as(&app, status, &again);
        }
    };
    Ok(Redirect::to(&format!("/subscriptions/{id}?done={done}")).into_response())
}

/// Goes on with a subscription.
pub(super) async fn resume(
    State(app): State<App>,
    Path(id): Path<SubscriptionId>,
    posted: PostedBy<Resumed>,
) -> Answer {
    let PostedBy { visitor, given } = posted;
    let found = access::own(&app.store, id, visitor.account.id).await?;
    let agreed = Money::new(micro(&given.due_now)?, currency_of(&app, &found.value).await?);
    let refusal = match buying::resume(&app, found, Some(agreed)).await {
        Ok(_) => return Ok(Redirect::to(&format!("/subscriptions/{id}?done=resumed")).into_response()),
        Err(refusal) => refusal,
    };
    let refused = Refused::of(refusal)?;
    let mut again = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
    let status = refused.status;
    again.frame = again.frame.refusing(refused);
    render_as(&app, status, &again)
}

/// Micro-units as a form carries them.
fn micro(shown: &str) -> Result<i64, Problem> {
    let malformed = "the form's amount is none; load its page again";
    shown.parse().map_err(|_| Problem::new(Code::RequestMalformed, malformed))
}

/// What a subscription is paid in: a change to a plan in another currency is refused.
async fn currency_of(app: &App, subscription: &Subscription) -> Result<Currency, Problem> {
    let edition = plans::access::revision(&app.store, subscription.plan, subscription.plan_revision).await?;
    Ok(edition.value.terms.price.currency)
}
