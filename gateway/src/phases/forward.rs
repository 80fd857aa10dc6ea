//! Phase 8: the request as the upstream may see it. The buyer's key, our cookies and every reserved header go; the
//! vendor's secrets, who calls, and the request id come. The lanes ask [`keeps`] while they copy and then add [`added`].

use std::sync::LazyLock;

use apiclay_config::ids::RequestId;
use apiclay_plugins::HeaderEdit;
use http::HeaderName;
use http::header::{ACCEPT_ENCODING, HOST};

use crate::context::{CallHeaders, Context};
use crate::front::lines::same;
use crate::phases::authenticate::bearer;
use crate::phases::names::Names;
use crate::phases::upstream;
use crate::units::Meter;

/// The call's id, made by the gateway.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Says which gateways a request came through (RFC 8586): one that names this gateway already has come back, by a listing that leads here.
/// `Via` would say it too, and keep some vendors' servers from compressing.
pub const LOOP_HEADER: HeaderName = HeaderName::from_static("cdn-loop");
/// Times that a request may come through one gateway, be it for another listing each time.
const LOOPS_MAX: usize = 4;
/// This gateway among all, while it lives.
static OWN_NAME: LazyLock<String> = LazyLock::new(|| format!("apiclay-{}", RequestId::generate()));
/// Names of our cookies: a vendor never sees them, and cannot set them.
pub const OWN_COOKIES: [&str; 2] = ["__Host-apiclay_session", "apiclay_session"];

/// Headers between two hops only (RFC 9110, section 7.6.1); those that say who calls, which nobody may claim; and those by which some
/// servers take another path or method than policy saw. Those that frame a body are the lanes' to write: here stand other spellings of
/// them.
const DROPPED: Names = Names::new(&[
    "te",
    "host",
    "expect",
    "trailer",
    "upgrade",
    "forwarded",
    "x-real-ip",
    "x-user-id",
    "connection",
    "keep-alive",
    "x-client-ip",
    "x-request-id",
    "x-http-method",
    "x-rewrite-url",
    "content-length",
    "true-client-ip",
    "x-original-url",
    "proxy-connection",
    "cf-connecting-ip",
    "fastly-client-ip",
    "transfer-encoding",
    "x-method-override",
    "proxy-authorization",
    "x-cluster-client-ip",
    "x-http-method-override",
]);
const DROPPED_BEGINNINGS: [&str; 2] = ["x-forwarded-", "x-consumer-"];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_PLAN: HeaderName = HeaderName::from_static("x-consumer-plan");

/// Whether a header of the request goes on to the upstream, where it neither frames a body nor is written anew.
#[must_use]
pub fn keeps(name: &[u8], value: &[u8], has_key_header: bool, context: &Context) -> bool {
    let dropped = DROPPED.of_length(name.len()).iter().any(|dropped| alike(name, dropped.as_bytes()));
    if dropped || DROPPED_BEGINNINGS.iter().any(|beginning| begins_alike(name, beginning.as_bytes())) {
        return false;
    }
    let injected = context.listing.as_ref().map_or(&[][..], |listing| &listing.injected);
    let is = |own: &HeaderName| alike(name, own.as_str().as_bytes());
    if is(context.key_header()) || injected.iter().any(|(own, _)| is(own)) {
        return false;
    }
    let replaced = |edit: &HeaderEdit| !matches!(edit, HeaderEdit::Add(_));
    if context.request_edits.iter().any(|(own, edit)| replaced(edit) && is(own)) {
        return false;
    }
    // Units cannot be read from a body that is encoded.
    if is(&ACCEPT_ENCODING) && reads_body(context) {
        return false;
    }
    // A bearer token that is our key was the credential; any other is the buyer's for the vendor.
    if !has_key_header
        && same(name, b"authorization")
        && bearer(value).is_some_and(|token| token.starts_with(apiclay_config::key::PREFIX.as_bytes()))
    {
        return false;
    }
    !context.connection.names(name)
}

/// Whether two names are one to a vendor's server: those that pass headers on as variables (CGI, WSGI, Rack) read `_` and `-` alike.
fn alike(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && begins_alike(name, other)
}

fn begins_alike(name: &[u8], beginning: &[u8]) -> bool {
    let spelled = |byte: &u8| SPELLED[usize::from(*byte)];
    name.len() >= beginning.len() && name.iter().zip(beginning).all(|(a, b)| spelled(a) == spelled(b))
}

/// Each byte as [`alike`] reads it: in lower case, and `_` as `-`.
static SPELLED: [u8; 256] = {
    let mut spelled = [0; 256];
    let mut byte = 0;
    while byte < spelled.len() {
        spelled[byte] = if byte == b'_' as usize { b'-' } else { (byte as u8).to_ascii_lowercase() };
        byte += 1;
    }
    spelled
};

/// What `Connection` headers say.
#[derive(Debug, Default)]
pub struct Connection {
    /// It ends with this message.
    pub close: bool,
    /// It stays.
    pub keep_alive: bool,
    /// It becomes another protocol's.
    pub upgrade: bool,
    /// Headers that are of this hop alone, in lower case.
    hop_by_hop: Vec<String>,
    /// They name more than [`HOP_BY_HOP_MAX`].
    pub is_too_long: bool,
}

/// Headers that `Connection` may name: each is kept for as long as the call, and looked up for every header.
const HOP_BY_HOP_MAX: usize = 32;

impl Connection {
    /// Whether they name this header as one of this hop.
    #[must_use]
    pub fn names(&self, name: &[u8]) -> bool {
        self.hop_by_hop.iter().any(|own| same(own.as_bytes(), name))
    }

    /// The headers that they name.
    pub fn hop_by_hop(&self) -> impl Iterator<Item = &str> {
        self.hop_by_hop.iter().map(String::as_str)
    }
}

/// What nobody can make hop-by-hop: framing is ours to say, not the client's. An empty token is none.
const OURS_TO_SAY: [&str; 4] = ["content-length", "transfer-encoding", "content-type", ""];

/// What the `Connection` headers say (RFC 9110, section 7.6.1).
#[must_use]
pub fn connection(headers: &dyn CallHeaders) -> Connection {
    let mut said = Connection::default();
    headers.values(&http::header::CONNECTION, &mut |value| {
        // As most say it.
        if same(value, b"keep-alive") {
            said.keep_alive = true;
            return;
        }
        for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            let is = |what: &str| token.eq_ignore_ascii_case(what.as_bytes());
            if is("close") {
                said.close = true;
            } else if is("keep-alive") {
                said.keep_alive = true;
            } else if is("upgrade") {
                said.upgrade = true;
            } else if OURS_TO_SAY.iter().any(|name| is(name)) {
                continue;
            } else if said.hop_by_hop.len() == HOP_BY_HOP_MAX {
                said.is_too_long = true;
                return;
            } else {
                said.hop_by_hop.push(String::from_utf8_lossy(token).to_ascii_lowercase());
            }
        }
    });
    said
}

/// Whether this gateway has sent the request itself, more than once or twice: vendors may call each other's listings, and pass on what
/// headers they got.
#[must_use]
pub fn comes_back(headers: &dyn CallHeaders) -> bool {
    let mut times = 0;
    headers.values(&LOOP_HEADER, &mut |value| {
        times += value.windows(OWN_NAME.len()).filter(|part| *part == OWN_NAME.as_bytes()).count();
    });
    times >= LOOPS_MAX
}

/// Whether the key came in its own header, so that `Authorization` is the buyer's.
#[must_use]
pub fn has_key_header(headers: &dyn CallHeaders, context: &Context) -> bool {
    headers.get(context.key_header()).is_some()
}

/// A `Cookie` header without our cookies; `None` where nothing is left.
#[must_use]
pub fn cookies(value: &[u8]) -> Option<Vec<u8>> {
    let ours = |pair: &[u8]| {
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        OWN_COOKIES.iter().any(|own| own.as_bytes() == name)
    };
    let kept: Vec<&[u8]> = value.split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|p| !ours(p)).collect();
    let joined = kept.join(&b"; "[..]);
    (!joined.is_empty()).then_some(joined)
}

/// Whether what the call used is read from the answer's body: nobody asks for one then that cannot be read.
#[must_use]
pub fn reads_body(context: &Context) -> bool {
    let edition = context.credential.as_ref().map(|credential| &credential.entitlement.edition);
    let meter = edition.and_then(|edition| edition.meter.as_ref());
    meter.is_some_and(Meter::reads_body)
}

/// Headers that the gateway sets on the way to the upstream.
pub fn added(context: &Context, host: &[u8], add: &mut dyn FnMut(&HeaderName, &[u8])) {
    if let Some(target) = upstream::picked(context) {
        add(&HOST, target.authority.as_bytes());
    }
    add(&REQUEST_ID_HEADER, context.request_text.as_bytes());
    add(&LOOP_HEADER, OWN_NAME.as_bytes());
    if let Some(peer) = &context.peer {
        add(&FORWARDED_FOR, peer.as_bytes());
    }
    add(&FORWARDED_PROTO, if context.secure { b"https" } else { b"http" });
    add(&FORWARDED_HOST, host);
    let reads_body = reads_body(context);
    if reads_body {
        add(&ACCEPT_ENCODING, b"identity");
    }
    if let Some(credential) = &context.credential {
        add(&CONSUMER_ID, credential.entitlement.subscription_text().as_bytes());
        add(&CONSUMER_PLAN, credential.entitlement.edition.plan_text.as_bytes());
    }
    let injected = context.listing.as_ref().map_or(&[][..], |listing| &listing.injected);
    for (name, value) in injected.iter().filter(|(name, _)| !(reads_body && *name == ACCEPT_ENCODING)) {
        add(name, value.as_bytes());
    }
}

/// Whether it sets this one.
#[must_use]
pub fn adds(context: &Context, host: &[u8], name: &HeaderName) -> bool {
    let mut found = false;
    added(context, host, &mut |own, _| found |= own == name);
    found
}

/// The path and query that the upstream is asked for, in pieces: the target's base, then what stands below the listing.
#[must_use]
pub fn path_and_query<'a>(context: &'a Context, path: &'a str, query: Option<&'a str>) -> [&'a str; 4] {
    let base = upstream::picked(context).map_or("", |target| target.base_path.as_str());
    let below = path.get(context.path_below..).filter(|p| !p.is_empty()).unwrap_or("/");
    match query {
        Some(query) => [base, below, "?", query],
        None => [base, below, "", ""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_credential_goes_and_the_buyers_stays() {
        let key = b"Bearer apiclay_abc";
        let mut context = Context::new(apiclay_config::clock::Timestamp(0));
        context.connection.hop_by_hop = vec!["x-named".to_owned()];
        let keeps = |name: &str, value: &[u8], has_key_header| {
            keeps(name.as_bytes(), value, has_key_header, &context)
        };
        assert!(!keeps("authorization", key, false));
        assert!(keeps("authorization", key, true));
        assert!(keeps("authorization", b"Bearer vendor-token", false));
        assert!(!keeps("x-api-key", b"k", true));
        assert!(!keeps("x-consumer-id", b"me", true));
        assert!(!keeps("x_consumer-id", b"me", true) && !keeps("x_api_key", b"k", true));
        assert!(!keeps("x-named", b"1", true));
        assert!(
            !keeps("X-Named", b"1", true)
                && !keeps("Host", b"h", true)
                && !keeps("X-FORWARDED-FOR", b"me", true)
        );
        assert!(!keeps("Authorization", key, false) && !keeps("X_Consumer-Id", b"me", true));
        assert!(keeps("my_header", b"1", true));
        assert!(
            !keeps("X-Original-URL", b"/admin", true) && !keeps("x_http_method_override", b"DELETE", true)
        );
        assert!(!keeps("True-Client-IP", b"me", true) && keeps("CDN-Loop", b"another", true));
        assert!(!keeps("Content_Length", b"1", true) && !keeps("transfer_encoding", b"chunked", true));
        assert!(keeps("Accept_Encoding", b"gzip", true), "no units are read from a body here");
    }

    #[test]
    fn what_a_plugin_sets_or_removes_goes_in_each_spelling() {
        let mut context = Context::new(apiclay_config::clock::Timestamp(0));
        let (name, value) = (HeaderName::from_static, http::HeaderValue::from_static("1"));
        let edits = &mut context.request_edits;
        assert!(edits.set(name("x-tier"), value.clone()) && edits.remove(name("x-gone")));
        assert!(edits.add(name("x-more"), value));
        for (name, stays) in
            [("X-Tier", false), ("X_Tier", false), ("x_gone", false), ("x-more", true), ("X_More", true)]
        {
            assert_eq!(keeps(name.as_bytes(), b"v", true, &context), stays, "{name}");
        }
    }

    #[test]
    fn what_connection_names_is_bounded() {
        let named = |count: usize| {
            let value = http::HeaderValue::from_str(&vec!["x-a, close"; count].join(",")).unwrap();
            let headers = http::HeaderMap::from_iter([(http::header::CONNECTION, value)]);
            connection(&crate::context::HeaderLines(&headers))
        };
        assert!(named(HOP_BY_HOP_MAX).close && !named(HOP_BY_HOP_MAX).is_too_long);
        assert!(named(HOP_BY_HOP_MAX + 1).is_too_long);
        assert_eq!(named(10_000).hop_by_hop.len(), HOP_BY_HOP_MAX);
    }

    #[test]
    fn only_our_cookies_are_taken_out() {
        assert_eq!(cookies(b"a=1; apiclay_session=s; b=2").as_deref(), Some(&b"a=1; b=2"[..]));
        assert_eq!(cookies(b"__Host-apiclay_session=s"), None);
    }
}
