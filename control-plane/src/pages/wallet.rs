//! `/wallet`: what the visitor has, how it came there, more of it, and a budget. The figures are the journal's, the order is
//! `payments`'.

use apiclay_config::ids::OrderId;
use apiclay_config::money::{Currency, Money};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::budget::{self, BudgetShown};
use super::faults::Faults;
use super::form::{Nothing, PostedBy};
use super::frame::{Frame, render, render_again};
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::http::{Code, Paging, Problem, Query};
use crate::ledger::EntryKind;
use crate::payments::documents::{Order, TopUpStatus};
use crate::payments::routes_topups as topups;
use crate::store;
use crate::wallet::budget as budgets;
use crate::wallet::statement::{self, Movement};

/// Top-ups that are shown while they wait.
const WAITING_SHOWN_MAX: usize = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    cursor: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    amount: String,
}

struct MovementShown {
    what: &'static str,
    /// What more is to be said of it.
    reason: Option<String>,
    at: String,
    amount: String,
    incoming: bool,
    after: String,
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
    movements: Vec<MovementShown>,
    next_cursor: Option<String>,
    waiting: Vec<WaitingShown>,
    budget: BudgetShown,
    faults: Faults,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, Some(&visitor), "wallet").after(asked.done.as_deref());
    let given = Given { cursor: asked.cursor, ..Given::default() };
    render(&app, &page(&app, &visitor, frame, given).await?)
}

/// What a visitor has asked for or filled in, and what is wrong with it.
#[derive(Default)]
struct Given {
    /// Where the movements begin.
    cursor: Option<String>,
    /// To be topped up.
    amount: String,
    /// The budget's form, where it was sent.
    budget: Option<budget::Wanted>,
    /// Of either form.
    faults: Faults,
}

/// The page, with forms as they were given.
async fn page(app: &App, visitor: &Visitor, frame: Frame, given: Given) -> Result<WalletPage, Problem> {
    let Given { cursor, amount, budget: wanted, faults } = given;
    let (account, currency) = (visitor.account.id, Currency::INR);
    let standing = statement::standing(&app.journal, account, currency).await?;
    let paging = Paging { limit: None, cursor };
    let found = statement::movements(&app.store, account, currency, paging).await?;
    let movements = found.items.iter().map(|entry| statement::movement(&entry.value, account, currency));
    Ok(WalletPage {
        frame,
        balance: words::money(&standing.balance),
        held: (!standing.held.is_zero()).then(|| words::money(&standing.held)),
        free: words::money(&standing.free()),
        takes_payments: app.payments.is_some(),
        amount,
        movements: movements.map(shown).collect(),
        next_cursor: found.next_cursor,
        waiting: waiting(app, visitor).await?,
        budget: budget::shown(app, account, &standing, wanted).await?,
        faults,
    })
}

async fn waiting(app: &App, visitor: &Visitor) -> Result<Vec<WaitingShown>, Problem> {
    let mine = store::Query::by("account").equals(visitor.account.id.to_string()).descending();
    let found = app.store.query::<Order>(&mine.limit(WAITING_SHOWN_MAX)).await?;
    let orders = found.items.into_iter().map(|order| order.value);
    let waits = |order: &Order| matches!(order.status, TopUpStatus::Created | TopUpStatus::Confirming);
    let shown = |order: Order| WaitingShown {
        id: order.id,
        amount: words::money(&order.amount),
        at: words::moment(order.created_at),
    };
    Ok(orders.filter(waits).map(shown).collect())
}

fn shown(movement: Movement) -> MovementShown {
    let incoming = movement.amount.micro > 0;
    let amount = Money::new(movement.amount.micro.saturating_abs(), movement.amount.currency);
    MovementShown {
        what: match movement.kind {
            EntryKind::TopUp => "Top-up",
            EntryKind::Refund => "Refund",
            EntryKind::PeriodFee => "Plan",
            EntryKind::Calls => "Calls",
            EntryKind::Correction => "Correction",
            EntryKind::Invoice => "Invoice",
        },
        // Of a top-up it is the order's id, which is for the books.
        reason: Some(movement.reason).filter(|_| movement.kind != EntryKind::TopUp),
        at: words::moment(movement.at),
        amount: words::money(&amount),
        incoming,
        after: words::money(&movement.balance_after),
    }
}

/// Begins a top-up, and leads to where it is paid.
pub(super) async fn begin(State(app): State<App>, posted: PostedBy<Wanted>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let begun = match amount_of(given.amount.trim()) {
        Ok(amount) => topups::begin(&app, visitor.account.id, OrderId::generate(), amount).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(order) => Ok(Redirect::to(&format!("/wallet/topups/{}", order.id)).into_response()),
        Err(problem) => {
            let faults =
                Faults::of(problem, &[(Code::LimitReached, "amount")])?.renamed("amount/amount", "amount");
            let frame = Frame::new(&app, Some(&visitor), "wallet");
            let again = Given { amount: given.amount, faults, ..Given::default() };
            render_again(&app, &page(&app, &visitor, frame, again).await?)
        }
    }
}

/// Sets a budget.
pub(super) async fn set_budget(State(app): State<App>, posted: PostedBy<budget::Wanted>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let set = match amount_of(given.budget.trim()) {
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
            let faults =
                Faults::of(problem, &[])?.renamed("amount/amount", "budget").renamed("amount", "budget");
            let frame = Frame::new(&app, Some(&visitor), "wallet");
            let again = Given { budget: Some(given), faults, ..Given::default() };
            render_again(&app, &page(&app, &visitor, frame, again).await?)
        }
    }
}

/// Takes it away.
pub(super) async fn remove_budget(State(app): State<App>, posted: PostedBy<Nothing>) -> Answer {
    budgets::remove(&app.store, posted.visitor.account.id, Currency::INR).await?;
    Ok(Redirect::to("/wallet?done=budget_removed").into_response())
}

/// Rupees as people write them: `500`, `1,000.50`, `₹500`.
fn amount_of(text: &str) -> Result<Money, Problem> {
    let plain = text.trim_start_matches('₹').trim().replace(',', "");
    let wire = serde_json::json!({ "amount": plain, "currency": Currency::INR });
    serde_json::from_value(wire)
        .map_err(|_| Problem::field("/amount", "amount_invalid", "an amount in rupees, such as 500 or 99.50"))
}
