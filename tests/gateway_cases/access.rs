//! Who may call: one key, for this listing, not revoked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{FORBIDDEN, Site};

/// A published listing is on the gateway within this.
const LISTING_WITHIN: Duration = Duration::from_secs(5);
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn two_api_keys_are_refused_as_ambiguous() -> Result<()> {
    let site = Site::start().await?;
    let key = &site.bought.key;
    let head = site.head_without_key("GET", &format!("/now/{FORBIDDEN}"));
    for keys in [
        format!("X-Api-Key: {key}\r\nX-Api-Key: {key}\r\n"),
        format!("X-Api-Key: {key}\r\nX-Api-Key: other\r\n"),
        format!("X-Api-Key: {key}\r\nAuthorization: Bearer {key}\r\n"),
        format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n"),
    ] {
        let answer = site.refuses(format!("{head}{keys}\r\n"), &[401]).await?;
        ensure!(answer.code().as_deref() == Some("credential_ambiguous"), "{keys:?} was answered {answer:?}");
    }
    for keys in ["", "X-Api-Key:\r\n", "X-Api-Key: nonsense\r\n", "Authorization: Bearer apiclay_nobody\r\n"]
    {
        site.refuses(format!("{head}{keys}\r\n"), &[401]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn authorization_beside_a_key_is_the_buyers_for_the_vendor() -> Result<()> {
    let site = Site::start().await?;
    let head = site.head("GET", "/now/pune");
    let answer = site.call(format!("{head}Authorization: Bearer for-the-vendor\r\n\r\n")).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let whole = site.upstream.whole();
    let tokens: Vec<&str> = whole.iter().flat_map(|request| request.headers("authorization")).collect();
    ensure!(tokens == ["Bearer for-the-vendor"], "the vendor was given {tokens:?}");
    site.billed(2).await
}

#[tokio::test]
async fn a_key_for_one_listing_does_not_open_another() -> Result<()> {
    let site = Site::start().await?;
    site.second_listing("oceans").await?;
    let request = site.head("GET", &format!("/now/{FORBIDDEN}")).replace("/weather/", "/oceans/");
    // Only keys are promised within a second: the listing that was just published may take longer.
    let deadline = Instant::now() + LISTING_WITHIN;
    while site.call(format!("{request}\r\n")).await?.status == 404 {
        ensure!(
            Instant::now() < deadline,
            "the second listing is not on the gateway {LISTING_WITHIN:?} after it was made"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = site.refuses(format!("{request}\r\n"), &[403]).await?;
    ensure!(answer.code().as_deref() == Some("not_entitled"), "{answer:?}");
    site.billed(1).await
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() -> Result<()> {
    let site = Site::start().await?;
    let request = format!("{}\r\n", site.head("GET", "/now/pune"));
    let mut wire = site.wire().await?;
    let before = wire.call(&request).await?;
    ensure!(before.status == 200, "{before:?}");
    let bought = &site.bought;
    let path = format!("/subscriptions/{}/credentials/{}", bought.subscription, bought.credential);
    let (status, answer) = site.buyer.send(Method::DELETE, &path, &Value::Null).await?;
    ensure!(status.is_success(), "revoking was answered {status} {answer}");
    let revoked = Instant::now();
    tokio::time::sleep(REVOKED_WITHIN.saturating_sub(revoked.elapsed())).await;
    // On the connection that it opened before, and on a new one.
    for answer in [wire.call(&request).await?, site.call(&request).await?] {
        ensure!(answer.status == 401, "a revoked key was answered {answer:?}");
        ensure!(answer.code().as_deref() == Some("credential_invalid"), "{answer:?}");
    }
    ensure!(site.upstream.whole().len() == 1, "a revoked key's call was forwarded");
    Ok(())
}

#[tokio::test]
async fn a_listing_that_names_its_own_key_header_leaves_the_usual_one_to_the_vendor() -> Result<()> {
    let site = Site::start().await?;
    site.set_key_header("X-Weather-Token").await?;
    let head = site.head_without_key("GET", "/now/pune");
    let theirs = "X-Api-Key: for-the-vendor\r\n";
    let named = format!("X-Weather-Token: {}\r\n", site.bought.key);
    let answer = site.call(format!("{head}{theirs}{named}\r\n")).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let whole = site.upstream.whole();
    let seen = whole.last().context("nothing reached the upstream")?;
    ensure!(seen.headers("x-api-key") == ["for-the-vendor"], "{seen:?}");
    ensure!(!seen.head.contains(&site.bought.key), "the key passed: {seen:?}");
    let bearer = format!("Authorization: Bearer {}\r\n", site.bought.key);
    ensure!(site.call(format!("{head}{bearer}\r\n")).await?.status == 200);
    let strayed = format!("X-Api-Key: {}\r\n", site.bought.key);
    for (lines, code) in [
        (theirs.to_owned(), "credential_missing"),
        (strayed.clone(), "credential_missing"),
        (format!("{named}{strayed}"), "credential_ambiguous"),
        (format!("{bearer}{strayed}"), "credential_ambiguous"),
        (format!("{named}{bearer}"), "credential_ambiguous"),
    ] {
        let answer = site.refuses(format!("{head}{lines}\r\n"), &[401]).await?;
        ensure!(answer.code().as_deref() == Some(code), "{lines:?} was answered {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_vendor_may_inject_his_own_key_where_buyers_keys_travel() -> Result<()> {
    let site = Site::start().await?;
    site.set_secret("upstream", "X-Api-Key", "the-vendors-own").await?;
    let answer = site.call(format!("{}\r\n", site.head("GET", "/now/pune"))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let whole = site.upstream.whole();
    let seen = whole.last().context("nothing reached the upstream")?;
    ensure!(seen.headers("x-api-key") == ["the-vendors-own"], "{seen:?}");
    site.billed(2).await
}

#[tokio::test]
async fn a_plan_with_a_rate_alone_says_what_is_left_of_it() -> Result<()> {
    let site = Site::start().await?;
    let limits = json!([{ "unit": "call", "window": "minute", "max": 3, "hard": true }]);
    let bought = site.buy_with(limits).await?;
    let head = site.head_without_key("GET", "/now/pune");
    let mut wire = site.wire().await?;
    for (status, left) in [(200, 2), (200, 1), (200, 0), (429, 0)] {
        let answer = wire.call(format!("{head}X-Api-Key: {}\r\n\r\n", bought.key)).await?;
        ensure!(answer.status == status, "{answer:?}");
        ensure!(answer.header("ratelimit-policy") == Some("\"minute\";q=3;w=60"), "{answer:?}");
        ensure!(answer.header("ratelimit") == Some(format!("\"minute\";r={left}").as_str()), "{answer:?}");
    }
    Ok(())
}
