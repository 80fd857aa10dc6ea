//! The servers of a benchmark, each a process of its own on 127.0.0.1 with a folder of its own, ended when its value goes: an
//! nginx as the vendor's upstream on the load's core; on the proxies' core the gateway and its peers. What is not set here is
//! each one's default, but for what lets it run fairly: one worker or thread, no access log (save where it is measured),
//! upstream connections kept alive. A file a server.

mod envoy;
mod gateway;
mod haproxy;
mod nginx;
mod pingap;
mod traefik;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::process::Program;
use apiclay_tests::{Certificate, Process, free_port};
use tokio::net::TcpStream;

use crate::market::Market;
use crate::rows::{Kind, Party};

pub use nginx::upstream;

/// Where every proxy runs.
pub const PROXY_CORE: &str = "0";
/// Where the load and the upstream run.
pub const LOAD_CORE: &str = "1";
/// A snapshot of a million keys takes its time.
const READY_DEADLINE_S: u64 = 120;
/// Calls on a connection, and calls a second where something has to be named: more than there are.
const NO_LIMIT: u32 = 1_000_000_000;
/// Upstream connections that a peer keeps; more than there are clients.
const KEPT_CONNECTIONS: u32 = 4_096;

/// A server that runs.
pub struct Proxy {
    /// As the table names it.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes.
    pub process: Process,
    /// What it was told, for the record.
    pub configuration: String,
    /// When the load ended last.
    pub called_at: Option<Instant>,
    /// Of a gateway, what is looked at when all is over.
    pub gateway: Option<Gateway>,
}

/// What a gateway has besides.
pub struct Gateway {
    /// Where its metrics are.
    pub admin: SocketAddr,
    /// Where its records are.
    pub data: PathBuf,
    /// Calls that it answered, warm-up included.
    pub answered: u64,
    /// Calls that the load may have left in flight.
    pub left_max: u64,
}

/// What all servers of a run share.
pub struct Site<'a> {
    /// Each gets a folder in it; the keys are there.
    pub folder: &'a Path,
    /// The vendor.
    pub upstream: SocketAddr,
    /// Keys, and what the gateway sells.
    pub market: &'a Market,
    /// The gateway's binary.
    pub binary: &'a Path,
    /// What runs it, where something does: a program with arguments.
    pub under: Vec<String>,
    /// Where there is TLS.
    pub tls: Option<Certificate>,
}

/// A server before it is started.
struct Server<'a> {
    name: &'static str,
    core: &'a str,
    folder: PathBuf,
    port: u16,
    configuration: String,
}

/// Starts `party`.
///
/// # Errors
/// When it does not start.
pub async fn start(party: &Party, site: &Site<'_>) -> Result<Proxy> {
    let server = Server::new(party.name, PROXY_CORE, site.folder)?;
    match party.kind {
        Kind::Nginx { buffered } => nginx::proxy(server, site, buffered).await,
        Kind::Haproxy(policy) => haproxy::proxy(server, site, policy).await,
        Kind::Envoy(policy) => envoy::proxy(server, site, policy).await,
        Kind::Traefik(policy) => traefik::proxy(server, site, policy).await,
        Kind::Pingap(policy) => pingap::proxy(server, site, policy).await,
        Kind::Gateway { limits, access_log } => gateway::start(server, site, limits, access_log).await,
    }
}

impl<'a> Server<'a> {
    fn new(name: &'static str, core: &'a str, folder: &Path) -> Result<Self> {
        let folder = folder.join(name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_"));
        std::fs::create_dir_all(&folder).context("making a server's folder")?;
        Ok(Self { name, core, folder, port: free_port()?, configuration: String::new() })
    }

    /// Writes a file of its configuration, which is kept for the record.
    fn write(&mut self, file: &str, text: &str) -> Result<PathBuf> {
        self.configuration.push_str(text);
        let path = self.folder.join(file);
        std::fs::write(&path, text).with_context(|| format!("writing the configuration of {}", self.name))?;
        Ok(path)
    }

    /// `program` on its core. `exec` all the way, so that the process is the program.
    fn on_core(&self, program: &Path) -> Program {
        Program::new("taskset").args(["-c", self.core]).args([program])
    }

    async fn start(self, program: &Program) -> Result<Proxy> {
        let process = Process::start("log", program, &self.folder);
        let process = process.with_context(|| format!("starting {}", self.name))?;
        let address = loopback(self.port);
        let configuration = self.configuration.replace(&self.folder.display().to_string(), "FOLDER");
        let mut proxy =
            Proxy { name: self.name, address, process, configuration, called_at: None, gateway: None };
        let connect = async || Ok(TcpStream::connect(address).await.map(drop)?);
        let ready = proxy.process.until_ready(Duration::from_secs(READY_DEADLINE_S), connect).await;
        ready.with_context(|| format!("starting {}", self.name))?;
        Ok(proxy)
    }
}

/// An address on this machine alone.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A program of Debian's; PATH may lack sbin.
fn debian(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}

/// A peer that `make bench-full` has brought, by the variable that names it.
fn brought(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path
        .with_context(|| format!("{variable} is not set: run `make bench-full`, which fetches that peer"))?;
    ensure!(path.exists(), "{} is missing: run `make bench-full`, which fetches it", path.display());
    Ok(path)
}
