//! HAProxy: as a proxy that only passes on; and with the keys in a map and a rate for each in a stick table.

use std::fs;

use anyhow::Result;
use apiclay_tests::Certificate;

use super::{NO_LIMIT, Proxy, Server, Site, debian};
use crate::rows::Policy;

/// Percent of its descriptors up to which it keeps idle upstream connections: as it comes it keeps none from a fifth on.
const KEEPS_TO_PERCENT: u32 = 90;

pub(super) async fn proxy(mut server: Server<'_>, site: &Site<'_>, policy: Policy) -> Result<Proxy> {
    let (port, upstream) = (server.port, site.upstream);
    let mut tls = String::new();
    if let Some(Certificate { cert, key }) = &site.tls {
        // It wants both in one file.
        let both = server.folder.join("both.pem");
        fs::write(&both, fs::read_to_string(cert)? + &fs::read_to_string(key)?)?;
        tls = format!(" ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3", both.display());
    }
    let policy = match policy {
        Policy::Bare => String::new(),
        Policy::On => {
            let map: String = site.market.keys.iter().map(|key| format!("{key} buyer\n")).collect();
            let file = server.folder.join("keys.map");
            fs::write(&file, map)?;
            format!(
                "  http-request set-var(txn.buyer) req.hdr(x-api-key),map_str({})\n\
                 \x20 http-request deny deny_status 401 unless {{ var(txn.buyer) -m found }}\n\
                 \x20 stick-table type string len 64 size 1m expire 10m store http_req_rate(1s)\n\
                 \x20 http-request track-sc0 req.hdr(x-api-key)\n\
                 \x20 http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {NO_LIMIT} }}\n",
                file.display()
            )
        }
    };
    let text = format!(
        "global\n  nbthread 1\n  maxconn 8192\n  tune.pool-low-fd-ratio {KEEPS_TO_PERCENT}\n  tune.pool-high-fd-ratio {KEEPS_TO_PERCENT}\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend calls\n  bind 127.0.0.1:{port}{tls}\n{policy}  default_backend vendor\n\
         backend vendor\n  server vendor {upstream}\n"
    );
    let config = server.write("haproxy.cfg", &text)?;
    let program = server.on_core(&debian("haproxy")).args(["-db", "-f"]).args([&config]);
    server.start(&program).await
}
