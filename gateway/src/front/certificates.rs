//! The gateway's certificate, read again when its files change: a renewal needs no restart, and one that cannot be used
//! leaves the last good one in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiclay_config::settings::TlsFiles;
use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at.
const LOOK_INTERVAL_MS: u64 = 5_000;

/// The certificate that new connections are shown. A session that began with an earlier one is not resumed (RFC 8446, section 4.6.1):
/// its client sees the new one.
#[derive(Debug)]
pub struct Certificates(ArcSwap<Shown>);

#[derive(Debug)]
struct Shown {
    certificate: Arc<CertifiedKey>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Certificates {
    /// Reads the files, and goes on looking at them as long as anybody holds this.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, String> {
        // Before they are read: what comes in between is seen.
        let mut seen = changed_at(files);
        let certificates = Arc::new(Self(ArcSwap::from_pointee(read(files)?)));
        let (held, files) = (Arc::downgrade(&certificates), files.clone());
        tokio::spawn(async move {
            let mut complained = None;
            loop {
                tokio::time::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
                let Some(certificates) = held.upgrade() else { return };
                let now = changed_at(&files);
                if now == seen {
                    continue;
                }
                match read(&files) {
                    Ok(renewed) => {
                        seen = now;
                        certificates.0.store(Arc::new(renewed));
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
        Ok(certificates)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certificate))
    }
}

impl ProducesTickets for Certificates {
    fn enabled(&self) -> bool {
        self.0.load().tickets.enabled()
    }
    fn lifetime(&self) -> u32 {
        self.0.load().tickets.lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().tickets.encrypt(plain)
    }
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.load().tickets.decrypt(cipher)
    }
}

fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert, &files.key].map(|path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok())
}

fn read(files: &TlsFiles) -> Result<Shown, String> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: {e}", files.cert.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("{}: {e}", files.key.display()))?;
    let certificate = CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|e| format!("{}: {e}", files.cert.display()))?;
    let tickets = ring::Ticketer::new().map_err(|e| e.to_string())?;
    Ok(Shown { certificate: Arc::new(certificate), tickets })
}
