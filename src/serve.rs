//! `apiclay serve`: both planes in one process, one data folder, nothing else to install. The gateway is enrolled anew at
//! each start, so that its token is nowhere on disk.

use std::net::SocketAddr;

use anyhow::Context as _;
use apiclay_config::admin;
use apiclay_config::clock::Clock;
use apiclay_config::process::stop_signal;
use apiclay_config::settings::Settings;
use apiclay_control_plane::admin::gateways;
use apiclay_control_plane::run;
use apiclay_gateway::Identity;
use tokio::sync::watch;

use crate::demo;

/// The gateway of this process.
const GATEWAY_ID: &str = "local";

/// Runs both planes until the process is told to stop.
///
/// # Errors
/// Why they do not start.
pub async fn serve(mut settings: Settings) -> anyhow::Result<()> {
    let listener = run::bind(&settings)?;
    settings.bound(Some(listener.local_addr()?), None);
    let store = run::open_store(&settings).await?;
    let master_key = run::master_key(&settings)?;
    let upstream = if settings.demo { Some(demo::start_upstream().await?) } else { None };
    let egress = settings.egress(upstream.into_iter().collect());

    apiclay_control_plane::admin::register(&store).await?;
    let (id, token) = gateways::enrol(&store, GATEWAY_ID, Clock::System.now()).await?;
    let identity = Identity { id, token, control_url: settings.gateway.control_url.clone() };
    let parts = apiclay_gateway::parts(&settings, identity, Some(master_key.clone()), egress.clone());
    let gateway = apiclay_gateway::start(parts).await?;
    settings.bound(None, Some(gateway.address));
    tracing::info!(part = "gateway", address = %gateway.address, "listening");

    let app = run::app(&settings, store, master_key, egress).await?;
    let planes = vec![gateway.observed(), run::observed(&app)];
    admin::start(settings.admin_listen, planes).await.context("APICLAY_ADMIN_LISTEN")?;
    if !settings.demo {
        run::tell_setup_link(&app).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let control = run::serve(app.clone(), &settings, listener, until(stopped));
    let life = live(&settings, app, upstream, gateway, stop);
    let (served, lived) = tokio::join!(control, life);
    served.and(lived)
}

/// What happens beside serving: the demo is filled, the signal awaited, the gateway drained while the control plane can
/// still hear it, and the control plane stopped last.
async fn live(
    settings: &Settings,
    app: apiclay_control_plane::app::App,
    upstream: Option<SocketAddr>,
    gateway: apiclay_gateway::Running,
    stop: watch::Sender<bool>,
) -> anyhow::Result<()> {
    if let Some(upstream) = upstream {
        demo::fill(settings, &app.store, upstream).await.context("the demo could not be filled")?;
    }
    stop_signal().await?;
    tracing::info!("stopping");
    gateway.drain().await;
    stop.send_replace(true);
    Ok(())
}

async fn until(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|so| *so).await;
}
