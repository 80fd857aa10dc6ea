//! Phase 8: the request as the upstream may see it. The buyer's key, our cookies and every reserved header go; the
//! vendor's secrets, who calls, and the request id come. The lanes ask [`keeps`] while they copy and then add [`added`].

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST};
use http::{HeaderName, HeaderValue};

use crate::context::{CallHeaders, Context};
use crate::phases::authenticate::bearer;
use crate::phases::upstream;
use crate::units::Meter;

/// The call's id, made by the gateway.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Names of our cookies: a vendor never sees them, and cannot set them.
pub const OWN_COOKIES: [&str; 2] = ["__Host-apiclay_session", "apiclay_session"];

/// Headers between two hops only (RFC 9110, section 7.6.1), and those that say who calls, which nobody may claim.
const DROPPED: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "host",
    "forwarded",
    "x-real-ip",
    "x-user-id",
    "x-request-id",
    "expect",
];

/// Whether a header of the request goes on to the upstream. Servers that pass headers on as variables (CGI, WSGI, Rack)
/// read `_` and `-` alike, so both spellings of a name are that name.
#[must_use]
pub fn keeps(name: &str, value: &[u8], has_key_header: bool, context: &Context) -> bool {
    let spelled = if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
    let spelled = &*spelled;
    if DROPPED.contains(&spelled) || spelled.starts_with("x-forwarded-") || spelled.starts_with("x-consumer-")
    {
        return false;
    }
    if spelled == context.key_header().as_str().replace('_', "-") {
        return false;
    }
    let injected = context.listing.as_ref().map_or(&[][..], |listing| &listing.injected);
    if injected.iter().any(|(own, _)| own.as_str().replace('_', "-") == spelled) {
        return false;
    }
    // A bearer token that is our key was the credential; any other is the buyer's for the vendor.
    if spelled == AUTHORIZATION.as_str()
        && !has_key_header
        && bearer(value).is_some_and(|token| token.starts_with(apiclay_config::key::PREFIX.as_bytes()))
    {
        return false;
    }
    !context.hop_by_hop.iter().any(|h| h == name)
}

/// The names that the `Connection` header makes hop-by-hop, in lower case. Framing is ours to say, not the client's.
#[must_use]
pub fn hop_by_hop(headers: &dyn CallHeaders) -> Vec<String> {
    let mut names = Vec::new();
    headers.values(&http::header::CONNECTION, &mut |value| {
        for token in value.split(|b| *b == b',') {
            names.push(String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase());
        }
    });
    names.retain(|n| !matches!(n.as_str(), "content-length" | "transfer-encoding" | "content-type"));
    names
}

/// Whether the key came in its own header, so that `Authorization` is the buyer's.
#[must_use]
pub fn has_key_header(headers: &dyn CallHeaders, context: &Context) -> bool {
    headers.get(&context.key_header()).is_some()
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

/// Headers that the gateway sets on the way to the upstream.
pub fn added(context: &Context, host: &str, add: &mut dyn FnMut(HeaderName, HeaderValue)) {
    let text = |value: &str| HeaderValue::from_str(value).ok();
    let mut put = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            add(name, value);
        }
    };
    if let Some(target) = upstream::picked(context) {
        put(HOST, text(&target.authority));
    }
    put(REQUEST_ID_HEADER, text(&context.request.to_string()));
    if let Some(peer) = context.peer {
        put(HeaderName::from_static("x-forwarded-for"), text(&peer.to_string()));
    }
    let scheme = if context.secure { "https" } else { "http" };
    put(HeaderName::from_static("x-forwarded-proto"), text(scheme));
    put(HeaderName::from_static("x-forwarded-host"), text(host));
    // What the call used is read from the body: nobody asks for one that cannot be read.
    let reads_body = context
        .credential
        .as_ref()
        .is_some_and(|credential| credential.entitlement.meter.as_ref().is_some_and(Meter::reads_body));
    if reads_body {
        put(ACCEPT_ENCODING, Some(HeaderValue::from_static("identity")));
    }
    if let Some(credential) = &context.credential {
        let entitlement = &credential.entitlement;
        put(HeaderName::from_static("x-consumer-id"), text(&entitlement.subscription.to_string()));
        put(HeaderName::from_static("x-consumer-plan"), text(&entitlement.plan.to_string()));
    }
    if let Some(listing) = &context.listing {
        for (name, value) in
            listing.injected.iter().filter(|(name, _)| !(reads_body && *name == ACCEPT_ENCODING))
        {
            put(name.clone(), Some(value.clone()));
        }
    }
}

/// The path and query that the upstream is asked for: the target's base, then what stands below the listing.
#[must_use]
pub fn path_and_query(context: &Context, path: &str, query: Option<&str>) -> String {
    let base = upstream::picked(context).map_or("", |target| target.base_path.as_str());
    let below = path.get(context.path_below..).filter(|p| !p.is_empty()).unwrap_or("/");
    match query {
        Some(query) => format!("{base}{below}?{query}"),
        None => format!("{base}{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_credential_goes_and_the_buyers_stays() {
        let key = b"Bearer apiclay_abc";
        let mut context = Context::new(apiclay_config::clock::Timestamp(0));
        context.hop_by_hop = vec!["x-named".to_owned()];
        let keeps = |name: &str, value: &[u8], has_key_header| keeps(name, value, has_key_header, &context);
        assert!(!keeps("authorization", key, false));
        assert!(keeps("authorization", key, true));
        assert!(keeps("authorization", b"Bearer vendor-token", false));
        assert!(!keeps("x-api-key", b"k", true));
        assert!(!keeps("x-consumer-id", b"me", true));
        assert!(!keeps("x_consumer-id", b"me", true));
        assert!(!keeps("x-named", b"1", true));
        assert!(keeps("my_header", b"1", true));
    }

    #[test]
    fn only_our_cookies_are_taken_out() {
        assert_eq!(cookies(b"a=1; apiclay_session=s; b=2").as_deref(), Some(&b"a=1; b=2"[..]));
        assert_eq!(cookies(b"__Host-apiclay_session=s"), None);
    }
}
