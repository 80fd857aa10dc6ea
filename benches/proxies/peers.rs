//! The servers of a benchmark, each a process of its own on 127.0.0.1, ended when its value goes: an nginx as the vendor's
//! upstream on the load's core; and on the proxies' core an nginx and a HAProxy that only pass on, and the gateway. What is
//! not set here is each one's default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiclay_tests::process::Program;
use apiclay_tests::{Process, free_port};
use tokio::net::TcpStream;

use crate::market::LISTING_PATH;
use crate::rows::{BIG_BODY_BYTES, SMALL_BODY};

/// Where every proxy runs.
pub const PROXY_CORE: &str = "0";
/// Where the load and the upstream run.
pub const LOAD_CORE: &str = "1";
/// A snapshot of a million keys takes its time.
const READY_DEADLINE_S: u64 = 120;
/// So that no connection is closed for its age in a run.
const KEEPALIVE_CALLS: u32 = 1_000_000_000;
/// Upstream connections that nginx keeps; more than there are clients.
const KEPT_CONNECTIONS: u32 = 1_024;

/// A server that runs.
pub struct Proxy {
    /// As the table names it.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes.
    pub process: Process,
}

impl Proxy {
    async fn start(name: &'static str, program: &Program, folder: &Path, port: u16) -> Result<Self> {
        let process = Process::start(name, program, folder)?;
        let address = loopback(port);
        let mut proxy = Self { name, address, process };
        let connect = async || Ok(TcpStream::connect(address).await.map(drop)?);
        proxy.process.until_ready(Duration::from_secs(READY_DEADLINE_S), connect).await?;
        Ok(proxy)
    }
}

/// An address on this machine alone.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `program` on one core. `exec` all the way, so that the process is the program.
fn on_core(core: &str, program: &str) -> Program {
    Program::new("taskset").args(["-c", core, program])
}

/// The vendor's server: the same bodies below the listing's path and without it, as only the gateway takes that away.
///
/// # Errors
/// When it does not start.
pub async fn upstream(folder: &Path) -> Result<Proxy> {
    let port = free_port()?;
    std::fs::write(folder.join("10k"), "x".repeat(BIG_BODY_BYTES)).context("writing the body")?;
    let small = |path: &str| format!("location = {path}/90b {{ return 200 '{SMALL_BODY}'; }}");
    let big = |path: &str| format!("location = {path}/10k {{ alias {}/10k; }}", folder.display());
    let server = format!(
        "open_file_cache max=16; sendfile on; server {{ listen 127.0.0.1:{port}; {} {} {} {} }}",
        small(""),
        small(LISTING_PATH),
        big(""),
        big(LISTING_PATH)
    );
    nginx("upstream", folder, port, LOAD_CORE, &server).await
}

/// nginx as a proxy that only passes on.
///
/// # Errors
/// When it does not start.
pub async fn nginx_proxy(folder: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let port = free_port()?;
    let server = format!(
        "upstream vendor {{ server {upstream}; keepalive {KEPT_CONNECTIONS}; keepalive_requests {KEEPALIVE_CALLS}; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{\n\
             proxy_pass http://vendor; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
    );
    nginx("nginx", folder, port, PROXY_CORE, &server).await
}

async fn nginx(name: &'static str, folder: &Path, port: u16, core: &str, http: &str) -> Result<Proxy> {
    let user = if is_root() { "user root root;" } else { "" };
    let text = format!(
        "daemon off; {user} worker_processes 1; pid {name}.pid; error_log {name}.error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests {KEEPALIVE_CALLS};\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{http}\n}}\n"
    );
    let config = folder.join(format!("{name}.conf"));
    std::fs::write(&config, text).context("writing nginx's configuration")?;
    // PATH may lack sbin.
    let debian = Path::new("/usr/sbin/nginx");
    let binary = if debian.exists() { "/usr/sbin/nginx" } else { "nginx" };
    let program =
        on_core(core, binary).args(["-p"]).args([folder]).args(["-e", "error.log", "-c"]).args([&config]);
    Proxy::start(name, &program, folder, port).await
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// HAProxy as a proxy that only passes on.
///
/// # Errors
/// When it does not start.
pub async fn haproxy(folder: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let port = free_port()?;
    let text = format!(
        "global\n  nbthread 1\n  maxconn 8192\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend calls\n  bind 127.0.0.1:{port}\n  default_backend vendor\n\
         backend vendor\n  server vendor {upstream}\n"
    );
    let config = folder.join("haproxy.cfg");
    std::fs::write(&config, text).context("writing HAProxy's configuration")?;
    let debian = Path::new("/usr/sbin/haproxy");
    let binary = if debian.exists() { "/usr/sbin/haproxy" } else { "haproxy" };
    let program = on_core(PROXY_CORE, binary).args(["-db", "-f"]).args([&config]);
    Proxy::start("haproxy", &program, folder, port).await
}

/// The gateway with the configuration in `data`; and where its metrics are.
///
/// # Errors
/// When it does not start.
pub async fn gateway(binary: &Path, data: &Path, folder: &Path) -> Result<(Proxy, SocketAddr)> {
    let (port, admin) = (free_port()?, loopback(free_port()?));
    let token = folder.join("token");
    std::fs::write(&token, "token=of-no-use-here\n").context("writing the token")?;
    let settings = [
        ("APICLAY_DATA_DIR", data.display().to_string()),
        ("APICLAY_GATEWAY_LISTEN", loopback(port).to_string()),
        ("APICLAY_ADMIN_LISTEN", admin.to_string()),
        ("APICLAY_GATEWAY_ID", "bench".to_owned()),
        ("APICLAY_GATEWAY_TOKEN_FILE", token.display().to_string()),
        // Nobody listens there: it serves from its disk, and keeps its usage.
        ("APICLAY_CONTROL_URL", format!("http://{}", loopback(free_port()?))),
        ("APICLAY_EGRESS_ALLOW", "127.0.0.0/8".to_owned()),
        ("APICLAY_GATEWAY_THREADS", "1".to_owned()),
        ("APICLAY_LOG", "error,apiclay::access=off".to_owned()),
    ];
    // An empty environment: a REDIS_URL of the user's would be measured instead.
    let program = on_core(PROXY_CORE, "env")
        .args(["-i"])
        .args(settings.iter().map(|(name, value)| format!("{name}={value}")))
        .args([binary]);
    Ok((Proxy::start("apiclay-gateway", &program, folder, port).await?, admin))
}
