//! Listening: Pingora's server with the front as its service, on threads of its own. Where port 0 is asked for, a socket that
//! does not listen holds the port until Pingora's does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use apiclay_config::settings::GatewaySettings;
use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::{ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use tokio::sync::watch;

use crate::error::GatewayError;
use crate::files::Files;
use crate::front::tls::Tls;
use crate::front::{Front, FrontLimits};
use crate::gateway::Gateway;
use crate::proxy::PingoraLane;
use crate::relay::Relay;

/// Upstream connections that Pingora keeps open over all targets, of each thread, where there are many files.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// Tries of one call at most, whatever a listing says.
const TRIES_MAX: usize = 16;
/// How long the listener may take to come up.
const LISTEN_DEADLINE_MS: u64 = 10_000;

/// Binds, and runs Pingora's server on threads of its own.
pub(crate) async fn listen(
    settings: &GatewaySettings,
    gateway: Arc<Gateway>,
    stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, Arc<AtomicUsize>), GatewayError> {
    let failed = |source| GatewayError::Listen { address: settings.listen, source };
    // Port 0 is found out by a socket that holds the port, but does not listen, until Pingora's does.
    let reserved = reserve(settings.listen).map_err(failed)?;
    let address = reserved.local_addr().map_err(failed)?;
    let files = Files::raised();
    let conf = ServerConf {
        threads: settings.threads,
        work_stealing: false,
        upstream_keepalive_pool_size: files.resting_max(UPSTREAM_POOL_SIZE, settings.threads),
        max_retries: TRIES_MAX,
        grace_period_seconds: Some(settings.shutdown_grace_s),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let limits = FrontLimits {
        files,
        head_timeout: Duration::from_millis(settings.header_read_timeout_ms),
        idle_timeout: Duration::from_millis(settings.keepalive_timeout_ms),
        body_timeout: Duration::from_millis(settings.keepalive_timeout_ms),
    };
    let lane = PingoraLane::new(Arc::clone(&gateway), files, limits.body_timeout);
    let mut lane = http_proxy(&server.configuration, lane);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(limits.idle_timeout);
    lane.server_options = Some(options);
    let relay = settings.fast_lane.then(|| Relay::new(Arc::clone(&gateway), files, limits.body_timeout));
    let tls = settings.tls.as_ref().map(Tls::load).transpose().map_err(GatewayError::Tls)?;
    let front = Front::new(tls, relay, Arc::new(lane), limits, Arc::clone(&gateway.metrics));
    let open = front.open_connections();
    let mut service = Service::new("gateway".to_owned(), front);
    let mut options = TcpSocketOptions::default();
    options.so_reuseport = Some(true);
    // Over TLS writes are whole records already; what is buffered when a handshake fails, its alert, would be lost.
    let l4_buffer = L4BufferSettings { read: Some(0), write: settings.tls.as_ref().map(|_| 0) };
    let listener = ListenerConfig::tcp(address.to_string()).tcp_socket_options(options).l4_buffer(l4_buffer);
    service.add_listener(listener);
    server.add_service(service);
    std::thread::spawn(move || server.run(RunArgs { shutdown_signal: Box::new(Stop(stopped)) }));
    wait_until_it_listens(address).await.map_err(failed)?;
    drop(reserved);
    Ok((address, open))
}

fn reserve(address: SocketAddr) -> std::io::Result<tokio::net::TcpSocket> {
    let socket = socket_for(address)?;
    // Where somebody else listens already, this bind must fail; only then may ours share the port with it.
    if address.port() != 0 {
        // Bound and not listening: a connection that came in between would be taken and dropped.
        let alone = socket_for(address)?;
        alone.set_reuseaddr(true)?;
        alone.bind(address)?;
    }
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn socket_for(address: SocketAddr) -> std::io::Result<tokio::net::TcpSocket> {
    if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }
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
