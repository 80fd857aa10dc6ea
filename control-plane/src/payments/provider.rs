//! What we need of whoever moves buyers' money, in words that are no provider's: orders, their payments, refunds, and the
//! events that tell of them. A provider brings the same fact by several ways, any number of times; nothing here acts on
//! it. Next: the routes and the reconciler, which write one journal entry a fact, under the fact's own key.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};
use async_trait::async_trait;
use serde_json::Value;

use super::provider_error::{ProviderError, WebhookError};

/// Somebody who takes payments for us.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// What stored events and orders call it.
    fn name(&self) -> &'static str;

    /// The key that a buyer's browser opens the checkout with; no secret.
    fn checkout_key(&self) -> &str;

    /// Makes an order. A receipt that has an order of this amount already gives that one, so that a try whose answer was
    /// lost can be made again.
    async fn create_order(&self, order: &NewOrder) -> Result<ProviderOrder, ProviderError>;

    /// The order under our receipt, the oldest where there are several.
    async fn order_by_receipt(&self, receipt: &str) -> Result<Option<ProviderOrder>, ProviderError>;

    /// Every try to pay an order, as it stands now.
    async fn payments_of(&self, order_id: &str) -> Result<Vec<ProviderPayment>, ProviderError>;

    /// Takes the money of an authorised payment, all of it. One that has been taken already is given as it is.
    async fn capture(&self, payment_id: &str, amount: Money) -> Result<ProviderPayment, ProviderError>;

    /// Gives money of a captured payment back. However often it is called with the same `our_id`, it is one refund, which
    /// may have failed since.
    async fn refund(&self, refund: &NewRefund) -> Result<ProviderRefund, ProviderError>;

    /// Every refund of a payment that was paid in this currency.
    async fn refunds_of(
        &self,
        payment_id: &str,
        currency: Currency,
    ) -> Result<Vec<ProviderRefund>, ProviderError>;

    /// Whether the provider itself said to the buyer's browser that this payment pays this order. `order_id` is the one
    /// that we stored, never one that the browser sends.
    fn checkout_signature_holds(&self, order_id: &str, payment_id: &str, signature: &str) -> bool;

    /// Verifies an event on its bytes as they came, and reads it.
    fn read_webhook(
        &self,
        raw: &[u8],
        signature: &str,
        event_id: Option<&str>,
    ) -> Result<ProviderEvent, WebhookError>;

    /// Reads an event again from what [`ProviderEvent::record`] kept of it, for a replay. It was verified when it came.
    fn read_stored(&self, record: &Value) -> Happened;
}

/// An order to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Our own name for it, never used for another: 40 characters at most.
    pub receipt: String,
    /// What is to be paid, in whole smallest units of the currency.
    pub amount: Money,
    /// What the provider keeps beside it: 15 at most, of 256 characters. No secrets and nothing about a person.
    pub notes: BTreeMap<String, String>,
}

/// An order as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOrder {
    /// The provider's name for it.
    pub id: String,
    /// Ours.
    pub receipt: Option<String>,
    /// What is to be paid.
    pub amount: Money,
    /// What has been paid.
    pub amount_paid: Money,
    /// How far it is.
    pub status: OrderStatus,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// Nobody has tried.
    Created,
    /// Somebody has tried to pay.
    Attempted,
    /// A payment has been captured.
    Paid,
    /// A state that we don't know: to be left as it is, and looked at.
    Unknown,
}

/// A try to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPayment {
    /// The provider's name for it.
    pub id: String,
    /// What it pays; none where it was made without us.
    pub order_id: Option<String>,
    /// How much.
    pub amount: Money,
    /// How far it is.
    pub status: PaymentStatus,
    /// Whether the money was ever taken. A provider gives uncaptured payments back by itself: that refund is none of ours
    /// and takes nothing from a wallet, which never had it.
    pub captured: bool,
    /// How much has been given back.
    pub amount_refunded: Money,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Begun.
    Created,
    /// The bank has said yes; the money is ours once it is captured. A failed payment can still come here, days later.
    Authorized,
    /// The money is ours.
    Captured,
    /// All of it was given back.
    Refunded,
    /// The bank has said no, for now.
    Failed,
    /// A state that we don't know: neither credited nor given up.
    Unknown,
}

/// A refund to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRefund {
    /// Our own name for it, in what the provider sends back too: 10 to 40 letters, digits, `-` and `_`.
    pub our_id: String,
    /// Of which payment.
    pub payment_id: String,
    /// How much of it, in whole smallest units.
    pub amount: Money,
}

/// A refund as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRefund {
    /// The provider's name for it.
    pub id: String,
    /// Ours; none where it was made at the provider's desk.
    pub our_id: Option<String>,
    /// Of which payment.
    pub payment_id: String,
    /// How much.
    pub amount: Money,
    /// How far it is.
    pub status: RefundStatus,
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStatus {
    /// On its way.
    Pending,
    /// With the buyer.
    Processed,
    /// It came back to us.
    Failed,
    /// A state that we don't know: the hold stays.
    Unknown,
}

/// Something that the provider told of.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderEvent {
    /// The provider's name for it, the same at each delivery. The signature does not cover it, so that it is
    /// no key; [`Self::body_digest`] is.
    pub id: Option<String>,
    /// SHA-256 of the body as it came, in hexadecimal; the same at each delivery.
    pub body_digest: String,
    /// When it happened, by the provider's clock.
    pub at: Option<Timestamp>,
    /// What is stored before it acts: the body without what belongs to a card or to a person.
    pub record: Value,
    /// What it says, read from `record`.
    pub happened: Happened,
}

/// What an event says. The order in which events come says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The bank has said yes, perhaps days late; the money is not yet ours.
    PaymentAuthorized(ProviderPayment),
    /// The money is ours.
    PaymentCaptured(ProviderPayment),
    /// The bank has said no; it may change its mind.
    PaymentFailed(ProviderPayment),
    /// The same fact as the capture of this payment, told by another way.
    OrderPaid {
        /// What was paid.
        order: ProviderOrder,
        /// By what.
        payment: ProviderPayment,
    },
    /// Money is to go back.
    RefundCreated(RefundEvent),
    /// It has gone.
    RefundProcessed(RefundEvent),
    /// It did not go.
    RefundFailed(RefundEvent),
    /// One that we have no use for, by its name.
    Other(String),
    /// One that we should know and cannot read: kept, and replayed once the program has learnt it.
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// A refund and what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundEvent {
    /// The refund.
    pub refund: ProviderRefund,
    /// The payment, where the event tells of it. Not captured: the provider gave back what was never ours.
    pub payment: Option<ProviderPayment>,
}
