//! How a name becomes addresses: the system's resolver (hosts file first, then DNS), or a function that a test gives.
//! Answers are kept as long as their TTL says. Next: [`super::Egress::resolve`] vets what comes out.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// The name has no address, or nobody could be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownName;

/// From a name to its addresses.
pub type GivenNames = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Where addresses of names come from.
#[derive(Clone)]
pub enum Names {
    /// The machine's hosts file and DNS servers, as they stood when the first name was asked for.
    System(Arc<OnceLock<Option<TokioResolver>>>),
    /// A function from a name to its addresses; for tests.
    Given(Arc<GivenNames>),
}

impl Names {
    /// The machine's own.
    #[must_use]
    pub fn system() -> Self {
        Self::System(Arc::default())
    }

    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, UnknownName> {
        match self {
            Self::Given(names) => Ok(names(host)),
            Self::System(resolver) => {
                let resolver = resolver.get_or_init(build).as_ref().ok_or(UnknownName)?;
                let found = resolver.lookup_ip(host).await.map_err(|error| {
                    tracing::debug!(host, %error, "a name did not resolve");
                    UnknownName
                })?;
                Ok(found.iter().collect())
            }
        }
    }
}

/// Made at the first question and not before: most processes of the tests never ask one.
fn build() -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "no DNS servers in the system's settings: only its hosts file is used for outgoing names");
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Always;
    // Both families, so that a name with one public and one inner address is refused whichever would have been used.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().inspect_err(|error| tracing::error!(%error, "the resolver could not be built")).ok()
}
