//! What handlers share: the store, the clock, the keys, the way out. Made once at start and handed to every handler as
//! the router's state; nothing here changes while it runs but counters and the demo's outbox.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::seal::MasterKey;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::accounts::access_token::{KeyError, SigningKeys};
use crate::accounts::hashing::Hashing;
use crate::accounts::limits::AddressLimits;
use crate::catalog::places::Places;
use crate::http::idempotency::Record;
use crate::ledger::{self, Journal};
use crate::observe::Metrics;
use crate::outbound::mail::Mail;
use crate::payments::{self, Taking};
use crate::push::{ChangeEntry, Push};
use crate::store::{Store, StoreError};
use crate::usage::fold::Fold;
use crate::{accounts, admin, catalog, invoices, plans, subscriptions, usage, vendors, wallet};

/// The state of the router, cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// Its parts.
pub struct Parts {
    /// Where documents are.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Where browsers reach us; also the issuer of access tokens.
    pub app_url: Url,
    /// Whether this is a demo: mail can be read, and limits by address are off.
    pub demo: bool,
    /// The key that wraps the keys of secrets.
    pub master_key: Arc<MasterKey>,
    /// Where mail goes.
    pub mail: Mail,
    /// The keys that access tokens are signed and verified with.
    pub signing: SigningKeys,
    /// Password hashing, a few at a time.
    pub hashing: Hashing,
    /// Sign-ups and sign-ins by address.
    pub limits: AddressLimits,
    /// What is measured.
    pub metrics: Metrics,
    /// The rules of the one door out.
    pub egress: Arc<Egress>,
    /// Where listings are called.
    pub gateway_url: Url,
    /// Proxies before us, whose word on a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether counters are shared among gateways; where not, there is one gateway.
    pub shared_counters: bool,
    /// Places for uploads of definitions.
    pub uploads: Arc<Places>,
    /// Places for tests of upstreams.
    pub tests: Arc<Places>,
    /// The way of documents to gateways.
    pub push: Arc<Push>,
    /// How many gateways are live; 0 while that is not known.
    pub live_gateways: Arc<AtomicU32>,
    /// The way of batches into rollups.
    pub fold: Arc<Fold>,
    /// All money.
    pub journal: Arc<Journal>,
    /// Who takes payments; nobody where the operator has named none.
    pub payments: Option<Taking>,
    /// Cancelled when the control plane is told to end: whoever streams without an end of its own ends then.
    pub ending: CancellationToken,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What an app is made from.
pub struct Given {
    /// Where documents are.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Where browsers reach us.
    pub app_url: Url,
    /// Whether this is a demo.
    pub demo: bool,
    /// The key that wraps the keys of secrets.
    pub master_key: Arc<MasterKey>,
    /// The rules of the one door out.
    pub egress: Arc<Egress>,
    /// Where listings are called.
    pub gateway_url: Url,
    /// Proxies before us, whose word on a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether counters are shared among gateways (`REDIS_URL` is set).
    pub shared_counters: bool,
    /// Who takes payments.
    pub payments: Option<Taking>,
}

/// Why there is no app.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store refused.
    #[error("the store could not be made ready")]
    Store(#[from] StoreError),
    /// The signing key is not to be had.
    #[error("the key that signs access tokens could not be made ready")]
    SigningKey(#[from] KeyError),
}

impl App {
    /// Registers every document, gets the signing key (or makes it), and puts the parts together.
    ///
    /// # Errors
    /// Where the store does not answer, or the signing key was sealed by another master key.
    pub async fn new(given: Given) -> Result<Self, AppError> {
        let Given {
            store,
            clock,
            app_url,
            demo,
            master_key,
            egress,
            gateway_url,
            trusted_proxies,
            shared_counters,
            payments,
        } = given;
        register(&store).await?;
        let signing = SigningKeys::load_or_create(&store, &master_key, clock.now(), &app_url).await?;
        let metrics = Metrics::new();
        metrics.watch_store(&store);
        let push = Arc::new(Push::open(store.clone(), clock.clone()).await?);
        let fold = Arc::new(Fold::new(store.clone(), clock.clone(), metrics.usage_conflicts.clone()));
        Ok(Self(Arc::new(Parts {
            mail: if demo { Mail::outbox() } else { Mail::stored(store.clone()) },
            hashing: Hashing::new(),
            limits: if demo { AddressLimits::off() } else { AddressLimits::on() },
            metrics,
            egress,
            gateway_url,
            trusted_proxies,
            shared_counters,
            uploads: catalog::upload_places(),
            tests: catalog::test_places(),
            push,
            live_gateways: Arc::new(AtomicU32::new(0)),
            fold,
            payments,
            journal: Arc::new(Journal::new(store.clone(), clock.clone())),
            ending: CancellationToken::new(),
            store,
            clock,
            app_url,
            demo,
            master_key,
            signing,
        })))
    }

    /// The name of the session's cookie. A browser keeps `__Host-` cookies only where they came by TLS.
    #[must_use]
    pub fn session_cookie(&self) -> &'static str {
        if self.app_url.scheme() == "https" { "__Host-apiclay_session" } else { "apiclay_session" }
    }
}

/// Makes every collection and index; each domain names its documents in its `register`.
async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Record>().await?;
    accounts::documents::register(store).await?;
    crate::outbound::mail::register(store).await?;
    vendors::register(store).await?;
    catalog::register(store).await?;
    plans::register(store).await?;
    subscriptions::register(store).await?;
    usage::register(store).await?;
    ledger::register(store).await?;
    payments::register(store).await?;
    invoices::register(store).await?;
    wallet::leases::register(store).await?;
    wallet::budget::register(store).await?;
    admin::register(store).await?;
    store.register::<ChangeEntry>().await
}
