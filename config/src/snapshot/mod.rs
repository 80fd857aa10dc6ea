//! The configuration a gateway serves from, as data: what is sold, where it is proxied, who may call it and how much. The
//! control plane's push domain makes it, the stream carries it, [`validate()`] holds the rules that make it whole, and the
//! gateway's runtime compiles it. Unknown fields are ignored, and parts that cannot be
//! read are left out each for itself ([`Frame::read`]), so that an older gateway reads a newer control plane.

mod billable;
mod delta;
mod faults;
mod headers;
mod in_bulk;
mod meter;
mod part;
mod paths;
mod plans_as_list;
mod unread;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use billable::{STATUS_RANGES_MAX, StatusRange, StatusRangeError};
pub use delta::{Change, Delta, Frame};
pub use faults::{Fault, Faults};
pub use headers::{
    KEY_HEADER, header_is_reserved, header_may_be_injected, header_may_be_metered, header_may_hold_keys,
};
pub use meter::{
    Meter, MeterSource, POINTER_MAX_BYTES, POINTER_TOKENS_MAX, PointerError, UNITS_PER_CALL_MAX,
    parse_pointer,
};
pub use part::Part;
pub use paths::{PathError, parse_path, slug_is_valid};
pub use unread::Unread;
pub use validate::{check_part, faults_of, trial_is_valid, validate};

use crate::clock::Timestamp;
use crate::ids::{AccountId, BindingId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId};
use crate::seal::Sealed;

/// Everything at one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The number of the last change in it.
    pub revision: u64,
    /// Of that change: a restored store gives a number a second time, to another.
    #[serde(default)]
    pub fingerprint: Option<u64>,
    /// What is sold.
    #[serde(deserialize_with = "in_bulk::map")]
    pub listings: BTreeMap<ListingId, Listing>,
    /// Plans by id and revision: what was sold under a revision stays as it was.
    #[serde(with = "plans_as_list")]
    pub plans: BTreeMap<(PlanId, u32), Plan>,
    /// Who may call what.
    #[serde(deserialize_with = "in_bulk::map")]
    pub subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// With which keys.
    #[serde(deserialize_with = "in_bulk::map")]
    pub credentials: BTreeMap<CredentialId, Credential>,
    /// Plugins attached to the whole gateway.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// What of it the reader could not read; nothing where it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// An API that is sold, as the gateway proxies it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Its id.
    pub id: ListingId,
    /// Who sells it.
    pub vendor: VendorId,
    /// First segment of its public path.
    pub vendor_slug: String,
    /// Second segment of its public path.
    pub slug: String,
    /// Suspended by the operator: every call is refused.
    #[serde(default)]
    pub suspended: bool,
    /// Where calls go.
    pub upstream: Upstream,
    /// What can be called.
    #[serde(deserialize_with = "in_bulk::row")]
    pub routes: Vec<Route>,
    /// The header that buyers' keys travel in, in lower case; `x-api-key` where it says nothing.
    #[serde(default)]
    pub key_header: Option<String>,
    /// Headers that the gateway adds for the vendor, their values sealed.
    #[serde(default)]
    pub secrets: Vec<InjectedHeader>,
    /// Plugins attached to it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// Where a listing is proxied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Addresses, by weight.
    #[serde(deserialize_with = "in_bulk::row")]
    pub targets: Vec<Target>,
    /// Limit on connecting, in milliseconds.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u32,
    /// Limit on each wait for the upstream's bytes, in milliseconds.
    #[serde(default = "default_read_timeout_ms")]
    pub read_timeout_ms: u32,
    /// Further tries of a call that is safe to send again.
    #[serde(default = "default_retries_max")]
    pub retries_max: u8,
}

/// The longest trial of a plan, in days.
pub const TRIAL_DAYS_MAX: u32 = 365;
/// Default of [`Upstream::connect_timeout_ms`].
pub const CONNECT_TIMEOUT_DEFAULT_MS: u32 = 5_000;
/// Default of [`Upstream::read_timeout_ms`].
pub const READ_TIMEOUT_DEFAULT_MS: u32 = 60_000;
/// Default of [`Upstream::retries_max`].
pub const RETRIES_DEFAULT: u8 = 1;

const fn default_connect_timeout_ms() -> u32 {
    CONNECT_TIMEOUT_DEFAULT_MS
}
const fn default_read_timeout_ms() -> u32 {
    READ_TIMEOUT_DEFAULT_MS
}
const fn default_retries_max() -> u8 {
    RETRIES_DEFAULT
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `http` or `https`, host, port, and a path that is put before the call's.
    pub url: String,
    /// Its share of the calls, from 1.
    pub weight: u32,
}

/// A public method and path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Its id, which usage names.
    pub id: RouteId,
    /// The method, in capitals.
    pub method: String,
    /// The path below the listing, `{name}` for one segment, `{*rest}` for all that is left.
    pub path: String,
    /// Plugins attached to it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// A header whose value is the vendor's secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedHeader {
    /// The header's name, in lower case.
    pub header: String,
    /// The value, for the gateway's eyes.
    pub value: Sealed,
}

/// A plugin and its configuration, attached to one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// Its id.
    pub id: BindingId,
    /// The plugin type's name.
    pub plugin: String,
    /// What the type's schema describes.
    pub config: serde_json::Value,
    /// Whether a narrower one of its type stands beside it and does not replace it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
}

/// What is bought, at one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Which edition of it.
    pub revision: u32,
    /// Of which listing.
    pub listing: ListingId,
    /// How much may be called, when.
    #[serde(default, deserialize_with = "in_bulk::row")]
    pub limits: Vec<Limit>,
    /// The time zone whose hours, days and months they are counted in; UTC where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How many calls may be in flight at once.
    #[serde(default)]
    pub concurrency_max: Option<u32>,
    /// Calls that may be made before anything is paid.
    #[serde(default)]
    pub trial_calls: Option<u64>,
    /// Days in which calls may be made before anything is paid: until each subscription's [`Subscription::trial_until`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
    /// Whether calls cost something after the trial.
    #[serde(default)]
    pub priced: bool,
    /// Whether each call after the trial costs something; where a plan that is priced says no, the period is paid for.
    #[serde(default)]
    pub per_call: bool,
    /// What its price counts in place of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
    /// The statuses of the upstream's answers that are billed; where it says nothing, all below 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billable_statuses: Option<Vec<StatusRange>>,
    /// Plugins attached to it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// A limit on calls in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The window.
    pub window: Window,
    /// Calls in it.
    pub max: u64,
    /// Refuse at the limit, or count and let pass.
    pub hard: bool,
}

/// The windows that limits have. Seconds and minutes are rates; the others are counted exactly from leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
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

/// An account's right to call a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is: one trial an account and listing.
    pub account: AccountId,
    /// What may be called.
    pub listing: ListingId,
    /// Under which plan.
    pub plan: PlanId,
    /// In which edition.
    pub plan_revision: u32,
    /// Cancelled, suspended or unpaid: refused.
    #[serde(default)]
    pub inactive: bool,
    /// Refused from then on.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// When its trial by days is over; where its plan has one and this says nothing, it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_until: Option<Timestamp>,
    /// Whether it goes on after the trial where its plan is priced: calls are paid from the wallet, or the period was. One
    /// that does not is open for the trial only.
    #[serde(default)]
    pub pays: bool,
}

/// An API key, as a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its id, which usage names.
    pub id: CredentialId,
    /// What it opens.
    pub subscription: SubscriptionId,
    /// [`crate::key::digest`] of the key, in hexadecimal.
    pub digest: crate::key::Digest,
    /// Refused from then on.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}
