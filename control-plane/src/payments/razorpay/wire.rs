//! Razorpay's JSON, as documented, as far as we read or write it. A payment's card, address and names are not even read.
//! Amounts are whole paise (or the like). Next: the neutral types of `provider`, where every amount is exact or refused.

use std::collections::BTreeMap;

use apiclay_config::money::Currency;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::checks::{check_refund_key, positive_minor};
use crate::payments::minor::{AmountError, from_minor};
use crate::payments::provider::{
    NewRefund, OrderStatus, PaymentStatus, ProviderOrder, ProviderPayment, ProviderRefund, RefundStatus,
};
use crate::payments::provider_error::Unsendable;

/// The note that bears our name for a refund.
pub const REFUND_NOTE: &str = "apiclay_refund";

/// Notes. None are written `[]`, which is PHP's empty map; some answers have `{}` or `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::Array(items) if items.is_empty() => Ok(Self::default()),
            // Made at the desk, a note can hold anything; what is no text is none of ours.
            Value::Object(fields) => Ok(Self(
                fields
                    .into_iter()
                    .filter_map(|(name, text)| Some((name, text.as_str()?.to_owned())))
                    .collect(),
            )),
            _ => Err(D::Error::custom("notes are a map, or an empty list")),
        }
    }
}

/// `POST /v1/orders`.
#[derive(Debug, Serialize)]
pub struct NewOrder<'a> {
    /// What is to be paid.
    pub amount: i64,
    /// Of which currency.
    pub currency: &'a str,
    /// Our name for it.
    pub receipt: &'a str,
    /// What is kept beside it.
    pub notes: &'a BTreeMap<String, String>,
}

/// `POST /v1/payments/:id/capture`.
#[derive(Debug, Serialize)]
pub struct Capture<'a> {
    /// The whole amount of the payment.
    pub amount: i64,
    /// Of which currency.
    pub currency: &'a str,
}

/// `POST /v1/payments/:id/refund`. The same refund must be the same bytes at each try, or it is refused.
#[derive(Debug, Serialize)]
pub struct Refunding<'a> {
    /// How much.
    pub amount: i64,
    /// `normal`: by the way it came, in days, without a fee.
    pub speed: &'static str,
    /// Our name for it, as in every event that tells of it.
    pub notes: BTreeMap<&'static str, &'a str>,
    /// Our name for it.
    pub receipt: &'a str,
}

/// A list.
#[derive(Debug, Deserialize)]
pub struct Collection<T> {
    /// What is in it.
    pub items: Vec<T>,
}

/// An order.
#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: String,
    /// What is to be paid.
    pub amount: i64,
    /// What has been paid.
    pub amount_paid: i64,
    /// Of which currency.
    pub currency: Currency,
    /// Our name for it.
    #[serde(default)]
    pub receipt: Option<String>,
    /// `created`, `attempted`, `paid`.
    pub status: String,
    /// What is kept beside it.
    #[serde(default)]
    pub notes: Notes,
    /// When, in seconds since 1970.
    #[serde(default)]
    pub created_at: i64,
}

/// A payment, without its payer.
#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    /// Its name.
    pub id: String,
    /// How much.
    pub amount: i64,
    /// Of which currency.
    pub currency: Currency,
    /// `created`, `authorized`, `captured`, `refunded`, `failed`.
    pub status: String,
    /// What it pays.
    #[serde(default)]
    pub order_id: Option<String>,
    /// Whether the money was ever ours.
    #[serde(default)]
    pub captured: Option<bool>,
    /// How much of it went back.
    #[serde(default)]
    pub amount_refunded: Option<i64>,
}

/// A refund.
#[derive(Debug, Clone, Deserialize)]
pub struct Refund {
    /// Its name.
    pub id: String,
    /// How much.
    pub amount: i64,
    /// Of which currency. The documents' own examples leave it empty.
    #[serde(default)]
    pub currency: String,
    /// Of which payment.
    pub payment_id: String,
    /// Our name for it, and what the desk wrote.
    #[serde(default)]
    pub notes: Notes,
    /// `pending`, `processed`, `failed`.
    #[serde(default)]
    pub status: Option<String>,
}

/// An answer that is no success.
#[derive(Debug, Deserialize)]
pub struct Failure {
    /// Why.
    pub error: FailureBody,
}

/// Why it is none.
#[derive(Debug, Deserialize)]
pub struct FailureBody {
    /// `BAD_REQUEST_ERROR`, `GATEWAY_ERROR`, `SERVER_ERROR`.
    pub code: String,
    /// A sentence.
    #[serde(default)]
    pub description: Option<String>,
    /// The field that it is about.
    #[serde(default)]
    pub field: Option<String>,
    /// The word for it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What was read and cannot be: an amount that does not fit, a currency we don't take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An amount.
    #[error("an amount cannot be read")]
    Amount(#[from] AmountError),
    /// A refund of no currency, of a payment that is not told of.
    #[error("a refund's currency is not told")]
    NoCurrency,
    /// A refund of another currency than its payment.
    #[error("a refund is of another currency than its payment")]
    OtherCurrency,
}

impl TryFrom<Order> for ProviderOrder {
    type Error = Unfit;

    fn try_from(order: Order) -> Result<Self, Unfit> {
        let status = match order.status.as_str() {
            "created" => OrderStatus::Created,
            "attempted" => OrderStatus::Attempted,
            "paid" => OrderStatus::Paid,
            _ => OrderStatus::Unknown,
        };
        Ok(Self {
            amount: from_minor(order.amount, order.currency)?,
            amount_paid: from_minor(order.amount_paid, order.currency)?,
            id: order.id,
            receipt: order.receipt,
            status,
        })
    }
}

impl TryFrom<Payment> for ProviderPayment {
    type Error = Unfit;

    fn try_from(payment: Payment) -> Result<Self, Unfit> {
        let status = match payment.status.as_str() {
            "created" => PaymentStatus::Created,
            "authorized" => PaymentStatus::Authorized,
            "captured" => PaymentStatus::Captured,
            "refunded" => PaymentStatus::Refunded,
            "failed" => PaymentStatus::Failed,
            _ => PaymentStatus::Unknown,
        };
        Ok(Self {
            amount: from_minor(payment.amount, payment.currency)?,
            amount_refunded: from_minor(payment.amount_refunded.unwrap_or(0), payment.currency)?,
            id: payment.id,
            order_id: payment.order_id,
            captured: payment.captured.unwrap_or(status == PaymentStatus::Captured),
            status,
        })
    }
}

impl Refund {
    /// In neutral words. `currency` is the payment's, where it is known.
    ///
    /// # Errors
    /// Where no currency is told, another than the payment's, or the amount does not fit.
    pub fn neutral(self, currency: Option<Currency>) -> Result<ProviderRefund, Unfit> {
        let told = match self.currency.as_str() {
            "" => None,
            code => Some(code.parse::<Currency>().map_err(|_| Unfit::NoCurrency)?),
        };
        let currency = match (told, currency) {
            (Some(told), Some(known)) if told != known => return Err(Unfit::OtherCurrency),
            (told, known) => told.or(known).ok_or(Unfit::NoCurrency)?,
        };
        let status = match self.status.as_deref() {
            Some("pending") => RefundStatus::Pending,
            Some("processed") => RefundStatus::Processed,
            Some("failed") => RefundStatus::Failed,
            _ => RefundStatus::Unknown,
        };
        Ok(ProviderRefund {
            id: self.id,
            our_id: self.notes.0.get(REFUND_NOTE).cloned(),
            payment_id: self.payment_id,
            amount: from_minor(self.amount, currency)?,
            status,
        })
    }
}

impl<'a> Refunding<'a> {
    /// A refund as it is sent, at each try in the same bytes.
    ///
    /// # Errors
    /// Where our name for it or the amount does not suit.
    pub fn of(refund: &'a NewRefund) -> Result<Self, Unsendable> {
        let our_id = check_refund_key(&refund.our_id)?;
        Ok(Self {
            amount: positive_minor(refund.amount)?,
            speed: "normal",
            notes: BTreeMap::from([(REFUND_NOTE, our_id)]),
            receipt: our_id,
        })
    }
}

#[cfg(test)]
mod tests;
