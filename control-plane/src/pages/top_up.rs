//! `/wallet/topups/{order}`: where a top-up is paid, and what came of it. Outside a demo it is paid in Razorpay's checkout,
//! which opens on this page and on no other: this one alone lets its hosts in. Next: the API's `confirm`, by `pay.js`.

use apiclay_config::ids::OrderId;
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, header};

use super::Answer;
use super::frame::{Frame, render};
use super::visitor::SignedIn;
use super::words;
use crate::app::App;
use crate::http::{Path, Problem};
use crate::payments::documents::{Order, TopUpStatus};
use crate::payments::minor::to_minor;
use crate::payments::razorpay::checkout::{self, PAGE_OPENER_POLICY, PAGE_POLICY};
use crate::payments::routes_topups as topups;
use crate::router::BASE;

/// What the checkout is opened with.
struct Checkout {
    script: &'static str,
    key: String,
    order: String,
    amount_minor: i64,
    currency: String,
    confirm: String,
}

#[derive(Template)]
#[template(path = "top_up.html")]
struct TopUpPage {
    frame: Frame,
    id: OrderId,
    amount: String,
    status: TopUpStatus,
    /// In a demo: the order on the pretend payment page.
    pretend_order: Option<String>,
    checkout: Option<Checkout>,
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<OrderId>,
) -> Answer {
    let order = topups::own(&app, id, visitor.account.id).await?.value;
    let payable = matches!(order.status, TopUpStatus::Created | TopUpStatus::Expired);
    let checkout = if payable && !app.demo { checkout_of(&app, &order)? } else { None };
    let opens = checkout.is_some();
    let page = TopUpPage {
        frame: Frame::new(&app, Some(&visitor), "wallet"),
        id,
        amount: words::money(&order.amount),
        status: order.status,
        pretend_order: order.provider_order.filter(|_| app.demo),
        checkout,
    };
    let mut answer = render(&app, &page)?;
    if opens {
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        let opener = HeaderValue::from_static(PAGE_OPENER_POLICY);
        headers.insert("cross-origin-opener-policy", opener);
    }
    Ok(answer)
}

/// None where nobody takes payments any more, or the provider has not answered yet.
fn checkout_of(app: &App, order: &Order) -> Result<Option<Checkout>, Problem> {
    let (Some(taking), Some(provider_order)) = (&app.payments, &order.provider_order) else {
        return Ok(None);
    };
    Ok(Some(Checkout {
        script: checkout::SCRIPT,
        key: taking.provider.checkout_key().to_owned(),
        order: provider_order.clone(),
        // It was exact when the order was made.
        amount_minor: to_minor(order.amount).map_err(Problem::internal)?,
        currency: order.amount.currency.as_str().to_owned(),
        confirm: format!("{BASE}/wallet/topups/{}/confirm", order.id),
    }))
}
