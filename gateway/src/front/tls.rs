//! TLS of the gateway's connections, taken here and not by Pingora's listener: a handshake has a head's time (there a minute), and
//! tickets let any number of clients resume their sessions (RFC 8446, section 2.2), where the library alone remembers the last few.
//! The files are read again when they change: a renewal needs no restart, and one that cannot be used leaves the last good one in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiclay_config::settings::TlsFiles;
use arc_swap::ArcSwap;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::{Stream, l4};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at.
const LOOK_INTERVAL_MS: u64 = 5_000;

/// Takes connections over TLS. What takes them has one certificate, and sessions of its own: one that began with an earlier certificate
/// is not resumed (RFC 8446, section 4.6.1), and its client sees the new one.
pub struct Tls(Arc<ArcSwap<Acceptor>>);

impl Tls {
    /// With the certificate of these files; they are looked at as long as anybody holds this.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        // Before they are read: what comes in between is seen.
        let mut seen = changed_at(files);
        let acceptor = Arc::new(ArcSwap::from_pointee(acceptor(files)?));
        let (held, files) = (Arc::downgrade(&acceptor), files.clone());
        tokio::spawn(async move {
            let mut complained = None;
            loop {
                tokio::time::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
                let Some(held) = held.upgrade() else { return };
                let now = changed_at(&files);
                if now == seen {
                    continue;
                }
                match self::acceptor(&files) {
                    Ok(renewed) => {
                        seen = now;
                        held.store(Arc::new(renewed));
                        tracing::info!("the certificate was read again");
                    }
                    // Tried again, as what hindered it may not show in the files' times: who may read them, for one.
                    Err(wrong) if complained != Some(now) => {
                        complained = Some(now);
                        tracing::error!(error = wrong, "the renewed certificate cannot be used");
                    }
                    Err(_) => {}
                }
            }
        });
        Ok(Self(acceptor))
    }

    /// The connection after its handshake; none where that came to nothing in this time.
    pub async fn accept(&self, stream: Stream, within: Duration) -> Option<Stream> {
        let stream = *stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        let acceptor = self.0.load_full();
        match tokio::time::timeout(within, acceptor.tls_handshake(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(failed)) => {
                tracing::debug!(error = %failed, "a client came to no session over TLS");
                None
            }
            Err(_) => None,
        }
    }
}

fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok())
}

fn acceptor(files: &TlsFiles) -> Result<Acceptor, String> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|wrong| format!("{}: {wrong}", files.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|wrong| format!("{}: {wrong}", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|wrong| wrong.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|wrong| format!("{} with {}: {wrong}", files.cert.display(), files.key.display()))?;
    config.alpn_protocols = ["h2", "http/1.1"].map(Into::into).into();
    config.ticketer = ring::Ticketer::new().map_err(|wrong| wrong.to_string())?;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}
