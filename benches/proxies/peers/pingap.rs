//! pingap, which is on Pingora too: as a proxy that only passes on; and with a rate for each value of a key's header. Its own list of
//! keys is compared key by key, so that none is given to it: this is less than the gateway does.

use anyhow::Result;

use super::{KEPT_CONNECTIONS, NO_LIMIT, Proxy, Server, Site, brought};
use crate::rows::Policy;

pub(super) async fn proxy(mut server: Server<'_>, site: &Site<'_>, policy: Policy) -> Result<Proxy> {
    let (port, upstream, folder) = (server.port, site.upstream, server.folder.display());
    let (plugins, rate) = match policy {
        Policy::Bare => ("", String::new()),
        Policy::On => (
            "plugins = [\"rate\"]\n",
            format!(
                "[plugins.rate]\ncategory = \"limit\"\ntype = \"rate\"\ntag = \"header\"\nkey = \"x-api-key\"\n\
                 max = {NO_LIMIT}\ninterval = \"1s\"\n"
            ),
        ),
    };
    let (secure, certificate) = match &site.tls {
        None => ("", String::new()),
        Some(tls) => (
            "global_certificates = true\nenabled_h2 = true\ntls_min_version = \"tls1.3\"\n",
            format!(
                "[certificates.calls]\ndomains = \"localhost\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\nis_default = true\n",
                tls.cert.display(),
                tls.key.display()
            ),
        ),
    };
    let text = format!(
        "[basic]\nthreads = 1\npid_file = \"{folder}/pid\"\nupgrade_sock = \"{folder}/upgrade\"\n\
         upstream_keepalive_pool_size = {KEPT_CONNECTIONS}\n\
         [servers.calls]\naddr = \"127.0.0.1:{port}\"\nlocations = [\"all\"]\n{secure}\
         [locations.all]\nupstream = \"vendor\"\npath = \"/\"\n{plugins}\
         [upstreams.vendor]\naddrs = [\"{upstream}\"]\n{rate}{certificate}"
    );
    let config = server.write("pingap.toml", &text)?;
    let program = server.on_core(&brought("PINGAP")?).args(["-c"]).args([&config]);
    server.start(&program).await
}
