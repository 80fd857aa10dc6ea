//! Traefik: as a proxy that only passes on; and wanting a key's header, with a rate for each value of it. It has no look-up of a
//! key among many: this is less than the gateway does.

use anyhow::Result;

use super::{KEPT_CONNECTIONS, NO_LIMIT, Proxy, Server, Site, brought};
use crate::rows::Policy;

pub(super) async fn proxy(mut server: Server<'_>, site: &Site<'_>, policy: Policy) -> Result<Proxy> {
    let (port, upstream) = (server.port, site.upstream);
    let (rule, middlewares, rate) = match policy {
        Policy::Bare => ("PathPrefix(`/`)", "", String::new()),
        Policy::On => (
            "HeaderRegexp(`X-Api-Key`, `.+`)",
            "middlewares = [\"rate\"]\n",
            format!(
                "[http.middlewares.rate.rateLimit]\naverage = {NO_LIMIT}\nburst = {NO_LIMIT}\n\
                 [http.middlewares.rate.rateLimit.sourceCriterion]\nrequestHeaderName = \"X-Api-Key\"\n"
            ),
        ),
    };
    let tls = site.tls.as_ref().map(|tls| {
        format!(
            "[http.routers.calls.tls]\n[tls.options.default]\nminVersion = \"VersionTLS13\"\n[tls.stores.default.defaultCertificate]\n\
             certFile = \"{}\"\nkeyFile = \"{}\"\n",
            tls.cert.display(),
            tls.key.display()
        )
    });
    let calls = format!(
        "[http.routers.calls]\nrule = \"{rule}\"\nservice = \"vendor\"\n{middlewares}{}\
         [[http.services.vendor.loadBalancer.servers]]\nurl = \"http://{upstream}\"\n{rate}",
        tls.unwrap_or_default()
    );
    let calls = server.write("calls.toml", &calls)?;
    let process = format!(
        "[entryPoints.calls]\naddress = \"127.0.0.1:{port}\"\n\
         [providers.file]\nfilename = \"{}\"\n\
         [serversTransport]\nmaxIdleConnsPerHost = {KEPT_CONNECTIONS}\n\
         [global]\ncheckNewVersion = false\nsendAnonymousUsage = false\n\
         [log]\nlevel = \"ERROR\"\n",
        calls.display()
    );
    let config = server.write("traefik.toml", &process)?;
    let program = server.on_core(&brought("TRAEFIK")?).args([format!("--configfile={}", config.display())]);
    server.start(&program.env("GOMAXPROCS", "1")).await
}
