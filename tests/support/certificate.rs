//! A certificate of a server's own, for localhost and a few days, as a test makes one. Nobody has reason to trust it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Its files, PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`, as `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// When openssl is missing or fails.
    pub fn make(folder: &Path) -> Result<Self> {
        let made = Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let output = Command::new("openssl")
            .args(kind)
            .args(["-days", "2", "-subj", "/CN=localhost", "-keyout"])
            .arg(&made.key)
            .arg("-out")
            .arg(&made.cert)
            .output()
            .context("running openssl")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(made)
    }
}
