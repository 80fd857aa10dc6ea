//! Requests by chance: good ones most often, and all that readers of HTTP/1.1 are known to differ over; then single bytes are changed.

use proptest::prelude::*;
use proptest::sample::select;

/// Mostly the first, else one of the others.
pub fn mostly(first: &'static str, others: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![9 => Just(first), 1 => select(others)].prop_map(str::to_owned)
}

/// How a line ends, most often as it should.
pub fn end_of_line() -> impl Strategy<Value = String> {
    prop_oneof![60 => Just("\r\n"), 1 => select(&["\n", "\r", "\r\r\n", "\n\r", " \r\n", ""][..])]
        .prop_map(str::to_owned)
}

fn request_line() -> impl Strategy<Value = String> {
    let methods =
        &["POST", "HEAD", "PUT", "OPTIONS", "DELETE", "get", "M-SEARCH", "CONNECT", "PRI", "G\u{e9}T", ""];
    let targets = &[
        "/a%2Fb",
        "//a",
        "/a#b",
        "/a?b#c",
        "http://h/a",
        "http://h",
        "http://h?b",
        "https://h:1/x?y",
        "http://g/a",
        "*",
        "h:80",
        "/a b",
        "/\"",
        "/{x}",
        "/|",
        "/^",
        "/\\",
        "/caf\u{e9}",
        "/%",
        "/a?b?c",
        "http://u@h/a",
        "",
    ];
    let versions = &["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/11", "HTTP/1.", ""];
    let parts =
        (mostly("GET", methods), mostly("/a?b=c", targets), mostly("HTTP/1.1", versions), end_of_line());
    (parts, mostly(" ", &["  ", "\t", ""]))
        .prop_map(|((method, target, version, end), space)| format!("{method}{space}{target} {version}{end}"))
}

/// A line that may stand in a head, good or not.
fn line() -> impl Strategy<Value = String> {
    let lines = &[
        "Accept: */*",
        "aCCept:text/html",
        "X-Empty:",
        "X-Spaces:   a  b  ",
        "X-Tab:\ta\tb\t",
        "X-Text: caf\u{e9}",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: Upgrade, X-A",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "Expect: 200-maybe",
        "Host: h",
        "Host: g",
        "Host: u@h",
        "Host",
        "Content-Length: 5",
        "Content-Length: 0",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "content_length: 5",
        "Content-Length : 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\n ,gzip",
        " folded: 1",
        "\tfolded",
        "Space : 1",
        ": none",
        "NoColon",
        "X-Nul: a\0b",
        "X-Del: a\x7fb",
        "X(y): 1",
        "X-Lf: a\nY: b",
        "X-Cr: a\rb",
        "TE: trailers",
        "Trailer: X-After",
        "Keep-Alive: timeout=5",
    ];
    (select(&lines[..]), end_of_line()).prop_map(|(line, end)| format!("{line}{end}"))
}

/// How the body is framed, and the body.
pub fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || proptest::collection::vec(select(&b"ab0;\r\n "[..]), 0..20);
    let size = (1_usize..12, select(&["", "0", "00", "000000000000000"][..]), any::<bool>());
    let chunk = (
        data(),
        size,
        mostly("\r\n", &["\n", "\r", ";x=y\r\n", " \r\n", ";x\ny\r\n", "\r\n\r\n"]),
        end_of_line(),
    );
    let chunks = proptest::collection::vec(chunk, 0..4);
    let last = mostly(
        "0\r\n\r\n",
        &[
            "000\r\n\r\n",
            "0\r\n",
            "0\r\nX: y\r\n\r\n",
            "0\n\n",
            "0\r\n\n",
            "\r\n\r\n",
            ";\r\n\r\n",
            "0;x\r\n\r\n",
            "-0\r\n\r\n",
            "",
        ],
    );
    prop_oneof![
        2 => Just((String::new(), Vec::new())),
        2 => data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data)),
        3 => (chunks, last).prop_map(|(chunks, last)| {
            let mut framed = Vec::new();
            for (mut data, (least, zeros, upper), end, after) in chunks {
                data.resize(data.len().max(least), b'x');
                let size = if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
                framed.extend_from_slice(format!("{zeros}{size}{end}").as_bytes());
                framed.extend_from_slice(&data);
                framed.extend_from_slice(after.as_bytes());
            }
            framed.extend_from_slice(last.as_bytes());
            ("Transfer-Encoding: chunked\r\n".to_owned(), framed)
        }),
    ]
}

/// A request, good most often, with what stands before it and behind.
pub fn request() -> impl Strategy<Value = Vec<u8>> {
    let lines = proptest::collection::vec(line(), 0..4);
    let host =
        mostly("Host: h\r\n", &["", "Host: h:80\r\n", "Host: [::1]:8080\r\n", "HOST:h\r\n", "Host: h \r\n"]);
    (
        mostly("", &["\r\n", "\n", " "]),
        request_line(),
        host,
        prop_oneof![2 => Just(Vec::new()), 1 => lines],
        body(),
        end_of_line(),
    )
        .prop_map(|(before, first, host, lines, (framing, body), end)| {
            [format!("{before}{first}{host}{}{framing}{end}", lines.concat()).as_bytes(), &body].concat()
        })
}

/// Changes of single bytes: where, how, and to what.
pub type Change = (usize, u8, u8);

/// None, or a few.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = select(&b"\r\n\t \0:;,0159afAFx/#?.-+_\"\x7f\x80\xff"[..]);
    let change = (any::<usize>(), 0_u8..4, bytes);
    prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(change, 1..4)]
}

/// The bytes with these changes.
pub fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for &(place, how, byte) in changes {
        let place = place % bytes.len().max(1);
        match how {
            _ if bytes.is_empty() => {}
            0 => bytes.insert(place, byte),
            1 => bytes[place] = byte,
            2 => drop(bytes.remove(place)),
            _ => bytes.insert(place, bytes[place]),
        }
    }
    bytes
}
