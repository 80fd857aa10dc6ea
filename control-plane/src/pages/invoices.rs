//! `/invoices`: what the visitor's months came to, and each as a page that prints on paper as it stands.

use apiclay_config::ids::InvoiceId;
use apiclay_config::money::Money;
use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::frame::{Frame, render};
use super::visitor::SignedIn;
use super::words;
use crate::app::App;
use crate::http::{Paging, Path, Query};
use crate::invoices::documents::{Invoice, InvoiceLine, Of, What};
use crate::invoices::routes::{of_account, own};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    cursor: Option<String>,
}

struct InvoiceShown {
    id: InvoiceId,
    name: String,
    what: String,
    total: String,
}

#[derive(Template)]
#[template(path = "invoices.html")]
struct InvoicesPage {
    frame: Frame,
    invoices: Vec<InvoiceShown>,
    next_cursor: Option<String>,
}

struct LineShown {
    what: String,
    of: String,
    units: Option<u64>,
    amount: String,
}

struct CreditShown {
    invoice: InvoiceId,
    name: String,
    /// What it credits of that.
    line: Option<String>,
    reason: String,
}

#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage {
    frame: Frame,
    name: String,
    title: &'static str,
    month: Option<String>,
    issued: String,
    host: String,
    buyer: String,
    email: String,
    credits: Option<CreditShown>,
    lines: Vec<LineShown>,
    /// Whether a line counts something.
    has_units: bool,
    total: String,
}

/// The list.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let paging = Paging { limit: None, cursor: asked.cursor };
    let page = of_account(&app.store, visitor.account.id, paging).await?;
    let shown = |invoice: &Invoice| InvoiceShown {
        id: invoice.id,
        name: invoice.name(),
        what: match &invoice.of {
            Of::Month(covered) => words::written(covered.begins_at, "%B %Y"),
            Of::Credit { invoice_name, .. } => format!("Credit on {invoice_name}"),
        },
        total: signed(&invoice.total),
    };
    let invoices = page.items.iter().map(|found| shown(&found.value)).collect();
    let frame = Frame::new(&app, Some(&visitor), "wallet");
    render(&app, &InvoicesPage { frame, invoices, next_cursor: page.next_cursor })
}

/// One of them.
pub(super) async fn show_one(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Path(id): Path<InvoiceId>,
) -> Answer {
    let invoice = own(&app.store, id, visitor.account.id).await?;
    let month = invoice.covered().map(|covered| words::written(covered.begins_at, "%B %Y"));
    let credits = match &invoice.of {
        Of::Month(_) => None,
        Of::Credit { invoice: id, invoice_name, line, reason, .. } => Some(CreditShown {
            invoice: *id,
            name: invoice_name.clone(),
            line: match line {
                Some(line) => credited(&own(&app.store, *id, visitor.account.id).await?, *line),
                None => None,
            },
            reason: reason.clone(),
        }),
    };
    let lines: Vec<LineShown> = invoice.lines.iter().map(|line| line_shown(&invoice, line)).collect();
    let page = InvoicePage {
        frame: Frame::new(&app, Some(&visitor), "wallet"),
        name: invoice.name(),
        title: if invoice.is_credit() { "Credit note" } else { "Invoice" },
        month,
        issued: words::day(invoice.issued_at),
        host: app.app_url.host_str().unwrap_or_default().to_owned(),
        buyer: visitor.account.name.clone(),
        email: visitor.account.email.clone(),
        credits,
        has_units: lines.iter().any(|line| line.units.is_some()),
        lines,
        total: signed(&invoice.total),
    };
    render(&app, &page)
}

/// What an invoice's line of this number, counted from 1, is for.
fn credited(invoice: &Invoice, number: u32) -> Option<String> {
    let line = invoice.lines.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
    let LineShown { what, of, .. } = line_shown(invoice, line);
    Some(format!("{what}, {of}"))
}

fn line_shown(invoice: &Invoice, line: &InvoiceLine) -> LineShown {
    let days = |from, to| format!("{} to {}", words::day(from), words::day(to));
    let (what, units) = match line.item.what {
        What::Period { begins_at, ends_at } => (days(begins_at, ends_at), None),
        What::Change { begins_at, ends_at } => {
            (format!("Change of plan within {}", days(begins_at, ends_at)), None)
        }
        What::Usage { period_begins_at, units } => {
            (format!("Usage, month from {}", words::day(period_begins_at)), Some(units))
        }
        What::LateUsage { period_begins_at, units } => (
            format!("Late usage of an earlier invoice's month, month from {}", words::day(period_begins_at)),
            Some(units),
        ),
    };
    LineShown {
        what,
        of: format!("{} · {} · {}", line.listing_name, line.plan_name, line.vendor_name),
        units,
        amount: signed(&Money::new(line.micro, invoice.total.currency)),
    }
}

/// `₹12.00`, and `−₹12.00` for what goes back: with both decimals, as amounts stand one below the other.
fn signed(amount: &Money) -> String {
    let size = words::money_whole(&Money::new(amount.micro.saturating_abs(), amount.currency));
    if amount.micro < 0 { format!("−{size}") } else { size }
}
