//! The gateway, with a plan of certain limits, its access log on or off. It starts from its disk: no control plane runs.

use anyhow::{Context as _, Result};
use apiclay_config::snapshot::Window;
use apiclay_tests::free_port;

use super::{Gateway, Proxy, Server, Site, loopback};

pub(super) async fn start(
    mut server: Server<'_>,
    site: &Site<'_>,
    limits: &[Window],
    access_log: bool,
) -> Result<Proxy> {
    let data = server.folder.join("data");
    site.market.write(&data, limits)?;
    let admin = loopback(free_port()?);
    let token = server.folder.join("token");
    std::fs::write(&token, "token=of-no-use-here\n").context("writing the token")?;
    let mut settings = vec![
        ("APICLAY_DATA_DIR", data.display().to_string()),
        ("APICLAY_GATEWAY_LISTEN", loopback(server.port).to_string()),
        ("APICLAY_ADMIN_LISTEN", admin.to_string()),
        ("APICLAY_GATEWAY_ID", "bench".to_owned()),
        ("APICLAY_GATEWAY_TOKEN_FILE", token.display().to_string()),
        // Nobody listens there: it serves from its disk, and keeps its usage.
        ("APICLAY_CONTROL_URL", format!("http://{}", loopback(free_port()?))),
        ("APICLAY_EGRESS_ALLOW", "127.0.0.0/8".to_owned()),
        ("APICLAY_GATEWAY_THREADS", "1".to_owned()),
        ("APICLAY_LOG", format!("error,apiclay::access={}", if access_log { "info" } else { "off" })),
    ];
    if let Some(tls) = &site.tls {
        settings.push(("APICLAY_GATEWAY_TLS_CERT_FILE", tls.cert.display().to_string()));
        settings.push(("APICLAY_GATEWAY_TLS_KEY_FILE", tls.key.display().to_string()));
    }
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let limits: Vec<String> = limits.iter().map(|window| format!("{window:?}")).collect();
    server.configuration = format!("{}\nlimits of the plan: {limits:?}\n", settings.join("\n"));
    // An empty environment: a REDIS_URL of the user's would be measured instead.
    let program =
        server.on_core("env".as_ref()).args(["-i"]).args(settings).args(&site.under).args([site.binary]);
    let mut proxy = server.start(&program).await?;
    proxy.gateway = Some(Gateway { admin, data, answered: 0, left_max: 0 });
    Ok(proxy)
}
