//! The gateway's certificate, read again when its files change: a renewal needs no restart, and one that cannot be used
//! leaves the last good one in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiclay_config::settings::TlsFiles;
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at.
const LOOK_INTERVAL_MS: u64 = 5_000;

/// The certificate that new connections are shown.
#[derive(Debug)]
pub struct Certificates(ArcSwap<CertifiedKey>);

impl Certificates {
    /// Reads the files, and goes on looking at them as long as anybody holds this.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, String> {
        let certificates = Arc::new(Self(ArcSwap::from_pointee(read(files)?)));
        let (held, files) = (Arc::downgrade(&certificates), files.clone());
        tokio::spawn(async move {
            let mut seen = changed_at(&files);
            loop {
                tokio::time::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
                let Some(certificates) = held.upgrade() else { return };
                let now = changed_at(&files);
                if now == seen {
                    continue;
                }
                seen = now;
                match read(&files) {
                    Ok(renewed) => {
                        certificates.0.store(Arc::new(renewed));
                        tracing::info!("the certificate was read again");
                    }
                    Err(wrong) => tracing::error!(error = wrong, "the renewed certificate cannot be used"),
                }
            }
        });
        Ok(certificates)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok())
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: {e}", files.cert.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("{}: {e}", files.key.display()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| e.to_string())
}
