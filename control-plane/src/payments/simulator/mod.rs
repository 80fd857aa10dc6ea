//! Razorpay's side of the wire, played on this machine's loopback, for tests and for the demo: never started otherwise.
//! Tests reach through it what no sandbox gives on demand: late authorisations, lost answers, events twice and in any
//! order, a hook that was switched off.
//!
//! `world` holds orders, payments and refunds (`entities`) and what may become of them (pure); `refunds` their giving back;
//! `present` writes them as Razorpay would, on its own and not with the client's types, so that one mistake is not made
//! twice; `api` answers calls; `deliver` sends events; [`faults`] goes wrong on purpose. Time, seed and intervals are
//! parameters; state is in memory and gone with it.

mod api;
mod asked;
mod buyer;
mod deliver;
mod entities;
pub mod faults;
mod present;
mod refunds;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::clock::Clock;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

pub use buyer::Paid;
use deliver::Delivery;
pub use deliver::{Attempt, ReleaseIn};
pub use faults::{Api, Faults};
use world::World;

/// How long a delivery may take to be answered, as documented.
pub const DELIVERY_TIMEOUT_MS: u64 = 5_000;
/// Waits between the tries of a delivery: doubled each time, 22 hours in all; then the hook is switched off. The documents
/// say 24 hours and not in which steps.
pub const RETRY_AFTER_MS: [u64; 12] = {
    let mut waits_ms = [20_000; 12];
    let mut at = 1;
    while at < waits_ms.len() {
        waits_ms[at] = waits_ms[at - 1] * 2;
        at += 1;
    }
    waits_ms
};
/// Deliveries that are made at once.
const DELIVERIES_AT_ONCE_MAX: usize = 16;

/// What a simulator is made from.
pub struct Settings {
    /// The key that callers must show.
    pub key_id: String,
    /// Its secret.
    pub key_secret: SecretString,
    /// Where events go; none for nowhere.
    pub webhook_url: Option<Url>,
    /// What events are signed with.
    pub webhook_secret: SecretString,
    /// The time that orders and events bear.
    pub clock: Clock,
    /// Where names and faults are drawn from.
    pub rng: StdRng,
    /// How long a delivery may take to be answered: [`DELIVERY_TIMEOUT_MS`].
    pub delivery_timeout_ms: u64,
    /// How long to wait after each try that failed: [`RETRY_AFTER_MS`]. After the last the hook is switched off.
    pub retry_after_ms: Vec<u64>,
    /// Whether a receipt can be used once only. Razorpay's documents disagree.
    pub receipts_unique: bool,
    /// Whether a refund is processed at once; otherwise when [`Simulator::refund_processed`] says so.
    pub refunds_at_once: bool,
    /// What goes wrong by chance.
    pub faults: Faults,
}

/// Why a simulator does not start, or does not do what its buyer wants.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// No address to listen at.
    #[error("the payment simulator cannot listen on this machine")]
    Bind(#[source] std::io::Error),
    /// No client to deliver with.
    #[error("the payment simulator's client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The pretend buyer asks for what is not there.
    #[error("there is no such {0}")]
    NoSuch(&'static str),
    /// It is there, and this cannot become of it.
    #[error("the {what} is {state} already")]
    State {
        /// What it is.
        what: &'static str,
        /// How far it is.
        state: &'static str,
    },
    /// The provider's own rules are against it.
    #[error("{0}")]
    Against(String),
    /// It holds as much as it may.
    #[error("the payment simulator is full")]
    Full,
}

/// A Razorpay of one's own. It ends when it is dropped.
pub struct Simulator {
    inner: Arc<Inner>,
    _ends: DropGuard,
}

/// What the server, the deliveries and the handle share.
pub(crate) struct Inner {
    address: SocketAddr,
    key_id: String,
    key_secret: SecretString,
    webhook_url: Option<Url>,
    clock: Clock,
    delivery_timeout_ms: u64,
    retry_after_ms: Vec<u64>,
    http: reqwest::Client,
    runtime: Handle,
    ending: CancellationToken,
    deliveries: Semaphore,
    under_way: watch::Sender<usize>,
    state: Mutex<State>,
}

/// What changes, behind one lock that is never held over a wait.
struct State {
    world: World,
    faults: Faults,
    api: Api,
    webhook_secret: SecretString,
    /// Events are put by instead of delivered.
    holding: bool,
    held: VecDeque<Delivery>,
    /// Too many tries failed: nothing is delivered until the hook is switched on again.
    hook_off: bool,
    attempts: VecDeque<Attempt>,
    /// Refunds whose first answer is still on its way, by their idempotency key.
    refunding: BTreeSet<String>,
}

impl Simulator {
    /// Listens on a free port of the loopback and answers from then on.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(settings: Settings) -> Result<Self, SimulatorError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(SimulatorError::Bind)?;
        let address = listener.local_addr().map_err(SimulatorError::Bind)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_millis(settings.delivery_timeout_ms))
            .build()
            .map_err(SimulatorError::Client)?;
        let ending = CancellationToken::new();
        let inner = Arc::new(Inner {
            address,
            key_id: settings.key_id,
            key_secret: settings.key_secret,
            webhook_url: settings.webhook_url,
            clock: settings.clock,
            delivery_timeout_ms: settings.delivery_timeout_ms,
            retry_after_ms: settings.retry_after_ms,
            http,
            runtime: Handle::current(),
            ending: ending.clone(),
            deliveries: Semaphore::new(DELIVERIES_AT_ONCE_MAX),
            under_way: watch::Sender::new(0),
            state: Mutex::new(State {
                world: World::new(settings.rng, settings.receipts_unique, settings.refunds_at_once),
                faults: settings.faults,
                api: Api::Up,
                webhook_secret: settings.webhook_secret,
                holding: false,
                held: VecDeque::new(),
                hook_off: false,
                attempts: VecDeque::new(),
                refunding: BTreeSet::new(),
            }),
        });
        let answering = axum::serve(listener, api::router(inner.clone()))
            .with_graceful_shutdown(ending.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = answering.await {
                tracing::error!(%error, "the payment simulator ended");
            }
        });
        Ok(Self { inner, _ends: ending.drop_guard() })
    }

    /// Where it is called.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// From now on the API answers like this.
    pub fn set_api(&self, api: Api) {
        self.inner.state.lock().api = api;
    }

    /// From now on this goes wrong by chance.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.state.lock().faults = faults;
    }

    /// New events are signed with this secret; those that were told before keep the signature they have, also where they
    /// are delivered again.
    pub fn rotate_webhook_secret(&self, secret: SecretString) {
        self.inner.state.lock().webhook_secret = secret;
    }
}
