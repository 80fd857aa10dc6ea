//! Strictness, held against another reader: hyper's server reads the same bytes as the front does. What the front takes for a request,
//! hyper takes for the same one, with the same body, and finds the next one at the same place; or it refuses. What hyper takes and
//! the front would read otherwise, the front refuses. `APICLAY_TEST_HEADS` says how many connections are made by chance.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame as BodyFrame, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::{Request, Response};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::front::framing::Frame;
use crate::front::head;
use crate::front::lines::Lines;
use grammar::{changed, changes, request};

pub mod grammar;

const CONNECTIONS_DEFAULT: u32 = 4_000;
/// hyper is asked to go on as often at most: it never waits for anything but bytes, which are there.
const POLLS_MAX: usize = 10_000;

/// A request as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    method: String,
    /// Path and query.
    target: String,
    /// By name, in lower case, each in the order that it came in.
    lines: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// How reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// What comes next is no request.
    Refused(String),
    /// There is only a part of the next one, or nothing.
    Waits,
}

fn in_order(mut lines: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}

/// All that the front reads.
fn by_front(mut bytes: &[u8]) -> (Vec<Read>, End) {
    let mut all = Vec::new();
    loop {
        let mut lines = Lines::default();
        let head = match head::parse(bytes, 0, &mut lines) {
            Ok(Some(head)) => head,
            Ok(None) => return (all, End::Waits),
            Err(refused) => return (all, End::Refused(format!("{refused:?}"))),
        };
        let rewritten = head.rewritten.as_deref().map(|head| {
            let mut lines = Lines::default();
            let parsed = head::parse(head, 0, &mut lines).unwrap().unwrap();
            String::from_utf8_lossy(&head[parsed.target]).into_owned()
        });
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range]).into_owned();
        let own = |(name, value): (&[u8], &[u8])| {
            (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec())
        };
        let mut frame = match head.frame {
            Frame::Upgrading => Frame::End,
            frame => frame,
        };
        let mut body = Vec::new();
        let taken = frame.pass(&bytes[head.bytes..], &mut |data| body.extend_from_slice(data));
        match frame {
            Frame::End => {}
            Frame::Bad => return (all, End::Refused("the body's framing".to_owned())),
            _ => return (all, End::Waits),
        }
        all.push(Read {
            method: text(head.method),
            target: rewritten.unwrap_or_else(|| text(head.target)),
            lines: in_order(lines.of(bytes).iter().map(own).collect()),
            body,
        });
        bytes = &bytes[head.bytes + taken..];
    }
}

/// Bytes in pieces of `step`, then the end; what is written is lost.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let end = (self.at + self.step.min(into.remaining())).min(self.bytes.len());
        into.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
    fn is_end_stream(&self) -> bool {
        true
    }
}

/// The request with its whole body.
async fn whole(request: Request<Incoming>) -> Result<Read, hyper::Error> {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = std::future::poll_fn(|task| Pin::new(&mut incoming).poll_frame(task)).await {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    let lines =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    Ok(Read {
        method: head.method.as_str().to_owned(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        lines: in_order(lines.collect()),
        body,
    })
}

/// All that hyper reads, which may end at a request that ends its connection.
fn by_hyper(bytes: &[u8], step: usize) -> (Vec<Read>, Result<(), String>) {
    let all = RefCell::new(Vec::new());
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let all = &all;
        async move {
            let read = whole(request).await?;
            all.borrow_mut().push(read);
            Ok::<_, hyper::Error>(Response::new(Nothing))
        }
    });
    let wire = Wire { bytes: bytes.to_vec(), at: 0, step };
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(wire, service)
    );
    let mut ended = None;
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(end) = serving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            ended = Some(end.map_err(|error| format!("{error:?}")));
            break;
        }
    }
    (all.take(), ended.expect("hyper waits"))
}

/// Whether a request says that it is the last of its connection; hyper reads no other one then.
fn is_last(request: &Read, bytes: &[u8]) -> bool {
    let named = request.lines.iter().filter(|(name, _)| name == "connection");
    let mut tokens = named.flat_map(|(_, value)| value.split(|b| *b == b','));
    let says_close = tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
    says_close || bytes.windows(8).any(|window| window == b"HTTP/1.0")
}

/// Where the two disagree.
fn disagreement(bytes: &[u8], step: usize) -> Option<String> {
    let (front, front_end) = by_front(bytes);
    let (hyper, hyper_end) = by_hyper(bytes, step);
    let common = front.len().min(hyper.len());
    if front[..common] != hyper[..common] {
        return Some(format!("the front read {front:#?}\nhyper {hyper:#?}"));
    }
    if hyper.len() > front.len() && front_end == End::Waits {
        return Some(format!("the front waits, where hyper read {:#?}", hyper[common]));
    }
    if let Some(own) = front.get(common)
        && hyper_end.is_ok()
        && !hyper.last().is_some_and(|last| is_last(last, bytes))
    {
        return Some(format!("hyper stopped without a word where the front read {own:#?}"));
    }
    // What a URI cannot be is refused by phase accept, or is the vendor's to judge.
    if let (Some(own), Err(error)) = (front.get(common), &hyper_end)
        && own.target.parse::<http::Uri>().is_ok()
        && !error.contains("Uri")
    {
        return Some(format!("hyper refused ({error}) where the front read {own:#?}"));
    }
    None
}

#[test]
fn what_the_front_takes_hyper_reads_alike_and_what_it_would_read_otherwise_is_refused() {
    let cases = std::env::var("APICLAY_TEST_HEADS").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(CONNECTIONS_DEFAULT),
        failure_persistence: None,
        ..Config::default()
    };
    let connection =
        (proptest::collection::vec(request(), 1..3), changes(), select(&[1_usize, 2, 7, 8_192][..]));
    let taken = RefCell::new((0_u64, 0_u64));
    let outcome = TestRunner::new(config).run(&connection, |(requests, changes, step)| {
        let mut bytes = changed(requests.concat(), &changes);
        bytes.extend_from_slice(b"GET /follower HTTP/1.1\r\nHost: f\r\n\r\n");
        let (read, _) = by_front(&bytes);
        let follower = read.last().is_some_and(|last| last.target == "/follower");
        taken.borrow_mut().0 += read.len() as u64;
        taken.borrow_mut().1 += u64::from(follower);
        match disagreement(&bytes, step) {
            None => Ok(()),
            Some(how) => Err(TestCaseError::fail(format!("{}\n{how}", bytes.escape_ascii()))),
        }
    });
    let (requests, followers) = *taken.borrow();
    println!("{requests} requests were taken, {followers} connections to their follower");
    outcome.unwrap();
    assert!(requests > u64::from(cases.unwrap_or(CONNECTIONS_DEFAULT)) / 4, "too few were taken");
}
