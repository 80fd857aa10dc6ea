//! A control plane for tests: the real router over a real listener, a real embedded store in a folder of its own, a
//! clock that stands still until it is set. Mail is read where the demo shows it.

pub mod browsing;
pub mod leases;
pub mod market;
pub mod months;
pub mod paying;

use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::seal::MasterKey;
use apiclay_control_plane::app::{App, Given};
use apiclay_control_plane::payments::Taking;
use apiclay_control_plane::payments::razorpay::{self, Razorpay};
use apiclay_control_plane::payments::simulator::{self, Faults, Simulator};
use apiclay_control_plane::serve::serve;
use apiclay_control_plane::store::Store;
use rand::SeedableRng as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

/// A moment in 2026, on a whole second.
pub const NOW: Timestamp = Timestamp(1_790_000_000_000);
pub const PASSWORD: &str = "correct horse battery";
const KEY_ID: &str = "rzp_test_plane";
const KEY_SECRET: &str = "the key's secret";
/// What the pretend provider signs events with.
pub const WEBHOOK_SECRET: &str = "the webhook's secret";
/// How long a call to the provider may take.
const CALL_TIMEOUT_MS: u64 = 2_000;

/// A running control plane.
pub struct Plane {
    pub app: App,
    pub base: String,
    pub http: reqwest::Client,
    /// Removed with the plane.
    _folder: tempfile::TempDir,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

/// Somebody who has signed up and verified the address.
pub struct Person {
    pub email: String,
    pub username: String,
    pub id: String,
}

pub async fn demo() -> Plane {
    start("http://127.0.0.1:8080", true).await
}

/// Starts one, as `app_url` says it is reached.
pub async fn start(app_url: &str, demo: bool) -> Plane {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    start_over(store, Arc::new(MasterKey::generate()), folder, app_url, demo).await
}

/// One that takes payments and is no demo: as where money is real, but that the provider is a pretend one.
pub async fn taking() -> Plane {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    let key = Arc::new(MasterKey::generate());
    start_with(store, key, folder, "http://127.0.0.1:8080", (false, true)).await
}

pub async fn start_over(
    store: Store,
    master_key: Arc<MasterKey>,
    folder: tempfile::TempDir,
    app_url: &str,
    demo: bool,
) -> Plane {
    start_with(store, master_key, folder, app_url, (demo, demo)).await
}

/// Whether it is a demo, and whether it takes payments.
async fn start_with(
    store: Store,
    master_key: Arc<MasterKey>,
    folder: tempfile::TempDir,
    app_url: &str,
    (demo, takes_payments): (bool, bool),
) -> Plane {
    // Several crates bring a provider of cryptography; the process chooses one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let app_url = app_url.parse().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/backend/v1", listener.local_addr().unwrap());
    let clock = Clock::manual(NOW);
    let payments = if takes_payments { Some(pretend(&base, &clock).await) } else { None };
    let given = Given {
        store,
        clock,
        app_url,
        demo,
        master_key,
        // Nothing of ours is refused as a listener; loopback is the one private network that may be reached.
        egress: Arc::new(Egress::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new(), Vec::new())),
        gateway_url: "http://127.0.0.1:8000".parse().unwrap(),
        // Tests come from loopback, and are each other's proxy where they say so.
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        shared_counters: false,
        payments,
    };
    serve_given(given, listener, base, folder).await
}

async fn serve_given(
    given: Given,
    listener: std::net::TcpListener,
    base: String,
    folder: tempfile::TempDir,
) -> Plane {
    let app = App::new(given).await.unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = app.clone();
    tokio::spawn(async move {
        serve(serving, listener, None, async {
            let _ = ended.await;
        })
        .await
        .unwrap();
    });
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Plane { app, base, http, _folder: folder, end: Some(end) }
}

/// A pretend provider that tells this plane of what happens.
async fn pretend(base: &str, clock: &Clock) -> Taking {
    let simulator = Simulator::start(simulator::Settings {
        key_id: KEY_ID.into(),
        key_secret: SecretString::from(KEY_SECRET),
        webhook_url: Some(format!("{base}/webhooks/razorpay").parse().unwrap()),
        webhook_secret: SecretString::from(WEBHOOK_SECRET),
        clock: clock.clone(),
        rng: rand::rngs::StdRng::seed_from_u64(1),
        delivery_timeout_ms: 5_000,
        retry_after_ms: vec![50; 3],
        receipts_unique: true,
        refunds_at_once: true,
        faults: Faults::default(),
    });
    let simulator = simulator.await.unwrap();
    let provider = Box::new(provider_at(&simulator.base_url()));
    Taking { provider, simulator: Some(simulator) }
}

fn provider_at(base_url: &str) -> Razorpay {
    Razorpay::new(razorpay::Settings {
        base_url: base_url.parse().unwrap(),
        key_id: KEY_ID.into(),
        key_secret: SecretString::from(KEY_SECRET),
        webhook_secret: SecretString::from(WEBHOOK_SECRET),
        previous_webhook_secret: None,
        call_timeout_ms: CALL_TIMEOUT_MS,
    })
    .unwrap()
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

impl Plane {
    /// One more control plane over the same store, clock and provider.
    pub async fn second(&self) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/backend/v1", listener.local_addr().unwrap());
        let provider = Box::new(provider_at(&self.simulator().base_url()));
        let given = Given {
            store: self.app.store.clone(),
            clock: self.app.clock.clone(),
            app_url: self.app.app_url.clone(),
            demo: true,
            master_key: Arc::clone(&self.app.master_key),
            egress: Arc::clone(&self.app.egress),
            gateway_url: self.app.gateway_url.clone(),
            trusted_proxies: self.app.trusted_proxies.clone(),
            shared_counters: false,
            payments: Some(Taking { provider, simulator: None }),
        };
        serve_given(given, listener, base, tempfile::tempdir().unwrap()).await
    }

    /// The pretend provider.
    pub fn simulator(&self) -> &Simulator {
        self.app.payments.as_ref().unwrap().simulator.as_ref().unwrap()
    }

    pub fn to(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.to(Method::POST, path).json(&body).send().await.unwrap()
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Response {
        self.to(Method::GET, path).bearer_auth(token).send().await.unwrap()
    }

    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Response {
        self.to(Method::POST, path).bearer_auth(token).json(&body).send().await.unwrap()
    }

    /// The code in the newest mail to this address that has one.
    pub async fn code(&self, email: &str) -> String {
        codes_in(&self.mail(email).await).pop().expect("a mail with a code")
    }

    pub async fn mail(&self, email: &str) -> Vec<String> {
        let answer = self.to(Method::GET, &format!("/dev/outbox?to={email}")).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["items"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Signs somebody up and verifies the address.
    pub async fn person(&self, username: &str) -> Person {
        let email = format!("{username}@example.com");
        let body = json!({"email": email, "username": username, "name": username, "password": PASSWORD});
        let answer = self.post("/auth/signup", body).await;
        assert_eq!(answer.status(), 201);
        let id = body_of(answer).await["id"].as_str().unwrap().to_owned();
        let code = self.code(&email).await;
        let answer = self.post("/auth/verify-email", json!({"email": email, "code": code})).await;
        assert_eq!(answer.status(), 204);
        Person { email, username: username.to_owned(), id }
    }

    /// The tokens of a new sign-in.
    pub async fn tokens(&self, person: &Person) -> Value {
        let grant = json!({"grant_type": "password", "login": person.username, "password": PASSWORD});
        let answer = self.post("/auth/token", grant).await;
        assert_eq!(answer.status(), 200);
        body_of(answer).await
    }

    pub async fn access(&self, person: &Person) -> String {
        self.tokens(person).await["access_token"].as_str().unwrap().to_owned()
    }

    /// The session's cookie and CSRF token of a new sign-in.
    pub async fn session(&self, person: &Person) -> (String, String) {
        let answer = self.post("/auth/login", json!({"login": person.email, "password": PASSWORD})).await;
        assert_eq!(answer.status(), 200);
        let cookie = cookie_of(&answer);
        (cookie, body_of(answer).await["csrf_token"].as_str().unwrap().to_owned())
    }

    pub fn pass_ms(&self, ms: i64) {
        let Clock::Manual(at) = &self.app.clock else { unreachable!("tests set the clock") };
        at.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
    }
}

/// `name=value` of the cookie that an answer sets.
pub fn cookie_of(answer: &Response) -> String {
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

/// Numbers of six digits in texts, as an acceptance check finds them.
pub fn codes_in(texts: &[String]) -> Vec<String> {
    let mut codes = Vec::new();
    for text in texts {
        let numbers: Vec<&str> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() == 6).collect();
        assert!(numbers.len() <= 1, "{text}");
        codes.extend(numbers.into_iter().map(str::to_owned));
    }
    codes
}

/// Another code than this.
pub fn wrong(code: &str) -> String {
    if code == "000000" { "000001".to_owned() } else { "000000".to_owned() }
}

pub async fn body_of(answer: Response) -> Value {
    answer.json().await.unwrap()
}

/// Holds an answer to be a problem with this status and code.
pub async fn assert_problem(answer: Response, status: u16, code: &str) {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let given = answer.status();
    let body = body_of(answer).await;
    assert_eq!(
        (given, body["code"].as_str().unwrap()),
        (StatusCode::from_u16(status).unwrap(), code),
        "{body}"
    );
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], request_id);
    assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string(), "{body}");
}
