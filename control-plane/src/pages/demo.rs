//! `/demo`: what a demo is, the mail that it would have sent, and the page of a payment provider that nobody pays on.
//! Outside a demo they are not there.

use apiclay_config::ids::AccountId;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::form::PostedBy;
use super::frame::{Frame, render};
use super::visitor::{Anyone, SignedIn};
use super::words;
use crate::app::App;
use crate::http::{Path, Problem};
use crate::payments::documents::Order;
use crate::payments::routes_dev::{refuse, simulator};
use crate::store;

/// Messages on the page.
const MESSAGES_SHOWN_MAX: usize = 50;

struct Mail {
    to: String,
    subject: String,
    text: String,
    at: String,
}

#[derive(Template)]
#[template(path = "demo.html")]
struct DemoPage {
    frame: Frame,
    mails: Vec<Mail>,
    gateway: String,
}

/// The page.
pub(super) async fn show(State(app): State<App>, Anyone(visitor): Anyone) -> Answer {
    let sent = app.mail.sent_last(MESSAGES_SHOWN_MAX).filter(|_| app.demo).ok_or_else(Problem::not_found)?;
    let mails = sent
        .into_iter()
        .map(|sent| Mail {
            to: sent.to,
            subject: sent.subject,
            text: sent.text,
            at: words::moment(sent.created_at),
        })
        .collect();
    let gateway = app.gateway_url.as_str().trim_end_matches('/').to_owned();
    render(&app, &DemoPage { frame: Frame::new(&app, visitor.as_ref(), "demo"), mails, gateway })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decided {
    /// `pay`, or anything else for a bank that says no.
    outcome: String,
}

#[derive(Template)]
#[template(path = "demo_pay.html")]
struct PaymentPage {
    frame: Frame,
    order: String,
    amount: String,
}

/// The pretend provider's page for an order of the visitor's.
pub(super) async fn show_payment(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Path(order): Path<String>,
) -> Answer {
    simulator(&app)?;
    let found = own_order(&app, &order, visitor.account.id).await?;
    let frame = Frame::new(&app, Some(&visitor), "wallet");
    render(&app, &PaymentPage { frame, order, amount: words::money(&found.amount) })
}

/// The pretend buyer pays, or his bank says no.
pub(super) async fn pay(
    State(app): State<App>,
    Path(order): Path<String>,
    posted: PostedBy<Decided>,
) -> Answer {
    let PostedBy { visitor, given } = posted;
    let found = own_order(&app, &order, visitor.account.id).await?;
    if given.outcome == "pay" {
        simulator(&app)?.pay(&order).map_err(refuse)?;
    } else {
        simulator(&app)?.fail(&order).map_err(refuse)?;
    }
    Ok(Redirect::to(&format!("/wallet/topups/{}", found.id)).into_response())
}

async fn own_order(app: &App, provider_order: &str, account: AccountId) -> Result<Order, Problem> {
    let query = store::Query::by("provider_order").equals(provider_order).limit(1);
    let found = app.store.query::<Order>(&query).await?.items.into_iter().next();
    found.map(|order| order.value).filter(|order| order.account == account).ok_or_else(Problem::not_found)
}
