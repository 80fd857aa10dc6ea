//! `/wallet`: what the visitor has, how it came there, more of it, and a budget. The figures are the journal's, the order is
//! `payments`'.

use apiclay_config::ids::OrderId;
use apiclay_config::money::{Currency, Money};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::amount::amount_of;
use super::budget::{self, BudgetShown};
use super::faults::Faults;
use super::form::{Nothing, PostedBy};
use super::frame::{Frame, render, render_again, render_as};
use super::movements::{self, Movements, Show};
use super::once::id_of;
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::http::{Code, Problem, Query};
use crate::payments::documents::{Order, TopUpStatus};
use crate::payments::minor::to_minor;
use crate::payments::{routes_topups as topups, waiting};
use crate::wallet::budget as budgets;
use crate::wallet::statement;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    cursor: Option<String>,
    #[serde(default)]
    show: Show,
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    amount: String,
    once: OrderId,
}

struct WaitingShown {
    id: OrderId,
    amount: String,
    at: String,
}

#[derive(Template)]
#[template(path = "wallet.html")]
struct WalletPage {
    frame: Frame,
    balance: String,
    held: Option<String>,
    free: String,
    takes_payments: bool,
    amount: String,
    /// Makes a form that is sent twice make one order.
    once: OrderId,
    /// Above the field for it.
    hint: String,
    top_up_faults: Faults,
    movements: Movements,
    /// To be paid.
    unpaid: Vec<WaitingShown>,
    /// Paid, as their buyer has shown, and not yet by the provider's own word.
    confirming: Vec<WaitingShown>,
    budget: BudgetShown,
    budget_faults: Faults,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, Some(&visitor), "wallet").after(asked.done.as_deref());
    let given = Given { cursor: asked.cursor, show: asked.show, ..Given::default() };
    render(&app, &page(&app, &visitor, frame, given).await?)
}

/// What a visitor has asked for or filled in, and what is wrong with it.
#[derive(Default)]
struct Given {
    /// Where the movements begin.
    cursor: Option<String>,
    /// Which of them.
    show: Show,
    /// To be topped up.
    amount: String,
    /// The form's, where it was sent.
    once: Option<OrderId>,
    top_up_faults: Faults,
    /// The budget's form, where it was sent.
    budget: Option<budget::Wanted>,
    budget_faults: Faults,
}

/// The page, with forms as they were given.
async fn page(app: &App, visitor: &Visitor, frame: Frame, given: Given) -> Result<WalletPage, Problem> {
    let Given { cursor, show, amount, once, top_up_faults, budget: wanted, budget_faults } = given;
    let (account, currency) = (visitor.account.id, Currency::INR);
    let standing = statement::standing(&app.journal, account, currency).await?;
    let waiting = waiting::shown(&app.store, account).await?;
    let (confirming, unpaid) =
        waiting.iter().partition::<Vec<_>, _>(|order| order.status == TopUpStatus::Confirming);
    Ok(WalletPage {
        frame,
        balance: words::money(&standing.balance),
        held: (!standing.held.is_zero()).then(|| words::money(&standing.held)),
        free: words::money(&standing.free()),
        takes_payments: app.payments.is_some(),
        amount,
        once: once.unwrap_or_else(OrderId::generate),
        hint: format!("{}. What you do not spend stays yours.", bounds(currency)?),
        top_up_faults,
        movements: movements::shown(app, account, currency, (show, cursor)).await?,
        unpaid: unpaid.into_iter().map(present).collect(),
        confirming: confirming.into_iter().map(present).collect(),
        budget: budget::shown(app, account, &standing, wanted).await?,
        budget_faults,
    })
}

fn present(order: &Order) -> WaitingShown {
    WaitingShown { id: order.id, amount: words::money(&order.amount), at: words::moment(order.created_at) }
}

/// `From ₹1 to ₹500,000`.
fn bounds(currency: Currency) -> Result<String, Problem> {
    let (least, most) = topups::bounds(currency).map_err(Problem::internal)?;
    Ok(format!("From {} to {}", words::money_parted(&least), words::money_parted(&most)))
}

/// Begins a top-up, and leads to where it is paid.
pub(super) async fn begin(State(app): State<App>, posted: PostedBy<Wanted>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let account = visitor.account.id;
    let begun = match amount_of(&given.amount).and_then(within) {
        // Another amount is another order.
        Ok(amount) => {
            topups::begin(&app, account, id_of(account, given.once, &amount.to_string()), amount).await
        }
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(order) => Ok(Redirect::to(&format!("/wallet/topups/{}", order.id)).into_response()),
        Err(problem) => {
            // An order that the provider has not answered for is gone on with; one that was refused is over.
            let (status, once) = match problem.code() {
                Code::PaymentProviderUnavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(given.once)),
                _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
            };
            let top_up_faults =
                Faults::of(problem, &[(Code::LimitReached, "amount")])?.renamed("amount/amount", "amount");
            let frame = Frame::new(&app, Some(&visitor), "wallet");
            let again = Given { amount: given.amount, once, top_up_faults, ..Given::default() };
            render_as(&app, status, &page(&app, &visitor, frame, again).await?)
        }
    }
}

/// Sets a budget.
pub(super) async fn set_budget(State(app): State<App>, posted: PostedBy<budget::Wanted>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let set = match amount_of(&given.budget).and_then(budget::within) {
        Ok(amount) => {
            let (now, hard_stop) = (app.clock.now(), given.hard_stop.is_some());
            let set =
                budgets::set(&app.store, &app.journal, now, visitor.account.id, amount, hard_stop).await;
            set.map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match set {
        Ok(_) => Ok(Redirect::to("/wallet?done=budget_set").into_response()),
        Err(problem) => {
            let budget_faults = Faults::of(problem, &[])?.renamed("amount", "budget");
            let frame = Frame::new(&app, Some(&visitor), "wallet");
            let again = Given { budget: Some(given), budget_faults, ..Given::default() };
            render_again(&app, &page(&app, &visitor, frame, again).await?)
        }
    }
}

/// Takes it away.
pub(super) async fn remove_budget(State(app): State<App>, posted: PostedBy<Nothing>) -> Answer {
    budgets::remove(&app.store, posted.visitor.account.id, Currency::INR).await?;
    Ok(Redirect::to("/wallet?done=budget_removed").into_response())
}

/// Whether so much can be topped up, told in the words of the page.
fn within(amount: Money) -> Result<Money, Problem> {
    let (least, most) = topups::bounds(amount.currency).map_err(Problem::internal)?;
    if !(least.micro..=most.micro).contains(&amount.micro) {
        return Err(Problem::field("/amount", "out_of_range", bounds(amount.currency)?));
    }
    match to_minor(amount) {
        Ok(_) => Ok(amount),
        Err(_) => Err(Problem::field("/amount", "amount_invalid", "at most two decimals, as in 99.50")),
    }
}
