//! A plan that counts what calls use: the upstream says it in a header, in a JSON body or in its events, and what is charged is
//! what it said, while the answer goes on to the client as it comes.

use apiclay_config::snapshot::{Meter, MeterSource};
use apiclay_config::usage::{Ending, Units, UnitsFrom};
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::*;

const MOST: u32 = 10;
const ASSUMED: u32 = 3;

const fn said(count: u32, from: UnitsFrom, capped: bool) -> Units {
    Units { count, from, capped }
}

const fn reported(count: u32) -> Units {
    said(count, UnitsFrom::Reported, false)
}

/// An upstream that answers with the headers that `x-want` lists, and with the body of `x-body`, its pieces (`|`) apart; a last
/// piece `...` goes on for ever, and `!` breaks off.
fn upstream() -> Router {
    let answer = async |headers: HeaderMap| {
        let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let mut response = Response::builder();
        for (name, value) in text("x-want").split(';').filter_map(|pair| pair.split_once('=')) {
            response = response.header(name, value);
        }
        for accepts in headers.get_all("accept-encoding") {
            response = response.header("x-accepts", accepts);
        }
        let wanted = text("x-body").replace("\\n", "\n");
        let (pieces, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        tokio::spawn(async move {
            for piece in wanted.split('|') {
                match piece {
                    "..." => while pieces.send(Ok(Bytes::from_static(b": still here\n\n"))).await.is_ok() {},
                    "!" => drop(pieces.send(Err(std::io::ErrorKind::BrokenPipe.into())).await),
                    piece => drop(pieces.send(Ok(Bytes::copy_from_slice(piece.as_bytes()))).await),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let body = futures_util::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
        response.body(Body::from_stream(body)).unwrap()
    };
    Router::new().fallback(answer)
}

async fn shop(source: MeterSource, balance: u64) -> Shop {
    shop_of(Meter { source, units_max_per_call: MOST, units_default: ASSUMED }, balance).await
}

async fn shop_of(meter: Meter, balance: u64) -> Shop {
    let shop = Shop::open_before(upstream(), |plan| plan.meter = Some(meter)).await;
    shop.plane.wallet.lock().balance = balance;
    shop
}

fn header() -> MeterSource {
    MeterSource::Header("x-units".to_owned())
}

fn pointer() -> MeterSource {
    MeterSource::JsonPointer("/usage/total_tokens".to_owned())
}

impl Shop {
    async fn asks(&self, gateway: &Running, want: &str, body: &str) -> reqwest::Response {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.get(format!("http://{}/acme/echo/now", gateway.address));
        let request = request.header("x-api-key", self.key.expose_secret()).header("accept-encoding", "gzip");
        request.header("x-want", want).header("x-body", body).send().await.unwrap()
    }

    /// Until the configuration is there; the call that finds it costs what is assumed.
    async fn until_live(&self, gateway: &Running) {
        let begun = Instant::now();
        while self.asks(gateway, "", "").await.status() != 200 {
            assert!(begun.elapsed() < WAIT_MAX, "no configuration");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Once all is charged: what the calls of such an ending used, but for the first.
    async fn charged(&self, calls: usize) -> Vec<Event> {
        let all = |wallet: &Wallet| wallet.events.values().flatten().count() == calls + 1;
        self.until("all calls are on record", all).await;
        self.until("all is charged", |wallet| wallet.holds.is_empty()).await;
        let wallet = self.plane.wallet.lock();
        let mut events: Vec<Event> = wallet.events.values().flatten().cloned().collect();
        events.sort_by_key(|event| event.at);
        let billed = events.iter().filter(|event| event.billable).map(|event| u64::from(event.units.count));
        assert_eq!(wallet.charged, billed.sum::<u64>());
        assert_eq!(events.remove(0).units, Units::assumed(ASSUMED));
        events
    }
}

fn units(events: &[Event]) -> Vec<Units> {
    events.iter().map(|event| event.units).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_what_a_call_costs_and_no_call_costs_more_than_the_most() {
    let shop = shop(header(), 1_000).await;
    let gateway = shop.gateway().await;
    shop.until_live(&gateway).await;
    let mut expected = Vec::new();
    for (value, units) in [
        ("x-units=4", reported(4)),
        ("x-units=0", reported(0)),
        ("x-units=10", reported(10)),
        ("x-units=25", said(10, UnitsFrom::Reported, true)),
        ("x-units=-1", Units::assumed(ASSUMED)),
        ("x-other=9", Units::assumed(ASSUMED)),
    ] {
        let answer = shop.asks(&gateway, value, "").await;
        assert_eq!(
            answer.headers()["x-accepts"],
            "gzip",
            "a body that nobody reads is the client's to choose"
        );
        expected.push(units);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.drain().await;
    let events = shop.charged(expected.len()).await;
    assert_eq!(units(&events), expected);
    assert!(events.iter().all(|event| event.billable && event.kept));
    assert_eq!(shop.plane.wallet.lock().charged, 3 + 4 + 10 + 10 + 3 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_says_it_at_its_place_and_passes_as_it_came() {
    let shop = shop(pointer(), 1_000).await;
    let gateway = shop.gateway().await;
    shop.until_live(&gateway).await;
    let json = "content-type=application/json";
    let mut expected = Vec::new();
    for (head, body, units) in [
        (json, r#"{"text":"a","us|age":{"total_to|kens":7|}}"#, reported(7)),
        (json, r#"{"usage":{"total_tokens":70}}"#, said(10, UnitsFrom::Reported, true)),
        (json, r#"{"usage":{"total_tokens":-7}}"#, Units::assumed(ASSUMED)),
        (json, r#"{"text":"\"usage\":{\"total_tokens\":7}"}"#, Units::assumed(ASSUMED)),
        (json, "no JSON at all", Units::assumed(ASSUMED)),
        ("content-type=text/plain", r#"{"usage":{"total_tokens":7}}"#, Units::assumed(ASSUMED)),
        (
            "content-type=application/json;content-encoding=gzip",
            r#"{"usage":{"total_tokens":7}}"#,
            Units::assumed(ASSUMED),
        ),
        (
            "content-type=text/event-stream",
            "data: {\"usage\":{\"total_tokens\":2}}\\n\\n|da|ta: {\"usage\":{\"total_tokens\":8}}\\n\\n|data: {\"usage\":null}\\n\\ndata: [DONE]\\n\\n",
            reported(8),
        ),
    ] {
        let answer = shop.asks(&gateway, head, body).await;
        let accepts: Vec<_> = answer.headers().get_all("x-accepts").iter().collect();
        assert_eq!(accepts, ["identity"], "the vendor's own does not stand against it");
        let came = answer.text().await.unwrap();
        assert_eq!(came, body.replace('|', "").replace("\\n", "\n"));
        expected.push(units);
    }
    gateway.drain().await;
    let events = shop.charged(expected.len()).await;
    assert_eq!(units(&events), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_costs_what_was_seen_of_it_or_nothing_where_the_vendor_did_it() {
    let shop = shop(pointer(), 1_000).await;
    let gateway = shop.gateway().await;
    shop.until_live(&gateway).await;
    let events_head = "content-type=text/event-stream";
    let mut expected = Vec::new();
    for (event, units) in [
        ("data: {\"usage\":{\"total_tokens\":5}}\\n\\n", said(5, UnitsFrom::Estimated, false)),
        ("data: {\"usage\":{\"total_tokens\":1}}\\n\\n", said(ASSUMED, UnitsFrom::Estimated, false)),
        ("data: {\"text\":\"a\"}\\n\\n", Units::assumed(ASSUMED)),
    ] {
        let answer = shop.asks(&gateway, events_head, &format!("{event}|...")).await;
        // The upstream has not come to its end and never will: what has come of it is here all the same.
        let first = answer.bytes_stream().next().await.unwrap().unwrap();
        assert!(first.starts_with(b"data: "), "{first:?}");
        expected.push((Ending::ClientLeft, units, true));
    }
    let answer =
        shop.asks(&gateway, "content-type=application/json", "{\"usage\":{\"total_tokens\":5},|!").await;
    assert!(answer.bytes().await.is_err());
    expected.push((Ending::UpstreamBroke, reported(5), false));
    shop.until("all calls are on record", |wallet| wallet.events.values().flatten().count() == 5).await;
    gateway.drain().await;
    let events = shop.charged(expected.len()).await;
    let told: Vec<_> = events.iter().map(|event| (event.ending, event.units, event.billable)).collect();
    assert_eq!(told, expected);
    assert!(!events[3].kept, "what the vendor broke off is free again");
    assert_eq!(shop.plane.wallet.lock().charged, 3 + 5 + 3 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_did_not_use_pays_for_others_until_less_than_one_may_use_is_left() {
    let shop = shop(header(), 25).await;
    let gateway = shop.gateway().await;
    // The first at 3: 22 are left; five more at 4 would leave 2, but one call needs 10 at hand: 22, 18, 14, 10.
    shop.until_live(&gateway).await;
    let (mut served, begun) = (0, Instant::now());
    while shop.plane.wallet.lock().charged < 3 + 4 * 4 {
        match shop.asks(&gateway, "x-units=4", "").await.status().as_u16() {
            200 => served += 1,
            402 => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{other}"),
        }
        assert!(served <= 4 && begun.elapsed() < WAIT_MAX, "{served} calls served");
    }
    assert_eq!(served, 4);
    assert_eq!(shop.asks(&gateway, "x-units=4", "").await.status(), 402);
    gateway.drain().await;
    shop.until("all is charged", |wallet| wallet.holds.is_empty()).await;
    let wallet = shop.plane.wallet.lock();
    assert_eq!((wallet.charged, wallet.balance), (19, 6));
}

/// A lease is for few calls where each may use very many units: a burst takes many leases, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_calls_that_may_use_a_million_units_each_is_served_whole() {
    const BURST: u64 = 60;
    let most = apiclay_config::snapshot::UNITS_PER_CALL_MAX;
    let meter = Meter { source: header(), units_max_per_call: most, units_default: ASSUMED };
    let shop = shop_of(meter, u64::from(most) * BURST * 10).await;
    let gateway = shop.gateway().await;
    shop.until_live(&gateway).await;
    let calls = (0..BURST).map(|_| shop.asks(&gateway, "x-units=900000", ""));
    let answers = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = answers.iter().map(reqwest::Response::status).filter(|s| *s != 200).collect();
    assert!(refused.is_empty(), "{} of {BURST}: {refused:?}", refused.len());
    gateway.drain().await;
    let events = shop.charged(usize::try_from(BURST).unwrap()).await;
    assert!(units(&events).iter().all(|units| *units == reported(900_000)));
}
