//! Puts a gateway together and runs it: counters, leases, spool, the last good configuration, then Pingora's server with
//! the front. Returns once it listens; [`Running`] drains it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiclay_config::admin::Observed;
use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::seal::MasterKey;
use apiclay_config::settings::{GatewaySettings, TlsFiles};
use apiclay_config::usage::{Ending, Event, GatewayEpoch, LEASED_WINDOWS, LeasedWindow};
use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::counters::{Counters, embedded::EmbeddedCounters, redis::RedisCounters};
use crate::front::{Front, FrontLimits};
use crate::gateway::Gateway;
use crate::life::{self, Ledger};
use crate::limits::{BookOptions, LeaseBook, Monotonic, UnaccountedUnits};
use crate::metering::{Batcher, LeaseLedger, SendOptions, Spool, SpoolOptions, send_forever};
use crate::observe::Metrics;
use crate::proxy::PingoraLane;
use crate::runtime::Compiler;
use crate::sync::{Configuration, ControlPlane, Disk, follow};

/// Upstream connections kept open over all targets.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// Tries of one call at most, whatever a listing says.
const TRIES_MAX: usize = 16;
/// How often gauges are brought up to date.
const GAUGES_INTERVAL_MS: u64 = 1_000;
/// Between two tries to close earlier leases.
const CLOSE_AGAIN_MS: u64 = 1_000;
/// How long the listener may take to come up.
const LISTEN_DEADLINE_MS: u64 = 10_000;

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

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its folder.
    #[error("the gateway's folder {path} cannot be used")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Counters.
    #[error("the counters cannot be used")]
    Counters(#[from] crate::counters::CountersError),
    /// Leases.
    #[error("the lease table cannot be used")]
    Leases(#[from] crate::limits::BookError),
    /// Spool.
    #[error("the spool cannot be used")]
    Spool(#[from] crate::metering::SpoolError),
    /// Embedded counters.
    #[error("the embedded counters cannot be opened")]
    EmbeddedCounters(#[from] crate::counters::embedded::EmbeddedError),
    /// Batches.
    #[error("what earlier lives left cannot be batched")]
    Batcher(#[from] crate::metering::BatcherError),
    /// Configuration.
    #[error("the configuration on disk cannot be used")]
    Configuration(#[from] crate::sync::DiskError),
    /// The client of the control plane.
    #[error("the control plane's address cannot be used")]
    ControlPlane(#[from] reqwest::Error),
    /// Metrics.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// Certificate or key.
    #[error("the certificate {cert} or its key cannot be used")]
    Tls {
        /// Which.
        cert: String,
    },
    /// The address.
    #[error("cannot listen on {address}; see that nothing else does, or set APICLAY_GATEWAY_LISTEN")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
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
    let folder_failed = |source| GatewayError::Folder { path: folder.display().to_string(), source };
    std::fs::create_dir_all(&folder).map_err(folder_failed)?;
    let epoch = format!("{:016x}", rand::rng().random::<u64>());
    let from = GatewayEpoch { gateway: identity.id.clone(), epoch: epoch.clone() };
    let metrics = Metrics::new()?;
    // The spool takes the folder's lock: nothing else is opened before it.
    let spool = Spool::open(&folder.join("spool"), from.clone(), spool_options(&settings))?;
    let book = open_book(&folder, redis_url.as_ref(), &from, &settings, &clock)?;
    let mut batcher = Batcher::new(Arc::clone(&spool))?;
    let (life, before) = life::begin(&folder, &epoch).map_err(folder_failed)?;
    let ledger: Arc<dyn LeaseLedger> = Arc::new(Ledger::new(Arc::clone(&book), &life));
    // What earlier lives left on record is told to the lease book before it closes their leases.
    if let Some(before) = before {
        batcher.retell(&before.epoch, &Ledger::new(Arc::clone(&book), &before))?;
    }
    while batcher.collect(&*ledger)?.is_some() {}

    let gateway = Arc::new(Gateway::new(
        Arc::clone(&spool),
        Arc::clone(&metrics),
        clock.clone(),
        settings.body_max_bytes,
        settings.domain.clone(),
    ));
    let compiler = Compiler::new(Arc::clone(&book), master_key, egress, Arc::clone(&metrics));
    let configuration = Configuration::open(Arc::clone(&gateway), compiler, Disk::new(&folder))?;
    let control = ControlPlane::new(identity.control_url, identity.id, identity.token, epoch)?;

    let (stop, stopped) = watch::channel(false);
    let (address, open) = listen(&settings, Arc::clone(&gateway), stopped).await?;
    let grace = Duration::from_secs(settings.shutdown_grace_s);
    let (drained, all_ended) = watch::channel(false);
    let send = SendOptions { interval_ms: settings.batch_interval_ms, ..SendOptions::default() };
    let sender = send_forever(batcher, Arc::clone(&spool), ledger, control.clone(), send, until(all_ended));
    let (sender, leases) = (tokio::spawn(sender), CancellationToken::new());
    let keeper = tokio::spawn(Arc::clone(&book).maintain(leases.clone()));
    let tasks = vec![
        tokio::spawn(close_earlier(Arc::clone(&book), Arc::clone(&spool), clock.clone())),
        tokio::spawn(follow(control, configuration, clock)),
        tokio::spawn(keep_gauges(spool, metrics)),
    ];
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

impl Observed for Gateway {
    fn metrics(&self) -> String {
        self.metrics.text().unwrap_or_default()
    }

    fn ready(&self) -> Result<(), String> {
        self.runtime().map(drop).ok_or_else(|| "the gateway has no configuration yet".to_owned())
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

/// Binds, and runs Pingora's server on threads of its own.
async fn listen(
    settings: &GatewaySettings,
    gateway: Arc<Gateway>,
    stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, Arc<AtomicUsize>), GatewayError> {
    let failed = |source| GatewayError::Listen { address: settings.listen, source };
    // Port 0 is found out by a socket that holds the port, but does not listen, until Pingora's does.
    let reserved = reserve(settings.listen).map_err(failed)?;
    let address = reserved.local_addr().map_err(failed)?;
    let conf = ServerConf {
        threads: settings.threads,
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_POOL_SIZE,
        max_retries: TRIES_MAX,
        grace_period_seconds: Some(settings.shutdown_grace_s),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut lane = http_proxy(&server.configuration, PingoraLane::new(Arc::clone(&gateway)));
    let limits = FrontLimits {
        head_timeout: Duration::from_millis(settings.header_read_timeout_ms),
        idle_timeout: Duration::from_millis(settings.keepalive_timeout_ms),
        body_timeout: Duration::from_millis(settings.keepalive_timeout_ms),
    };
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(limits.idle_timeout);
    lane.server_options = Some(options);
    let front = Front::new(Arc::new(lane), limits, Arc::clone(&gateway.metrics));
    let open = front.open_connections();
    let mut service = Service::new("gateway".to_owned(), front);
    let mut options = TcpSocketOptions::default();
    options.so_reuseport = Some(true);
    let mut listener = ListenerConfig::tcp(address.to_string())
        .tcp_socket_options(options)
        .l4_buffer(L4BufferSettings { read: Some(0), write: None });
    if let Some(files) = &settings.tls {
        listener = listener.tls(tls(files)?);
    }
    service.add_listener(listener);
    server.add_service(service);
    std::thread::spawn(move || server.run(RunArgs { shutdown_signal: Box::new(Stop(stopped)) }));
    wait_until_it_listens(address).await.map_err(failed)?;
    drop(reserved);
    Ok((address, open))
}

fn reserve(address: SocketAddr) -> std::io::Result<tokio::net::TcpSocket> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // Where somebody else listens already, this bind must fail; only then may ours share the port with it.
    if address.port() != 0 {
        drop(std::net::TcpListener::bind(address)?);
    }
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn wait_until_it_listens(address: SocketAddr) -> std::io::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(LISTEN_DEADLINE_MS);
    let mut target = address;
    if target.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if target.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        target.set_ip(loopback);
    }
    loop {
        match tokio::net::TcpStream::connect(target).await {
            Ok(_) => return Ok(()),
            Err(e) if tokio::time::Instant::now() > deadline => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Loaded here first: Pingora panics on files it cannot use.
fn tls(files: &TlsFiles) -> Result<TlsSettings, GatewayError> {
    let wrong = || GatewayError::Tls { cert: files.cert.display().to_string() };
    let text = |path: &Path| path.to_str().map(ToOwned::to_owned).ok_or_else(wrong);
    let (cert, key) = (text(&files.cert)?, text(&files.key)?);
    crate::front::certificates::check(&files.cert, &files.key).map_err(|_| wrong())?;
    let mut tls = TlsSettings::intermediate(&cert, &key).map_err(|_| wrong())?;
    tls.enable_h2();
    Ok(tls)
}

/// Ends Pingora's server when the gateway is told to stop.
struct Stop(watch::Receiver<bool>);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let mut stopped = self.0.clone();
        let _ = stopped.wait_for(|stop| *stop).await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Returns once the value is true.
async fn until(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|so| *so).await;
}

fn open_book(
    folder: &Path,
    redis_url: Option<&SecretString>,
    from: &GatewayEpoch,
    settings: &GatewaySettings,
    clock: &Clock,
) -> Result<Arc<LeaseBook>, GatewayError> {
    let counters: Arc<dyn Counters> = match redis_url {
        // A gateway that has leases has seen counters before: an empty server is then a loss, not a beginning.
        Some(url) => Arc::new(RedisCounters::new(url.expose_secret(), !LeaseBook::exists(folder))?),
        None => Arc::new(EmbeddedCounters::open(folder, clock.clone())?),
    };
    let options = BookOptions { lease_wait_ms: settings.lease_wait_ms, ..BookOptions::new(from.clone()) };
    let (book, earlier) = LeaseBook::open(folder, counters, options, Monotonic::system())?;
    if earlier.damaged > 0 {
        tracing::error!(slots = earlier.damaged, "the lease table has slots that cannot be read");
    }
    Ok(book)
}

/// Closes the leases of earlier lives, as often as it takes the counters to hear it; puts on record what was spent
/// without a record, a unit a record.
async fn close_earlier(book: Arc<LeaseBook>, spool: Arc<Spool>, clock: Clock) {
    loop {
        match book.close_earlier_epoch().await {
            Ok(unaccounted) => {
                for units in unaccounted {
                    record_unaccounted(&spool, &units, clock.now());
                }
                return;
            }
            Err(away) => tracing::warn!(error = %away, "earlier leases stay open for now"),
        }
        tokio::time::sleep(Duration::from_millis(CLOSE_AGAIN_MS)).await;
    }
}

fn record_unaccounted(spool: &Spool, units: &UnaccountedUnits, at: Timestamp) {
    let mut parts = units.counter.split(':');
    let kind = parts.next();
    // A trial belongs to an account and a listing: no subscription can be named.
    let subscription = parts.next().filter(|_| kind == Some("quota")).and_then(|id| id.parse().ok());
    let window = match parts.next() {
        Some("hour") => LeasedWindow::Hour,
        Some("day") => LeasedWindow::Day,
        Some("month") => LeasedWindow::Month,
        _ => LeasedWindow::Trial,
    };
    let mut leases = [0; LEASED_WINDOWS];
    leases[window as usize] = units.lease;
    let event = Event {
        request: RequestId::generate(),
        subscription: subscription.unwrap_or(SubscriptionId::from_u128(0)),
        credential: CredentialId::from_u128(0),
        route: RouteId::from_u128(0),
        plan_revision: 0,
        at,
        duration_us: 0,
        status: 0,
        tries: 0,
        ending: Ending::Unaccounted,
        billable: false,
        kept: true,
        leases,
        bytes_in: 0,
        bytes_out: 0,
    };
    for _ in 0..units.units {
        match spool.begin(&event) {
            Ok(ticket) => spool.end(ticket, &event),
            // They are said again at the next start.
            Err(_) => return,
        }
    }
}
