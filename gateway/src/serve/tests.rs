//! A whole gateway whose buyer pays by the call, beside a control plane that speaks the wire strictly and keeps one wallet: every
//! call that is answered is paid for once, and who is refused is told why.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use apiclay_config::key;
use apiclay_config::snapshot::{Frame, InjectedHeader, Plan, Snapshot};
use apiclay_config::usage::{Event, LeasedWindow, UsageBatch};
use apiclay_config::wallet_leases::{EarlierOver, LeaseGranted, LeasesAnswer, LeasesRequest};
use apiclay_config::wire;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::*;
use crate::limits::counter::grant_units;
use crate::metering::SpoolError;
use crate::sync::tests::market;

mod metered;
mod times;

const CALLS: u64 = 10;
/// What comes by itself comes within this.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The control plane: a configuration, and a wallet of which every unit takes 1.
struct Plane {
    snapshot: Snapshot,
    away: AtomicBool,
    wallet: Mutex<Wallet>,
}

impl Plane {
    /// Of whole calls only, as the real one.
    fn grants(&self, wallet: &Wallet, want: u32) -> u32 {
        let meter = self.snapshot.plans.values().next().and_then(|plan| plan.meter.as_ref());
        let of_call = meter.map_or(1, |meter| meter.units_max_per_call);
        let (held, balance) = (wallet.held().div_ceil(of_call.into()), wallet.balance / u64::from(of_call));
        grant_units(held, balance, true, (want / of_call).max(1)) * of_call
    }
}

#[derive(Default)]
struct Wallet {
    balance: u64,
    charged: u64,
    /// By epoch and serial.
    holds: BTreeMap<(String, u32), u32>,
    closed: BTreeMap<(String, u32), apiclay_config::wallet_leases::LeaseClosed>,
    events: BTreeMap<(String, u64), Vec<Event>>,
    batch_units: usize,
    /// Lives that said that those before are over.
    over: Vec<String>,
}

impl Wallet {
    fn held(&self) -> u64 {
        self.holds.values().map(|units| u64::from(*units)).sum()
    }

    /// Charges what is closed and has its batches.
    fn post(&mut self) {
        for (name, close) in &self.closed {
            let last = close.last_batch.as_ref().map(|batch| (batch.epoch.clone(), batch.seq));
            if !self.holds.contains_key(name) || last.is_some_and(|last| !self.events.contains_key(&last)) {
                continue;
            }
            let events = self.events.values().flatten();
            let of_lease: Vec<&Event> =
                events.filter(|e| e.leases[LeasedWindow::Wallet as usize] == name.1).collect();
            let units = |of: &Event| u64::from(of.units.count);
            let kept: u64 = of_lease.iter().filter(|e| e.kept).map(|e| units(e)).sum();
            assert_eq!(kept, u64::from(close.spent), "{close:?}");
            let billable: u64 = of_lease.iter().filter(|e| e.billable).map(|e| units(e)).sum();
            self.balance -= billable;
            self.charged += billable;
            self.holds.remove(name);
        }
    }
}

async fn leases(
    State(plane): State<Arc<Plane>>,
    Json(asked): Json<LeasesRequest>,
) -> axum::response::Response {
    asked.check().unwrap();
    if plane.away.load(SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut wallet = plane.wallet.lock();
    for close in asked.closes {
        let before = wallet.closed.insert((close.epoch.clone(), close.serial), close.clone());
        assert!(before.is_none_or(|before| before == close), "closed twice, and not alike");
    }
    wallet.post();
    let granted = asked.grant.map(|grant| {
        assert_eq!(grant.plan_revision, 1);
        let units = plane.grants(&wallet, grant.want);
        if units > 0 {
            wallet.holds.insert((asked.epoch, grant.serial), units);
        }
        LeaseGranted { units, remaining: wallet.balance - wallet.held() }
    });
    let top_up_url = Some("https://apis.example.com/wallet".parse().unwrap());
    Json(LeasesAnswer { granted, top_up_url }).into_response()
}

async fn earlier_over(State(plane): State<Arc<Plane>>, Json(over): Json<EarlierOver>) -> StatusCode {
    over.check().unwrap();
    if plane.away.load(SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut wallet = plane.wallet.lock();
    wallet.holds.retain(|(epoch, _), _| *epoch == over.epoch);
    wallet.over.push(over.epoch);
    StatusCode::NO_CONTENT
}

async fn batch(State(plane): State<Arc<Plane>>, Json(batch): Json<UsageBatch>) {
    let mut wallet = plane.wallet.lock();
    let events = batch.unpack().unwrap();
    wallet.batch_units += batch.units.len();
    wallet.events.insert((batch.id.from.epoch, batch.id.seq), events);
    wallet.post();
}

async fn stream(State(plane): State<Arc<Plane>>) -> Body {
    let frame = |frame: &Frame| {
        let mut bytes = Vec::new();
        wire::write(&mut bytes, &serde_json::to_vec(frame).unwrap()).unwrap();
        bytes
    };
    let first = frame(&Frame::Snapshot(Box::new(plane.snapshot.clone())));
    let heartbeat = frame(&Frame::Heartbeat { revision: plane.snapshot.revision, live_gateways: Some(1) });
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

async fn serve(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

struct Shop {
    plane: Arc<Plane>,
    control: SocketAddr,
    upstream: SocketAddr,
    key: SecretString,
    master_key: Arc<MasterKey>,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// One whose plan is changed.
    async fn open_with(terms: impl FnOnce(&mut Plan)) -> Self {
        let answer = async |headers: axum::http::HeaderMap| {
            let wanted = headers.get("x-status").and_then(|value| value.to_str().ok()?.parse().ok());
            StatusCode::from_u16(wanted.unwrap_or(200)).unwrap()
        };
        Self::open_before(Router::new().fallback(answer), terms).await
    }

    /// One before this upstream.
    async fn open_before(upstream: Router, terms: impl FnOnce(&mut Plan)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let upstream = serve(upstream).await;
        let mut snapshot = market(1);
        let listing = snapshot.listings.values_mut().next().unwrap();
        listing.upstream.targets[0].url = format!("http://{upstream}");
        // As a vendor may, who does not know what his buyers pay by.
        let master_key = Arc::new(MasterKey::generate());
        let (header, place) = ("accept-encoding", format!("{}/accept-encoding", listing.id));
        let value = master_key.seal(&SecretString::from("gzip"), &place).unwrap();
        listing.secrets.push(InjectedHeader { header: header.to_owned(), value });
        let plan = snapshot.plans.values_mut().next().unwrap();
        (plan.priced, plan.per_call) = (true, true);
        terms(plan);
        snapshot.subscriptions.values_mut().next().unwrap().pays = true;
        let key = key::generate();
        let digest = key::digest(key.expose_secret().as_bytes());
        snapshot.credentials.values_mut().next().unwrap().digest = digest;
        let wallet = Mutex::new(Wallet { balance: CALLS, ..Wallet::default() });
        let plane = Arc::new(Plane { snapshot, away: AtomicBool::new(false), wallet });
        let routes = Router::new()
            .route("/internal/v1/gateways/{id}/report", post(async || ()))
            .route("/internal/v1/config/stream", get(stream))
            .route("/internal/v1/usage/batches", post(batch))
            .route("/internal/v1/usage/lives", post(async || Json(serde_json::json!({ "lives": [] }))))
            .route("/internal/v1/leases", post(leases))
            .route("/internal/v1/leases/earlier-over", post(earlier_over))
            .with_state(Arc::clone(&plane));
        let control = serve(routes).await;
        Self { plane, control, upstream, key, master_key, folder: tempfile::tempdir().unwrap() }
    }

    async fn gateway(&self) -> Running {
        let control_url: Url = format!("http://{}", self.control).parse().unwrap();
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
            body_max_bytes: 1_000,
            lease_wait_ms: 2_000,
            wallet_lease_max_s: 1,
            wallet_lease_units: 4,
            spool_sync_ms: 50,
            spool_max_bytes: 64 << 20,
            batch_interval_ms: 50,
            shutdown_grace_s: 5,
        };
        let parts = || Parts {
            settings: settings.clone(),
            folder: self.folder.path().to_owned(),
            redis_url: None,
            master_key: Some(Arc::clone(&self.master_key)),
            egress: Egress::new(Vec::new(), vec![self.upstream], Vec::new()),
            identity: Identity {
                id: "gw".to_owned(),
                token: SecretString::from("t"),
                control_url: control_url.clone(),
            },
            clock: Clock::System,
        };
        // The one before lets go of the folder when the last of its threads ends.
        let begun = Instant::now();
        loop {
            match start(parts()).await {
                Err(GatewayError::Spool(SpoolError::InUse { .. })) if begun.elapsed() < WAIT_MAX => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                started => return started.unwrap(),
            }
        }
    }

    /// One call: its status, its problem's code, and where it is told to top up.
    async fn call(&self, gateway: &Running, status: u16) -> (u16, String, Option<String>) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http.get(format!("http://{}/acme/echo/now", gateway.address));
        request = request.header("x-api-key", self.key.expose_secret()).header("x-status", status);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let problem: serde_json::Value =
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        (status, problem["code"].as_str().unwrap_or_default().to_owned(), link)
    }

    /// Calls until one has this status; says how many others were answered on the way.
    async fn calls_until(&self, gateway: &Running, status: u16) -> u64 {
        let begun = Instant::now();
        let mut answered = 0;
        loop {
            let (got, code, _) = self.call(gateway, 200).await;
            if got == status {
                return answered;
            }
            assert!(begun.elapsed() < WAIT_MAX, "{got} {code}");
            answered += u64::from(got == 200);
            if got != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits for what comes by itself.
    async fn until(&self, what: &str, mut holds: impl FnMut(&Wallet) -> bool) {
        let begun = Instant::now();
        while !holds(&self.plane.wallet.lock()) {
            assert!(begun.elapsed() < WAIT_MAX, "waited too long until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_pays_for_each_answered_call_once_and_for_all_that_it_can() {
    let shop = Shop::open().await;
    // What a life held whose folder is gone.
    shop.plane.wallet.lock().holds.insert(("00000000000000aa".to_owned(), 7), 4);
    let gateway = shop.gateway().await;
    // The configuration comes.
    shop.calls_until(&gateway, 200).await;
    let mut answered = 1;
    // What the vendor fails at costs nothing, and a lease that became too old meanwhile comes back.
    assert_eq!(shop.call(&gateway, 500).await.0, 500);
    let begun = Instant::now();
    while answered < CALLS {
        assert!(begun.elapsed() < WAIT_MAX, "{answered} calls were answered, and no more");
        answered += shop.calls_until(&gateway, 402).await;
        assert!(answered <= CALLS, "{answered} calls for {CALLS}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shop.until("all is charged", |wallet| wallet.charged == CALLS && wallet.holds.is_empty()).await;
    let refused = shop.call(&gateway, 200).await;
    let link = "<https://apis.example.com/wallet>; rel=\"payment\"".to_owned();
    assert_eq!(refused, (402, "balance_exhausted".to_owned(), Some(link)));
    assert_eq!(shop.plane.wallet.lock().batch_units, 0, "a wallet is in no counter");

    // Money comes, and the control plane goes: nobody is told that it is gone once that is not known any more.
    shop.plane.away.store(true, SeqCst);
    shop.plane.wallet.lock().balance = 3;
    shop.calls_until(&gateway, 503).await;
    assert_eq!(shop.call(&gateway, 200).await.1, "counters_unavailable");
    shop.plane.away.store(false, SeqCst);
    shop.calls_until(&gateway, 200).await;

    // A gateway that stops closes what it had.
    gateway.drain().await;
    shop.until("the last call is charged", |wallet| wallet.holds.is_empty()).await;
    assert_eq!(shop.plane.wallet.lock().charged, CALLS + 1);
    let gateway = shop.gateway().await;
    shop.calls_until(&gateway, 200).await;
    shop.until("its earlier life is over", |wallet| wallet.over.len() == 2).await;
    gateway.drain().await;
    shop.until("the next life's call is charged", |wallet| wallet.charged == CALLS + 2).await;
    let over = shop.plane.wallet.lock().over.clone();
    assert_eq!(over.len(), 2, "{over:?}");
    assert_ne!(over[0], over[1], "once in each life");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_its_plan_does_not_bill_gives_its_unit_back_and_costs_nothing() {
    let shop = Shop::open_with(|plan| {
        plan.billable_statuses = Some(["2XX", "410"].map(|status| status.parse().unwrap()).to_vec());
    })
    .await;
    let gateway = shop.gateway().await;
    shop.calls_until(&gateway, 200).await;
    for status in [404, 404, 302, 410, 500] {
        assert_eq!(shop.call(&gateway, status).await.0, status);
    }
    gateway.drain().await;
    shop.until("all is charged", |wallet| wallet.charged == 2 && wallet.holds.is_empty()).await;
    let wallet = shop.plane.wallet.lock();
    let mut told: Vec<_> = wallet.events.values().flatten().map(|e| (e.status, e.billable, e.kept)).collect();
    told.sort_unstable();
    let free = |status| (status, false, false);
    let expected = [(200, true, true), free(302), free(404), free(404), (410, true, true), free(500)];
    assert_eq!(told, expected);
}
