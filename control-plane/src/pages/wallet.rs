//! `/wallet`: what the visitor has, how it came there, and more of it. The figures are the journal's, the order is
//! `payments`'.

use apiclay_config::ids::OrderId;
use apiclay_config::money::{Currency, Money};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::PostedBy;
use super::frame::{Frame, render, render_again};
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::http::{Code, Paging, Problem, Query};
use crate::ledger::EntryKind;
use crate::payments::documents::{Order, TopUpStatus};
use crate::payments::routes_topups as topups;
use crate::store;
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
    faults: Faults,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, Some(&visitor), "wallet").after(asked.done.as_deref());
    let page = page(&app, &visitor, frame, asked.cursor, String::new(), Faults::default()).await?;
    render(&app, &page)
}

async fn page(
    app: &App,
    visitor: &Visitor,
    frame: Frame,
    cursor: Option<String>,
    amount: String,
    faults: Faults,
) -> Result<WalletPage, Problem> {
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
            render_again(&app, &page(&app, &visitor, frame, None, given.amount, faults).await?)
        }
    }
}

/// Rupees as people write them: `500`, `1,000.50`, `₹500`.
fn amount_of(text: &str) -> Result<Money, Problem> {
    let plain = text.trim_start_matches('₹').trim().replace(',', "");
    let wire = serde_json::json!({ "amount": plain, "currency": Currency::INR });
    serde_json::from_value(wire)
        .map_err(|_| Problem::field("/amount", "amount_invalid", "an amount in rupees, such as 500 or 99.50"))
}
