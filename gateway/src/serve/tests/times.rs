//! When a call began and how long it took, as its record says it: what was waited for is in it, and it lies within what the client
//! saw of it. The clock is read now and then in a call, not for each thing that needs a time.

use apiclay_config::clock::Clock;
use axum::body::Bytes;
use axum::http::HeaderMap;

use super::*;

const WAIT: Duration = Duration::from_millis(300);

/// An upstream that waits before its head or within its body, as `x-wait` says.
fn upstream() -> Router {
    let answer = async |headers: HeaderMap| {
        let waits = |at: &str| headers.get("x-wait").is_some_and(|value| value == at);
        if waits("head") {
            tokio::time::sleep(WAIT).await;
        }
        let in_body = if waits("body") { WAIT } else { Duration::ZERO };
        let body = futures_util::stream::unfold(0, move |piece| async move {
            tokio::time::sleep(in_body * piece).await;
            (piece < 2).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"a piece")), piece + 1))
        });
        Body::from_stream(body)
    };
    Router::new().fallback(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_took_what_it_waited_and_no_longer_than_its_client_did() {
    let shop = Shop::open_before(upstream(), |_| {}).await;
    let gateway = shop.gateway().await;
    shop.calls_until(&gateway, 200).await;
    let http = || reqwest::Client::builder().no_proxy();
    let mut seen = Vec::new();
    // Through either lane.
    for http in [http().build().unwrap(), http().http2_prior_knowledge().build().unwrap()] {
        for waits in ["", "head", "body"] {
            let request = http.get(format!("http://{}/acme/echo/now", gateway.address));
            let request = request.header("x-api-key", shop.key.expose_secret()).header("x-wait", waits);
            let (begins, begun) = (Clock::System.now(), Instant::now());
            let answer = request.send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
                (200, "a piecea piece")
            );
            let waited = if waits.is_empty() { Duration::ZERO } else { WAIT };
            seen.push((begins, waited, begun.elapsed()));
        }
    }
    gateway.drain().await;
    let all = |wallet: &Wallet| wallet.events.values().flatten().count() == seen.len() + 1;
    shop.until("all calls are on record", all).await;
    let wallet = shop.plane.wallet.lock();
    let mut told: Vec<_> =
        wallet.events.values().flatten().map(|event| (event.at, event.duration_us)).collect();
    told.sort_unstable();
    for ((begins, waited, took), (at, duration_us)) in seen.into_iter().zip(&told[1..]) {
        let duration = Duration::from_micros(u64::from(*duration_us));
        assert!(begins <= *at, "{begins} {at}");
        assert!(waited <= duration && duration <= took, "{waited:?} {duration:?} {took:?}");
    }
}
