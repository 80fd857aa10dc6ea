//! The store of leases on wallets over HTTP: a small server speaks the wire as strictly as the control plane does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use apiclay_config::clock::Clock;
use apiclay_config::ids::{PlanId, SubscriptionId};
use apiclay_config::wallet_leases::LeaseGranted;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use parking_lot::Mutex;
use secrecy::SecretString;

use super::*;
use crate::counters::Spent;
use crate::counters::faults::ModelCounters;
use crate::limits::{BatchMark, wallet_key};
use crate::sync::{ControlPlane, CountersAt};

const EPOCH: u64 = 0xaa;

/// What the server answers.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Grants(u32),
    Is(u16),
    Problem(u16, &'static str),
    Says(&'static str),
    Stalls,
}

struct Desk {
    mood: Mutex<Mood>,
    heard: Mutex<Vec<LeasesRequest>>,
    asked: AtomicUsize,
}

async fn leases(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(request): Json<LeasesRequest>,
) -> axum::response::Response {
    desk.asked.fetch_add(1, SeqCst);
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if header("x-gateway-id").as_deref() != Some("gw")
        || header("authorization").as_deref() != Some("Bearer secret")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Err(wrong) = request.check() {
        return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response();
    }
    let mood = *desk.mood.lock();
    let granted = match mood {
        Mood::Grants(max) => {
            request.grant.map(|asked| LeaseGranted { units: asked.want.min(max), remaining: 70 })
        }
        Mood::Is(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Problem(status, code) => {
            let problem = serde_json::json!({ "type": "about:blank", "status": status, "code": code });
            return (StatusCode::from_u16(status).unwrap(), Json(problem)).into_response();
        }
        Mood::Says(text) => return text.into_response(),
        Mood::Stalls => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            None
        }
    };
    desk.heard.lock().push(request);
    Json(LeasesAnswer { granted, top_up_url: Some("https://apis.example.com/wallet".parse().unwrap()) })
        .into_response()
}

async fn earlier_over(
    State(desk): State<Arc<Desk>>,
    Json(over): Json<EarlierOver>,
) -> axum::response::Response {
    over.check().unwrap();
    match *desk.mood.lock() {
        Mood::Is(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Problem(status, code) => {
            let problem = serde_json::json!({ "code": code });
            (StatusCode::from_u16(status).unwrap(), Json(problem)).into_response()
        }
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

struct House {
    desk: Arc<Desk>,
    control: ControlPlane,
    top_up: Arc<TopUp>,
    wallets: WalletCounters<ControlPlane>,
}

async fn house(mood: Mood) -> House {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let desk = Arc::new(Desk { mood: Mutex::new(mood), heard: Mutex::default(), asked: AtomicUsize::new(0) });
    let routes = axum::Router::new()
        .route("/internal/v1/leases", axum::routing::post(leases))
        .route("/internal/v1/leases/earlier-over", axum::routing::post(earlier_over))
        .with_state(Arc::clone(&desk));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let token = SecretString::from("secret");
    let epoch = format!("{EPOCH:016x}");
    let control =
        ControlPlane::new(url, "gw".to_owned(), token, epoch.clone(), CountersAt::Embedded).unwrap();
    let top_up = Arc::<TopUp>::default();
    let wallets = WalletCounters::new(control.clone(), epoch, Arc::clone(&top_up));
    House { desk, control, top_up, wallets }
}

fn lease(serial: u32) -> LeaseId {
    LeaseId { gateway: "gw".into(), epoch: EPOCH, serial }
}

fn subscription() -> SubscriptionId {
    SubscriptionId::from_u128(7)
}

fn request(serial: u32, want: u32) -> GrantRequest {
    GrantRequest {
        key: wallet_key(subscription(), PlanId::from_u128(8), 3),
        window: LeasedWindow::Wallet,
        max: COUNT_MAX,
        hard: true,
        lease: lease(serial),
        want,
        open_max_units: 100,
        closes: Vec::new(),
    }
}

fn close(serial: u32, units: u32, last_batch: Option<BatchMark>) -> Close {
    Close { lease: lease(serial), window: 0, unspent: 1, spent: Some(Spent { units, last_batch }) }
}

#[tokio::test]
async fn a_grant_and_the_closes_that_ride_along_are_said_as_the_wire_has_them() {
    let house = house(Mood::Grants(10)).await;
    assert_eq!(house.top_up.link(), None);
    let batch = BatchMark { life: 4, epoch: 0xbb, seq: 12 };
    let closes = vec![close(5, 2, Some(batch)), close(6, 0, None)];
    let grant = house.wallets.grant(&GrantRequest { closes, ..request(9, 64) }).await.unwrap();
    let expected = Grant { window: 0, units: 10, remaining: 70, ends_in_ms: None, generation: u64::MAX };
    assert_eq!(grant, expected);
    let epoch = "00000000000000aa".to_owned();
    let last_batch = Some(LastBatch { epoch: "00000000000000bb".to_owned(), seq: 12 });
    let heard = house.desk.heard.lock().clone();
    assert_eq!(
        heard,
        [LeasesRequest {
            epoch: epoch.clone(),
            subscription: subscription(),
            grant: Some(LeaseAsked {
                serial: 9,
                want: 64,
                plan: Some(PlanId::from_u128(8)),
                plan_revision: 3,
            }),
            closes: vec![
                LeaseClosed { epoch: epoch.clone(), serial: 5, spent: 2, last_batch },
                LeaseClosed { epoch, serial: 6, spent: 0, last_batch: None },
            ],
        }]
    );
    assert_eq!(house.top_up.link().unwrap(), "<https://apis.example.com/wallet>; rel=\"payment\"");
}

#[tokio::test]
async fn closes_are_said_in_as_many_requests_as_it_takes() {
    let house = house(Mood::Grants(10)).await;
    let closes: Vec<Close> = (1..=600).map(|serial| close(serial, 0, None)).collect();
    house.wallets.close(&request(1, 1).key, &closes).await.unwrap();
    let said = |house: &House| -> Vec<usize> {
        house.desk.heard.lock().drain(..).map(|request| request.closes.len()).collect()
    };
    assert_eq!(said(&house), [256, 256, 88]);
    house.wallets.grant(&GrantRequest { closes, ..request(601, 1) }).await.unwrap();
    assert_eq!(said(&house), [256, 88, 256]);
}

#[tokio::test]
async fn nothing_free_is_an_answer_and_a_lease_that_is_over_another() {
    let house = house(Mood::Grants(0)).await;
    assert_eq!(house.wallets.grant(&request(1, 5)).await.unwrap().units, 0);
    *house.desk.mood.lock() = Mood::Problem(409, "lease_over");
    let over = house.wallets.grant(&request(1, 5)).await;
    assert!(matches!(over, Err(CountersError::Stale(id)) if id == lease(1)));
}

#[tokio::test]
async fn one_that_is_away_is_never_taken_for_an_empty_wallet_and_not_asked_at_every_call() {
    for mood in [Mood::Is(502), Mood::Is(503), Mood::Is(504), Mood::Is(429)] {
        let house = house(mood).await;
        let away = house.wallets.grant(&request(1, 5)).await;
        assert!(matches!(away, Err(CountersError::Wallets(Some(_)))), "{away:?}");
        for _ in 0..100 {
            assert!(matches!(house.wallets.grant(&request(1, 5)).await, Err(CountersError::Wallets(_))));
        }
        // One for each pause that ended meanwhile.
        assert!(house.desk.asked.load(SeqCst) < 8, "{}", house.desk.asked.load(SeqCst));
        *house.desk.mood.lock() = Mood::Grants(3);
        let again = async {
            loop {
                match house.wallets.grant(&request(1, 5)).await {
                    Ok(grant) => break grant,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let grant = tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
        assert_eq!(grant.units, 3);
    }
}

#[tokio::test]
async fn what_fails_for_one_wallet_is_no_answer_about_it_and_does_not_keep_others_from_asking() {
    for mood in [
        Mood::Is(500),
        Mood::Is(302),
        Mood::Problem(500, "internal"),
        Mood::Problem(409, "changed_meanwhile"),
        // Of something between us and it, say.
        Mood::Is(409),
    ] {
        let house = house(mood).await;
        for asked in 1..=20 {
            let failed = house.wallets.grant(&request(1, 5)).await;
            assert!(matches!(failed, Err(CountersError::WalletFailed(_))), "{failed:?}");
            let failed = house.wallets.close(&request(1, 5).key, &[close(2, 0, None)]).await;
            assert!(matches!(failed, Err(CountersError::WalletFailed(_))), "{failed:?}");
            assert_eq!(house.desk.asked.load(SeqCst), 2 * asked, "each is asked for");
        }
        *house.desk.mood.lock() = Mood::Grants(3);
        assert_eq!(house.wallets.grant(&request(1, 5)).await.unwrap().units, 3);
    }
}

#[tokio::test]
async fn that_earlier_lives_are_over_is_said_as_the_wire_has_it() {
    let over = EarlierOver { epoch: format!("{EPOCH:016x}") };
    let said = async |mood| house(mood).await.control.earlier_over(&over).await;
    assert!(matches!(said(Mood::Grants(0)).await, Ok(())));
    for unknown in [404, 405] {
        assert!(matches!(said(Mood::Is(unknown)).await, Err(DeskError::Unknown)));
    }
    assert!(matches!(said(Mood::Is(401)).await, Err(DeskError::Refused(_))));
    assert!(matches!(said(Mood::Is(503)).await, Err(DeskError::Away(_))));
    assert!(matches!(said(Mood::Is(500)).await, Err(DeskError::Failed(_))));
    assert!(matches!(said(Mood::Problem(409, "changed_meanwhile")).await, Err(DeskError::Failed(_))));
}

#[tokio::test]
async fn one_that_stalls_is_given_up_within_the_deadline() {
    let house = house(Mood::Stalls).await;
    let begun = Instant::now();
    let away = house.wallets.grant(&request(1, 5)).await;
    assert!(matches!(away, Err(CountersError::Wallets(Some(_)))), "{away:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn an_answer_that_is_none_grants_nothing() {
    for mood in [
        Mood::Is(400),
        Mood::Is(401),
        Mood::Is(404),
        Mood::Says("nonsense"),
        Mood::Says(r#"{"granted":null}"#),
        Mood::Says(r#"{"granted":{"units":1,"remaining":0,"more":1}}"#),
        Mood::Says(r#"{"granted":{"units":1,"remaining":0},"more":1}"#),
        Mood::Says(r#"{"granted":{"units":40000000,"remaining":0}}"#),
    ] {
        let house = house(mood).await;
        let refused = house.wallets.grant(&request(1, 5)).await;
        assert!(matches!(refused, Err(CountersError::WalletsRefused(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn each_key_goes_to_its_own_store() {
    let house = house(Mood::Grants(4)).await;
    let counters = Arc::new(ModelCounters::new(Clock::System));
    let stores = Stores { counters: counters.clone(), wallets: Arc::new(house.wallets) };
    let quota = GrantRequest {
        key: format!("quota:{}:day", subscription()),
        window: LeasedWindow::Day,
        max: 100,
        ..request(1, 8)
    };
    assert_eq!(stores.grant(&quota).await.unwrap().units, 8);
    assert_eq!(stores.grant(&request(2, 8)).await.unwrap().units, 4);
    assert_eq!((counters.granted(&quota.key), house.desk.asked.load(SeqCst)), (8, 1));
    let unspent = Close {
        lease: lease(1),
        window: stores.grant(&quota).await.unwrap().window,
        unspent: 3,
        spent: None,
    };
    stores.close(&quota.key, &[unspent]).await.unwrap();
    stores.close(&request(2, 8).key, &[close(2, 0, None)]).await.unwrap();
    assert_eq!((counters.granted(&quota.key), house.desk.asked.load(SeqCst)), (5, 2));
    stores.ping().await.unwrap();
    assert_eq!(stores.forget("gw").await.unwrap(), 0);
    assert_eq!(house.desk.asked.load(SeqCst), 2);
}
