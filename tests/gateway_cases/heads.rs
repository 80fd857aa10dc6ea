//! Headers: which host is meant, bytes that end a line for some, and names by which a client would pass for another.

use anyhow::{Context, Result, ensure};

use crate::site::{FORBIDDEN, Site};

const CLAIM: &str = "i-am-somebody-else";

#[tokio::test]
async fn a_host_that_is_missing_double_or_has_userinfo_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let line = format!("GET {} HTTP/1.1\r\n", site.path(&format!("/now/{FORBIDDEN}")));
    let key = format!("X-Api-Key: {}\r\n\r\n", site.bought.key);
    for host in [
        "",
        "Host: gateway.test\r\nHost: gateway.test\r\n",
        "Host: gateway.test\r\nHost: other.test\r\n",
        "Host: user@gateway.test\r\n",
        "Host: user:password@gateway.test\r\n",
        "Host:\r\n",
        "Host: gateway.test, other.test\r\n",
        "Host: gateway.test/path\r\n",
        "Host: gateway test\r\n",
        "Host : gateway.test\r\n",
        "Host: gateway.test:port\r\n",
    ] {
        site.refuses(format!("{line}{host}{key}"), &[400]).await.with_context(|| format!("with {host:?}"))?;
    }
    site.billed(1).await
}

/// A listing whose upstream leads back here, by whatever way, would call itself until nothing is left.
#[tokio::test]
async fn a_call_that_this_gateway_sent_is_refused_in_either_lane() -> Result<()> {
    let site = Site::start().await?;
    for (nth, lane) in ["", "Expect: 100-continue\r\n"].into_iter().enumerate() {
        let head = format!("{}{lane}CDN-Loop: another; v=1\r\n", site.head("GET", "/now/pune"));
        let answer = site.call(format!("{head}\r\n")).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let whole = site.upstream.whole();
        let names = whole[2 * nth].headers("cdn-loop");
        ensure!(names.len() == 2 && names[0] == "another; v=1", "the vendor was told {names:?}");
        let back = |times: usize| {
            format!("{head}CDN-Loop: another{}\r\n\r\n", format!(", {}", names[1]).repeat(times))
        };
        let answer = site.call(back(3)).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let answer = site.refuses(back(4).replace("pune", FORBIDDEN), &[508]).await?;
        ensure!(answer.code().as_deref() == Some("loop_detected"), "{answer:?}");
    }
    site.billed(5).await
}

/// A vendor behind another server of his would be asked for another path, by another method, than policy saw.
#[tokio::test]
async fn headers_that_stand_for_path_or_method_end_here() -> Result<()> {
    let site = Site::start().await?;
    let claims =
        ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X_HTTP_METHOD", "True-Client-IP"];
    for lane in ["", "Expect: 100-continue\r\n"] {
        let claims: String = claims.iter().map(|name| format!("{name}: {FORBIDDEN}\r\n")).collect();
        let answer = site.call(format!("{}{lane}{claims}\r\n", site.head("GET", "/now/pune"))).await?;
        ensure!(answer.status == 200, "{answer:?}");
        site.nothing_forbidden_passed(&claims)?;
    }
    site.billed(3).await
}

#[tokio::test]
async fn what_connection_names_is_bounded() -> Result<()> {
    let site = Site::start().await?;
    for (names, status) in [(32, 200), (33, 400), (2_000, 400)] {
        let named: Vec<_> = (0..names).map(|nth| format!("x-{nth}")).collect();
        let head = format!("{}Connection: {}\r\n\r\n", site.head("GET", "/now/pune"), named.join(", "));
        let answer = site.call(head).await?;
        ensure!(answer.status == status, "{names} names were answered {answer:?}");
    }
    site.billed(2).await
}

#[tokio::test]
async fn nul_bare_cr_and_folded_lines_in_headers_are_refused() -> Result<()> {
    let site = Site::start().await?;
    for header in [
        "X-Mark: a\0b\r\n",
        "X-Ma\0rk: ab\r\n",
        "X-Mark: a\rb\r\n",
        "X-Mark: a\r\r\n",
        "X-Mark: a\r\n folded\r\n",
        "X-Mark: a\r\n\tfolded\r\n",
        " X-Mark: a\r\n",
        "X-Mark : a\r\n",
        "X Mark: a\r\n",
        "X-Mark\r\n",
        ": a\r\n",
    ] {
        let request = format!("{}{header}\r\n", site.head("GET", &format!("/now/{FORBIDDEN}")));
        site.refuses_and_closes(request, &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn what_a_client_says_about_who_calls_is_not_believed() -> Result<()> {
    let site = Site::start().await?;
    let names = [
        "X-User-Id",
        "X-Consumer-Id",
        "X-Consumer-Plan",
        "X-Consumer-Username",
        "x-consumer-ID",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Real-Ip",
        "Forwarded",
        "X-Request-Id",
        "X_User_Id",
        "X-Consumer_Id",
        "x_consumer_plan",
        "X_Forwarded-For",
        "X_Real_Ip",
        "X_Request_Id",
        "X_Api_Key",
    ];
    let claims: String = names.iter().map(|name| format!("{name}: {CLAIM}\r\n")).collect();
    let answer = site.call(format!("{}{claims}\r\n", site.head("GET", "/now/pune"))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let bytes = site.upstream.bytes();
    ensure!(!bytes.contains(CLAIM), "the upstream was told {bytes}");
    ensure!(!bytes.contains(&site.bought.key), "the upstream was given the buyer's key: {bytes}");
    let whole = site.upstream.whole();
    let seen = whole.first().context("nothing reached the upstream")?;
    let told = seen.headers("x-request-id");
    ensure!(told.len() == 1 && answer.header("x-request-id") == Some(told[0]), "{told:?} and {answer:?}");
    ensure!(seen.headers("x-forwarded-for") == ["127.0.0.1"], "{:?}", seen.headers("x-forwarded-for"));
    site.billed(2).await
}

#[tokio::test]
async fn a_connection_header_cannot_remove_an_injected_identity() -> Result<()> {
    let site = Site::start().await?;
    let injected = ["x-consumer-id", "x-consumer-plan", "x-request-id", "x-forwarded-for", "host"];
    for connection in [
        "Connection: x-consumer-id\r\n".to_owned(),
        format!("Connection: keep-alive, {}\r\n", injected.join(", ")),
        "Connection: X-Consumer-Id\r\nX-Consumer-Id: me\r\n".to_owned(),
    ] {
        let answer = site.call(format!("{}{connection}\r\n", site.head("GET", "/now/pune"))).await?;
        ensure!(answer.status == 200, "{connection:?} was answered {answer:?}");
        let whole = site.upstream.whole();
        let seen = whole.last().context("nothing reached the upstream")?;
        ensure!(
            seen.headers("x-consumer-id") == [site.bought.subscription.as_str()],
            "{connection:?}: {seen:?}"
        );
        for name in injected {
            ensure!(seen.headers(name).len() == 1, "{connection:?}: {name} is {:?}", seen.headers(name));
        }
    }
    site.billed(4).await
}

#[tokio::test]
async fn a_vendors_secret_cannot_be_doubled_by_another_spelling() -> Result<()> {
    let site = Site::start().await?;
    site.set_secret("pass", "X-Vendor-Pass", "from-the-vendor").await?;
    let claims = format!("X-Vendor-Pass: {CLAIM}\r\nX_Vendor_Pass: {CLAIM}\r\nx-vendor_pass: {CLAIM}\r\n");
    let answer = site.call(format!("{}{claims}\r\n", site.head("GET", "/now/pune"))).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let bytes = site.upstream.bytes();
    ensure!(bytes.contains("from-the-vendor") && !bytes.contains(CLAIM), "the upstream was told {bytes}");
    site.billed(2).await
}

#[tokio::test]
async fn our_key_beside_another_authorization_is_refused_and_does_not_pass() -> Result<()> {
    let site = Site::start().await?;
    let head = site.head_without_key("GET", &format!("/now/{FORBIDDEN}"));
    let (ours, theirs) =
        (format!("Authorization: Bearer {}\r\n", site.bought.key), "Authorization: Basic dTpw\r\n");
    for lines in [format!("{ours}{theirs}"), format!("{theirs}{ours}")] {
        let answer = site.refuses(format!("{head}{lines}\r\n"), &[401]).await?;
        ensure!(answer.code().as_deref() == Some("credential_ambiguous"), "{answer:?}");
    }
    ensure!(!site.upstream.bytes().contains(&site.bought.key), "the key passed");
    site.billed(1).await
}

#[tokio::test]
async fn a_listings_own_origins_stand_beside_the_web_apps() -> Result<()> {
    let site = Site::start().await?;
    site.set_cors(&["https://shop.test"]).await?;
    let (app, shop) = (site.market.control_url.clone(), "https://shop.test".to_owned());
    for (origin, allowed) in
        [(&app, Some(app.as_str())), (&shop, Some(shop.as_str())), (&"https://other.test".to_owned(), None)]
    {
        let call = site.call(format!("{}Origin: {origin}\r\n\r\n", site.head("GET", "/now/pune"))).await?;
        ensure!(call.header("access-control-allow-origin") == allowed, "{origin}: {call:?}");
        let vary = call.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| value.as_str());
        let vary = vary.collect::<Vec<_>>().join(", ");
        let all = ["Accept", "Accept-Language", "Origin"];
        ensure!(all.iter().all(|one| vary.split(", ").any(|said| said == *one)), "{origin}: {vary}");
        let asks = format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
        let asked = format!("{}{asks}\r\n", site.head_without_key("OPTIONS", "/now/pune"));
        let answer = site.call(asked).await?;
        ensure!(answer.header("access-control-allow-origin") == allowed, "{origin}: {answer:?}");
        ensure!((answer.status == 204) == allowed.is_some(), "{origin}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_an_interim_answer_says_is_held_to_the_same_rules() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = site.wire().await?;
    wire.send(format!("{}\r\n", site.head("GET", "/hints"))).await?;
    let seen = wire.seen(b"saw GET /hints").await?;
    let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    ensure!(seen.contains("http/1.1 103") && seen.contains("rel=preload"), "no early hints: {seen}");
    for theirs in ["apiclay_session", "theirs", "ratelimit: \"x\""] {
        ensure!(!seen.contains(theirs), "{theirs} passed: {seen}");
    }
    site.billed(2).await
}

#[tokio::test]
async fn only_a_plain_websocket_upgrade_is_one() -> Result<()> {
    let site = Site::start().await?;
    let doubled = "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n";
    site.refuses(format!("{}{doubled}\r\n", site.head("GET", &format!("/socket?{FORBIDDEN}"))), &[400])
        .await?;
    for lines in ["Upgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"] {
        let answer = site.call(format!("{}{lines}\r\n", site.head("GET", "/socket"))).await?;
        ensure!(answer.status == 200, "{lines:?} was answered {answer:?}");
        let whole = site.upstream.whole();
        let seen = whole.last().context("nothing reached the upstream")?;
        ensure!(seen.headers("upgrade").is_empty(), "{lines:?} passed: {seen:?}");
    }
    site.billed(3).await
}
