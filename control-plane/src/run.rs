//! A control plane that runs: what it is made of, from the settings, and its life from start to stop. Behind `apiclay
//! control-plane`, `apiclay-control-plane`, and, beside a gateway, `apiclay serve`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use apiclay_config::admin::{self, Observed};
use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::process::{in_a_line, stop_signal};
use apiclay_config::seal::MasterKey;
use apiclay_config::settings::Settings;
use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use crate::accounts::admin::make_setup_link;
use crate::admin::everywhere::allow_app;
use crate::app::{App, Given};
use crate::payments::Taking;
use crate::store::Store;

/// The embedded store's file in the data folder.
pub const STORE_FILE: &str = "store.sqlite";
/// The master key's file in the data folder.
const MASTER_KEY_FILE: &str = "master.key";

/// Runs until the process is told to stop.
///
/// # Errors
/// Why it does not start.
pub async fn run(mut settings: Settings) -> anyhow::Result<()> {
    let listener = bind(&settings)?;
    settings.bound(Some(listener.local_addr()?), None);
    let app =
        app(&settings, open_store(&settings).await?, master_key(&settings)?, settings.egress(Vec::new()))
            .await?;
    admin::start(settings.admin_listen, vec![observed(&app)]).await.context("APICLAY_ADMIN_LISTEN")?;
    tell_setup_link(&app).await?;
    serve(app, &settings, listener, async {
        let _ = stop_signal().await;
    })
    .await
}

/// Takes the address, so that it is known before anything is made that names it.
///
/// # Errors
/// When it is taken.
pub fn bind(settings: &Settings) -> anyhow::Result<TcpListener> {
    let address = settings.control.listen;
    TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; see that nothing else does, or set APICLAY_CONTROL_LISTEN")
    })
}

/// The store that the settings name.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    Ok(match &settings.store {
        Some(uri) => Store::open_mongodb(uri.expose_secret()).await?,
        None => {
            make_data_dir(settings)?;
            Store::open_embedded(&settings.data_dir.join(STORE_FILE)).await?
        }
    })
}

/// The master key; made at first start, and said so.
///
/// # Errors
/// When its file cannot be used.
pub fn master_key(settings: &Settings) -> anyhow::Result<Arc<MasterKey>> {
    make_data_dir(settings)?;
    let path = master_key_file(settings);
    let (key, made) = MasterKey::load_or_create(&path)?;
    if made {
        tracing::warn!(path = %path.display(), "made the master key; keep a copy where no backup of the data is");
    }
    Ok(Arc::new(key))
}

/// Where the master key is.
#[must_use]
pub fn master_key_file(settings: &Settings) -> PathBuf {
    settings.master_key_file.clone().unwrap_or_else(|| settings.data_dir.join(MASTER_KEY_FILE))
}

fn make_data_dir(settings: &Settings) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = &settings.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made; set APICLAY_DATA_DIR", folder.display()))
}

/// What handlers share.
///
/// # Errors
/// When the store or the signing key cannot be used.
pub async fn app(
    settings: &Settings,
    store: Store,
    master_key: Arc<MasterKey>,
    egress: Egress,
) -> anyhow::Result<App> {
    let given = Given {
        store,
        clock: Clock::System,
        app_url: settings.app_url.clone(),
        demo: settings.demo,
        master_key,
        egress: Arc::new(egress),
        gateway_url: settings.public_gateway_url.clone(),
        trusted_proxies: settings.control.trusted_proxies.clone(),
        shared_counters: settings.redis_url.is_some(),
        payments: Taking::from(settings).await.context("payments cannot be taken")?,
    };
    let app = App::new(given).await?;
    allow_app(&app.store, &app.push, &app.app_url).await?;
    Ok(app)
}

/// Prints, once a start, the link by which a marketplace without an admin gets one.
///
/// # Errors
/// When the store does not answer.
pub async fn tell_setup_link(app: &App) -> anyhow::Result<()> {
    if let Some(token) = make_setup_link(&app.store, app.clock.now()).await? {
        let base = app.app_url.as_str().trim_end_matches('/');
        eprintln!(
            "\nNo admin yet. Open this link within 24 hours to make one:\n  {base}/setup?token={}",
            token.expose_secret()
        );
        eprintln!("or run: apiclay admin create --email E --username U\n");
    }
    Ok(())
}

/// Answers on `listener` until `shutdown`.
///
/// # Errors
/// When the listener fails, or the certificate cannot be used.
pub async fn serve(
    app: App,
    settings: &Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tracing::info!(part = "control-plane", address = %listener.local_addr()?, "listening");
    Ok(crate::serve::serve(app, listener, settings.control.tls.clone(), shutdown).await?)
}

/// What operators see of it.
#[must_use]
pub fn observed(app: &App) -> Arc<dyn Observed> {
    Arc::new(app.clone())
}

#[async_trait]
impl Observed for App {
    fn metrics(&self) -> String {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        self.store.ping().await.map_err(|error| in_a_line(&error))
    }
}
