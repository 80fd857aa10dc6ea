//! The one door out. Whoever is about to connect to an address that a user chose (upstream, OpenAPI document, webhook,
//! health probe) parses it here, resolves it here, and connects to just the addresses that come back: a name that
//! changes its mind afterwards, or a redirect (callers follow none), reaches nothing inside. Next: connectors.

mod destination;
mod names;
mod ranges;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use destination::{Destination, Scheme, URL_MAX_BYTES};
pub use names::{Names, UnknownName};

/// How long a name may take to resolve, all its servers and retries included.
pub const RESOLVE_TIMEOUT_MS: u64 = 5_000;
/// How many addresses of a name are handed on. All are vetted, however many there are.
pub const ADDRESSES_MAX: usize = 16;
/// Below this port only those of the web are reached, for a gateway must not speak to mail or remote shells for a buyer.
const FREE_PORTS_FROM: u16 = 1_024;
const WEB_PORTS: [u16; 2] = [80, 443];

/// Why an address is not connected to. What it says names the host asked for and nothing that was learnt about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not an address that can be read in one way only.
    #[error("the address {problem}: write it like https://api.example.com/path")]
    Malformed {
        /// What is wrong, without the text itself.
        problem: &'static str,
    },
    /// A literal address in a range that is not public.
    #[error("{host} is {range}: use a public address, or let the operator add it to APICLAY_EGRESS_ALLOW")]
    Refused {
        /// The address as text.
        host: String,
        /// The range it lies in, with its article.
        range: &'static str,
    },
    /// A port that no web API has.
    #[error("port {port} of {host} is not reached: use 80, 443 or a port from 1024 up")]
    Port {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
    },
    /// One of this installation's own listeners or stores.
    #[error(
        "{host} at this port belongs to this installation and is never reached from inside: use another address"
    )]
    Own {
        /// The host asked for.
        host: String,
    },
    /// A name with at least one address that is refused. It does not say which: that would map the inner network.
    #[error(
        "{host} leads to an address that is not public: change its DNS, or let the operator add it to APICLAY_EGRESS_ALLOW"
    )]
    NameRefused {
        /// The name asked for.
        host: String,
    },
    /// A name without addresses.
    #[error("{host} has no address: check its spelling and its DNS")]
    NotFound {
        /// The name asked for.
        host: String,
    },
    /// A name whose servers did not answer in time.
    #[error("{host} did not resolve within {RESOLVE_TIMEOUT_MS} ms: check its DNS, then try again")]
    Timeout {
        /// The name asked for.
        host: String,
    },
}

/// What may be reached, and how names become addresses. Clones share one policy and one cache of names.
#[derive(Clone)]
pub struct Egress {
    rules: Arc<Rules>,
}

struct Rules {
    allow: Vec<IpNet>,
    exact: Vec<SocketAddr>,
    never: Vec<SocketAddr>,
    names: Names,
}

impl Egress {
    /// Names resolve as the system says. `allow`: ranges that are reached though they are not public. `exact`: always reached
    /// (the demo upstream). `never`: our own listeners, Redis, MongoDB, refused even where `allow` covers them; an
    /// unspecified address among them stands for every address of this machine.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, exact: Vec<SocketAddr>, never: Vec<SocketAddr>) -> Self {
        Self::with_names(allow, exact, never, Names::system())
    }

    /// The same with names from elsewhere, so that a test can change them between check and connect.
    #[must_use]
    pub fn with_names(
        allow: Vec<IpNet>,
        exact: Vec<SocketAddr>,
        never: Vec<SocketAddr>,
        names: Names,
    ) -> Self {
        let plain = |list: Vec<SocketAddr>| list.into_iter().map(canonical).collect();
        Self { rules: Arc::new(Rules { allow, exact: plain(exact), never: plain(never), names }) }
    }

    /// Whether this one address may be connected to.
    pub fn vet(&self, addr: SocketAddr) -> Result<(), EgressError> {
        let zoned = matches!(addr, SocketAddr::V6(v6) if v6.scope_id() != 0);
        let addr = canonical(addr);
        let host = || addr.ip().to_string();
        if self.rules.exact.contains(&addr) {
            return Ok(());
        }
        if zoned {
            return Err(EgressError::Refused {
                host: host(),
                range: "an address of one link (it has a zone)",
            });
        }
        // Connecting to it reaches this machine under another name, so no list of ours would match: never allowed.
        if addr.ip().is_unspecified() || addr.port() == 0 {
            return Err(EgressError::Refused { host: host(), range: "not an address that can be reached" });
        }
        let embedded = ranges::embedded(addr.ip());
        for ip in std::iter::once(addr.ip()).chain(embedded.iter().copied().map(IpAddr::V4)) {
            if self.rules.is_own(SocketAddr::new(ip, addr.port())) {
                return Err(EgressError::Own { host: host() });
            }
        }
        if self.rules.allow.iter().any(|range| range.contains(&addr.ip())) {
            return Ok(());
        }
        if let Some(range) = ranges::refused(addr.ip()) {
            return Err(EgressError::Refused { host: host(), range });
        }
        let refused_inside = |v4: &std::net::Ipv4Addr| {
            let ip = IpAddr::V4(*v4);
            ranges::refused(ip).is_some() && !self.rules.allow.iter().any(|range| range.contains(&ip))
        };
        if embedded.iter().any(refused_inside) {
            return Err(EgressError::Refused {
                host: host(),
                range: "a way to an address that is not public",
            });
        }
        if addr.port() < FREE_PORTS_FROM && !WEB_PORTS.contains(&addr.port()) {
            return Err(EgressError::Port { host: host(), port: addr.port() });
        }
        Ok(())
    }

    /// Reads an address a user wrote. Literal addresses are vetted at once; names when they are resolved.
    pub fn parse(&self, url: &str) -> Result<Destination, EgressError> {
        let destination = Destination::parse(url)?;
        if let Some(addr) = destination.literal() {
            self.vet(addr)?;
        }
        Ok(destination)
    }

    /// The addresses to connect to: these and no others. One refused address refuses the name.
    pub async fn resolve(&self, destination: &Destination) -> Result<Vec<SocketAddr>, EgressError> {
        if let Some(addr) = destination.literal() {
            self.vet(addr)?;
            return Ok(vec![canonical(addr)]);
        }
        let host = || destination.host.clone();
        let deadline = Duration::from_millis(RESOLVE_TIMEOUT_MS);
        let found = tokio::time::timeout(deadline, self.rules.names.lookup(&destination.host))
            .await
            .map_err(|_| EgressError::Timeout { host: host() })?
            .map_err(|UnknownName| EgressError::NotFound { host: host() })?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for ip in found {
            let addr = canonical(SocketAddr::new(ip, destination.port));
            self.vet(addr).map_err(|refusal| {
                // The operator may see where it led; the user who typed the name may not.
                tracing::debug!(host = destination.host, %addr, %refusal, "egress refused a name");
                match refusal {
                    EgressError::Port { port, .. } => EgressError::Port { host: host(), port },
                    _ => EgressError::NameRefused { host: host() },
                }
            })?;
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&addr) {
                addresses.push(addr);
            }
        }
        if addresses.is_empty() { Err(EgressError::NotFound { host: host() }) } else { Ok(addresses) }
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = &self.rules;
        f.debug_struct("Egress")
            .field("allow", &rules.allow)
            .field("exact", &rules.exact)
            .field("never", &rules.never)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Whether `addr` is one of those never reached.
    fn is_own(&self, addr: SocketAddr) -> bool {
        self.never.iter().any(|own| {
            own.port() == addr.port()
                && (own.ip() == addr.ip() || (own.ip().is_unspecified() && is_of_this_machine(addr.ip())))
        })
    }
}

/// Whether the machine takes `ip` for its own: only then can a socket be bound to it. Nothing is sent. Any other failure
/// (no more file descriptors) counts as its own, so that pressure opens nothing.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind((ip, 0));
    ip.is_loopback() || !bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrNotAvailable)
}

/// An address as the network will see it: a mapped v6 address is the v4 address inside, and there is no zone or flow.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
