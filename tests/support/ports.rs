//! Free ports that stay ours.
//!
//! Tests are processes that run side by side, and a server that was killed comes back on its port. So ports are taken
//! below the range from which the kernel gives local ports to outgoing connections, and each is claimed with a locked
//! file that the kernel releases when the test process ends, however it ends.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    sync::Mutex,
};

use anyhow::{Context, Result, bail};

const FIRST_PORT: u16 = 12_000;
const PORTS_MAX: u16 = 20_000;

/// The claims of this process, held until it ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A TCP port on loopback that nobody listens on and no other test process will be given while this one lives.
///
/// # Errors
/// When the claims cannot be written, or every port of the range is taken.
pub fn free_port() -> Result<u16> {
    let folder = std::env::temp_dir().join("apiclay-test-ports");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut claims = CLAIMS.lock().map_err(|_| anyhow::anyhow!("a test panicked while it took a port"))?;
    // Neighbouring processes start far from each other, so that they seldom try the same ports.
    let start = std::process::id().wrapping_mul(7_919);
    for step in 0..u32::from(PORTS_MAX) {
        let offset = start.wrapping_add(step) % u32::from(PORTS_MAX);
        let port = FIRST_PORT + u16::try_from(offset).context("offset is below PORTS_MAX")?;
        let path = folder.join(port.to_string());
        let claim = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let claim = claim.with_context(|| format!("opening {}", path.display()))?;
        if claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            claims.push(claim);
            return Ok(port);
        }
    }
    bail!("every port from {FIRST_PORT} on is taken, {PORTS_MAX} in all");
}
