//! Looking after an installation: `check`, `backup`, `restore`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use apiclay_config::settings::{Settings, SettingsError};
use apiclay_control_plane::run::{STORE_FILE, master_key_file, open_store};
use apiclay_gateway::counters::copy::copy_embedded;
use apiclay_gateway::counters::embedded::FILE as COUNTERS_FILE;
use apiclay_gateway::counters::{Counters as _, CountersError, redis::RedisCounters};
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
        let ping = match RedisCounters::new(url.expose_secret()) {
            Ok(redis) => redis.ping().await,
            Err(wrong) => Err(wrong),
        };
        // Nothing was counted in it yet: the first gateway that starts begins there.
        let ping = match ping {
            Err(CountersError::Generation { generation: 0, .. }) => Ok(()),
            other => other,
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

/// `apiclay backup`: the embedded store, consistent also while it is served, then the gateway's embedded counters, then the
/// master key. The counters come after the store: restored, they know of everything that the store says was used.
///
/// # Errors
/// When the folder is there already, or cannot be written.
pub async fn backup(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    if settings.store.is_some() {
        bail!("the store is MongoDB: back it up with mongodump, and keep a copy of the master key");
    }
    let source = settings.data_dir.join(STORE_FILE);
    ensure!(source.exists(), "there is no store in {}", settings.data_dir.display());
    make_private(folder, false).with_context(|| format!("{} must be a new folder", folder.display()))?;
    open_store(settings).await?.backup(&folder.join(STORE_FILE)).await?;
    copy_embedded(&gateway_folder(settings), folder)?;
    let key = master_key_file(settings);
    if key.parent() == Some(settings.data_dir.as_path()) && key.exists() {
        std::fs::copy(&key, folder.join(MASTER_KEY_FILE)).context("the master key could not be copied")?;
    }
    println!("backed up to {}", folder.display());
    Ok(())
}

/// `apiclay restore`: puts a backup in place of an empty data folder. The store comes last: a folder that a restore left
/// half filled has none, and is told so.
///
/// # Errors
/// When the data folder has anything of another life, or the backup no store.
pub fn restore(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    let data = &settings.data_dir;
    let target = data.join(STORE_FILE);
    let gateway = gateway_folder(settings);
    ensure!(!target.exists(), "{} has a store already; move it away first", data.display());
    // The log of a store that is gone, or a gateway's records of another history, would be taken for the backup's own.
    let log = data.join(format!("{STORE_FILE}-wal"));
    for left in [&gateway, &log] {
        ensure!(!left.exists(), "{} is of another life of this folder; move it away first", left.display());
    }
    ensure!(folder.join(STORE_FILE).exists(), "{} is no backup of ours", folder.display());
    make_private(data, true).with_context(|| format!("{} cannot be made", data.display()))?;
    let key = folder.join(MASTER_KEY_FILE);
    if key.exists() && !master_key_file(settings).exists() {
        std::fs::copy(&key, master_key_file(settings)).context("the master key could not be copied")?;
    }
    let counters = folder.join(COUNTERS_FILE);
    if counters.exists() {
        make_private(&gateway, true)?;
        put(&counters, &gateway.join(COUNTERS_FILE)).context("the counters could not be copied")?;
    }
    put(&folder.join(STORE_FILE), &target).context("the store could not be copied")?;
    println!("restored to {}", data.display());
    Ok(())
}

/// Copies a file so that it has its name only once it is whole and on the disk.
fn put(from: &Path, to: &Path) -> std::io::Result<()> {
    let partial = to.with_added_extension("partial");
    std::fs::copy(from, &partial)?;
    std::fs::File::open(&partial)?.sync_all()?;
    std::fs::rename(&partial, to)?;
    std::fs::File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes a folder that only its owner enters: the master key may be in it. With `or_have`, also where it is there already.
fn make_private(folder: &Path, or_have: bool) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(or_have).mode(0o700).create(folder)
}

fn gateway_folder(settings: &Settings) -> PathBuf {
    settings.data_dir.join(apiclay_gateway::FOLDER)
}
