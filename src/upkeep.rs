//! Looking after an installation: `check`, `backup`, `restore`.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use apiclay_config::settings::{Settings, SettingsError};
use apiclay_control_plane::run::{STORE_FILE, master_key_file, open_store};
use apiclay_gateway::counters::{Counters as _, redis::RedisCounters};
use secrecy::ExposeSecret as _;

/// Named in backups beside the store, where the key is in the data folder.
const MASTER_KEY_FILE: &str = "master.key";

/// `apiclay check`: every finding, with its remedy.
///
/// # Errors
/// When there was a finding.
pub async fn check(settings: Result<Settings, SettingsError>) -> anyhow::Result<()> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(wrong) => {
            println!("settings: {wrong}");
            bail!("the settings need mending");
        }
    };
    println!("settings: ok");
    let mut findings = 0;
    let mut tell = |what: &str, outcome: Result<(), String>| match outcome {
        Ok(()) => println!("{what}: ok"),
        Err(remedy) => {
            findings += 1;
            println!("{what}: {remedy}");
        }
    };
    let store = match open_store(&settings).await {
        Ok(store) => store.ping().await.map_err(|e| format!("{e}")),
        Err(wrong) => Err(format!("{wrong:#}")),
    };
    tell(if settings.store.is_some() { "MongoDB" } else { "embedded store" }, store);
    if let Some(url) = &settings.redis_url {
        let ping = match RedisCounters::new(url.expose_secret(), false) {
            Ok(redis) => redis.ping().await,
            Err(wrong) => Err(wrong),
        };
        tell("Redis", ping.map_err(|e| format!("{e}; see that REDIS_URL is right and Redis runs")));
    }
    for (what, address) in [
        ("APICLAY_CONTROL_LISTEN", settings.control.listen),
        ("APICLAY_GATEWAY_LISTEN", settings.gateway.listen),
        ("APICLAY_ADMIN_LISTEN", settings.admin_listen),
    ] {
        let bound = std::net::TcpListener::bind(address);
        tell(
            what,
            bound
                .map(drop)
                .map_err(|e| format!("{address} cannot be listened on ({e}); is it served already?")),
        );
    }
    let key = master_key_file(&settings);
    let usable = if key.exists() { apiclay_config::seal::MasterKey::load(&key).map(drop) } else { Ok(()) };
    tell("master key", usable.map_err(|e| e.to_string()));
    ensure!(findings == 0, "{findings} finding(s) above");
    Ok(())
}

/// `apiclay backup`: a copy of the embedded store, consistent also while it is served, and of the master key.
///
/// # Errors
/// When the folder is there already, or cannot be written.
pub async fn backup(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    if settings.store.is_some() {
        bail!("the store is MongoDB: back it up with mongodump, and keep a copy of the master key");
    }
    let source = settings.data_dir.join(STORE_FILE);
    ensure!(source.exists(), "there is no store in {}", settings.data_dir.display());
    std::fs::create_dir(folder).with_context(|| format!("{} must be a new folder", folder.display()))?;
    open_store(settings).await?.backup(&folder.join(STORE_FILE)).await?;
    let key = master_key_file(settings);
    if key.parent() == Some(settings.data_dir.as_path()) && key.exists() {
        std::fs::copy(&key, folder.join(MASTER_KEY_FILE)).context("the master key could not be copied")?;
    }
    println!("backed up to {}", folder.display());
    Ok(())
}

/// `apiclay restore`: puts a backup in place of an empty data folder. Gateways send again what the backup lacks.
///
/// # Errors
/// When the data folder has a store, or the backup none.
pub fn restore(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    let target = settings.data_dir.join(STORE_FILE);
    ensure!(!target.exists(), "{} has a store already; move it away first", settings.data_dir.display());
    ensure!(folder.join(STORE_FILE).exists(), "{} is no backup of ours", folder.display());
    std::fs::create_dir_all(&settings.data_dir)?;
    let key = folder.join(MASTER_KEY_FILE);
    if key.exists() && !master_key_file(settings).exists() {
        std::fs::copy(&key, master_key_file(settings)).context("the master key could not be copied")?;
    }
    std::fs::copy(folder.join(STORE_FILE), &target).context("the store could not be copied")?;
    println!("restored to {}", settings.data_dir.display());
    Ok(())
}
