//! A request's head, checked once and strictly (RFC 9112). Whatever two readers could understand differently is refused
//! here, before either lane sees it: lines ended by LF alone, folded lines, doubled or odd lengths, hosts that disagree.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::BytesMut;

use super::framing::Frame;
use super::lines::{Lines, range};
use crate::rejection::Rejection;

/// Bytes of a head, its last empty line included.
pub const HEAD_MAX_BYTES: usize = 32_768;
/// Headers in it.
pub const HEADERS_MAX: usize = 100;

/// What the front learnt of a head.
#[derive(Debug)]
pub struct Head {
    /// Its length.
    pub bytes: usize,
    /// Where the method stands in it.
    pub method: Range<usize>,
    /// Where the target stands: path and query.
    pub target: Range<usize>,
    /// Where the host stands, without its port.
    pub host: Range<usize>,
    /// What body follows.
    pub frame: Frame,
    /// Of HTTP/1.0.
    pub old: bool,
    /// Whether the client waits to be told to send its body.
    pub expects: bool,
    /// The head to pass on where the one that was sent will not do (a target in absolute form).
    pub rewritten: Option<BytesMut>,
}

/// What the headers say of framing and host.
#[derive(Default)]
struct Said<'a> {
    hosts: usize,
    host: &'a [u8],
    /// The same without its port.
    host_name: &'a [u8],
    length: Option<u64>,
    chunked: bool,
    upgrades: usize,
    websocket: bool,
    connection_upgrade: bool,
    expects: bool,
}

/// Reads the head at the beginning of `buffer`, and notes in `lines` where its headers stand; `None` while it is not all there. The
/// first `seen` bytes were looked at by a call that came to `None`: however small the pieces, each byte is looked at once.
///
/// # Errors
/// Why it is refused.
pub fn parse(buffer: &[u8], seen: usize, lines: &mut Lines) -> Result<Option<Head>, Rejection> {
    let Some(bytes) = find_end(buffer, seen)? else {
        // What can never become a head is refused at once.
        check_bytes(&buffer[seen.saturating_sub(1)..buffer.len().min(HEAD_MAX_BYTES)])?;
        return if buffer.len() >= HEAD_MAX_BYTES { Err(Rejection::HeadTooLarge) } else { Ok(None) };
    };
    let buffer = &buffer[..bytes];
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(buffer, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Err(Rejection::Malformed("The request's head is incomplete."));
        }
        Err(httparse::Error::TooManyHeaders) => return Err(Rejection::HeadTooLarge),
        Err(_) => {
            check_bytes(buffer)?;
            return Err(Rejection::Malformed("The request's head is not HTTP/1.1."));
        }
    }
    let old = request.version == Some(0);
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let said = read_headers(request.headers)?;
    let frame = frame(&said, old)?;
    let rewritten =
        check_target(target, method, &said)?.map(|origin_form| rewrite(buffer, target, origin_form));
    lines.set(buffer, request.headers);
    let (method, target) = (range(buffer, method.as_bytes()), range(buffer, target.as_bytes()));
    let host = range(buffer, said.host_name);
    Ok(Some(Head { bytes, method, target, host, frame, old, expects: said.expects, rewritten }))
}

/// Where the head ends, in CRLF like each of its lines. What else hides in a line httparse refuses.
fn find_end(buffer: &[u8], seen: usize) -> Result<Option<usize>, Rejection> {
    let buffer = &buffer[..buffer.len().min(HEAD_MAX_BYTES)];
    for at in memchr::memchr_iter(b'\n', &buffer[seen..]).map(|at| seen + at) {
        match buffer[..at] {
            [b'\r'] => return Err(Rejection::Malformed("The request begins with an empty line.")),
            [.., b'\n', b'\r'] => return Ok(Some(at + 1)),
            [.., b'\r'] => {}
            _ => return Err(Rejection::Malformed("A line of the head does not end in CRLF.")),
        }
    }
    Ok(None)
}

/// Says what is wrong with bytes that are no head, nor the beginning of one: control characters, folded lines.
fn check_bytes(bytes: &[u8]) -> Result<(), Rejection> {
    let followed = |at: usize, by: &[u8]| bytes.get(at + 1).is_some_and(|next| by.contains(next));
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if followed(at, b" \t") => {
                return Err(Rejection::Malformed("A header is folded over two lines."));
            }
            b'\r' if at + 1 < bytes.len() && !followed(at, b"\n") => {
                return Err(Rejection::Malformed("The head has a carriage return inside a line."));
            }
            0..=8 | 11 | 12 | 14..=31 | 127 => {
                return Err(Rejection::Malformed("The head has a control character."));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_headers<'a>(headers: &[httparse::Header<'a>]) -> Result<Said<'a>, Rejection> {
    let mut said = Said::default();
    for header in headers {
        let (name, value) = (header.name, header.value);
        if name.eq_ignore_ascii_case("host") {
            said.hosts += 1;
            said.host = value;
        } else if name.eq_ignore_ascii_case("content-length") {
            if said.length.is_some() {
                return Err(Rejection::Malformed("Content-Length stands there twice."));
            }
            said.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if said.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Rejection::Malformed("The only Transfer-Encoding is chunked, once."));
            }
            said.chunked = true;
        } else if name.eq_ignore_ascii_case("upgrade") {
            said.upgrades += 1;
            said.websocket |= value.eq_ignore_ascii_case(b"websocket");
        } else if name.eq_ignore_ascii_case("connection") {
            let upgrades = |token: &[u8]| token.trim_ascii().eq_ignore_ascii_case(b"upgrade");
            said.connection_upgrade |= value.split(|b| *b == b',').any(upgrades);
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Rejection::Malformed("The only expectation is 100-continue."));
            }
            said.expects = true;
        }
    }
    if said.upgrades > 1 {
        return Err(Rejection::Malformed("Upgrade stands there twice."));
    }
    if said.hosts != 1 {
        return Err(Rejection::Malformed("Name one host, in one Host header."));
    }
    let name = host_name(said.host);
    said.host_name = name.ok_or(Rejection::Malformed("The Host header is not a host and port."))?;
    Ok(said)
}

/// Decimal digits and nothing else (RFC 9110, section 8.6).
fn length(value: &[u8]) -> Result<u64, Rejection> {
    let wrong = Rejection::Malformed("Content-Length is not a number of bytes.");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(wrong)
}

fn frame(said: &Said<'_>, old: bool) -> Result<Frame, Rejection> {
    match (said.length, said.chunked) {
        (Some(_), true) => Err(Rejection::Malformed("Content-Length and Transfer-Encoding disagree.")),
        (None, true) if old => Err(Rejection::Malformed("HTTP/1.0 has no Transfer-Encoding.")),
        // An upgrade is a request without a body; whether the stream becomes one is the upstream's to say.
        (None, false) if said.websocket && said.connection_upgrade && !old => Ok(Frame::Upgrading),
        (Some(_), false) | (None, true) if said.websocket && said.connection_upgrade => {
            Err(Rejection::Malformed("An upgrade has no body."))
        }
        (Some(bytes), false) => Ok(Frame::length(bytes)),
        (None, true) => Ok(Frame::chunked()),
        (None, false) => Ok(Frame::End),
    }
}

/// The host without its port, where `value` is a host and maybe a port, without user information.
#[must_use]
pub fn host_name(value: &[u8]) -> Option<&[u8]> {
    let name_ends = match value.first()? {
        b'[' => value.iter().position(|b| *b == b']')? + 1,
        _ => value.iter().position(|b| *b == b':').unwrap_or(value.len()),
    };
    let (name, port) = value.split_at(name_ends);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (!name.is_empty() && name.iter().all(plain) && is_port(port)).then_some(name)
}

/// Whether it is a colon and a port, as short as just the colon, or nothing (RFC 3986, section 3.2.3).
fn is_port(text: &[u8]) -> bool {
    let Some((colon, digits)) = text.split_first() else { return true };
    let and = |port: u16, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    };
    *colon == b':' && digits.iter().try_fold(0, and).is_some()
}

/// `None` for a target in origin form; the origin form of one in absolute form, where it agrees with the host.
fn check_target<'t>(target: &'t str, method: &str, said: &Said<'_>) -> Result<Option<&'t str>, Rejection> {
    if target.contains('#') {
        // One reader would cut it off where another passes it on (RFC 9112, section 3.2).
        return Err(Rejection::Malformed(
            "The request's target has a fragment: send what stands before its #.",
        ));
    }
    // Whatever it names: another reader would take what follows for the tunnel's, not for the next request.
    if method == "CONNECT" {
        return Err(Rejection::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned()));
    }
    if target.starts_with('/') {
        return Ok(None);
    }
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let rest = rest.ok_or(Rejection::Malformed("The request's target is not a path."))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !authority.as_bytes().eq_ignore_ascii_case(said.host) || path.starts_with('?') {
        return Err(Rejection::Malformed("The request's target and its Host header disagree."));
    }
    Ok(Some(if path.is_empty() { "/" } else { path }))
}

fn rewrite(head: &[u8], target: &str, origin_form: &str) -> BytesMut {
    let text_at = head.windows(target.len()).position(|w| w == target.as_bytes()).unwrap_or(0);
    let mut rewritten = BytesMut::with_capacity(head.len());
    rewritten.extend_from_slice(&head[..text_at]);
    rewritten.extend_from_slice(origin_form.as_bytes());
    rewritten.extend_from_slice(&head[text_at + target.len()..]);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Rejection> {
        parse(text.as_bytes(), 0, &mut Lines::default())
    }

    proptest::proptest! {
        /// What is looked for only where httparse refuses a head, httparse refuses.
        #[test]
        fn nothing_hides_in_a_head_that_is_read(places in proptest::collection::vec((0..1_000_usize, 0..256_u32), 1..4)) {
            let mut bytes = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nX-A: some, value\r\nX-B:\r\n\r\n".to_vec();
            for (place, byte) in places {
                let place = place % bytes.len();
                bytes.insert(place, byte as u8);
            }
            let whole = parse(&bytes, 0, &mut Lines::default());
            if let Ok(Some(head)) = &whole {
                proptest::prop_assert_eq!(check_bytes(&bytes[..head.bytes]), Ok(()));
            }
            // Nor in one that comes a byte at a time, of which each is looked at once.
            let dripped = (0..bytes.len()).find_map(|seen| parse(&bytes[..=seen], seen, &mut Lines::default()).transpose());
            let shown = |parsed: Result<Option<Head>, Rejection>| parsed.map(|head| format!("{head:?}")).ok();
            proptest::prop_assert_eq!(shown(dripped.transpose()), shown(whole));
        }
    }

    #[test]
    fn what_is_wrong_only_with_the_byte_before_is_refused_as_it_comes() {
        for bytes in [
            "GET /a HTTP/1.1\r\nHost: h\r\n ",
            "GET /a HTTP/1.1\r\nHost: h\rx",
            "GET /a HTTP/1.1\r\nHost: h\n",
        ] {
            assert!(parse(bytes.as_bytes(), bytes.len() - 1, &mut Lines::default()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_clear_is_read() {
        let with = |rest: &str| head(&format!("GET /a HTTP/1.1\r\nHost: h\r\n{rest}\r\n")).unwrap().unwrap();
        assert_eq!(with("").frame, Frame::End);
        assert_eq!(with("Content-Length: 5\r\n").frame, Frame::Length(5));
        assert_eq!(with("Transfer-Encoding: chunked\r\n").frame, Frame::chunked());
        assert_eq!(with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").frame, Frame::Upgrading);
        assert!(head("GET /a HTTP/1.1\r\nHost: h\r\n").unwrap().is_none());
        let absolute = head("GET http://h:80/a?b HTTP/1.1\r\nHost: h:80\r\n\r\n").unwrap().unwrap();
        assert_eq!(&absolute.rewritten.unwrap()[..], b"GET /a?b HTTP/1.1\r\nHost: h:80\r\n\r\n");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: ,chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked;a=b\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Host: h\r\n",
            "X: a\r\n b\r\n",
            "X: a\nY: b\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X : a\r\n",
            "Expect: 200-maybe\r\n",
        ] {
            assert!(head(&format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n")).is_err(), "{lines:?}");
        }
        for whole in [
            "GET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h, g\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost:\r\n\r\n",
            "GET http://g/a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
            "CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/2.0\r\nHost: h\r\n\r\n",
            "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(head(whole).is_err(), "{whole:?}");
        }
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        for (value, name) in [
            ("h", "h"),
            ("h:", "h"),
            ("a.Example-1_x:0080", "a.Example-1_x"),
            ("h:65535", "h"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("[]", "[]"),
        ] {
            assert_eq!(host_name(value.as_bytes()), Some(name.as_bytes()), "{value}");
            let with = format!("GET /a HTTP/1.1\r\nHost: {value}\r\n\r\n");
            let read = head(&with).unwrap().unwrap();
            assert_eq!(&with[read.host], name);
        }
        for value in [
            "",
            ":80",
            "h:65536",
            "h:+80",
            "h:8a",
            "h:80:80",
            "[::1",
            "[::1]8",
            "[::1]:a",
            "u@h",
            "a b",
            "caf\u{e9}",
        ] {
            assert_eq!(host_name(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_said_to_be() {
        let long = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX_BYTES));
        assert_eq!(head(&long).unwrap_err(), Rejection::HeadTooLarge);
        let many = format!("GET /a HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: a\r\n".repeat(HEADERS_MAX));
        assert_eq!(head(&many).unwrap_err(), Rejection::HeadTooLarge);
    }
}
