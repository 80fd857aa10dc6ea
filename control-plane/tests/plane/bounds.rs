//! Bounds that must hold for everybody and shut nobody out: uploads at once, listings of a vendor.

use std::time::{Duration, Instant};

use crate::support::demo;
use crate::support::market::{admin, code_of, on_sale, who};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Uploads that may be read at the same time.
const UPLOADS_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_takes_its_place_before_it_is_read() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/definition", sold.listing);
    let host = plane.base.trim_start_matches("http://").trim_end_matches("/backend/v1").to_owned();
    let head = format!(
        "PUT /backend/v1{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 15000000\r\n\r\n{{",
        vendor.token
    );
    let mut slow = Vec::new();
    for _ in 0..UPLOADS_MAX {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    while plane.app.uploads.available_permits() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let upload = async || {
        let whole = json!({"document": {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}});
        plane.call(&vendor, Method::PUT, &path, whole).await
    };
    let refused = upload().await;
    let again_in = refused.headers().get("retry-after").cloned();
    assert_eq!(code_of(refused).await, (429, "rate_limited".to_owned()));
    assert!(again_in.is_some());
    // Whoever leaves gives the place back.
    drop(slow);
    let begun = Instant::now();
    while upload().await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_listings_are_counted_and_not_its_attempts() {
    let plane = demo().await;
    let vendor = who(&plane, "vera").await;
    plane.done(&vendor, Method::POST, "/vendors", json!({"slug": "acme", "name": "Acme"}), 201).await;
    let make = async |n: usize| {
        let listing = json!({"slug": format!("l-{n}"), "name": "L", "summary": "S"});
        plane.call(&vendor, Method::POST, "/vendors/acme/listings", listing).await
    };
    assert_eq!(make(0).await.status(), 201);
    for _ in 0..500 {
        assert_eq!(code_of(make(0).await).await, (409, "slug_taken".to_owned()));
    }
    for n in 1..500 {
        assert_eq!(make(n).await.status(), 201, "listing {n}");
    }
    assert_eq!(code_of(make(500).await).await, (409, "limit_reached".to_owned()));
}
