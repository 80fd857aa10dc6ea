//! The client against the simulator, over real sockets of the loopback: what is sent, answered and told in between.

mod answers;
mod calls;
mod events;
mod refunds;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::money::{Currency, Money};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretString;
use tokio::net::TcpListener;
use url::Url;

use super::provider::{NewOrder, PaymentProvider as _, ProviderEvent, ProviderOrder};
use super::provider_error::WebhookError;
use super::razorpay::{self, Razorpay};
use super::simulator::{self, Faults, Simulator};

const KEY_SECRET: &str = "the secret of the key";
const WEBHOOK_SECRET: &str = "the first secret of the webhook";
/// How long the client of a desk waits for an answer: so long that a busy machine is not taken for a slow provider.
const CALL_TIMEOUT_MS: u64 = 10_000;
/// How long a client waits where the provider is slow on purpose.
const HASTY_TIMEOUT_MS: u64 = 400;
/// Longest wait for what must come.
const PATIENCE_MS: u64 = 20_000;

/// A delivery as it came.
#[derive(Debug, Clone)]
struct Received {
    signature: String,
    event_id: String,
    body: Bytes,
}

/// What a listener does with a delivery.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Status(u16),
    AfterMs(u64),
}

/// Who listens at the webhook's address: keeps what comes, and answers 200 once the replies are used up.
#[derive(Default)]
struct Listener {
    received: Mutex<Vec<Received>>,
    replies: Mutex<VecDeque<Reply>>,
}

/// A simulator, a client of it, and a listener.
struct Desk {
    simulator: Simulator,
    provider: Razorpay,
    listener: Arc<Listener>,
}

impl Desk {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut simulator::Settings)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = Arc::new(Listener::default());
        let webhook_url = serve(Router::new().fallback(listen).with_state(listener.clone())).await;
        let mut settings = simulator::Settings {
            key_id: "rzp_test_simulated".into(),
            key_secret: SecretString::from(KEY_SECRET),
            webhook_url: Some(webhook_url),
            webhook_secret: SecretString::from(WEBHOOK_SECRET),
            clock: Clock::manual(Timestamp(1_700_000_000_000)),
            rng: StdRng::seed_from_u64(7),
            delivery_timeout_ms: simulator::DELIVERY_TIMEOUT_MS,
            retry_after_ms: vec![10, 20],
            receipts_unique: true,
            refunds_at_once: false,
            faults: Faults::default(),
        };
        change(&mut settings);
        let simulator = Simulator::start(settings).await.unwrap();
        let provider = client(&simulator.base_url(), KEY_SECRET, WEBHOOK_SECRET, None);
        Self { simulator, provider, listener }
    }

    async fn order(&self, receipt: &str, rupees: i64) -> ProviderOrder {
        self.provider.create_order(&new_order(receipt, rupees)).await.unwrap()
    }

    async fn all_received(&self) -> Vec<Received> {
        assert!(self.simulator.all_delivered(PATIENCE_MS).await, "deliveries are still under way");
        self.listener.received.lock().clone()
    }

    async fn events(&self) -> Vec<ProviderEvent> {
        self.all_received().await.iter().map(|received| read(&self.provider, received).unwrap()).collect()
    }
}

fn read(provider: &Razorpay, received: &Received) -> Result<ProviderEvent, WebhookError> {
    provider.read_webhook(&received.body, &received.signature, Some(&received.event_id))
}

fn client(base_url: &str, key_secret: &str, webhook_secret: &str, previous: Option<&str>) -> Razorpay {
    Razorpay::new(settings(base_url, key_secret, webhook_secret, previous)).unwrap()
}

fn hasty_client(base_url: &str) -> Razorpay {
    let settings = settings(base_url, KEY_SECRET, WEBHOOK_SECRET, None);
    Razorpay::new(razorpay::Settings { call_timeout_ms: HASTY_TIMEOUT_MS, ..settings }).unwrap()
}

fn settings(
    base_url: &str,
    key_secret: &str,
    webhook_secret: &str,
    previous: Option<&str>,
) -> razorpay::Settings {
    razorpay::Settings {
        base_url: base_url.parse().unwrap(),
        key_id: "rzp_test_simulated".into(),
        key_secret: SecretString::from(key_secret),
        webhook_secret: SecretString::from(webhook_secret),
        previous_webhook_secret: previous.map(SecretString::from),
        call_timeout_ms: CALL_TIMEOUT_MS,
    }
}

fn rupees(whole: i64) -> Money {
    Money::new(whole * 1_000_000, Currency::INR)
}

fn new_order(receipt: &str, whole_rupees: i64) -> NewOrder {
    let notes = BTreeMap::from([("topup".to_owned(), receipt.to_owned())]);
    NewOrder { receipt: receipt.into(), amount: rupees(whole_rupees), notes }
}

/// Serves on a free port of the loopback for as long as the test runs.
async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/").parse().unwrap()
}

async fn listen(State(listener): State<Arc<Listener>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap();
    listener.received.lock().push(Received {
        signature: header("x-razorpay-signature"),
        event_id: header("x-razorpay-event-id"),
        body,
    });
    let reply = listener.replies.lock().pop_front().unwrap_or(Reply::Status(200));
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap(),
        Reply::AfterMs(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            StatusCode::OK
        }
    }
}
