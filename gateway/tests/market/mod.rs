//! A gateway with one worker, before an upstream, with one listing, and a buyer whose plan has a rate and a quota. The control plane
//! beside it says the configuration and takes what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId};
use apiclay_config::key;
use apiclay_config::settings::GatewaySettings;
use apiclay_config::snapshot::{
    Change, Credential, Frame, Limit, Listing, Plan, Route, Snapshot, Subscription, Target, Upstream, Window,
};
use apiclay_config::wire;
use apiclay_gateway::{Identity, Parts, Running};
use axum::body::Body;
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::{ExposeSecret as _, SecretString};

/// More than a test makes calls.
const CALLS_MAX: u64 = 1_000_000_000;

fn snapshot(upstream: SocketAddr, key: &SecretString) -> Snapshot {
    let (listing, plan, subscription) =
        (ListingId::generate(), PlanId::generate(), SubscriptionId::generate());
    let route = |method: &str, path: &str| Route {
        id: RouteId::generate(),
        method: method.to_owned(),
        path: path.to_owned(),
        bindings: Vec::new(),
    };
    let limit = |window, max| Limit { window, max, hard: true };
    let changes = [
        Change::PutListing(Box::new(Listing {
            id: listing,
            vendor: VendorId::generate(),
            vendor_slug: "acme".to_owned(),
            slug: "echo".to_owned(),
            suspended: false,
            upstream: Upstream {
                targets: vec![Target { url: format!("http://{upstream}"), weight: 1 }],
                connect_timeout_ms: 1_000,
                read_timeout_ms: 10_000,
                retries_max: 1,
            },
            routes: ["GET", "HEAD", "POST"].map(|method| route(method, "/now")).to_vec(),
            key_header: None,
            secrets: Vec::new(),
            bindings: Vec::new(),
        })),
        Change::PutPlan(Box::new(Plan {
            id: plan,
            revision: 1,
            listing,
            limits: vec![
                limit(Window::Second, 1_000_000),
                limit(Window::Day, CALLS_MAX),
                limit(Window::Month, CALLS_MAX),
            ],
            concurrency_max: Some(100),
            zone: None,
            trial_calls: None,
            trial_days: None,
            priced: false,
            per_call: false,
            meter: None,
            billable_statuses: None,
            bindings: Vec::new(),
        })),
        Change::PutSubscription(Subscription {
            id: subscription,
            account: AccountId::generate(),
            listing,
            plan,
            plan_revision: 1,
            inactive: false,
            ends_at: None,
            trial_until: None,
            pays: false,
        }),
        Change::PutCredential(Credential {
            id: CredentialId::generate(),
            subscription,
            digest: key::digest(key.expose_secret().as_bytes()),
            expires_at: None,
        }),
    ];
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    changes.iter().for_each(|change| snapshot.apply(change));
    snapshot
}

/// The configuration, then a heartbeat now and then.
fn stream(snapshot: &Snapshot) -> Body {
    let frame = |frame: &Frame| {
        let mut bytes = Vec::new();
        wire::write(&mut bytes, &serde_json::to_vec(frame).unwrap()).unwrap();
        bytes
    };
    let first = frame(&Frame::Snapshot(Box::new(snapshot.clone())));
    let heartbeat = frame(&Frame::Heartbeat { revision: snapshot.revision, live_gateways: Some(1) });
    let frames = futures_util::stream::unfold(Some(first), move |next| {
        let heartbeat = heartbeat.clone();
        async move {
            if next.is_none() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Some((Ok::<_, std::io::Error>(next.unwrap_or(heartbeat)), None))
        }
    });
    Body::from_stream(frames)
}

/// Starts it.
pub async fn gateway(upstream: SocketAddr, key: &SecretString, folder: &Path) -> Running {
    let snapshot = snapshot(upstream, key);
    let routes = Router::new()
        .route("/internal/v1/gateways/{id}/report", post(async || ()))
        .route("/internal/v1/config/stream", get(async move || stream(&snapshot)))
        .route("/internal/v1/usage/batches", post(async || ()))
        .route("/internal/v1/usage/lives", post(async || Json(serde_json::json!({ "lives": [] }))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control_url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let settings = GatewaySettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        domain: None,
        control_url: control_url.clone(),
        id: None,
        token_file: None,
        threads: 1,
        fast_lane: true,
        header_read_timeout_ms: 10_000,
        keepalive_timeout_ms: 10_000,
        body_max_bytes: 1_048_576,
        lease_wait_ms: 2_000,
        wallet_lease_max_s: 1,
        wallet_lease_units: 4,
        spool_sync_ms: 50,
        spool_max_bytes: 64 << 20,
        batch_interval_ms: 50,
        shutdown_grace_s: 5,
    };
    let identity = Identity { id: "gw".to_owned(), token: SecretString::from("t"), control_url };
    let parts = Parts {
        settings,
        folder: folder.to_owned(),
        redis_url: None,
        master_key: None,
        egress: Egress::new(Vec::new(), vec![upstream], Vec::new()),
        identity,
        clock: Clock::System,
    };
    apiclay_gateway::start(parts).await.unwrap()
}
