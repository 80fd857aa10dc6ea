//! Trailers: headers behind a body, where what frames and routes a request and says who sent it has long been read. They are
//! refused or dropped over either lane, and never come to the upstream.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, block, frame},
    http2::request,
    site::{CLOSE_WITHIN, Site},
};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
/// A length that is nowhere else.
const LENGTH: &str = "7777777777777";
/// The others are marked as forbidden.
const TRAILERS: [(&str, &str); 4] = [
    ("content-length", LENGTH),
    ("transfer-encoding", "must-not-pass"),
    ("host", "must-not-pass.test"),
    ("authorization", "Bearer must-not-pass"),
];
/// Long enough for a head to be forwarded before its trailers come.
const LATER: Duration = Duration::from_millis(300);

fn none_passed(site: &Site, name: &str) -> Result<()> {
    site.nothing_forbidden_passed(&format!("the trailer {name}"))?;
    ensure!(!site.upstream.bytes().contains(LENGTH), "the trailer {name} came to the upstream");
    Ok(())
}

#[tokio::test]
async fn trailers_that_frame_or_route_a_request_or_say_who_sent_it_are_refused() -> Result<()> {
    for lane in ["on", "off"] {
        let site = Site::start_with(lane).await?;
        let begun = format!("{}{CHUNKED}\r\n2\r\nab\r\n", site.head("POST", "/orders"));
        for (name, value) in TRAILERS {
            let end = format!("0\r\n{name}: {value}\r\n\r\n");
            site.refuses_and_closes(format!("{begun}{end}"), &[400]).await?;
            none_passed(&site, name)?;
            let mut wire = site.wire().await?;
            wire.send(&begun).await?;
            tokio::time::sleep(LATER).await;
            wire.send(&end).await?;
            let answer = wire.answer().await.with_context(|| format!("no answer to the trailer {name}"))?;
            ensure!(answer.status == 400, "{} was answered to the trailer {name}", answer.status);
            wire.closed(CLOSE_WITHIN)
                .await
                .with_context(|| format!("still open after the trailer {name}"))?;
            none_passed(&site, name)?;
        }
        ensure!(site.upstream.whole().is_empty(), "the upstream took {:?} for whole", site.upstream.whole());
        site.billed(1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn trailers_of_http2_never_come_to_the_upstream() -> Result<()> {
    for lane in ["on", "off"] {
        let site = Site::start_with(lane).await?;
        let path = site.path("/orders");
        for (name, value) in TRAILERS {
            // The fast lane takes bodies with a length.
            for length in [Some("5"), None] {
                let mut headers = request("POST", &path, &site.bought.key);
                headers.extend(length.map(|length| ("content-length", length)));
                let frames = [
                    frame(HEADERS, END_HEADERS, 1, &block(&headers)),
                    frame(DATA, 0, 1, b"abcde"),
                    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(name, value)])),
                ];
                let mut http2 = Http2::connect(site.market.gateway_address).await?;
                http2.raw(&frames.concat()).await?;
                let end = http2.end(1).await?;
                let as_told = matches!(end, End::Status(200 | 400) | End::Reset(_));
                ensure!(as_told, "the trailer {name}, of length {length:?}, ended with {end:?}");
                none_passed(&site, name)?;
            }
        }
        let faulty = site.upstream.whole().into_iter().find(|request| {
            let lengths = request.headers("content-length").len();
            lengths + request.headers("transfer-encoding").len() != 1
                || request.headers("host").len() != 1
                || !request.headers("authorization").is_empty()
        });
        ensure!(faulty.is_none(), "the upstream received {faulty:?}");
    }
    Ok(())
}
