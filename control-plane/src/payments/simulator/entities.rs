//! Orders, payments and refunds as Razorpay would hold them. Next: `world` and `refunds`, which change them; `present`,
//! which writes them.

use serde_json::Value;

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderState {
    Created,
    Attempted,
    Paid,
}

impl OrderState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Attempted => "attempted",
            Self::Paid => "paid",
        }
    }
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaymentState {
    Authorized,
    Captured,
    Refunded,
    Failed,
}

impl PaymentState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
        }
    }
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefundState {
    Pending,
    Processed,
    Failed,
}

impl RefundState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processed => "processed",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Order {
    pub id: String,
    pub amount: i64,
    pub amount_paid: i64,
    pub currency: String,
    pub receipt: Option<String>,
    pub notes: Value,
    pub state: OrderState,
    pub attempts: u32,
    pub created_at_s: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub id: String,
    pub order_id: String,
    pub amount: i64,
    pub amount_refunded: i64,
    pub currency: String,
    pub state: PaymentState,
    /// Whether the money was ever taken.
    pub captured: bool,
    pub created_at_s: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Refund {
    pub id: String,
    pub payment_id: String,
    pub amount: i64,
    pub currency: String,
    pub notes: Value,
    pub receipt: Option<String>,
    pub speed: String,
    pub state: RefundState,
    pub created_at_s: i64,
}

/// What an idempotency key was used for.
pub(super) struct KeyUse {
    pub payment_id: String,
    pub body: Value,
    pub answer: Value,
}
