//! The listener's certificate: read at start, and read again when one of its files changes, so that a renewed one
//! holds without a restart. A renewal that cannot be read leaves the last good one in use.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use apiclay_config::settings::TlsFiles;
use axum_server::tls_rustls::RustlsConfig;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[error("the certificate {cert} and its key {key} cannot be used; both are PEM, and belong together")]
pub struct TlsError {
    cert: PathBuf,
    key: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Reads them. HTTP/2 is offered before HTTP/1.1.
///
/// # Errors
/// Where one cannot be read, or they do not belong together.
pub async fn load(files: &TlsFiles) -> Result<RustlsConfig, TlsError> {
    RustlsConfig::from_pem_file(&files.cert, &files.key).await.map_err(|source| TlsError {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    })
}

/// Reads them again whenever one changes, for as long as it is polled.
pub async fn follow(files: &TlsFiles, config: RustlsConfig) {
    let mut known = changed_at(files);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed_at(files);
        if now == known {
            continue;
        }
        match config.reload_from_pem_file(&files.cert, &files.key).await {
            Ok(()) => tracing::info!(cert = %files.cert.display(), "a new certificate is in use"),
            Err(error) => {
                tracing::error!(%error, cert = %files.cert.display(), "a new certificate cannot be used; the last one stays");
                // Half a renewal is seen on disk for a moment: the next look tries again.
                continue;
            }
        }
        known = now;
    }
}

fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    let of = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [of(&files.cert), of(&files.key)]
}
