//! Plugins attached to the whole gateway, a listing, a route and a plan: held to their type before anything is written, and
//! in the configuration that gateways are sent.

use apiclay_config::snapshot::{Binding, Frame, validate};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Gateway, OnSale, Who, admin, buy, gateway, on_sale, who};
use crate::support::{Plane, body_of, demo};

/// A market whose one gateway has announced what it has.
async fn market(plane: &Plane) -> (Who, Who, OnSale, Gateway) {
    let (vendor, boss) = (who(plane, "vera").await, admin(plane, "boss").await);
    let sold = on_sale(plane, &vendor, &boss, "acme").await;
    let gateway = gateway(plane, "gw-1").await;
    let plugins = json!([{"name": "cors", "schema": {}}, {"name": "request_headers", "schema": {}}]);
    assert_eq!(gateway.report(json!({"revision": 0, "plugins": plugins})).await.status(), 204);
    (vendor, boss, sold, gateway)
}

fn places(sold: &OnSale) -> [String; 4] {
    [
        "/admin/plugins/bindings".to_owned(),
        format!("/listings/{}/plugins", sold.listing),
        format!("/listings/{}/routes/{}/plugins", sold.listing, sold.route),
        format!("/plans/{}/plugins", sold.plan),
    ]
}

/// The body that attaches `plugins` there.
fn body(path: &str, plugins: Value) -> Value {
    if path.starts_with("/admin") { json!({"plugins": plugins, "reason": "policy"}) } else { plugins }
}

fn names(bindings: &[Binding]) -> Vec<&str> {
    bindings.iter().map(|binding| binding.plugin.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_attached_to_any_place_reaches_the_gateway() {
    let plane = demo().await;
    let (vendor, boss, sold, gateway) = market(&plane).await;
    let set = json!([{"plugin": "request_headers", "config": {"set": {"x-tier": "gold"}}}]);
    buy(&plane, &who(&plane, "bela").await, &sold.plan).await;
    for path in places(&sold) {
        let by = if path.starts_with("/admin") { &boss } else { &vendor };
        plane.done(by, Method::PUT, &path, body(&path, set.clone()), 200).await;
        let shown = plane.done(by, Method::GET, &path, json!(null), 200).await;
        assert_eq!(shown["items"][0], set[0], "{path}");
    }
    // The same again is no change: the plan is at its second revision.
    let plan = format!("/plans/{}", sold.plan);
    plane.done(&vendor, Method::PUT, &format!("{plan}/plugins"), set, 200).await;
    assert_eq!(plane.done(&vendor, Method::GET, &plan, json!(null), 200).await["revision"], 2);
    // And another change of the plan keeps them.
    plane.done(&vendor, Method::PATCH, &plan, json!({"concurrency_max": 3}), 200).await;
    // As another change of the route does.
    let route = format!("/listings/{}/routes/{}", sold.listing, sold.route);
    plane.done(&vendor, Method::PUT, &route, json!({"method": "GET", "path": "/then/{city}"}), 200).await;

    let Frame::Snapshot(snapshot) = gateway.stream(0).await.next().await else { panic!() };
    assert_eq!(validate(&snapshot), []);
    assert_eq!(names(&snapshot.bindings), ["request_headers", "cors"], "and the web app's own");
    let listing = snapshot.listings.values().next().unwrap();
    assert_eq!(names(&listing.bindings), ["request_headers"]);
    assert_eq!(names(&listing.routes[0].bindings), ["request_headers"]);
    assert_eq!(listing.routes[0].path, "/then/{city}");
    let of: Vec<Vec<&str>> = snapshot.plans.values().map(|plan| names(&plan.bindings)).collect();
    assert_eq!(
        of,
        [vec![], vec!["request_headers"]],
        "what somebody holds, and what is sold; the one between is neither"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_could_not_build_is_refused_with_its_place() {
    let plane = demo().await;
    let (vendor, boss, sold, _) = market(&plane).await;
    let wrong = [
        (json!([{"plugin": "nothing"}]), 422, "plugin_not_announced", "/0/plugin"),
        (
            json!([{"plugin": "request_headers", "config": {"typo": 1}}]),
            400,
            "validation_failed",
            "/0/config",
        ),
        (json!([{"plugin": "request_headers", "config": []}]), 400, "validation_failed", "/0/config"),
        (
            json!([{"plugin": "request_headers"}, {"plugin": "request_headers"}]),
            400,
            "validation_failed",
            "/1/plugin",
        ),
    ];
    for path in places(&sold) {
        let (by, at) = if path.starts_with("/admin") { (&boss, "/plugins") } else { (&vendor, "") };
        let before = plane.done(by, Method::GET, &path, json!(null), 200).await;
        for (plugins, status, code, pointer) in &wrong {
            let answer = plane.call(by, Method::PUT, &path, body(&path, plugins.clone())).await;
            assert_eq!(answer.status(), *status, "{path} {plugins}");
            let problem = body_of(answer).await;
            assert_eq!(problem["code"], *code, "{path} {plugins}");
            assert_eq!(problem["errors"][0]["pointer"], format!("{at}{pointer}"), "{path}");
        }
        let extra = body(&path, json!([{"plugin": "request_headers", "order": 1}]));
        plane.done(by, Method::PUT, &path, extra, 400).await;
        assert_eq!(plane.done(by, Method::GET, &path, json!(null), 200).await, before, "nothing is written");
    }
    let cors = json!([{"plugin": "cors", "config": {"allow_origins": ["*"]}}]);
    let [_, listing, _, plan] = places(&sold);
    let answer = plane.call(&vendor, Method::PUT, &plan, cors.clone()).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(body_of(answer).await["errors"][0]["code"], "acts_before_plan");
    plane.done(&vendor, Method::PUT, &listing, cors, 200).await;
}

/// Bytes that the configurations of a listing and its routes may have together.
const TOGETHER_MAX_BYTES: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn all_plugins_of_a_listing_together_are_bounded_to_the_byte() {
    let plane = demo().await;
    let (vendor, _, sold, _) = market(&plane).await;
    let of = |bytes: usize| {
        let config = |fill: usize| json!({"set": {"x-fill": "a".repeat(fill)}});
        let config = config(bytes - config(0).to_string().len());
        assert_eq!(config.to_string().len(), bytes);
        json!([{"plugin": "request_headers", "config": config}])
    };
    let each = TOGETHER_MAX_BYTES / 16;
    let whole = format!("/listings/{}/plugins", sold.listing);
    let mut paths = vec![whole.clone(), format!("/listings/{}/routes/{}/plugins", sold.listing, sold.route)];
    let routes = format!("/listings/{}/routes", sold.listing);
    for n in 2..=16 {
        let route = json!({"method": "GET", "path": format!("/more/{n}")});
        let made = plane.done(&vendor, Method::POST, &routes, route, 201).await;
        let route = made["id"].as_str().unwrap();
        paths.push(format!("/listings/{}/routes/{route}/plugins", sold.listing));
    }
    let last = paths.pop().unwrap();
    for path in &paths {
        plane.done(&vendor, Method::PUT, path, of(each), 200).await;
    }
    // They are full: not even an empty one, of two bytes, has room. Neither place may grow.
    for (path, plugins) in [(&last, json!([{"plugin": "request_headers"}])), (&last, of(each))] {
        let answer = plane.call(&vendor, Method::PUT, path, plugins).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(body_of(answer).await["errors"][0]["code"], "too_large");
        let kept = plane.done(&vendor, Method::GET, path, json!(null), 200).await;
        assert_eq!(kept["items"], json!([]), "nothing is written");
    }
    plane.done(&vendor, Method::PUT, &whole, of(each - 100), 200).await;
    plane.done(&vendor, Method::PUT, &last, of(100), 200).await;
    let answer = plane.call(&vendor, Method::PUT, &whole, of(each - 99)).await;
    assert_eq!(body_of(answer).await["errors"][0]["code"], "too_large");
}
