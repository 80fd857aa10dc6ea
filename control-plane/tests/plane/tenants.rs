//! Somebody else's thing is 404 on every route that names one, and a wrong role is 403. The routes come from the API's own
//! description, so that a new one is tried without being named here.

use apiclay_control_plane::openapi::is_public;
use apiclay_control_plane::router;
use apiclay_control_plane::vendors::role::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::demo;
use crate::support::market::{admin, buy, gateway, make_member, on_sale, who};

/// What stands in the path where the description has a name.
fn filled(path: &str, names: &[(&str, &str)]) -> String {
    let mut path = path.trim_start_matches(router::BASE).to_owned();
    for (name, value) in names {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    if path.ends_with("/change-preview") {
        path.push_str("?plan_id=pln_01m8hyqshzehb8bzent8by125d");
    }
    assert!(!path.contains('{'), "{path} names a thing that this test does not have");
    path
}

/// A body that each route would take, had the caller the right.
fn body(method: &str, path: &str) -> Value {
    let last = path.rsplit('/').next().unwrap();
    match (method, last) {
        ("put", "upstream") => json!({"targets": [{"url": "http://192.0.2.1", "weight": 1}]}),
        ("post", "routes") | ("put", "{route}") => json!({"method": "GET", "path": "/other"}),
        ("post", "plans") => json!({"slug": "p", "name": "P", "price": {"amount": "0", "currency": "INR"}}),
        ("post", "listings") => json!({"slug": "l", "name": "L", "summary": "S"}),
        ("put", "{name}") => json!({"header": "x-a", "value": "v"}),
        ("put", "plugins") => json!([]),
        ("put", "definition") => json!({"document": {"openapi": "3.0.0", "paths": {}}}),
        ("post", "test") => json!({"path": "/"}),
        ("post", "rotate") => json!({"grace_s": 0}),
        ("post", "change") => json!({"plan_id": "pln_01m8hyqshzehb8bzent8by125d"}),
        ("post", "credentials") => json!({"name": "k"}),
        ("post", "invitations") => json!({"email": "mole@example.com", "role": "owner"}),
        ("patch", "{account}") => json!({"role": "owner"}),
        ("patch", "{vendor}") => json!({"name": "Taken over"}),
        ("post", "approve" | "reject" | "suspend" | "restore") => json!({"reason": "mine now"}),
        _ => json!({}),
    }
}

/// Every operation below these prefixes.
fn operations(prefixes: &[&str]) -> Vec<(String, String)> {
    let description = serde_json::to_value(router::description()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let below = path.trim_start_matches(router::BASE);
        if prefixes.iter().any(|prefix| below.starts_with(prefix)) {
            let methods = methods.as_object().unwrap().iter();
            // What is public is nobody's.
            let own = methods.filter(|(_, operation)| !is_public(operation));
            operations.extend(own.map(|(method, _)| (method.clone(), path.clone())));
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_names_a_thing_is_404_for_another_tenant() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    // Another tenant has everything too: a vendor, a listing, a subscription.
    let stranger = who(&plane, "stranger").await;
    on_sale(&plane, &stranger, &boss, "other").await;
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (sub, credential, _) = buy(&plane, &buyer, &sold.plan).await;
    let before =
        plane.done(&vendor, Method::GET, &format!("/listings/{}", sold.listing), json!(null), 200).await;
    let names = [
        ("vendor", sold.vendor.as_str()),
        ("listing", &sold.listing),
        ("route", &sold.route),
        ("plan", &sold.plan),
        ("subscription", &sub),
        ("credential", &credential),
        ("name", "token"),
        ("account", &vendor.account),
        ("invitation", "ivt_x"),
    ];
    let named: Vec<_> = operations(&["/vendors/", "/listings/", "/plans/", "/subscriptions/"])
        .into_iter()
        .filter(|(_, path)| path.contains('{'))
        .collect();
    assert!(named.len() >= 30, "{}", named.len());
    for (method, path) in named {
        let to = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = plane.call(&stranger, to, &filled(&path, &names), body(&method, &path)).await;
        assert_eq!(answer.status(), 404, "{method} {path}");
    }
    let after =
        plane.done(&vendor, Method::GET, &format!("/listings/{}", sold.listing), json!(null), 200).await;
    assert_eq!(before, after, "nothing was written");
    plane.done(&buyer, Method::GET, &format!("/subscriptions/{sub}"), json!(null), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_admin_route_is_403_for_everybody_else() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let buyer = who(&plane, "bela").await;
    let routes = operations(&["/admin/"]);
    assert!(routes.len() >= 7);
    for (method, path) in routes {
        let to = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        for who in [&buyer, &vendor] {
            let names = [
                ("listing", &*sold.listing),
                ("gateway", "gw-1"),
                ("epoch", "00"),
                ("event", "none"),
                ("refund", "rfd_00000000000000000000000000"),
                ("invoice", "inv_00000000000000000000000000"),
                ("vendor", "ven_00000000000000000000000000"),
            ];
            let path = filled(&path, &names);
            assert_eq!(
                plane.call(who, to.clone(), &path, body(&method, &path)).await.status(),
                403,
                "{path}"
            );
        }
    }
    let gateway = gateway(&plane, "gw-1").await;
    let as_account = plane.base.replace("/backend/v1", "/internal/v1/config/stream");
    let answer =
        plane.http.get(&as_account).bearer_auth(&boss.token).header("x-gateway-id", "gw-1").send().await;
    assert_eq!(answer.unwrap().status(), 401, "an admin is no gateway");
    let as_gateway = plane.to(Method::GET, "/vendors").bearer_auth(&gateway.token).send().await.unwrap();
    assert_eq!(as_gateway.status(), 401, "a gateway is no account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_a_developer_builds_and_neither_governs() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let (viewer, developer) = (who(&plane, "vik").await, who(&plane, "dev").await);
    make_member(&plane, "acme", &viewer, Role::Viewer).await;
    make_member(&plane, "acme", &developer, Role::Developer).await;
    let listing = format!("/listings/{}", sold.listing);
    let change = json!({"name": "New name"});
    for (who, allowed) in [(&viewer, 403), (&developer, 200)] {
        plane.done(who, Method::GET, &listing, json!(null), 200).await;
        plane.done(who, Method::PATCH, &listing, change.clone(), allowed).await;
        plane.done(who, Method::PATCH, "/vendors/acme", change.clone(), 403).await;
    }
    // What a client must not decide is refused by name.
    for field in ["owner_id", "role", "state", "suspended", "vendor_id", "balance"] {
        let body = json!({"slug": "s", "name": "N", "summary": "S", field: "x"});
        plane.done(&vendor, Method::POST, "/vendors/acme/listings", body, 400).await;
        plane
            .done(&vendor, Method::POST, "/vendors", json!({"slug": "s", "name": "N", field: "x"}), 400)
            .await;
    }
}
