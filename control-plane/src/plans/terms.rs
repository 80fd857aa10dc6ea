//! What a plan promises and costs, as given, stored and shown. Next: `rules` checks it, `documents` keeps it in a revision.

use apiclay_config::money::Money;
use apiclay_config::snapshot::{Binding, Limit, Window};
use serde::{Deserialize, Serialize};

/// What a plan promises and costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// A month.
    pub price: Money,
    /// A call.
    #[serde(default)]
    pub usage_price: Option<UsagePrice>,
    /// How much, when.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Before anything is paid.
    #[serde(default)]
    pub trial: Option<Trial>,
    /// How many calls at once.
    #[serde(default)]
    pub concurrency_max: Option<u32>,
    /// Plugins on the calls of those who hold it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

impl Terms {
    /// Whether anything is ever owed.
    #[must_use]
    pub fn is_priced(&self) -> bool {
        !self.price.is_zero() || self.is_per_call()
    }

    /// Whether nothing is owed but for calls, each as it is made: such a plan can be had with a wallet alone.
    #[must_use]
    pub fn is_paid_by_the_call(&self) -> bool {
        self.price.is_zero() && self.is_per_call()
    }

    /// Whether each call after the trial costs something.
    #[must_use]
    pub fn is_per_call(&self) -> bool {
        self.usage_price.is_some_and(|usage| !usage.amount.is_zero())
    }
}

/// Calls before anything is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// How many.
    pub calls: u64,
}

/// Money as it is written, for the API's description.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only its shape is used")]
pub struct MoneyShape {
    /// A decimal string with at most six places.
    #[schema(example = "12.50")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "INR")]
    currency: String,
}

/// What each unit costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsagePrice {
    /// What is counted.
    pub unit: Unit,
    /// What one costs.
    #[schema(value_type = MoneyShape)]
    pub amount: Money,
}

/// A limit as it is given.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitInput {
    /// What is counted.
    pub unit: Unit,
    /// In which window.
    pub window: WindowInput,
    /// How many.
    pub max: u64,
    /// Refuse at the limit (the default), or count and let pass.
    #[serde(default = "hard_by_default")]
    pub hard: bool,
}

const fn hard_by_default() -> bool {
    true
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Calls that the gateway answered from the upstream.
    Call,
}

/// The windows that limits have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowInput {
    /// A rate.
    Second,
    /// A rate.
    Minute,
    /// A UTC hour.
    Hour,
    /// A UTC day.
    Day,
    /// A UTC month.
    Month,
}

impl From<WindowInput> for Window {
    fn from(window: WindowInput) -> Self {
        match window {
            WindowInput::Second => Self::Second,
            WindowInput::Minute => Self::Minute,
            WindowInput::Hour => Self::Hour,
            WindowInput::Day => Self::Day,
            WindowInput::Month => Self::Month,
        }
    }
}

impl From<Window> for WindowInput {
    fn from(window: Window) -> Self {
        match window {
            Window::Second => Self::Second,
            Window::Minute => Self::Minute,
            Window::Hour => Self::Hour,
            Window::Day => Self::Day,
            Window::Month => Self::Month,
        }
    }
}

impl From<&LimitInput> for Limit {
    fn from(input: &LimitInput) -> Self {
        Self { window: input.window.into(), max: input.max, hard: input.hard }
    }
}
