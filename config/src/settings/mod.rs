//! The settings of one process, as types. `table.rs` declares each setting once; `load.rs` reads file and environment by
//! that table, `parse.rs` each text by its kind, and `assemble.rs` makes the whole or refuses it with every fault named;
//! `example.rs` writes the table out for people. From here they go to the mains, which hand each part its own.

mod assemble;
mod door;
mod example;
mod fault;
mod load;
mod parse;
mod table;
#[cfg(test)]
mod tests;
mod unknown;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use example::{example, help};
pub use fault::{Fault, SettingsError};
pub use load::process_environment;
pub use table::{Kind, SETTINGS, Setting, Unset};

/// All settings of one process, valid together.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people reach the web app and the API: scheme, host and port, no path.
    pub app_url: Url,
    /// Where this process keeps what it must not lose.
    pub data_dir: PathBuf,
    /// Set by the caller ([`Settings::load_demo`]), never by file or environment: a demo must be asked for by name.
    pub demo: bool,
    /// MongoDB's connection string; without it the embedded store.
    pub store: Option<SecretString>,
    /// Redis' connection string; without it embedded counters.
    pub redis_url: Option<SecretString>,
    /// The control plane's part.
    pub control: ControlSettings,
    /// The gateway's part.
    pub gateway: GatewaySettings,
    /// Who takes buyers' payments; nobody where it is not set.
    pub razorpay: Option<RazorpayFiles>,
    /// `/metrics`, `/live` and `/ready` of this process.
    pub admin_listen: SocketAddr,
    /// The key that wraps vendors' keys; without it, made in the data folder at first start.
    pub master_key_file: Option<PathBuf>,
    /// Ranges that outgoing connections may reach though they are not public.
    pub egress_allow: Vec<IpNet>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The address buyers are shown for the gateway.
    pub public_gateway_url: Url,
    /// Which addresses were not set but follow from the listeners.
    derived: Derived,
}

/// The control plane's settings.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// Where it takes connections.
    pub listen: SocketAddr,
    /// With files it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Proxies before it, whose word on a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Where it takes buyers' calls.
    pub listen: SocketAddr,
    /// With files it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Listings are also reached as `<listing>.<domain>`.
    pub domain: Option<String>,
    /// Where its configuration comes from and its usage goes.
    pub control_url: Url,
    /// Its name, as enrolled.
    pub id: Option<String>,
    /// The file with the token it was enrolled with.
    pub token_file: Option<PathBuf>,
    /// Worker threads.
    pub threads: usize,
    /// Whether plain calls may take the relay.
    pub fast_lane: bool,
    /// From the first byte of a request's head to its last, and for a TLS handshake.
    pub header_read_timeout_ms: u64,
    /// How long a connection may stand idle between calls, and may take nothing of an answer.
    pub keepalive_timeout_ms: u64,
    /// Longest request body.
    pub body_max_bytes: u64,
    /// How long a call waits for a grant of units.
    pub lease_wait_ms: u64,
    /// How old a lease on a wallet becomes before it is closed.
    pub wallet_lease_max_s: u64,
    /// Calls that one lease on a wallet pays for at most.
    pub wallet_lease_units: u32,
    /// How often the spool is synced to disk.
    pub spool_sync_ms: u64,
    /// How much disk the spool may take.
    pub spool_max_bytes: u64,
    /// How often usage is sent.
    pub batch_interval_ms: u64,
    /// How long calls in flight may take to end after SIGTERM.
    pub shutdown_grace_s: u64,
}

/// A certificate chain and its key, both PEM, read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How Razorpay is called and believed. The secrets are read where they are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RazorpayFiles {
    /// The key's name; no secret.
    pub key_id: String,
    /// The key's secret.
    pub key_secret: PathBuf,
    /// What events are signed with.
    pub webhook_secret: PathBuf,
    /// What they were signed with before.
    pub previous_webhook_secret: Option<PathBuf>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines: levels by module, in the form of `tracing`'s `EnvFilter`.
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Marks of addresses that follow from a listener until it is bound.
#[derive(Debug, Clone, Copy)]
struct Derived {
    app_url: bool,
    control_url: bool,
    public_gateway_url: bool,
}

impl Settings {
    /// Tells the settings where the listeners were really bound (port 0 is any free port), so that addresses which
    /// nobody set follow.
    pub fn bound(&mut self, control: Option<SocketAddr>, gateway: Option<SocketAddr>) {
        if let Some(addr) = control {
            let url = url_of(addr, self.control.tls.is_some());
            if self.derived.app_url {
                self.app_url = url.clone();
            }
            if self.derived.control_url {
                self.gateway.control_url = url;
            }
            self.control.listen = addr;
        }
        if let Some(addr) = gateway {
            if self.derived.public_gateway_url {
                self.public_gateway_url = url_of(addr, self.gateway.tls.is_some());
            }
            self.gateway.listen = addr;
        }
    }
}

/// How a client on this machine reaches a listener: one on every address is reached by loopback.
fn url_of(listen: SocketAddr, tls: bool) -> Url {
    let ip = match listen.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    let text = format!("{scheme}://{}", SocketAddr::new(ip, listen.port()));
    #[expect(clippy::expect_used, reason = "a scheme and an address in numbers are always a URL")]
    Url::parse(&text).expect("scheme, address and port")
}
