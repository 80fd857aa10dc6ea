//! The main flow from a vendor to a key that a gateway hears of, and the ways off it.

use apiclay_config::snapshot::{Change, Frame, validate};
use apiclay_control_plane::push::ChangeEntry;
use reqwest::Method;
use serde_json::json;

use crate::support::market::{admin, buy, code_of, gateway, on_sale, who};
use crate::support::{self, demo};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_a_gateway_within_a_second_and_gone_within_one() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let gateway = gateway(&plane, "gw-1").await;
    let mut stream = gateway.stream(0).await;
    let Frame::Snapshot(mut snapshot) = stream.next().await else { panic!("everything comes first") };
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (sub, credential, key) = buy(&plane, &buyer, &sold.plan).await;
    let made = std::time::Instant::now();
    let digest = apiclay_config::key::digest(key.as_bytes());
    while !snapshot.credentials.values().any(|known| known.digest == digest) {
        if let Frame::Delta(delta) = stream.next().await {
            assert_eq!(delta.revision, snapshot.revision + 1);
            snapshot.follow(&delta);
            assert_eq!(validate(&snapshot), [], "whole at every revision");
        }
    }
    assert!(made.elapsed().as_millis() < 1_000, "took {:?}", made.elapsed());
    // A second stream gets the same from the store.
    let Frame::Snapshot(again) = gateway.stream(0).await.next().await else { panic!() };
    assert_eq!(*again, *snapshot);
    // And one that has an old revision gets what it lacks; where that number was another change, in a store that was
    // restored since, it gets everything.
    let before = ChangeEntry::id_of(snapshot.revision - 1);
    let before = plane.app.store.get::<ChangeEntry>(&before).await.unwrap().unwrap().value;
    let from = |fingerprint| gateway.stream_from(before.revision, fingerprint);
    let Frame::Delta(first) = from(Some(before.fingerprint())).await.next().await else { panic!() };
    assert_eq!(first.revision, snapshot.revision);
    for other in [None, Some(before.fingerprint() ^ 1)] {
        assert!(matches!(from(other).await.next().await, Frame::Snapshot(_)));
    }

    let path = format!("/subscriptions/{sub}/credentials/{credential}");
    let revoked = std::time::Instant::now();
    plane.done(&buyer, Method::DELETE, &path, json!(null), 204).await;
    loop {
        if let Frame::Delta(delta) = stream.next().await {
            let removed = |change: &Change| matches!(change, Change::RemoveCredential(id) if id.to_string() == credential);
            assert!(delta.changes.iter().any(removed));
            break;
        }
    }
    assert!(revoked.elapsed().as_millis() < 1_000);
    assert_eq!(plane.call(&buyer, Method::DELETE, &path, json!(null)).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_rotated_with_grace_and_bounded() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (sub, credential, key) = buy(&plane, &buyer, &sold.plan).await;
    assert!(apiclay_config::key::is_well_formed(key.as_bytes()));
    let path = format!("/subscriptions/{sub}/credentials");
    let listed = plane.done(&buyer, Method::GET, &path, json!(null), 200).await;
    assert!(!listed.to_string().contains(&key), "{listed}");
    let rotate = format!("{path}/{credential}/rotate");
    let new = plane.done(&buyer, Method::POST, &rotate, json!({"grace_s": 60}), 200).await;
    assert_ne!(new["key"], key);
    let listed = plane.done(&buyer, Method::GET, &path, json!(null), 200).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(listed["items"][0]["expires_at"].is_string());
    // Thirty at once, for twenty places of which two are taken.
    let many = (0..30).map(|_| plane.call(&buyer, Method::POST, &path, json!({"name": "k"})));
    let statuses = futures_util::future::join_all(many).await;
    assert_eq!(statuses.iter().filter(|answer| answer.status() == 201).count(), 18);
    // The rotated key's place is free once it has expired.
    plane.pass_ms(61_000);
    plane.done(&buyer, Method::POST, &path, json!({"name": "k"}), 201).await;
    let (status, code) = code_of(plane.call(&buyer, Method::POST, &path, json!({"name": "k"})).await).await;
    assert_eq!((status, code.as_str()), (409, "limit_reached"));
    plane.done(&buyer, Method::POST, &format!("/subscriptions/{sub}/cancel"), json!(null), 200).await;
    let (status, code) = code_of(plane.call(&buyer, Method::POST, &path, json!({"name": "k"})).await).await;
    assert_eq!((status, code.as_str()), (409, "subscription_inactive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_stays_and_what_a_buyer_cannot_pay_he_does_not_get() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (sub, ..) = buy(&plane, &buyer, &sold.plan).await;
    let twice = plane.call(&buyer, Method::POST, "/subscriptions", json!({"plan_id": sold.plan})).await;
    assert_eq!(code_of(twice).await, (409, "already_subscribed".to_owned()));
    let dearer = json!({"price": {"amount": "10", "currency": "INR"}, "trial": null});
    let plan = plane.done(&vendor, Method::PATCH, &format!("/plans/{}", sold.plan), dearer, 200).await;
    assert_eq!(
        (&plan["revision"], &plan["price"]["amount"], &plan["trial"]),
        (&json!(2), &json!("10.00"), &json!(null))
    );
    let kept = plane.done(&buyer, Method::GET, &format!("/subscriptions/{sub}"), json!(null), 200).await;
    assert_eq!(kept["plan_revision"], 1);
    let poor = who(&plane, "poor").await;
    let buying = plane.call(&poor, Method::POST, "/subscriptions", json!({"plan_id": sold.plan})).await;
    assert_eq!(code_of(buying).await, (402, "balance_insufficient".to_owned()));
    for (field, value) in [
        ("price", json!("0")),
        ("owner_id", json!("x")),
        ("role", json!("admin")),
        ("state", json!("active")),
    ] {
        let body = json!({"plan_id": sold.plan, field: value});
        assert_eq!(code_of(plane.call(&poor, Method::POST, "/subscriptions", body).await).await.0, 400);
    }
    for amount in [json!("9223372036854.775807"), json!("-1"), json!(1.5), json!("1e3")] {
        let body = json!({"slug": "p", "name": "P", "price": {"amount": amount, "currency": "INR"}});
        let made =
            plane.call(&vendor, Method::POST, &format!("/listings/{}/plans", sold.listing), body).await;
        assert_eq!(code_of(made).await.0, 400, "{amount}");
    }
    plane.done(&vendor, Method::POST, &format!("/plans/{}/retire", sold.plan), json!(null), 200).await;
    let buying = plane.call(&poor, Method::POST, "/subscriptions", json!({"plan_id": sold.plan})).await;
    assert_eq!(buying.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_vetted_and_secrets_are_never_shown() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/upstream", sold.listing);
    for url in [
        "http://10.0.0.1",
        "http://[::1]",
        "http://169.254.169.254/latest",
        "http://2130706433",
        "http://0177.0.0.1",
        "http://[::ffff:192.168.0.1]",
        "http://100.64.0.1",
        "http://[fd00::1]",
        "ftp://example.com",
        "http://a@b.c",
        "http://example.com/?q",
        "file:///etc/passwd",
    ] {
        let body = json!({"targets": [{"url": url, "weight": 1}]});
        let (status, code) = code_of(plane.call(&vendor, Method::PUT, &path, body).await).await;
        assert_eq!((status, code.as_str()), (422, "target_refused"), "{url}");
    }
    let body = json!({"targets": [{"url": "http://10.0.0.1", "weight": 1}]});
    let text = plane.call(&vendor, Method::PUT, &path, body).await.text().await.unwrap();
    assert!(text.contains("APICLAY_EGRESS_ALLOW"), "{text}");
    let secret = format!("/listings/{}/secrets/token", sold.listing);
    let body = json!({"header": "X-Vendor-Token", "value": "s3cret-value"});
    plane.done(&vendor, Method::PUT, &secret, body, 204).await;
    let shown =
        plane.done(&vendor, Method::GET, &format!("/listings/{}", sold.listing), json!(null), 200).await;
    assert!(shown.to_string().contains("x-vendor-token") && !shown.to_string().contains("s3cret-value"));
    let gateway = gateway(&plane, "gw-1").await;
    let Frame::Snapshot(snapshot) = gateway.stream(0).await.next().await else { panic!() };
    let listing = snapshot.listings.values().next().unwrap();
    let place = format!("{}/x-vendor-token", listing.id);
    let opened = plane.app.master_key.open(&listing.secrets[0].value, &place).unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&opened), "s3cret-value");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_found_shown_described_and_called_by_pasted_code() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let get = async |path: String| {
        let answer = plane.to(Method::GET, &path).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    let (_, found) = get("/discover/listings?q=weather%20ACME&limit=5".to_owned()).await;
    assert_eq!(found["items"][0]["id"], sold.listing);
    let (_, none) = get("/discover/listings?q=tides".to_owned()).await;
    assert_eq!(none["items"], json!([]));
    let page = format!("/discover/listings/{}/weather", sold.vendor);
    let (_, shown) = get(page.clone()).await;
    assert_eq!(
        (&shown["routes"][0]["path"], &shown["plans"][0]["slug"]),
        (&json!("/now/{city}"), &json!("free"))
    );
    assert!(!shown.to_string().contains("127.0.0.1:9000"), "an upstream is nobody's business");
    let (_, described) = get(format!("{page}/openapi.json")).await;
    assert_eq!(described["servers"][0]["url"], "http://127.0.0.1:8000/acme/weather");
    for lang in ["curl", "python", "javascript"] {
        let (_, snippet) = get(format!("/discover/snippets?route={}&lang={lang}", sold.route)).await;
        assert!(snippet["code"].as_str().unwrap().contains("http://127.0.0.1:8000/acme/weather/now/city"));
    }
    let suspend = format!("/admin/listings/{}/suspend", sold.listing);
    plane.done(&boss, Method::POST, &suspend, json!({"reason": "abuse"}), 200).await;
    assert_eq!(get(page).await.0, 404);
    let gateway = gateway(&plane, "gw-1").await;
    let Frame::Snapshot(snapshot) = gateway.stream(0).await.next().await else { panic!() };
    assert!(snapshot.listings.values().all(|listing| listing.suspended));
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_attached_where_every_gateway_has_them_and_one_gateway_has_the_embedded_counters() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/plugins", sold.listing);
    let cors = json!([{"plugin": "cors", "config": {"allow_origins": ["*"]}}]);
    let (status, code) = code_of(plane.call(&vendor, Method::PUT, &path, cors.clone()).await).await;
    assert_eq!((status, code.as_str()), (422, "plugin_not_announced"));
    let first = gateway(&plane, "gw-1").await;
    let report = json!({"revision": 1, "version": "0.1.0", "epoch": "00", "plugins": [{"name": "cors", "schema": {"type": "object"}}], "load": 1});
    assert_eq!(first.report(report).await.status(), 204);
    plane.done(&vendor, Method::PUT, &path, cors, 200).await;
    let shown = plane.done(&boss, Method::GET, "/admin/gateways", json!(null), 200).await;
    assert_eq!((&shown["items"][0]["revision"], &shown["items"][0]["live"]), (&json!(1), &json!(true)));
    assert_eq!(shown["items"][0]["refused"], json!(null));
    let refused =
        json!({"revision": 2, "refused": "revision 2 is refused: no such plugin", "counters": "embedded"});
    assert_eq!(first.report(refused).await.status(), 204);
    let shown = plane.done(&boss, Method::GET, "/admin/gateways", json!(null), 200).await;
    assert_eq!(shown["items"][0]["refused"], "revision 2 is refused: no such plugin");
    let elsewhere = json!({"revision": 2, "counters": "redis"});
    let (status, code) = code_of(first.report(elsewhere).await).await;
    assert_eq!((status, code.as_str()), (409, "counters_differ"));
    let second = gateway(&plane, "gw-2").await;
    let (status, code) = code_of(second.report(json!({"revision": 0})).await).await;
    assert_eq!((status, code.as_str()), (409, "counters_are_embedded"));
    let mut stranger = second;
    stranger.token.push('x');
    assert_eq!(stranger.report(json!({"revision": 0})).await.status(), 401);
}

/// As large as a gateway makes them: every event another subscription's, under a plan with a trial and three quotas.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_is_taken() {
    use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
    use apiclay_config::usage::{
        BATCH_EVENTS_MAX, BatchId, Ending, Event, GatewayEpoch, UnitsTaken, UsageBatch,
    };
    let plane = demo().await;
    let gateway = gateway(&plane, "gw-1").await;
    let event = |_| Event {
        request: RequestId::generate(),
        subscription: SubscriptionId::generate(),
        credential: CredentialId::generate(),
        route: RouteId::generate(),
        plan_revision: 1,
        at: support::NOW,
        duration_us: 900,
        status: 200,
        tries: 1,
        ending: Ending::Complete,
        billable: true,
        kept: true,
        leases: [1, 2, 3, 4, 5],
        units: apiclay_config::usage::Units::CALL,
        bytes_in: 3,
        bytes_out: 5,
    };
    let events: Vec<Event> = (0..BATCH_EVENTS_MAX).map(event).collect();
    let units: Vec<UnitsTaken> = events
        .iter()
        .flat_map(|e| ["hour", "day", "month", "trial"].map(|w| (e.subscription, w)))
        .map(|(subscription, window)| UnitsTaken {
            counter: format!("quota:{subscription}:{window}").into(),
            window: i64::MAX,
            units: u64::from(u32::MAX),
        })
        .collect();
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: "0011223344556677".into() };
    let batch = UsageBatch::pack(BatchId { from, seq: 1 }, units, &events).unwrap();
    let answer = gateway.to(Method::POST, "/usage/batches").json(&batch).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{} bytes", serde_json::to_vec(&batch).unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shows_in_its_buyers_usage_within_two_seconds_and_in_nobody_elses() {
    use apiclay_config::clock::Timestamp;
    use apiclay_config::ids::{CredentialId, RequestId};
    use apiclay_config::usage::{BatchId, Ending, Event, GatewayEpoch, UsageBatch};
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (sub, credential, _) = buy(&plane, &buyer, &sold.plan).await;
    let gateway = gateway(&plane, "gw-1").await;
    let event = |n: u128, at: Timestamp| Event {
        request: RequestId::from_u128(n),
        subscription: sub.parse().unwrap(),
        credential: credential.parse::<CredentialId>().unwrap(),
        route: sold.route.parse().unwrap(),
        plan_revision: 1,
        at,
        duration_us: 900,
        status: if n == 0 { 502 } else { 200 },
        tries: 1,
        ending: Ending::Complete,
        billable: n != 0,
        kept: true,
        leases: [0; 5],
        units: apiclay_config::usage::Units::CALL,
        bytes_in: 3,
        bytes_out: 5,
    };
    let send = async |seq: u64, events: &[Event]| {
        let from = GatewayEpoch { gateway: "gw-1".into(), epoch: "0011223344556677".into() };
        let batch = UsageBatch::pack(BatchId { from, seq }, Vec::new(), events).unwrap();
        gateway.to(Method::POST, "/usage/batches").json(&batch).send().await.unwrap().status().as_u16()
    };
    let now = support::NOW;
    let events: Vec<Event> = (0..10).map(|n| event(n, now.plus_ms(30_000))).collect();
    assert_eq!(send(1, &events).await, 200);
    assert_eq!(send(1, &events).await, 200, "the same again");
    assert_eq!(send(1, &events[1..]).await, 409, "another under its id");
    let path = format!("/subscriptions/{sub}/usage");
    let begun = std::time::Instant::now();
    let usage = loop {
        let usage = plane.done(&buyer, Method::GET, &path, json!(null), 200).await;
        if usage["total"]["calls"] == 10 {
            break usage;
        }
        assert!(begun.elapsed().as_secs() < 2, "{usage}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(usage["total"]["billable_calls"], 9);
    assert_eq!(usage["items"][0]["by_class"], json!({"2xx": 9, "5xx": 1}));
    let minute = format!("{path}?by=minute&from={}&to={}", now, now.plus_ms(60_000));
    let usage = plane.done(&buyer, Method::GET, &minute, json!(null), 200).await;
    assert_eq!((&usage["total"]["calls"], &usage["items"][0]["calls"]), (&json!(10), &json!(10)));
    for query in ["by=year", "from=yesterday", "from=2030-01-01T00:00:00Z&to=2029-01-01T00:00:00Z", "x=1"] {
        assert_eq!(
            plane.call(&buyer, Method::GET, &format!("{path}?{query}"), json!(null)).await.status(),
            400
        );
    }
    assert_eq!(plane.call(&vendor, Method::GET, &path, json!(null)).await.status(), 404);
    assert_eq!(
        gateway.to(Method::POST, "/usage/batches").json(&json!({})).send().await.unwrap().status(),
        400
    );
}

/// A gateway that was told it is the only one would let the whole rate pass.
#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_gateways_is_told_before_they_had_time_to_be_heard() {
    let plane = demo().await;
    let mut stream = gateway(&plane, "gw-1").await.stream(0).await;
    let mut told = async || {
        loop {
            if let Frame::Heartbeat { live_gateways, .. } = stream.next().await {
                break live_gateways;
            }
        }
    };
    assert_eq!(told().await, None);
    plane.pass_ms(15_000);
    // Counted every two seconds.
    let mut heartbeats = 0;
    while told().await != Some(1) {
        heartbeats += 1;
        assert!(heartbeats < 10);
    }
}
