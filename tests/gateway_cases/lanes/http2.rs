//! HTTP/2 by chance: either lane answers a call alike, asks the upstream for the same, and bills the same.
//! `APICLAY_TEST_LANES` says how many connections, `APICLAY_TEST_SEED` which.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::Chance;
use bytes::Bytes;
use futures_util::future::try_join;
use h2::client::SendRequest;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tokio::net::TcpStream;

use super::grammar::{self, HOSTS, LINES, pick};
use super::{SEED_DEFAULT, Seen, counted_alike, forwarded, named, number, text, told, without_id};
use crate::site::Site;
use crate::upstream::FAULTS;

const CONNECTIONS_DEFAULT: u64 = 400;
const CALLS_MAX: u64 = 4;
/// Headers that HTTP/2 does not have (RFC 9113, section 8.2.2).
const OF_A_CONNECTION: [&str; 4] = ["Connection", "Keep-Alive", "Proxy-Connection", "Upgrade"];

/// A call: its head, and its body in pieces.
#[derive(Debug)]
struct Case {
    request: Request<()>,
    pieces: Vec<Bytes>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_take_http2_alike() -> Result<()> {
    let (connections, seed) =
        (number("APICLAY_TEST_LANES", CONNECTIONS_DEFAULT)?, number("APICLAY_TEST_SEED", SEED_DEFAULT)?);
    let (fast, slow) = try_join(Site::start_with("on"), Site::start_with("off")).await?;
    let mut asked = 0;
    for number in 0..connections {
        let made = |site: &Site| cases(&mut Chance::of(seed ^ number.rotate_left(32)), site);
        let again = || format!("again: APICLAY_TEST_SEED={seed}, connection {number}: {:#?}", made(&fast));
        let (of_fast, of_slow) = (made(&fast)?, made(&slow)?);
        let (at_fast, at_slow) =
            try_join(seen(&fast, of_fast), seen(&slow, of_slow)).await.with_context(again)?;
        ensure!(at_fast == at_slow, "{}\nfast {at_fast:#?}\nslow {at_slow:#?}", again());
        let (fast_asked, slow_asked) = (forwarded(&fast, asked), forwarded(&slow, asked));
        ensure!(
            fast_asked == slow_asked,
            "{}\nfast forwarded {fast_asked:#?}\nslow forwarded {slow_asked:#?}",
            again()
        );
        asked += fast_asked.len();
    }
    println!(
        "{connections} connections of seed {seed}: {asked} requests came to the upstream by either lane"
    );
    // Only the fast lane writes names in lower case.
    for (line, what) in [("\r\nhost: ", "none"), ("\r\ncontent-length: 3000\r\n", "no body")] {
        ensure!(fast.upstream.bytes().contains(line), "the fast lane took {what}");
    }
    ensure!(!slow.upstream.bytes().contains("\r\nhost: "), "the fast lane is not off");
    ensure!(asked as u64 > connections, "too few calls came through to say anything");
    counted_alike(&fast, &slow, asked as u64 + 1).await.map(drop)
}

/// What breaks an answer off in HTTP/1.1 resets a stream, which is then never taken for a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_take_upstreams_faults_in_http2_alike() -> Result<()> {
    let (fast, slow) = try_join(Site::start_with("on"), Site::start_with("off")).await?;
    let (mut wrong, mut counted, mut billed) = (Vec::new(), 0, 0);
    for fault in FAULTS {
        let made = |site: &Site| -> Result<Vec<Case>> {
            let path = site.path(&format!("/files/fault?{}", fault.name));
            // Not one that may be tried again: what broke is then asked for once.
            let request =
                Request::post(format!("http://gateway.test{path}")).header("x-api-key", &site.bought.key);
            Ok(vec![Case { request: request.body(())?, pieces: Vec::new() }])
        };
        let (at_fast, at_slow) = try_join(seen(&fast, made(&fast)?), seen(&slow, made(&slow)?)).await?;
        let whole = at_fast.iter().all(|answer| answer.whole);
        // Pingora's lane has its head with the client when it finds that the body is none.
        let alike = at_fast == at_slow || (fault.counted && fault.status == 502);
        let status = at_fast.iter().all(|answer| answer.line.starts_with(&fault.status.to_string()));
        if whole != fault.whole || !alike || (whole && !status) {
            wrong.push(format!("{}: fast {at_fast:#?}\nslow {at_slow:#?}", fault.name));
        }
        counted += u64::from(fault.counted);
        billed += u64::from(fault.billed);
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
    let total = counted_alike(&fast, &slow, counted + 1).await?;
    ensure!(total["billable_calls"] == billed + 1, "{total}, not {} billed", billed + 1);
    Ok(())
}

/// The vendor has his time from when he has the request, be its body there late.
#[tokio::test]
async fn a_body_that_comes_late_takes_none_of_the_vendors_time() -> Result<()> {
    const READ: Duration = Duration::from_millis(1_500);
    let site = Site::start().await?;
    let target = serde_json::json!([{"url": format!("http://{}", site.upstream.address), "weight": 1}]);
    let timeouts = serde_json::json!({"read_ms": READ.as_millis() as u64});
    site.set_upstream(&serde_json::json!({"targets": target, "timeouts": timeouts})).await?;
    let stream = TcpStream::connect(site.market.gateway_address).await?;
    let (mut connection, driver) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(driver);
    let uri = format!("http://gateway.test{}", site.path("/files/slow"));
    let post =
        || Request::post(&uri).header("x-api-key", &site.bought.key).header("content-length", 5).body(());
    // The last finds a connection in the pool, which has not to be waited for: each thread has one by then.
    for pause in [vec![Duration::ZERO; 8], vec![READ]].concat() {
        connection = connection.ready().await?;
        let (answer, mut body) = connection.send_request(post()?, false)?;
        tokio::time::sleep(pause).await;
        body.send_data(Bytes::from_static(b"abcde"), true)?;
        let status = answer.await?.status();
        ensure!(status == 200, "after {pause:?} it was answered {status}");
    }
    driver.abort();
    site.billed(10).await
}

fn cases(chance: &mut Chance, site: &Site) -> Result<Vec<Case>> {
    (0..chance.between(1, CALLS_MAX + 1)).map(|_| Case::of(chance, site)).collect()
}

impl Case {
    fn of(chance: &mut Chance, site: &Site) -> Result<Self> {
        let uri: Uri = loop {
            let target = grammar::target(chance, site);
            let uri = format!("http://{}{target}", pick(chance, HOSTS)).parse();
            if let (true, Ok(uri)) = (target.starts_with('/'), uri) {
                break uri;
            }
        };
        let methods = [
            Method::GET,
            Method::GET,
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::DELETE,
            Method::PUT,
        ];
        let method = match chance.between(0, 10) {
            0..4 => Method::POST,
            _ => methods[chance.between(0, methods.len() as u64) as usize].clone(),
        };
        let with_body = method == Method::POST || chance.between(0, 10) == 0;
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        let mut lines = String::new();
        let good = chance.between(0, 8) > 0;
        grammar::key(chance, site, &mut lines, good);
        for _ in 0..chance.between(0, 6) {
            lines.push_str(pick(chance, LINES));
            lines.push_str("\r\n");
        }
        for line in lines.lines().filter(|line| !OF_A_CONNECTION.iter().any(|name| line.starts_with(name))) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let (name, value) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.trim().as_bytes()));
            request.headers_mut().append(name?, value?);
        }
        let mut pieces = Vec::new();
        if with_body {
            // Beyond what is taken whole, too.
            let bytes = pick(chance, &[0, 1, 90, 3_000, 65_536, 65_537, 100_000]);
            if chance.between(0, 4) > 0 {
                request.headers_mut().insert("content-length", HeaderValue::from(bytes));
            }
            let data: Vec<u8> = (0..bytes).map(|at: usize| b'a' + (at % 26) as u8).collect();
            let piece = pick(chance, &[usize::MAX, 1_000, 20_000]).min(data.len().max(1));
            pieces = data.chunks(piece).map(Bytes::copy_from_slice).collect();
            if bytes == 0 {
                pieces.push(Bytes::new());
            }
        }
        Ok(Self { request, pieces })
    }
}

/// What is answered to calls on one connection, one after the other.
async fn seen(site: &Site, cases: Vec<Case>) -> Result<Vec<Seen>> {
    let stream = TcpStream::connect(site.market.gateway_address).await?;
    let (mut connection, driver) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(driver);
    let mut all = Vec::new();
    for case in cases {
        connection = connection.ready().await?;
        all.push(answer(&mut connection, case).await.unwrap_or_else(|reset| Seen {
            line: format!("reset: {:?}", reset.reason()),
            headers: Vec::new(),
            body: String::new(),
            whole: false,
        }));
    }
    driver.abort();
    Ok(all)
}

async fn answer(connection: &mut SendRequest<Bytes>, case: Case) -> Result<Seen, h2::Error> {
    let (answer, mut body) = connection.send_request(case.request, case.pieces.is_empty())?;
    let pieces = case.pieces.len();
    for (at, piece) in case.pieces.into_iter().enumerate() {
        // A refused call is answered before the rest of it is sent.
        if body.send_data(piece, at + 1 == pieces).is_err() {
            break;
        }
    }
    let (head, mut body) = answer.await?.into_parts();
    let (mut bytes, mut whole) = (Vec::new(), true);
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else {
            whole = false;
            break;
        };
        // The window is the client's own to give.
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    let headers: Vec<(&str, String)> =
        head.headers.iter().map(|(name, value)| (name.as_str(), text(value.as_bytes()))).collect();
    Ok(Seen {
        line: head.status.to_string(),
        headers: named(headers.iter().map(|(name, value)| (*name, &**value))),
        body: told(&without_id(&text(&bytes))),
        whole,
    })
}
