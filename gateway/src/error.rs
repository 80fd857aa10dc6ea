//! Why a gateway does not start. `serve` and `listen` meet these; whoever starts it prints them with their causes.

use std::net::SocketAddr;

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
    #[error("TLS cannot be served; see that certificate and key can be read and belong together: {0}")]
    Tls(String),
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
