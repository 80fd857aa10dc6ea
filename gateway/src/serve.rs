//! Puts a gateway together and runs it: counters, leases, spool, the last good configuration, then Pingora's server with
//! the front. Returns once it listens; [`Running`] drains it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiclay_config::admin::Observed;
use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::seal::MasterKey;
use apiclay_config::settings::GatewaySettings;
use apiclay_config::usage::GatewayEpoch;
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::counters::embedded::EmbeddedCounters;
use crate::counters::measured::MeasuredCounters;
use crate::counters::wallet::{Stores, TopUp, WalletCounters};
use crate::counters::{Counters, redis::RedisCounters};
use crate::earlier;
use crate::earlier::over::SayOptions;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::life::{self, Ledger};
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::listen::listen;
use crate::metering::{
    Batcher, LeaseLedger, SendOptions, Spool, SpoolOptions, batch_leftovers, send_forever,
};
use crate::observe::Metrics;
use crate::rebuild::Rebuilder;
use crate::runtime::{Compiler, rates};
use crate::sync::{Configuration, ControlPlane, CountersAt, follow};

/// How often gauges are brought up to date.
const GAUGES_INTERVAL_MS: u64 = 1_000;

/// Who a gateway is to its control plane.
#[derive(Clone)]
pub struct Identity {
    /// As enrolled.
    pub id: String,
    /// Its credential.
    pub token: SecretString,
    /// Where the control plane is.
    pub control_url: Url,
}

/// What a gateway is made of.
pub struct Parts {
    /// Its settings.
    pub settings: GatewaySettings,
    /// Its folder: spool, leases, the last good configuration.
    pub folder: PathBuf,
    /// Where counters are; in the folder, where there is no Redis.
    pub redis_url: Option<SecretString>,
    /// Opens vendors' secrets.
    pub master_key: Option<Arc<MasterKey>>,
    /// The one door out.
    pub egress: Egress,
    /// Who it is.
    pub identity: Identity,
    /// The time.
    pub clock: Clock,
}

/// A gateway that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    gateway: Arc<Gateway>,
    open: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    leases: CancellationToken,
    grace: Duration,
    sender: tokio::task::JoinHandle<()>,
    keeper: tokio::task::JoinHandle<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Starts a gateway; it serves from its disk until the control plane is heard.
///
/// # Errors
/// When a part of it cannot be used.
pub async fn start(parts: Parts) -> Result<Running, GatewayError> {
    let Parts { settings, folder, redis_url, master_key, egress, identity, clock } = parts;
    let clock_set = tokio::task::spawn_blocking(rates::set_clock);
    let folder_failed = |source| GatewayError::Folder { path: folder.display().to_string(), source };
    std::fs::create_dir_all(&folder).map_err(folder_failed)?;
    let epoch = format!("{:016x}", rand::rng().random::<u64>());
    let from = GatewayEpoch { gateway: identity.id.clone(), epoch: epoch.clone() };
    let metrics = Metrics::new()?;
    // The spool takes the folder's lock: nothing else is opened before it.
    let spool = Spool::open(&folder.join("spool"), from.clone(), spool_options(&settings))?;
    let redis = redis_url.map(|url| RedisCounters::new(url.expose_secret())).transpose()?;
    let lease_wait = Duration::from_millis(settings.lease_wait_ms);
    let redis = redis.map(|redis| Arc::new(redis.waiting(lease_wait)));
    let counters_at = if redis.is_some() { CountersAt::Redis } else { CountersAt::Embedded };
    let control =
        ControlPlane::new(identity.control_url, identity.id, identity.token, epoch.clone(), counters_at)?;
    let top_up = Arc::<TopUp>::default();
    let wallets = WalletCounters::new(control.clone(), epoch.clone(), Arc::clone(&top_up));
    let stores = open_stores(&folder, redis.clone(), Arc::new(wallets), &clock, &metrics)?;
    let book = open_book(&folder, stores, &from, &settings, &metrics)?;
    let batcher = Batcher::new(Arc::clone(&spool))?;
    let before = life::last(&folder).map_err(folder_failed)?;
    // What earlier lives left on record is told to the lease book before it closes their leases.
    if let Some(before) = &before {
        batcher.retell(&before.epoch, &Ledger::new(Arc::clone(&book), before))?;
        // The next start looks for this life's batches alone: after a power cut nobody would tell these again.
        book.sync().map_err(folder_failed)?;
    }
    let life = spool.with_room(|| life::begin(&folder, &epoch, before.as_ref())).map_err(folder_failed)?;
    let ledger: Arc<dyn LeaseLedger> = Arc::new(Ledger::new(Arc::clone(&book), &life));
    let batcher = Arc::new(Mutex::new(batcher));
    let (drained, all_ended) = watch::channel(false);
    let send = SendOptions { interval_ms: settings.batch_interval_ms, ..SendOptions::default() };
    // Sends while the rest is begun: what earlier lives left may need the room of what they batched.
    let sender = AbortOnDropHandle::new(tokio::spawn(send_forever(
        Arc::clone(&batcher),
        Arc::clone(&spool),
        Arc::clone(&ledger),
        control.clone(),
        send,
        until(all_ended),
    )));
    batch_leftovers(&batcher, &*ledger).await?;
    earlier::stop_wallets(&book, &spool, clock.now());

    let gateway = Arc::new(Gateway::new(
        Arc::clone(&spool),
        Arc::clone(&metrics),
        clock.clone(),
        settings.body_max_bytes,
        settings.domain.clone(),
        top_up,
    ));
    let compiler = Compiler::new(Arc::clone(&book), master_key, egress, Arc::clone(&metrics));
    let configuration = Configuration::open(Arc::clone(&gateway), compiler, &folder)?;

    // Set before the first call comes, and while all else was opened. It fails only where it panics, and is then set by a call.
    let _ = clock_set.await;
    let (stop, stopped) = watch::channel(false);
    let (address, open) = listen(&settings, Arc::clone(&gateway), stopped).await?;
    let grace = Duration::from_secs(settings.shutdown_grace_s);
    let (sender, leases) = (sender.detach(), CancellationToken::new());
    let keeper = tokio::spawn(Arc::clone(&book).maintain(leases.clone()));
    let rebuilder = redis.map(|counters| {
        let (book, batcher) = (Arc::clone(&book), Arc::clone(&batcher));
        let (desk, metrics) = (control.clone(), metrics.counters_rebuild.clone());
        tokio::spawn(Rebuilder { counters, book, batcher, desk, metrics }.run())
    });
    let mut tasks = vec![
        tokio::spawn(earlier::close(Arc::clone(&book), Arc::clone(&spool), clock.clone())),
        tokio::spawn(earlier::over::say(book, batcher, control.clone(), epoch, SayOptions::default())),
        tokio::spawn(follow(control, configuration, clock)),
        tokio::spawn(keep_gauges(spool, metrics)),
    ];
    tasks.extend(rebuilder);
    Ok(Running { address, gateway, open, stop, drained, leases, grace, sender, keeper, tasks })
}

impl Running {
    /// Takes no new connection, lets calls finish, sends what was counted. Returns within the grace.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + self.grace;
        while self.open.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Both end within deadlines of their own.
        self.drained.send_replace(true);
        let _ = self.sender.await;
        self.leases.cancel();
        let _ = self.keeper.await;
        for task in self.tasks {
            task.abort();
        }
    }

    /// What the admin listener shows of it.
    #[must_use]
    pub fn observed(&self) -> Arc<dyn Observed> {
        Arc::clone(&self.gateway) as Arc<dyn Observed>
    }
}

#[async_trait]
impl Observed for Gateway {
    fn metrics(&self) -> String {
        self.metrics.text().unwrap_or_default()
    }

    /// Counters that are away make no gateway unready: it goes on with the leases it has, and where it cannot, every other
    /// gateway cannot either.
    async fn ready(&self) -> Result<(), String> {
        self.pinned().as_ref().map(|_| ()).ok_or_else(|| "the gateway has no configuration yet".to_owned())
    }
}

fn spool_options(settings: &GatewaySettings) -> SpoolOptions {
    SpoolOptions {
        spool_max_bytes: settings.spool_max_bytes,
        sync_ms: settings.spool_sync_ms,
        ..SpoolOptions::default()
    }
}

async fn keep_gauges(spool: Arc<Spool>, metrics: Arc<Metrics>) {
    let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut every = tokio::time::interval(Duration::from_millis(GAUGES_INTERVAL_MS));
    loop {
        every.tick().await;
        let stats = spool.stats();
        metrics.spool_bytes.set(gauge(stats.bytes));
        metrics.spool_open_records.set(gauge(stats.open_records));
        metrics.spool_unbatched_records.set(gauge(stats.unbatched_records));
    }
}

/// Returns once the value is true.
async fn until(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|so| *so).await;
}

/// Where leases come from, timed.
fn open_stores(
    folder: &Path,
    redis: Option<Arc<RedisCounters>>,
    wallets: Arc<dyn Counters>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Stores, GatewayError> {
    let counters: Arc<dyn Counters> = match redis {
        Some(redis) => redis,
        None => Arc::new(EmbeddedCounters::open(folder, clock.clone())?),
    };
    Ok(Stores {
        counters: Arc::new(MeasuredCounters::new(counters, metrics.counters_duration.clone())),
        wallets: Arc::new(MeasuredCounters::new(wallets, metrics.wallets_duration.clone())),
    })
}

fn open_book(
    folder: &Path,
    stores: Stores,
    from: &GatewayEpoch,
    settings: &GatewaySettings,
    metrics: &Metrics,
) -> Result<Arc<LeaseBook>, GatewayError> {
    let options = BookOptions {
        lease_wait_ms: settings.lease_wait_ms,
        wallet_lease_max_ms: settings.wallet_lease_max_s.saturating_mul(1_000),
        wallet_lease_units: settings.wallet_lease_units,
        ..BookOptions::new(from.clone())
    };
    let (book, earlier) = LeaseBook::open(folder, Arc::new(stores), options, Monotonic::system())?;
    if earlier.damaged > 0 {
        tracing::error!(slots = earlier.damaged, "the lease table has slots that cannot be read");
    }
    metrics.watch_leases(&book)?;
    Ok(book)
}

#[cfg(test)]
mod tests;
