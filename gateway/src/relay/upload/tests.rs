//! Bodies that come piece by piece, between a client and an upstream of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;

use super::*;
use crate::front::head;
use crate::front::lines::Lines;
use crate::relay::client::Http1;
use crate::relay::connection::Exchange;

/// What the ways between the three can hold.
const WAY_BYTES: usize = 4_096;
/// No wait of these tests ends by itself, but where one is to.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// The gateway's half of one call.
struct Half {
    stream: Stream,
    followers: BytesMut,
    upload: Upload,
    shutdown: watch::Receiver<bool>,
    connection: Connection,
    said: BytesMut,
    client_timeout: Duration,
    until: Option<Instant>,
}

impl Half {
    /// One whose request's head, and what came with it, is `request`; the ends of the client and the upstream.
    fn of(request: &str, max_bytes: u64) -> (Self, DuplexStream, DuplexStream) {
        let (client, ours) = duplex(WAY_BYTES);
        let (upstream, theirs) = duplex(WAY_BYTES);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (stream, since) = (Box::new(theirs), Instant::now());
        let connection = Connection { stream, address, reused: false, read_timeout: LONG, since };
        let mut lines = Lines::default();
        let head = head::parse(request.as_bytes(), 0, &mut lines).unwrap().unwrap();
        let mut upload = Upload::default();
        assert_eq!(upload.begin(head.frame, &request.as_bytes()[head.bytes..]), 0);
        upload.limit(max_bytes).unwrap();
        upload.start(&mut b"HEAD ".to_vec());
        let half = Self {
            stream: Box::new(ours),
            followers: BytesMut::new(),
            upload,
            shutdown: watch::channel(false).1,
            connection,
            said: BytesMut::with_capacity(WAY_BYTES),
            client_timeout: LONG,
            until: None,
        };
        (half, client, upstream)
    }

    fn chunked() -> (Self, DuplexStream, DuplexStream) {
        Self::of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 1 << 20)
    }

    fn length(bytes: usize) -> (Self, DuplexStream, DuplexStream) {
        Self::of(&format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n"), 1 << 20)
    }

    /// The client as the lane has it, and the upstream's connection.
    fn parts(&mut self) -> (Http1<'_>, &mut Connection) {
        let client = Http1 {
            stream: &mut self.stream,
            body: &[],
            waiting: 0,
            followers: &mut self.followers,
            upload: &mut self.upload,
            timeout: self.client_timeout,
            said_close: false,
            has_left: false,
            is_broken: false,
            shutdown: &self.shutdown,
        };
        (client, &mut self.connection)
    }

    async fn send(&mut self) -> Option<Read> {
        let (until, mut said) = (self.until, std::mem::take(&mut self.said));
        let (mut client, connection) = self.parts();
        let sent = connection.send(Some(&mut said), &mut client, until).await;
        self.said = said;
        sent
    }

    fn held_bytes(&self) -> usize {
        self.followers.capacity() + self.upload.capacity_bytes()
    }
}

/// All that comes until there is nothing for a while.
async fn read_for_now(from: &mut DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(SHORT, from.read_buf(&mut all)).await {}
    all
}

#[tokio::test]
async fn chunks_are_written_anew_however_they_come_and_what_follows_stays() {
    let wire = b"4\r\nwiki\r\n00a\r\n0123456789\r\n000\r\n\r\nGET";
    for step in 1..=wire.len() {
        let (mut half, mut client, mut upstream) = Half::chunked();
        let sends = async {
            for piece in wire.chunks(step) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (said, ()) = tokio::join!(half.send(), sends);
        assert_eq!((said, half.upload.bytes), (None, 14), "in pieces of {step}");
        assert!(half.upload.is_sent() && half.upload.is_beyond);
        // What came after its end, in the piece that ended it.
        assert!(b"GET".starts_with(&half.followers), "{:?}", half.followers);
        assert!(step < wire.len() || half.followers == b"GET"[..], "{:?}", half.followers);
        drop(half);
        let mut came = String::new();
        upstream.read_to_string(&mut came).await.unwrap();
        let chunks = came.strip_prefix("HEAD ").unwrap();
        let mut frame = Frame::chunked();
        let mut data = Vec::new();
        assert_eq!(frame.pass(chunks.as_bytes(), &mut |own| data.extend_from_slice(own)), chunks.len());
        assert_eq!((frame, &data[..]), (Frame::End, &b"wiki0123456789"[..]), "{chunks:?}");
        assert!(!chunks.contains("00a"), "{chunks:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_reads_nothing_holds_up_no_more_than_a_few_pieces_and_is_heard() {
    let (mut half, mut client, mut upstream) = Half::length(1 << 20);
    let sending = tokio::spawn(async move { client.write_all(&vec![b'x'; 1 << 20]).await.map(|()| client) });
    let answers = async {
        tokio::time::sleep(SHORT).await;
        upstream.write_all(b"HTTP/1.1 413 No\r\n\r\n").await.unwrap();
    };
    let (said, ()) = tokio::join!(half.send(), answers);
    assert_eq!((said, &half.said[..]), (Some(Read::Bytes), &b"HTTP/1.1 413 No\r\n\r\n"[..]));
    assert!(half.held_bytes() <= 65_536, "{}", half.held_bytes());
    assert!(half.upload.goes_on() && !half.upload.has_ended());
    // It reads on after all.
    let reads = async {
        let mut came = vec![0; (1 << 20) + 5];
        upstream.read_exact(&mut came).await.unwrap();
        came
    };
    let (said, came) = tokio::join!(half.send(), reads);
    assert_eq!((said, half.upload.bytes), (None, 1 << 20));
    assert!(came.starts_with(b"HEAD x") && came[5..].iter().all(|byte| *byte == b'x'));
    assert!(half.held_bytes() <= 65_536, "{}", half.held_bytes());
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_client_does_wrong_is_found_as_it_comes_and_never_makes_a_whole_request() {
    let chunks = |sent: &'static str, wrong| (Half::chunked(), sent, wrong);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for ((mut half, mut client, mut upstream), sent, wrong) in [
        chunks("2\r\nab\r\n2;x=y\r\n", Wrong::Framing),
        chunks("2\r\nab\r\n0\r\nX: y\r\n\r\n", Wrong::Framing),
        chunks("2\r\nabc", Wrong::Framing),
        (Half::of(head, 7), "8\r\n01234567\r\n0\r\n\r\n", Wrong::TooLarge),
        (Half::of(head, 7), "5\r\n01234\r\n3\r\n567", Wrong::TooLarge),
    ] {
        client.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(half.send().await, Some(Read::Wrong(wrong)), "{sent:?}");
        // Else what is left of it would be the next request, and its upstream's connection another call's.
        assert!(!half.upload.has_ended() && !half.upload.is_sent(), "{sent:?}");
        drop(half);
        let came = read_for_now(&mut upstream).await;
        assert!(!came.ends_with(LAST_CHUNK), "{sent:?} came as {came:?}");
    }
}

/// He may close his sending half (RFC 9112, section 9.6), however slowly the upstream takes what he sent.
#[tokio::test]
async fn what_a_client_sent_before_he_closed_goes_on_to_an_upstream_that_takes_it_late() {
    let sent = vec![b'x'; 3 * WAY_BYTES];
    let (mut half, mut client, mut upstream) = Half::length(sent.len());
    let sends = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let takes = async {
        tokio::time::sleep(SHORT).await;
        read_for_now(&mut upstream).await
    };
    let (said, (), came) = tokio::join!(half.send(), sends, takes);
    assert_eq!(said, None);
    assert!(half.upload.is_sent());
    assert_eq!(came[b"HEAD ".len()..], sent);
}

#[tokio::test]
async fn a_client_that_closed_before_its_bodys_end_has_left_at_once() {
    let (mut half, mut client, _upstream) = Half::length(4 * WAY_BYTES);
    let sends = async {
        client.write_all(&[b'x'; 3 * WAY_BYTES]).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let begun = Instant::now();
    let (said, ()) = tokio::join!(half.send(), sends);
    assert_eq!(said, Some(Read::ClientLeft));
    assert!(half.upload.is_held_up() && begun.elapsed() < LONG / 2);
}

#[tokio::test]
async fn each_side_has_its_time_and_may_leave() {
    let (mut half, _client, _upstream) = Half::length(9);
    half.client_timeout = SHORT;
    assert_eq!(half.send().await, Some(Read::Wrong(Wrong::TimedOut)), "a client that is silent");

    let (mut half, _client, _upstream) = Half::length(9);
    half.connection.read_timeout = SHORT;
    assert_eq!(half.send().await, Some(Read::Wrong(Wrong::TimedOut)), "both are silent");

    let (mut half, mut client, _upstream) = Half::length(1 << 20);
    half.connection.read_timeout = SHORT;
    let sending = tokio::spawn(async move { client.write_all(&vec![b'x'; 1 << 20]).await.map(|()| client) });
    assert_eq!(half.send().await, Some(Read::TimedOut), "an upstream that takes nothing");
    sending.abort();

    let (mut half, mut client, _upstream) = Half::length(1 << 20);
    half.until = Some(Instant::now() + SHORT);
    let drips = tokio::spawn(async move {
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    assert_eq!(
        half.send().await,
        Some(Read::TimedOut),
        "an upstream whose answer has begun and does not go on"
    );
    drips.abort();

    let (mut half, client, _upstream) = Half::length(9);
    drop(client);
    assert_eq!(half.send().await, Some(Read::ClientLeft));

    let (mut half, _client, upstream) = Half::length(9);
    drop(upstream);
    assert_eq!(half.send().await, Some(Read::End));
    assert!(!half.upload.is_beyond, "nothing but what is kept was taken");
}

#[tokio::test]
async fn an_upstream_that_takes_no_more_is_listened_to_and_its_connection_not_used_again() {
    let (mut half, mut client, upstream) = Half::length(9);
    client.write_all(b"abc").await.unwrap();
    drop(upstream);
    let (mut none, connection) = half.parts();
    // As after an answer, when nobody listens any more.
    assert_eq!(connection.send(None, &mut none, None).await, None);
    assert!(none.closes() && !none.upload.goes_on() && !none.upload.is_sent());
}

/// What comes of the answer's head, which has so long for a wait, while `both` says something to either side.
async fn head(half: &mut Half, wait_s: u64, both: impl Future<Output = ()>) -> (Read, u16) {
    half.connection.read_timeout = Duration::from_secs(wait_s);
    let mut exchange = Exchange::default();
    let (mut waits, connection) = half.parts();
    let (read, ()) = tokio::join!(connection.head(&mut waits, &mut exchange), both);
    (read.unwrap(), exchange.head.status)
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn an_answer_that_begins_after_a_long_body_has_its_own_time() {
    let (mut half, mut client, mut upstream) = Half::length(3);
    let both = async {
        for pause_ms in [0, 1_100, 1_100] {
            pause(pause_ms).await;
            client.write_all(b"x").await.unwrap();
        }
        pause(100).await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        pause(400).await;
        upstream.write_all(b"content-length: 0\r\n\r\n").await.unwrap();
    };
    assert_eq!(head(&mut half, 2, both).await, (Read::Bytes, 200));
}

#[tokio::test]
async fn an_answer_that_began_beside_the_body_has_no_second_time_after_it() {
    let (mut half, mut client, mut upstream) = Half::length(1);
    upstream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    let begun = Instant::now();
    let both = async {
        pause(2_500).await;
        client.write_all(b"x").await.unwrap();
    };
    assert_eq!(head(&mut half, 3, both).await.0, Read::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A client that reads on would take the second for the rest of the first.
#[tokio::test]
async fn nothing_is_written_behind_what_was_written_in_part() {
    let (mut half, mut client, _upstream) = Half::length(1);
    half.client_timeout = SHORT;
    let (mut ours, _) = half.parts();
    let early = [b'e'; WAY_BYTES + 1];
    assert!(ours.write(&early, false).await.is_err());
    assert_eq!(read_for_now(&mut client).await, early[..WAY_BYTES]);
    assert!(ours.write(b"HTTP/1.1 200 OK\r\n\r\n", false).await.is_err());
    assert_eq!(read_for_now(&mut client).await, b"");
}
