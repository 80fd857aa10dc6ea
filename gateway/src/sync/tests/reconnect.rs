//! What a gateway says of itself each time that it comes back to a control plane.

use std::time::Duration;

use apiclay_config::wire;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::super::stream::{follow, refused, take_frames};
use super::super::{ControlPlane, CountersAt};
use super::*;
use crate::counters::wallet::WalletDesk as _;

/// What a control plane was asked.
#[derive(Debug, PartialEq)]
enum Asked {
    Report { revision: u64, refused: String },
    Stream(String),
}

/// A control plane that takes every report, and breaks each stream after these frames.
async fn control_plane(frames: Vec<Value>) -> (url::Url, UnboundedReceiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (line, body) = request(&mut stream).await;
            let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            let said = if line.starts_with("POST ") {
                let report: Value = serde_json::from_slice(&body).unwrap();
                let refused = report["refused"].as_str().unwrap_or_default().to_owned();
                Asked::Report { revision: report["revision"].as_u64().unwrap(), refused }
            } else {
                for frame in &frames {
                    wire::write(&mut answer, frame.to_string().as_bytes()).unwrap();
                }
                Asked::Stream(line.split(' ').nth(1).unwrap().to_owned())
            };
            stream.write_all(&answer).await.unwrap();
            if tell.send(said).is_err() {
                return;
            }
        }
    });
    (url, asked)
}

fn heartbeat(revision: u64) -> Value {
    json!({"heartbeat": {"revision": revision, "live_gateways": 1}})
}

fn control(url: url::Url) -> ControlPlane {
    let token = secrecy::SecretString::from("token".to_owned());
    ControlPlane::new(url, "gw".to_owned(), token, "00".to_owned(), CountersAt::Embedded).unwrap()
}

/// A request's first line and its body.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |text| text.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return (head.lines().next().unwrap().to_owned(), bytes[end + 4..].to_vec());
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a request ends early");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_and_what_is_on_disk_is_said_again_at_each_connection() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market(1)));
    let _broken = disk::BrokenDisk::begin(folder.path());
    let applied = life.change(2, vec![Change::SetBindings(unknown_plugin())]);
    let why = applied.wrong.unwrap().to_string();
    assert!(why.contains("no-such") && applied.not_kept.is_some());
    let (url, mut asked) = control_plane(vec![heartbeat(2)]).await;
    let following = tokio::spawn(follow(control(url), life.configuration, Clock::System));
    for connection in 1..=3 {
        let mut next = async || tokio::time::timeout(Duration::from_secs(10), asked.recv()).await.unwrap();
        let report = Asked::Report { revision: 1, refused: why.clone() };
        assert_eq!(next().await.unwrap(), report, "connection {connection}");
        let stream = Asked::Stream("/internal/v1/config/stream?revision=2".to_owned());
        assert_eq!(next().await.unwrap(), stream, "connection {connection}");
    }
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_a_frame_of_an_unknown_kind_is_served_and_all_is_asked_for_anew() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market(1)));
    let frames =
        vec![json!({"delta": {"revision": 2, "changes": []}}), json!({"revoke_all": {"revision": 3}})];
    let (url, mut asked) = control_plane(frames).await;
    let following = tokio::spawn(follow(control(url), life.configuration, Clock::System));
    for (revision, from) in [(1, 1), (2, 0), (2, 0)] {
        let mut next = async || tokio::time::timeout(Duration::from_secs(10), asked.recv()).await.unwrap();
        assert_eq!(next().await.unwrap(), Asked::Report { revision, refused: String::new() });
        let stream = Asked::Stream(format!("/internal/v1/config/stream?revision={from}"));
        assert_eq!(next().await.unwrap(), stream);
    }
    following.abort();
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let said = async |status: u16, body: &'static str| {
        let answer = http::Response::builder().status(status).body(body).unwrap();
        refused(answer.into()).await.to_string()
    };
    let counters = r#"{"code": "counters_are_embedded", "detail": "set REDIS_URL for more than one gateway", "status": 409}"#;
    assert_eq!(
        said(409, counters).await,
        "the control plane answered 409 Conflict: set REDIS_URL for more than one gateway"
    );
    for (status, body) in [(401, ""), (502, "<html>"), (401, r#"{"code": "unauthorized"}"#)] {
        let said = said(status, body).await;
        assert!(said.ends_with(": see that this gateway is enrolled and its token is right"), "{said}");
    }
}

#[test]
fn frames_before_a_damaged_one_are_taken_and_then_it_is_an_error() {
    let mut buffer = Vec::new();
    for revision in [1, 2] {
        wire::write(&mut buffer, heartbeat(revision).to_string().as_bytes()).unwrap();
    }
    *buffer.last_mut().unwrap() ^= 1;
    let first = Frame::Heartbeat { revision: 1, live_gateways: Some(1) };
    assert_eq!(take_frames(&mut buffer).unwrap(), [first]);
    assert!(take_frames(&mut buffer).is_err());
}

/// Leases on wallets are stopped by age only while this is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_is_known_to_be_there_while_its_stream_lives() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (break_it, broken) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (line, _) = request(&mut stream).await;
            let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            if line.starts_with("POST ") {
                stream.write_all(&answer).await.unwrap();
                continue;
            }
            wire::write(&mut answer, heartbeat(0).to_string().as_bytes()).unwrap();
            stream.write_all(&answer).await.unwrap();
            // The stream ends, and nobody listens any more.
            return broken.await;
        }
    });
    let folder = TempDir::new().unwrap();
    let life = Life::begin(folder.path(), 1);
    let control = control(url);
    let becomes = async |heard: bool, within_ms| {
        let within = Duration::from_millis(within_ms);
        let looking = async {
            while control.is_heard() != heard {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, looking).await.unwrap();
    };
    assert!(!control.is_heard());
    let following = tokio::spawn(follow(control.clone(), life.configuration, Clock::System));
    becomes(true, 10_000).await;
    break_it.send(()).unwrap();
    // At once, and not when its last word is old.
    becomes(false, 2_500).await;
    following.abort();
}

/// A control plane that cannot take reports may tell of revocations all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_hangs_or_fails_keeps_no_revision_from_being_served() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let first = market(2);
    let revoked = Change::RemoveCredential(only_credential(&first).id);
    let frames = [
        Frame::Snapshot(Box::new(first)),
        Frame::Delta(Delta { revision: 3, fingerprint: None, changes: vec![revoked] }),
    ];
    let (tell, mut asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut reports = 0;
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (line, _) = request(&mut stream).await;
            let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            let is_report = line.starts_with("POST ");
            reports += u32::from(is_report);
            let _ = tell.send(if is_report { format!("report {reports}") } else { "stream".to_owned() });
            match (is_report, reports) {
                (true, 1) => {}
                (true, 2) => answer = b"HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n".to_vec(),
                (true, _) => {
                    // It hangs.
                    kept.push(stream);
                    continue;
                }
                (false, _) => {
                    stream.write_all(&answer).await.unwrap();
                    // Each is served by itself: the first opens the market, the second closes it to a key.
                    for frame in &frames {
                        let mut bytes = Vec::new();
                        wire::write(&mut bytes, &serde_json::to_vec(frame).unwrap()).unwrap();
                        stream.write_all(&bytes).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    kept.push(stream);
                    continue;
                }
            }
            stream.write_all(&answer).await.unwrap();
        }
    });
    let folder = TempDir::new().unwrap();
    let life = Life::begin(folder.path(), 1);
    let gateway = Arc::clone(&life.gateway);
    let following = tokio::spawn(follow(control(url), life.configuration, Clock::System));
    let opens = || gateway.runtime().is_some_and(|now| now.credentials.get(&key::digest(KEY)).is_some());
    for becomes in [true, false] {
        let looking = async {
            while opens() != becomes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), looking).await.expect("a report is waited for");
    }
    for wanted in ["report 1", "stream", "report 2", "report 3"] {
        assert_eq!(asked.recv().await.unwrap(), wanted);
    }
    following.abort();
}
