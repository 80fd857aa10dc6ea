//! Bounds that must hold for everybody and shut nobody out: uploads at once, listings of a vendor.

use std::time::{Duration, Instant};

use crate::support::market::{Who, admin, code_of, make_member, on_sale, who};
use crate::support::{Plane, body_of, demo};
use apiclay_control_plane::vendors::role::Role;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Uploads that may be read at the same time.
const UPLOADS_MAX: usize = 4;

/// The head of an upload, and no more than the first byte of its body.
async fn begin_upload(plane: &Plane, by: &Who, listing: &str) -> TcpStream {
    let host = plane.base.trim_start_matches("http://").trim_end_matches("/backend/v1").to_owned();
    let head = format!(
        "PUT /backend/v1/listings/{listing}/definition HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 15000000\r\n\r\n{{",
        by.token
    );
    let free = plane.app.uploads.free();
    let mut stream = TcpStream::connect(&host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    while plane.app.uploads.free() == free {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream
}

async fn upload(plane: &Plane, by: &Who, listing: &str) -> Response {
    let whole = json!({"document": {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}});
    plane.call(by, Method::PUT, &format!("/listings/{listing}/definition"), whole).await
}

/// Refused for now; what it says of why.
async fn refused(answer: Response) -> String {
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.status(), 429);
    let problem = body_of(answer).await;
    assert_eq!(problem["code"], "rate_limited");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_takes_its_place_before_it_is_read_and_nobody_takes_two() {
    let plane = demo().await;
    let boss = admin(&plane, "boss").await;
    let mut tenants = Vec::new();
    for n in 0..=UPLOADS_MAX {
        let vendor = who(&plane, &format!("vera{n}")).await;
        let listing = on_sale(&plane, &vendor, &boss, &format!("acme{n}")).await.listing;
        tenants.push((vendor, listing));
    }
    let mut slow = Vec::new();
    for (vendor, listing) in &tenants[..UPLOADS_MAX] {
        slow.push(begin_upload(&plane, vendor, listing).await);
        if slow.len() == 1 {
            // Nor does another member of the vendor: the others find places all the same.
            let dev = who(&plane, "dev").await;
            make_member(&plane, "acme0", &dev, Role::Developer).await;
            for by in [vendor, &dev] {
                let told = refused(upload(&plane, by, listing).await).await;
                assert!(told.contains("one of your uploads"), "{told}");
            }
            assert_eq!(upload(&plane, &tenants[1].0, &tenants[1].1).await.status(), 200);
        }
    }
    let (last, listing) = &tenants[UPLOADS_MAX];
    let told = refused(upload(&plane, last, listing).await).await;
    assert!(told.contains("others"), "{told}");
    // Whoever leaves gives the place back.
    drop(slow);
    let begun = Instant::now();
    while upload(&plane, last, listing).await.status() != 200 {
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
