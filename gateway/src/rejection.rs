//! Every way in which the gateway refuses a call: one exhaustive enum, and one function that turns it into an answer
//! (RFC 9457, `application/problem+json`). The lanes write that answer.

use apiclay_config::ids::RequestId;
use apiclay_plugins::Answer;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

/// Where a buyer reads what a code means.
const TYPE_BASE: &str = "https://docs.apiclay.dev/problems/";

/// Why a call was refused. Codes are stable: clients decide by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The bytes are no request we can be sure of; what was wrong.
    Malformed(&'static str),
    /// No key.
    CredentialMissing,
    /// Two keys, or a key header twice.
    CredentialAmbiguous,
    /// No such key.
    CredentialInvalid,
    /// A key past its time.
    CredentialExpired,
    /// The wallet is empty; the value of a `Link` header to where it is topped up.
    BalanceExhausted(Option<HeaderValue>),
    /// Cancelled, ended or suspended.
    SubscriptionInactive,
    /// The key is for another listing.
    NotEntitled,
    /// The operator suspended the listing.
    ListingSuspended,
    /// A plugin refused, or failed.
    PluginRejected(String),
    /// No listing or route there.
    RouteNotFound,
    /// A route, but not with this method; those that it has.
    MethodNotAllowed(String),
    /// A body beyond the limit.
    BodyTooLarge,
    /// A head beyond the limit.
    HeadTooLarge,
    /// The plan's rate; when to come again, in milliseconds.
    RateLimited(u64),
    /// Too many calls in flight.
    ConcurrencyLimited,
    /// The trial's calls are used up.
    TrialExhausted,
    /// The plan's quota is used up; when it begins anew, in milliseconds.
    QuotaExhausted(Option<u64>),
    /// No connection to the vendor.
    UpstreamUnreachable,
    /// No answer from the vendor in time.
    UpstreamTimeout,
    /// Limits cannot be counted.
    CountersUnavailable,
    /// Calls cannot be recorded.
    MeteringUnavailable,
    /// No configuration yet.
    NotReady,
    /// The listing, or the plan of the key's subscription, is one that this gateway cannot serve.
    NotServed,
    /// There are as many connections as there may be: to upstreams, or of clients, whose new one is closed and nothing said.
    ConnectionsLimited,
    /// This gateway has sent it itself: the listing's upstream leads here.
    Loops,
    /// The client took too long to send its request's head or body.
    ClientTimeout,
}

/// An answer made by the gateway.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Its status.
    pub status: u16,
    /// Headers besides `Content-Type` and `Content-Length`.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The problem document.
    pub body: Bytes,
}

impl Rejection {
    /// Status, code, title, and what the reader can do.
    fn parts(&self) -> (u16, &'static str, &'static str, String) {
        let (status, code, title, detail) = match self {
            Self::Malformed(what) => (400, "request_malformed", "The request is malformed", *what),
            Self::CredentialMissing => (
                401,
                "credential_missing",
                "An API key is needed",
                "Send your key in the header that the API's page names, X-Api-Key for most.",
            ),
            Self::CredentialAmbiguous => {
                (401, "credential_ambiguous", "More than one API key", "Send one key, in one header, once.")
            }
            Self::CredentialInvalid => (
                401,
                "credential_invalid",
                "The API key is not valid",
                "Copy the key again, or make a new one.",
            ),
            Self::CredentialExpired => {
                (401, "credential_expired", "The API key has expired", "Make a new key.")
            }
            Self::BalanceExhausted(_) => {
                (402, "balance_exhausted", "The balance is used up", "Top up your wallet.")
            }
            Self::SubscriptionInactive => {
                (403, "subscription_inactive", "The subscription is not active", "Renew the subscription.")
            }
            Self::NotEntitled => (
                403,
                "not_entitled",
                "The key does not open this API",
                "Use the key of your subscription to this API.",
            ),
            Self::ListingSuspended => (
                403,
                "listing_suspended",
                "The API is suspended",
                "The operator has suspended this API; try later.",
            ),
            Self::PluginRejected(sentence) => {
                return (403, "plugin_rejected", "The call was refused", sentence.clone());
            }
            Self::RouteNotFound => {
                (404, "route_not_found", "No such route", "Look at the listing's page for its routes.")
            }
            Self::MethodNotAllowed(_) => (
                405,
                "method_not_allowed",
                "The route has no such method",
                "The Allow header names its methods.",
            ),
            Self::ClientTimeout => (408, "request_timeout", "The request took too long", "Send it faster."),
            Self::BodyTooLarge => (413, "request_too_large", "The body is too large", "Send a smaller body."),
            Self::HeadTooLarge => {
                (431, "request_too_large", "The headers are too large", "Send fewer headers.")
            }
            Self::RateLimited(_) => {
                (429, "rate_limited", "Too many calls", "Wait as long as the Retry-After header says.")
            }
            Self::ConcurrencyLimited => (
                429,
                "concurrency_limited",
                "Too many calls at once",
                "Wait for an answer before the next call.",
            ),
            Self::TrialExhausted => {
                (429, "trial_exhausted", "The trial is used up", "Choose a plan to go on.")
            }
            Self::QuotaExhausted(_) => (
                429,
                "quota_exhausted",
                "The quota is used up",
                "Wait for the next window, or choose a larger plan.",
            ),
            Self::UpstreamUnreachable => (
                502,
                "upstream_unreachable",
                "The API does not answer",
                "The vendor's server cannot be reached.",
            ),
            Self::CountersUnavailable => {
                (503, "counters_unavailable", "Limits cannot be counted just now", "Try again in a moment.")
            }
            Self::MeteringUnavailable => {
                (503, "metering_unavailable", "Calls cannot be recorded just now", "Try again in a moment.")
            }
            Self::NotServed => (
                503,
                "not_served",
                "This gateway cannot serve the call",
                "It does not understand the API's or the plan's settings. The operator is told; try again later.",
            ),
            Self::NotReady => (503, "not_ready", "The gateway is starting", "Try again in a moment."),
            Self::UpstreamTimeout => (
                504,
                "upstream_timeout",
                "The API took too long",
                "The vendor's server did not answer in time.",
            ),
            Self::ConnectionsLimited => {
                (503, "connections_limited", "Too many connections", "Try again in a moment.")
            }
            Self::Loops => (
                508,
                "loop_detected",
                "The call goes in a circle",
                "The vendor's server sends it back to this gateway, which has had it already.",
            ),
        };
        (status, code, title, detail.to_owned())
    }

    /// Its stable code, as in metrics and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.parts().1
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.parts().0
    }

    /// The problem as an answer, ready to be written.
    #[must_use]
    pub fn answer(&self, request: RequestId) -> Answer {
        let Problem { status, headers, body } = self.problem(request);
        let mut lines: Vec<(HeaderName, HeaderValue)> =
            headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect();
        lines.push((CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        Answer { status, headers: lines, body: body.to_vec() }
    }

    /// The answer: the only place where a rejection becomes HTTP.
    #[must_use]
    pub fn problem(&self, request: RequestId) -> Problem {
        let (status, code, title, detail) = self.parts();
        let document = serde_json::json!({
            "type": format!("{TYPE_BASE}{code}"),
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request.to_string(),
        });
        let mut headers = Vec::with_capacity(2);
        let retry_after_ms = match self {
            Self::RateLimited(ms) | Self::QuotaExhausted(Some(ms)) => Some(*ms),
            Self::ConcurrencyLimited
            | Self::CountersUnavailable
            | Self::MeteringUnavailable
            | Self::NotReady
            | Self::NotServed
            | Self::ConnectionsLimited => Some(0),
            _ => None,
        };
        if let Some(ms) = retry_after_ms {
            headers.push(("retry-after", HeaderValue::from(ms.div_ceil(1_000).max(1))));
        }
        match self {
            Self::MethodNotAllowed(allow) => {
                if let Ok(value) = HeaderValue::from_str(allow) {
                    headers.push(("allow", value));
                }
            }
            Self::BalanceExhausted(Some(link)) => headers.push(("link", link.clone())),
            Self::CredentialMissing
            | Self::CredentialAmbiguous
            | Self::CredentialInvalid
            | Self::CredentialExpired => {
                headers.push(("www-authenticate", HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        Problem { status, headers, body: Bytes::from(document.to_string()) }
    }
}
