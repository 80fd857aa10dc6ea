//! What a plan promises and costs, as given, stored and shown. Next: `rules` checks it, `documents` keeps it in a revision.

use apiclay_config::money::Money;
use apiclay_config::snapshot::{Binding, Limit, Meter, StatusRange, Window};
use serde::{Deserialize, Serialize};

use super::units::{MeteredUnit, UsageUnit};

/// What a plan promises and costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// A month.
    pub price: Money,
    /// A call, or what is counted in its place.
    #[serde(default)]
    pub usage_price: Option<UsagePrice>,
    /// How much, when.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// The time zone whose hours, days and months limits are counted in; UTC where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Before anything is paid.
    #[serde(default)]
    pub trial: Option<Trial>,
    /// How many calls at once.
    #[serde(default)]
    pub concurrency_max: Option<u32>,
    /// The statuses of answers that are billed; where it says nothing, all below 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billable_statuses: Option<Vec<StatusRange>>,
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

    /// The unit of its price of usage, where that is not a call.
    #[must_use]
    pub fn metered(&self) -> Option<&MeteredUnit> {
        self.usage_price.as_ref().and_then(|usage| usage.unit.metered())
    }

    /// How a gateway reads what a call used.
    #[must_use]
    pub fn meter(&self) -> Option<Meter> {
        self.metered().and_then(MeteredUnit::meter)
    }

    /// Units that each month includes.
    #[must_use]
    pub fn included(&self) -> u64 {
        self.usage_price.as_ref().and_then(|usage| usage.included).unwrap_or(0)
    }

    /// Whether each call after the trial costs something.
    #[must_use]
    pub fn is_per_call(&self) -> bool {
        self.usage_price.as_ref().is_some_and(|usage| usage.amounts().any(|amount| !amount.is_zero()))
    }
}

/// Calls before anything is paid: so many, or for so many days, or both, whichever ends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// For how many days from when the account first began one of this listing's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

impl Trial {
    /// So many calls, whenever they are made.
    #[must_use]
    pub const fn of_calls(calls: u64) -> Self {
        Self { calls: Some(calls), days: None }
    }
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

/// What units cost: one amount for each, or tiers. Next: `rules_usage` checks it, `pricing` reckons with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsagePrice {
    /// What is counted.
    pub unit: UsageUnit,
    /// What each one costs; in its place there may be tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneyShape>)]
    pub amount: Option<Money>,
    /// What they cost by how many there are in a month; the last one has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<Tier>>,
    /// How tiers apply; given with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TierMode>,
    /// So many units of each month cost nothing. Tiers count from the first unit after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<u64>,
}

impl UsagePrice {
    /// Each call at the same price.
    #[must_use]
    pub const fn flat(amount: Money) -> Self {
        Self { unit: UsageUnit::CALL, amount: Some(amount), tiers: None, mode: None, included: None }
    }

    /// Every amount that it names.
    pub fn amounts(&self) -> impl Iterator<Item = &Money> {
        self.amount.iter().chain(self.tiers.iter().flatten().map(|tier| &tier.amount))
    }
}

/// A price up to a number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The last unit of the month that is in it; the last tier has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// What one unit costs.
    #[schema(value_type = MoneyShape)]
    pub amount: Money,
}

/// How tiers apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TierMode {
    /// Each unit costs what its own tier says.
    Graduated,
    /// All units of the month cost what the tier says that their number reaches.
    Volume,
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
    /// An hour of the plan's zone.
    Hour,
    /// A day of the plan's zone.
    Day,
    /// A month of the plan's zone.
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
