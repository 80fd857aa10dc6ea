//! Looks at a certificate and its key before Pingora does, which would panic on files it cannot use.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Checks that `cert` holds a chain and `key` the key to it.
///
/// # Errors
/// Why not.
pub fn check(cert: &Path, key: &Path) -> Result<(), String> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: {e}", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider).map(drop).map_err(|e| e.to_string())
}
