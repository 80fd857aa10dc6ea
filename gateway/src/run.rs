//! A gateway that runs by itself: what it is made of, from the settings. Behind `apiclay gateway` and `apiclay-gateway`.

use std::sync::Arc;

use anyhow::Context as _;
use apiclay_config::admin;
use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::process::stop_signal;
use apiclay_config::seal::MasterKey;
use apiclay_config::settings::Settings;
use secrecy::SecretString;

use crate::serve::{Identity, Parts, start};

/// Its folder in the data folder.
pub const FOLDER: &str = "gateway";

/// Runs until the process is told to stop.
///
/// # Errors
/// Why it does not start.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    // Without the key, a configuration with any vendor's secret in it is refused.
    let key_file = settings.master_key_file.clone().unwrap_or_else(|| settings.data_dir.join("master.key"));
    let master_key = if key_file.exists() { Some(Arc::new(MasterKey::load(&key_file)?)) } else { None };
    let identity = identity(&settings)?;
    let egress = settings.egress(Vec::new());
    let running = start(parts(&settings, identity, master_key, egress)).await?;
    tracing::info!(part = "gateway", address = %running.address, "listening");
    admin::start(settings.admin_listen, vec![running.observed()]).await.context("APICLAY_ADMIN_LISTEN")?;
    stop_signal().await?;
    running.drain().await;
    Ok(())
}

/// The parts of a gateway with these settings.
#[must_use]
pub fn parts(
    settings: &Settings,
    identity: Identity,
    master_key: Option<Arc<MasterKey>>,
    egress: Egress,
) -> Parts {
    Parts {
        settings: settings.gateway.clone(),
        folder: settings.data_dir.join(FOLDER),
        redis_url: settings.redis_url.clone(),
        master_key,
        egress,
        identity,
        clock: Clock::System,
    }
}

fn identity(settings: &Settings) -> anyhow::Result<Identity> {
    let id = settings
        .gateway
        .id
        .clone()
        .context("set APICLAY_GATEWAY_ID to the id that `apiclay gateway enrol` printed")?;
    let file = settings.gateway.token_file.as_ref();
    let file = file.context(
        "set APICLAY_GATEWAY_TOKEN_FILE to a file with the token that `apiclay gateway enrol` printed",
    )?;
    let token = std::fs::read_to_string(file)
        .with_context(|| format!("the token file {} cannot be read", file.display()))?;
    let token = token.trim().trim_start_matches("token=").to_owned();
    Ok(Identity { id, token: SecretString::from(token), control_url: settings.gateway.control_url.clone() })
}
