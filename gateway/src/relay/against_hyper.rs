//! How an upstream's answer is framed, held against another reader: hyper's client reads the same bytes as the relay does. What both take for
//! an answer, they take for the same one with the same body, and another call follows on the connection only where hyper would send
//! one. `APICLAY_TEST_HEADS` says how many answers are made by chance.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::rt::ReadBufCursor;
use hyper::{Request, Response};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::answer::{Head, NoAnswer};
use super::body::Framing;
use crate::front::tests::against_hyper::grammar::{body, changed, changes, end_of_line, mostly};

const ANSWERS_DEFAULT: u32 = 4_000;
/// hyper is asked to go on as often at most: it never waits for anything but bytes, which are there.
const POLLS_MAX: usize = 10_000;

/// An answer as somebody read it, to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    status: u16,
    /// By name, in lower case, in the order of names.
    lines: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn in_order(mut lines: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}

/// What the relay reads of an answer after which the upstream closes, and whether the connection could carry another call.
fn by_relay(mut bytes: &[u8], method: &str) -> Result<(Read, bool), String> {
    let mut head = Head::default();
    loop {
        match head.read(bytes) {
            Ok(true) if head.status >= 200 => break,
            Ok(true) if matches!(head.status, 100 | 102..) => bytes = &bytes[head.bytes..],
            Ok(true) | Err(NoAnswer) => return Err("no answer".to_owned()),
            Ok(false) => return Err("half a head".to_owned()),
        }
    }
    let lines = head.lines(bytes);
    let said = head.body(lines, method).map_err(|NoAnswer| "no framing".to_owned())?;
    let own =
        |(name, value): (&[u8], &[u8])| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec());
    let lines = in_order(lines.iter().map(own).collect());
    let (mut framing, mut data, rest) = (said.framing, Vec::new(), &bytes[head.bytes..]);
    let passed = framing.pass(rest, false, &mut Vec::new(), &mut |piece| data.extend_from_slice(piece));
    let taken = passed.map_err(|broken| format!("{broken:?}"))?;
    match framing {
        Framing::Done | Framing::UntilClose => {
            let read = Read { status: head.status, lines, body: data };
            Ok((read, said.reusable && taken == rest.len()))
        }
        _ => Err("it ends too early".to_owned()),
    }
}

/// Bytes in pieces of `step` once a request was written, then the end, or nothing more.
struct Wire<'a> {
    bytes: &'a [u8],
    step: usize,
    ends: bool,
    is_asked: &'a Cell<bool>,
}

impl hyper::rt::Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.is_asked.get() || (self.bytes.is_empty() && !self.ends) {
            return Poll::Pending;
        }
        let (piece, rest) = self.bytes.split_at(self.step.min(into.remaining()).min(self.bytes.len()));
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.is_asked.set(true);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn whole(answer: Response<Incoming>) -> hyper::Result<Read> {
    let (head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = std::future::poll_fn(|task| Pin::new(&mut incoming).poll_frame(task)).await {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    let lines =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    Ok(Read { status: head.status.as_u16(), lines: in_order(lines.collect()), body })
}

/// What hyper reads, where the upstream closes after it or not; and whether it would send another call after it.
fn by_hyper(bytes: &[u8], method: &str, step: usize, ends: bool) -> Result<(Read, bool), String> {
    let is_asked = Cell::new(false);
    let wire = Wire { bytes, step, ends, is_asked: &is_asked };
    let mut parser = http1::Builder::new();
    parser.allow_spaces_after_header_name_in_responses(true);
    let mut handshake = pin!(parser.handshake::<_, String>(wire));
    let mut task = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((mut sender, connection))) = handshake.as_mut().poll(&mut task) else {
        return Err("hyper shakes no hands".to_owned());
    };
    let (mut connection, mut is_over) = (pin!(connection), false);
    let request = Request::builder().method(method).uri("/").header("host", "h").body(String::new());
    let sent = sender.send_request(request.map_err(|error| error.to_string())?);
    let mut answer = pin!(async { whole(sent.await?).await });
    for _ in 0..POLLS_MAX {
        is_over = is_over || connection.as_mut().poll(&mut task).is_ready();
        if let Poll::Ready(read) = answer.as_mut().poll(&mut task) {
            // What else came is seen when it looks once more.
            is_over = is_over || connection.as_mut().poll(&mut task).is_ready();
            return read
                .map(|read| (read, !is_over && sender.is_ready()))
                .map_err(|error| format!("{error:?}"));
        }
    }
    Err("it waits".to_owned())
}

/// Where the two disagree.
fn disagreement(bytes: &[u8], method: &str, step: usize) -> Option<String> {
    let Ok((relay, is_reused)) = by_relay(bytes, method) else { return None };
    let hyper = by_hyper(bytes, method, step, true);
    if let Ok((hyper, _)) = &hyper
        && relay != *hyper
    {
        return Some(format!("the relay read {relay:#?}\nhyper {hyper:#?}"));
    }
    if !is_reused || hyper.is_err() {
        return None;
    }
    let stays = by_hyper(bytes, method, step, false);
    (stays != Ok((relay, true))).then(|| format!("the relay would send another call, hyper {stays:#?}"))
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let interim = mostly(
        "",
        &[
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 102 Processing\r\nContent-Length: 3\r\n\r\n",
        ],
    );
    let status = mostly(
        "HTTP/1.1 200 OK",
        &[
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 304 Not Modified",
            "HTTP/1.1 404 Not Found",
            "HTTP/1.1 205 Reset Content",
            "HTTP/1.1 200",
            "HTTP/1.1 200 ",
            "HTTP/1.1 299 caf\u{e9}",
            "HTTP/1.1 99 Low",
            "HTTP/1.1 1000 High",
            "HTTP/1.1 600 High",
            "HTTP/1.1 2x0 OK",
            "HTTP/1.0 200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/2 200 OK",
            "HTTP/0.9 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1  200 OK",
            "ICY 200 OK",
            "",
        ],
    );
    let lines = &[
        "Date: now",
        "X-Empty:",
        "X-Spaces:   a  b  ",
        "X-Text: caf\u{e9}",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: Close, X-A",
        "Upgrade: h2c",
        "Set-Cookie: a=b; Path=/",
        "Content-Length: 5",
        "Content-Length: 0",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: 05",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length : 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\n ,gzip",
        " folded: 1",
        "Space : 1",
        ": none",
        "NoColon",
        "X-Nul: a\0b",
        "X-Lf: a\nY: b",
        "X-Cr: a\rb",
        "Trailer: X-After",
    ];
    let lines = (select(&lines[..]), end_of_line()).prop_map(|(line, end)| format!("{line}{end}"));
    let lines = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(lines, 0..4)];
    (interim, status, end_of_line(), lines, body(), end_of_line()).prop_map(
        |(interim, status, first_end, lines, (framing, body), end)| {
            let head = format!("{interim}{status}{first_end}{}{framing}{end}", lines.concat());
            [head.as_bytes(), &body].concat()
        },
    )
}

#[test]
fn what_the_relay_takes_hyper_reads_alike_and_reuses_where_we_do() {
    let cases = std::env::var("APICLAY_TEST_HEADS").ok().and_then(|text| text.parse().ok());
    let cases = cases.unwrap_or(ANSWERS_DEFAULT);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let follower = mostly("", &["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nF", "\r\n", "x"]);
    let all = (
        answer(),
        follower,
        changes(),
        select(&["GET", "HEAD", "POST"][..]),
        select(&[1_usize, 2, 7, 8_192][..]),
    );
    let taken = RefCell::new((0_u32, 0_u32));
    let outcome = TestRunner::new(config).run(&all, |(answer, follower, changes, method, step)| {
        let bytes = [changed(answer, &changes), follower.into_bytes()].concat();
        if let Ok((_, is_reused)) = by_relay(&bytes, method) {
            taken.borrow_mut().0 += 1;
            taken.borrow_mut().1 += u32::from(is_reused);
        }
        match disagreement(&bytes, method, step) {
            None => Ok(()),
            Some(how) => Err(TestCaseError::fail(format!("{method}: {}\n{how}", bytes.escape_ascii()))),
        }
    });
    let (answers, reused) = *taken.borrow();
    println!("{answers} answers were taken, and {reused} of their connections used again");
    outcome.unwrap();
    assert!(answers > cases / 4 && reused > cases / 16, "too few were taken");
}
