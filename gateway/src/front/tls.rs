//! TLS of the gateway's connections, taken here and not by Pingora's listener: a handshake has a head's time (there a minute), and
//! tickets let any number of clients resume their sessions (RFC 8446, section 2.2), where the library alone remembers the last few.

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::settings::TlsFiles;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::{Stream, l4};
use rustls::ServerConfig;
use rustls::crypto::ring;

use super::certificates::Certificates;

/// Takes connections over TLS.
pub struct Tls(Acceptor);

impl Tls {
    /// With the certificate of these files, read again when they change.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let certificates = Certificates::load(files)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|wrong| wrong.to_string())?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = ["h2", "http/1.1"].map(Into::into).into();
        config.ticketer = certificates;
        Ok(Self(Acceptor::from_server_config(Arc::new(config))))
    }

    /// The connection after its handshake; none where that came to nothing in this time.
    pub async fn accept(&self, stream: Stream, within: Duration) -> Option<Stream> {
        let stream = *stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        match tokio::time::timeout(within, self.0.tls_handshake(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(failed)) => {
                tracing::debug!(error = %failed, "a client came to no session over TLS");
                None
            }
            Err(_) => None,
        }
    }
}
