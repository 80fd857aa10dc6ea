//! What limits a known caller, and what is left to him, in the headers of each answer. Next: the lanes write them with the answer's head
//! (`respond.rs`).

use apiclay_config::usage::LeasedWindow;
use arrayvec::ArrayString;
use http::HeaderName;

use crate::context::Context;
use crate::limits::View;
use crate::runtime::{Entitlement, Quota, Rate, rates};

/// What is left and when it begins anew.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The plan's limits.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) for a known caller.
pub fn rate_limit_headers(context: &Context, add: &mut dyn FnMut(&HeaderName, &[u8])) {
    let Some(entitlement) = context.credential.as_ref().map(|credential| &credential.entitlement) else {
        return;
    };
    // Nothing is left to one that may not call.
    if entitlement.inactive {
        return;
    }
    let counted = entitlement.counted();
    // But for a trial, which may end by the day, what limits a caller stays.
    if entitlement.trial_calls.is_none() {
        let policy = counted.policy.get_or_init(|| policy(entitlement, context).0.as_str().into());
        add_unless_empty(&RATELIMIT_POLICY, policy, add);
    } else {
        add_unless_empty(&RATELIMIT_POLICY, &policy(entitlement, context).0, add);
    }
    let mut left = LimitText::default();
    for (rate, remaining) in counted.rates.iter().zip(context.rates_left) {
        if let (Some((name, _)), Some(remaining)) = (rate_name(rate), remaining) {
            left.item(name, ";r=", u64::from(remaining));
        }
    }
    for (name, quota) in quotas(entitlement, context) {
        let View { remaining, resets_in_ms, .. } = quota.tally.view_at(context.now);
        left.item(name, ";r=", remaining).parameter(";t=", resets_in_ms.map(|ms| ms.div_ceil(1_000)));
    }
    add_unless_empty(&RATELIMIT, &left.0, add);
}

fn add_unless_empty(name: &HeaderName, text: &str, add: &mut dyn FnMut(&HeaderName, &[u8])) {
    if !text.is_empty() {
        add(name, text.as_bytes());
    }
}

fn policy(entitlement: &Entitlement, context: &Context) -> LimitText {
    let mut policy = LimitText::default();
    for rate in &entitlement.counted().rates {
        if let Some((name, seconds)) = rate_name(rate) {
            policy.item(name, ";q=", u64::from(rate.max)).parameter(";w=", Some(seconds));
        }
    }
    for (name, quota) in quotas(entitlement, context) {
        policy
            .item(name, ";q=", quota.tally.view_at(context.now).max)
            .parameter(";w=", quota.seconds.map(u64::from));
    }
    policy
}

fn rate_name(rate: &Rate) -> Option<(&'static str, u64)> {
    match rates::seconds(rate.window)? {
        1 => Some(("second", 1)),
        seconds => Some(("minute", seconds)),
    }
}

/// The counters that limit calls now, by their names. Money is no limit on calls.
fn quotas<'c>(
    entitlement: &'c Entitlement,
    context: &'c Context,
) -> impl Iterator<Item = (&'static str, &'c Quota)> {
    let now = entitlement.counted().tallies.iter();
    now.filter(|quota| entitlement.needs(quota.window, context.at)).filter_map(|quota| {
        let name = match quota.window {
            LeasedWindow::Hour => "hour",
            LeasedWindow::Day => "day",
            LeasedWindow::Month => "month",
            LeasedWindow::Trial => "trial",
            LeasedWindow::Wallet => return None,
        };
        Some((name, quota))
    })
}

/// The text of such a header, built without an allocation.
#[derive(Default)]
struct LimitText(ArrayString<LIMITS_MAX_BYTES>);

/// Six limits at most, each a name of 6 characters and two numbers of 20.
const LIMITS_MAX_BYTES: usize = 512;

impl LimitText {
    fn item(&mut self, name: &str, key: &str, number: u64) -> &mut Self {
        if !self.0.is_empty() {
            self.push(", ");
        }
        self.push("\"");
        self.push(name);
        self.push("\"");
        self.parameter(key, Some(number))
    }

    fn parameter(&mut self, key: &str, number: Option<u64>) -> &mut Self {
        if let Some(number) = number {
            self.push(key);
            self.push(itoa::Buffer::new().format(number));
        }
        self
    }

    fn push(&mut self, text: &str) {
        // It is made for all that there can be.
        let _ = self.0.try_push_str(text);
    }
}
