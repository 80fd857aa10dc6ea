//! An invoice as it is told: by the API to its buyer and to admins, and in the same words on its page.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, InvoiceId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::Money;
use serde::Serialize;
use utoipa::ToSchema;

use super::documents::{Invoice, InvoiceLine, Of, What};
use crate::plans::terms::MoneyShape;

/// An invoice or a credit note.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InvoiceView {
    #[schema(value_type = String)]
    id: InvoiceId,
    /// Its number, without gaps in its series.
    #[schema(example = "INV-2026-000001")]
    number: String,
    kind: Kind,
    #[schema(value_type = String)]
    account_id: AccountId,
    /// The calendar month (UTC) that it is of; null for a credit note on an invoice.
    #[schema(value_type = Option<String>, format = DateTime)]
    begins_at: Option<Timestamp>,
    /// The first moment after it.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// What was charged; sums to the total.
    lines: Vec<LineView>,
    /// What was paid from the wallet; below zero where money went back to it.
    #[schema(value_type = MoneyShape)]
    total: Money,
    /// The invoice that this credits; null where it credits none.
    credits: Option<Credited>,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
}

/// Whether money was taken or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Taken.
    Invoice,
    /// Given back.
    CreditNote,
}

/// An invoice of which money was given back.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Credited {
    #[schema(value_type = String)]
    invoice_id: InvoiceId,
    number: String,
    /// Which of its lines, counted from 1; null on notes of earlier releases.
    line: Option<u32>,
    reason: String,
}

/// A line of an invoice.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct LineView {
    /// What is charged for.
    what: Charged,
    #[schema(value_type = String)]
    vendor_id: VendorId,
    /// The vendor's name then.
    vendor: String,
    /// The listing's name then.
    listing: String,
    /// The plan's name then.
    plan: String,
    #[schema(value_type = String)]
    plan_id: PlanId,
    plan_revision: u32,
    /// Null where there were too many to name: then it is all of one plan's.
    #[schema(value_type = Option<String>)]
    subscription_id: Option<SubscriptionId>,
    /// The first moment of the subscription's period.
    #[schema(value_type = String, format = DateTime)]
    period_begins_at: Timestamp,
    /// The first moment after it; null for usage.
    #[schema(value_type = Option<String>, format = DateTime)]
    period_ends_at: Option<Timestamp>,
    /// How many units; null where none are charged for.
    units: Option<u64>,
    #[schema(value_type = MoneyShape)]
    amount: Money,
}

/// What a line charges for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Charged {
    /// A period of the plan.
    Period,
    /// The difference to another plan within a period.
    Change,
    /// Usage.
    Usage,
    /// Usage of an earlier month, told of when that was complete already.
    LateUsage,
}

/// An invoice as it is told.
#[must_use]
pub fn present(invoice: &Invoice) -> InvoiceView {
    let (begins_at, ends_at) = match &invoice.of {
        Of::Month(covered) => (Some(covered.begins_at), Some(covered.ends_at)),
        Of::Credit { .. } => (None, None),
    };
    let credits = match &invoice.of {
        Of::Month(_) => None,
        Of::Credit { invoice: id, invoice_name, line, reason, .. } => Some(Credited {
            invoice_id: *id,
            number: invoice_name.clone(),
            line: *line,
            reason: reason.clone(),
        }),
    };
    InvoiceView {
        id: invoice.id,
        number: invoice.name(),
        kind: if invoice.is_credit() { Kind::CreditNote } else { Kind::Invoice },
        account_id: invoice.account,
        begins_at,
        ends_at,
        lines: invoice.lines.iter().map(|line| present_line(invoice, line)).collect(),
        total: invoice.total,
        credits,
        issued_at: invoice.issued_at,
    }
}

fn present_line(invoice: &Invoice, line: &InvoiceLine) -> LineView {
    let (what, period_begins_at, period_ends_at, units) = match line.item.what {
        What::Period { begins_at, ends_at } => (Charged::Period, begins_at, Some(ends_at), None),
        What::Change { begins_at, ends_at } => (Charged::Change, begins_at, Some(ends_at), None),
        What::Usage { period_begins_at, units } => (Charged::Usage, period_begins_at, None, Some(units)),
        What::LateUsage { period_begins_at, units } => {
            (Charged::LateUsage, period_begins_at, None, Some(units))
        }
    };
    LineView {
        what,
        vendor_id: line.vendor,
        vendor: line.vendor_name.clone(),
        listing: line.listing_name.clone(),
        plan: line.plan_name.clone(),
        plan_id: line.item.plan,
        plan_revision: line.item.plan_revision,
        subscription_id: Some(line.item.subscription).filter(|id| id.as_u128() != 0),
        period_begins_at,
        period_ends_at,
        units,
        amount: Money::new(line.micro, invoice.total.currency),
    }
}
