//! Phase 9: the answer as the buyer sees it. Opens the record before the head's first byte is written: from here on the
//! call counts. Cookies are confined to the listing, hop-by-hop headers go, `RateLimit` says what is left.

use apiclay_config::usage::{Ending, Event, Units};
use apiclay_plugins::{Answer, HeaderEdits, Headers, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::context::{CallHeaders, Context, WithoutSecrets};
use crate::gateway::Gateway;
use crate::phases::forward::{OWN_COOKIES, REQUEST_ID_HEADER};
use crate::phases::limits_left::rate_limit_headers;
use crate::phases::names::Names;
use crate::rejection::Rejection;
use crate::runtime::with_plan;

/// Bytes of the head of an upstream's answer at most.
pub const HEAD_MAX_BYTES: usize = 65_536;
/// Interim answers (1xx) before the final one at most.
pub const INTERIMS_MAX: u8 = 16;

/// Headers of an answer that end at the gateway, and those that only it may say.
const DROPPED: Names = Names::new(&[
    "te",
    "alt-svc",
    "trailer",
    "ratelimit",
    "keep-alive",
    "x-request-id",
    "proxy-connection",
    "ratelimit-policy",
    "proxy-authenticate",
]);
/// Those that speak for the whole host, which a vendor shares with others.
const OF_THE_HOST: Names = Names::new(&[
    "nel",
    "report-to",
    "clear-site-data",
    "reporting-endpoints",
    "service-worker-allowed",
    "strict-transport-security",
]);

/// Whether a header of an answer ends here.
#[must_use]
pub fn drops(name: &[u8], context: &Context) -> bool {
    DROPPED.has(name) || (context.path_below > 0 && OF_THE_HOST.has(name))
}

/// The names of all that may.
pub fn dropped(context: &Context) -> impl Iterator<Item = &'static str> {
    let is_shared = context.path_below > 0;
    DROPPED.iter().chain(OF_THE_HOST.iter().filter(move |_| is_shared))
}

/// An answer whose framing two readers could read differently.
#[derive(Debug)]
pub struct Odd;

/// Whether the answer comes in chunks. Any other encoding, and one said twice, is refused: we never ask for one, and who reads it as
/// chunks alone would pass on another body than who undoes it all (RFC 9112, section 6.1).
///
/// # Errors
/// When it is encoded otherwise.
pub fn is_chunked<'a>(mut encodings: impl Iterator<Item = &'a [u8]>) -> Result<bool, Odd> {
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(false),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Odd),
    }
}

/// The length that an answer says, be it more than once (RFC 9110, section 8.6).
///
/// # Errors
/// When it says two, or one that is no number.
pub fn length<'a>(lengths: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, Odd> {
    let mut length = None;
    for value in lengths.flat_map(|line| line.split(|b| *b == b',')) {
        let said = number(value.trim_ascii());
        if said.is_none() || (length.is_some() && length != said) {
            return Err(Odd);
        }
        length = said;
    }
    Ok(length)
}

/// A number of plain digits, however many zeros it begins with.
fn number(digits: &[u8]) -> Option<u64> {
    let and = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, and) }
}

/// Whether an answer with this status never has a body.
#[must_use]
pub const fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Whether it may not even say how long one would be (RFC 9110, section 8.6; RFC 9112, section 6.1).
#[must_use]
pub const fn has_no_framing(status: u16) -> bool {
    status == 204
}

/// Headers of an answer that a plugin makes, but for those that say where its body ends: that is the lanes' to say.
pub fn own_headers(answer: &Answer) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
    answer.headers.iter().filter(|(name, _)| ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
}

/// Opens the record of a call whose final head was taken from the upstream, and begins to read what it used.
///
/// # Errors
/// When it cannot be recorded: the call is refused rather than given away.
pub fn open(
    gateway: &Gateway,
    context: &mut Context,
    status: u16,
    headers: &dyn Headers,
) -> Result<(), Rejection> {
    let (Some(credential), Some(route)) = (&context.credential, context.route()) else {
        return Err(Rejection::NotReady);
    };
    let entitlement = &credential.entitlement;
    let event = Event {
        request: context.request,
        subscription: entitlement.subscription,
        credential: credential.id,
        route: route.id,
        plan_revision: entitlement.edition.revision,
        at: context.at,
        duration_us: 0,
        status,
        tries: context.tries,
        ending: Ending::Interrupted,
        billable: false,
        kept: true,
        leases: context.leases(),
        // All that is held for it, until it is known.
        units: entitlement
            .edition
            .meter
            .as_ref()
            .map_or(Units::CALL, |meter| Units::assumed(meter.units_max)),
        bytes_in: 0,
        bytes_out: 0,
    };
    context.reading = entitlement.edition.meter.as_ref().and_then(|meter| meter.begin(headers));
    context.ticket = Some(gateway.spool.begin(&event).map_err(|_| Rejection::MeteringUnavailable)?);
    context.event = Some(event);
    context.status = status;
    Ok(())
}

/// Changes to an answer's head that plugins ask for.
///
/// # Errors
/// When a plugin fails: the answer is replaced by a refusal.
pub fn plugins(
    context: &Context,
    status: u16,
    request_headers: &dyn CallHeaders,
    headers: &dyn Headers,
) -> Result<HeaderEdits, Rejection> {
    let request_headers = &WithoutSecrets { headers: request_headers, key_header: context.key_header() };
    let mut edits = HeaderEdits::default();
    let (own, plan) = match (context.route(), &context.credential, &context.listing) {
        (Some(route), Some(credential), _) => {
            (&route.plugins[..], &credential.entitlement.edition.plugins[..])
        }
        (Some(route), None, _) => (&route.plugins[..], &[][..]),
        (None, _, Some(listing)) => (&listing.plugins[..], &[][..]),
        (None, _, None) => (&[][..], &[][..]),
    };
    for plugin in with_plan(own, plan) {
        let mut response = Response { status, request_headers, headers, edits: &mut edits };
        plugin.plugin.on_response(&mut response).map_err(|failed| {
            tracing::error!(plugin = plugin.name, error = %failed, "a plugin failed");
            Rejection::PluginRejected("A plugin of this API could not finish the answer.".to_owned())
        })?;
    }
    Ok(edits)
}

/// The headers that every answer bears: the call's id, and what is left to a known caller.
pub fn added(context: &Context, add: &mut dyn FnMut(&HeaderName, &[u8])) {
    add(&REQUEST_ID_HEADER, context.request_text.as_bytes());
    rate_limit_headers(context, add);
}

/// What a vendor's cookies are confined to: his listing's path, or nothing where the host is his alone.
#[must_use]
pub fn cookie_path(context: &Context) -> String {
    match &context.listing {
        Some(listing) if context.path_below > 0 => format!("/{}", listing.name),
        _ => String::new(),
    }
}

/// A vendor's `Set-Cookie`: dropped under our names, otherwise confined to the listing's path on this host.
#[must_use]
pub fn confine_cookie(value: &[u8], listing_path: &str) -> Option<Vec<u8>> {
    let mut parts = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let pair = parts.next()?;
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
    // Browsers ignore the case of prefixes, so we do too.
    if OWN_COOKIES.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
        || name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"__host-"))
    {
        return None;
    }
    let mut confined = pair.to_vec();
    let mut path: &[u8] = b"/";
    for attribute in parts {
        let key = attribute.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        if key.eq_ignore_ascii_case(b"path") {
            path = attribute.get(5..).unwrap_or_default().trim_ascii();
        } else if !key.eq_ignore_ascii_case(b"domain") && !key.is_empty() {
            confined.extend_from_slice(b"; ");
            confined.extend_from_slice(attribute);
        }
    }
    let path = if path.first() == Some(&b'/') { path } else { b"/" };
    confined.extend_from_slice(b"; Path=");
    confined.extend_from_slice(listing_path.as_bytes());
    confined.extend_from_slice(if path == b"/" && !listing_path.is_empty() { b"" } else { path });
    Some(confined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_that_two_readers_could_read_differently_is_odd() {
        let said = |lines: &[&'static str]| length(lines.iter().map(|line| line.as_bytes())).ok();
        assert_eq!(said(&[]), Some(None));
        assert_eq!(said(&["2", "2, 02"]), Some(Some(2)));
        assert_eq!(said(&["0018446744073709551615"]), Some(Some(u64::MAX)));
        for odd in [&["2", "3"][..], &["2,3"], &["+2"], &[""], &["2,"], &["18446744073709551616"], &["2 3"]] {
            assert_eq!(said(odd), None, "{odd:?}");
        }
        let chunked = |lines: &[&'static str]| is_chunked(lines.iter().map(|line| line.as_bytes())).ok();
        assert_eq!((chunked(&[]), chunked(&["Chunked"])), (Some(false), Some(true)));
        for odd in [&["chunked", "chunked"][..], &["gzip"], &["gzip, chunked"], &["chunked, chunked"], &[""]]
        {
            assert_eq!(chunked(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn what_speaks_for_the_whole_host_ends_here_where_vendors_share_it() {
        let mut context = Context::new(apiclay_config::clock::Timestamp(0));
        for (path_below, is_shared) in [(0, false), (11, true)] {
            context.path_below = path_below;
            for name in ["Strict-Transport-Security", "nel", "Clear-Site-Data"] {
                assert_eq!(drops(name.as_bytes(), &context), is_shared, "{name}");
            }
            assert!(drops(b"Alt-Svc", &context) && !drops(b"Cache-Control", &context));
            assert_eq!(dropped(&context).any(|name| name == "nel"), is_shared);
        }
    }

    #[test]
    fn cookies_are_confined_to_the_listing() {
        let confine =
            |v: &str| confine_cookie(v.as_bytes(), "/acme/echo").map(|v| String::from_utf8(v).unwrap());
        assert_eq!(
            confine("a=1; Path=/; Domain=acme.example; HttpOnly").unwrap(),
            "a=1; HttpOnly; Path=/acme/echo"
        );
        assert_eq!(confine("a=1; path=/deep").unwrap(), "a=1; Path=/acme/echo/deep");
        assert_eq!(confine("apiclay_session=x"), None);
        assert_eq!(confine("__HOST-apiclay_session=x"), None);
    }
}
