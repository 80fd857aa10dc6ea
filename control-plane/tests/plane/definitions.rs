//! Definitions over real connections: real ones import, bombs are refused quickly and in little memory.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::demo;
use crate::support::market::{admin, code_of, on_sale, who};

/// What a test build may take; a release build takes a tenth of it.
const QUICK: Duration = Duration::from_secs(5);

/// The largest resident size that this process ever had.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_4xx_quickly_and_in_little_memory() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/definition", sold.listing);
    let send = async |body: Vec<u8>| {
        let request = plane.to(Method::PUT, &path).bearer_auth(&vendor.token);
        request.header("content-type", "application/json").body(body).send().await
    };
    let before = peak_rss_bytes();
    let openapi = |paths: Value| json!({"document": {"openapi": "3.0.3", "paths": paths}}).to_string();
    let small: [(String, &str); 8] = [
        (openapi(json!({"/a": {"$ref": "#/paths/~1a"}})), "definition_reference_cycle"),
        (
            openapi(json!({"/a": {"get": {"parameters": [{"$ref": "file:///etc/passwd"}]}}})),
            "definition_reference_external",
        ),
        (openapi(json!({"/a": {"$ref": "http://127.0.0.1/x"}})), "definition_reference_external"),
        (
            format!("{{\"document\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
            "definition_too_deep",
        ),
        (format!("{{\"document\":[0{}]}}", ",0".repeat(2_000_000)), "definition_too_large"),
        (json!({"url": "http://169.254.169.254/"}).to_string(), "definition_url_unsupported"),
        (json!({"document": "openapi: 3.0.0"}).to_string(), "definition_not_json"),
        (json!({"document": {"swagger": "2.0"}}).to_string(), "definition_version_unsupported"),
    ];
    for (body, wanted) in small {
        let begun = Instant::now();
        let (status, code) = code_of(send(body.into_bytes()).await.unwrap()).await;
        assert_eq!((status, code.as_str()), (422, wanted));
        assert!(begun.elapsed() < QUICK, "{wanted} took {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    // The client may find the connection closed before it has sent a hundred megabytes: that is a refusal too.
    if let Ok(answer) = send(vec![b' '; 100 * 1024 * 1024]).await {
        assert_eq!(answer.status(), 413);
    }
    assert!(begun.elapsed() < QUICK);
    // A hundred of these megabytes are this test's own.
    let grown = peak_rss_bytes() - before;
    assert!(grown < (256 + 110) * 1024 * 1024, "{} MiB", grown / 1024 / 1024);
    let routes = plane
        .done(&vendor, Method::GET, &format!("/listings/{}/routes", sold.listing), json!(null), 200)
        .await;
    assert_eq!(routes["items"].as_array().unwrap().len(), 1, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_becomes_routes_with_words_on_the_page() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let operation = json!({"summary": "The weather", "parameters": [
        {"name": "place", "in": "path", "required": true, "schema": {"type": "string"}, "example": "Pune"}]});
    let paths: serde_json::Map<String, Value> = (0..500)
        .map(|n| (format!("/v{n}/{{place}}"), json!({"get": operation, "post": operation})))
        .collect();
    let body = json!({"document": {"openapi": "3.1.0", "paths": paths}});
    let path = format!("/listings/{}/definition", sold.listing);
    let report = plane.done(&vendor, Method::PUT, &path, body.clone(), 200).await;
    assert_eq!((&report["routes_added"], &report["skipped_total"]), (&json!(1_000), &json!(0)));
    let again = plane.done(&vendor, Method::PUT, &path, body, 200).await;
    assert_eq!((&again["routes_added"], &again["routes_kept"]), (&json!(0), &json!(1_000)));
    let page = plane.to(Method::GET, "/discover/listings/acme/weather").send().await.unwrap();
    let page: Value = page.json().await.unwrap();
    assert_eq!(page["routes"].as_array().unwrap().len(), 1_001);
    assert_eq!(page["routes"][1]["operation"]["parameters"][0]["example"], "Pune");
}

/// Real definitions, where somebody has put them: `APICLAY_TEST_DEFINITIONS` names a folder of JSON files.
#[tokio::test(flavor = "multi_thread")]
async fn real_definitions_import() {
    let Some(folder) = std::env::var_os("APICLAY_TEST_DEFINITIONS") else { return };
    let plane = demo().await;
    let vendor = who(&plane, "vera").await;
    plane.done(&vendor, Method::POST, "/vendors", json!({"slug": "real", "name": "Real"}), 201).await;
    let mut imported = 0;
    for (place, entry) in std::fs::read_dir(folder).unwrap().enumerate() {
        let file = entry.unwrap().path();
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let body = json!({ "document": document }).to_string().into_bytes();
        let large = body.len() > 16 * 1024 * 1024;
        let listing = json!({"slug": format!("l{place}"), "name": "L", "summary": "S"});
        let listing = plane.done(&vendor, Method::POST, "/vendors/real/listings", listing, 201).await;
        let path = format!("/listings/{}/definition", listing["id"].as_str().unwrap());
        let begun = Instant::now();
        let request = plane.to(Method::PUT, &path).bearer_auth(&vendor.token);
        let answer = request.header("content-type", "application/json").body(body).send().await;
        if large {
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 413));
            continue;
        }
        let answer = answer.unwrap();
        let status = answer.status();
        let report: Value = answer.json().await.unwrap();
        println!(
            "{} {status}: {} added, {} skipped {} {:?}",
            file.file_name().unwrap().display(),
            report["routes_added"],
            report["skipped_total"],
            report["skipped"][0],
            begun.elapsed()
        );
        assert!(status.is_success(), "{report}");
        imported += report["routes_added"].as_u64().unwrap();
    }
    assert!(imported > 0);
}
