//! Requests by chance: good ones most often, with all that a client may send beside what it has to, and ones that must be refused.

use std::fmt::Write as _;

use apiclay_tests::Chance;

use crate::site::Site;

/// Requests on one connection.
const REQUESTS_MAX: u64 = 3;

/// What is sent on one connection, in these pieces.
#[derive(Debug, Default)]
pub struct Case {
    pub pieces: Vec<Vec<u8>>,
    /// The methods, in their order.
    pub methods: Vec<&'static str>,
    /// Waits a moment between the pieces, so that each is read by itself.
    pub slow: bool,
}

impl Case {
    /// Requests on one connection, the last of which ends it.
    pub fn of(chance: &mut Chance, site: &Site) -> Self {
        let mut case = Self::default();
        let requests = chance.between(1, REQUESTS_MAX + 1);
        for number in 1..=requests {
            case.request(chance, site, number == requests);
        }
        case
    }

    fn request(&mut self, chance: &mut Chance, site: &Site, last: bool) {
        let method = pick(chance, &["GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "DELETE", "PUT"]);
        let with_body = method == "POST" || chance.between(0, 10) == 0;
        // A body that nobody reads ends the connection in Pingora's lane and not in ours: one before the last is a good call's.
        let good = with_body && !last;
        let method = if good { "POST" } else { method };
        let target = if good { shape(chance, site) } else { target(chance, site) };
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let _ = write!(head, "{}: {}\r\n", pick(chance, &["Host", "host", "HOST"]), pick(chance, HOSTS));
        key(chance, site, &mut head, good);
        for _ in 0..chance.between(0, 6) {
            let line = pick(chance, LINES);
            if !(good && line.starts_with("Authorization")) {
                let _ = write!(head, "{line}\r\n");
            }
        }
        let body = if with_body { body(chance, &mut head) } else { Vec::new() };
        if !good && chance.between(0, 25) == 0 {
            let _ = write!(head, "{}\r\n", pick(chance, BROKEN));
        }
        if last {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        self.methods.push(method);
        let whole = [head.as_bytes(), &body].concat();
        // In one piece most often, else cut somewhere.
        let mut cuts: Vec<usize> = (0..pick(chance, &[0, 0, 0, 0, 0, 1, 1, 4]))
            .map(|_| chance.between(1, whole.len() as u64) as usize)
            .collect();
        self.slow |= !cuts.is_empty() && chance.between(0, 2) == 0;
        cuts.sort_unstable();
        cuts.dedup();
        let (mut begin, mut rest) = (0, Vec::new());
        for end in cuts.into_iter().chain([whole.len()]) {
            rest.push(&whole[begin..end]);
            begin = end;
        }
        let mut rest = rest.into_iter();
        match (self.pieces.last_mut(), rest.next()) {
            // Pipelined onto what came before.
            (Some(before), Some(first)) if chance.between(0, 2) == 0 => before.extend_from_slice(first),
            (_, first) => self.pieces.extend(first.map(<[u8]>::to_vec)),
        }
        self.pieces.extend(rest.map(<[u8]>::to_vec));
    }
}

pub(super) const HOSTS: &[&str] =
    &["gateway.test", "gateway.test", "gateway.test", "gateway.test:80", "[::1]:8080", "GATEWAY.TEST"];

/// Header lines that a client may send, be they of use or not.
pub(super) const LINES: &[&str] = &[
    "Accept: */*",
    "aCCept: text/html, application/json;q=0.9",
    "Accept-Encoding: gzip, br",
    "User-Agent: differ/1",
    "Cookie: a=1; apiclay_session=secret; b=2",
    "Cookie: __Host-apiclay_session=secret",
    "Cookie: c=3",
    "Connection: keep-alive",
    "Connection: X-Named",
    "X-Named: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: X-After",
    "Upgrade: h2c",
    "Via: 1.1 somebody",
    "CDN-Loop: somebody; v=1",
    "Forwarded: for=10.0.0.1",
    "True-Client-IP: 10.0.0.1",
    "X-Original-URL: /admin",
    "X_HTTP_Method_Override: DELETE",
    "X-Forwarded-For: 10.0.0.1",
    "X_Forwarded_For: 10.0.0.1",
    "X-Real-IP: 10.0.0.1",
    "X-Consumer-Id: me",
    "X-Request-Id: mine",
    "X-Empty:",
    "X-Spaces:    a  b   ",
    "X-Tab:\ta\tb",
    "X-Text: caf\u{e9}",
    "X-Twice: 1",
    "X-Twice: 2",
    "x-under_score: 1",
    "Authorization: Basic dTpw",
    "Authorization: Bearer of-the-vendor",
    "If-None-Match: \"a\"",
    "Range: bytes=0-9",
    "Origin: https://app.example",
    "Content-Type: application/json",
];

/// What a gateway has to refuse.
const BROKEN: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Content-Length: 1\r\nContent-Length: 2",
    "Content-Length: +1",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: xchunked",
    "Host: other.test",
    " folded: 1",
    "Space : 1",
    "NoColon",
    "X-Nul: a\0b",
    "Expect: 200-maybe",
];

pub(super) fn pick<T: Copy>(chance: &mut Chance, of: &[T]) -> T {
    of[chance.between(0, of.len() as u64) as usize]
}

pub(super) fn target(chance: &mut Chance, site: &Site) -> String {
    match chance.between(0, 20) {
        0 => pick(chance, &["/", "/skycast", "/nobody/weather/now/x", "*", "/skycast/weather"]).to_owned(),
        1 => site.path(pick(
            chance,
            &[
                "/files/../x",
                "/files//x",
                "/files/%2e%2e/x",
                "/files/a%2Fb",
                "/none",
                "/files/%",
                "/files/a#b",
                "/files/a?b#c",
            ],
        )),
        2 => format!("http://gateway.test{}", site.path("/files/absolute")),
        3 => {
            site.path(pick(chance, &["/hints", "/zeros", "/now/caf%C3%A9", "/redirect?to=/else", "/orders"]))
        }
        _ => shape(chance, site),
    }
}

/// A call whose answer has some shape.
fn shape(chance: &mut Chance, site: &Site) -> String {
    let status = pick(chance, &["200", "200", "200", "201", "204", "304", "404", "418", "500", "503"]);
    let frame = pick(chance, &["length", "length", "chunks", "odd-chunks", "close", "both"]);
    let bytes = pick(chance, &["0", "1", "90", "4096", "20000", "100000"]);
    let head = chance.between(0, 8);
    site.path(&format!("/files/shape?status={status}&frame={frame}&bytes={bytes}&head={head}"))
}

pub(super) fn key(chance: &mut Chance, site: &Site, head: &mut String, good: bool) {
    let key = &site.bought.key;
    let _ = match chance.between(if good { 4 } else { 0 }, 16) {
        0 => Ok(()),
        1 => write!(head, "X-Api-Key: wrong\r\n"),
        2 => write!(head, "X-Api-Key: {key}\r\nx-api-key: {key}\r\n"),
        3 => write!(head, "X-Api-Key: {key}\r\nAuthorization: Bearer {key}\r\n"),
        4..7 => write!(head, "Authorization: bearer {key}\r\n"),
        _ => write!(head, "{}: {key}\r\n", if chance.between(0, 2) == 0 { "X-Api-Key" } else { "x-api-key" }),
    };
}

/// A body with the line that says its length.
fn body(chance: &mut Chance, head: &mut String) -> Vec<u8> {
    let bytes = chance.between(0, 3_000) as usize;
    let data: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 26) as u8).collect();
    if chance.between(0, 3) > 0 {
        let _ = write!(head, "Content-Length: {bytes}\r\n");
        return data;
    }
    head.push_str("Transfer-Encoding: chunked\r\n");
    let mut framed = Vec::new();
    for piece in data.chunks(chance.between(1, 2_000) as usize) {
        let size = match chance.between(0, 4) {
            0 => format!("{:X}\r\n", piece.len()),
            1 => format!("00{:x}\r\n", piece.len()),
            _ => format!("{:x}\r\n", piece.len()),
        };
        framed.extend_from_slice(size.as_bytes());
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(pick(chance, &[&b"0\r\n\r\n"[..], b"000\r\n\r\n"]));
    framed
}
