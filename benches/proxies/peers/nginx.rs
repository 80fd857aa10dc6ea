//! nginx: as the vendor's server, and as a proxy that only passes on.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{KEPT_CONNECTIONS, LOAD_CORE, NO_LIMIT, Proxy, Server, Site, debian};
use crate::market::LISTING_PATH;
use crate::rows::{BASE, LARGE, SMALL_BODY};

/// The vendor's server: the same bodies below the listing's path and without it, as only the gateway takes that away.
///
/// # Errors
/// When it does not start.
pub async fn upstream(folder: &Path) -> Result<Proxy> {
    let server = Server::new("upstream", LOAD_CORE, folder)?;
    let mut places = String::new();
    for below in ["", LISTING_PATH] {
        // Writing to a String cannot fail.
        let _ = writeln!(places, "location = {below}{} {{ return 200 '{SMALL_BODY}'; }}", BASE.body.path);
        for body in LARGE {
            let file = server.folder.join(body.path.trim_start_matches('/'));
            std::fs::write(&file, "x".repeat(body.bytes)).context("writing a body")?;
            let _ = writeln!(places, "location = {below}{} {{ alias {}; }}", body.path, file.display());
        }
    }
    let port = server.port;
    let http =
        format!("open_file_cache max=16; sendfile on;\nserver {{ listen 127.0.0.1:{port};\n{places}}}");
    nginx(server, &http).await
}

/// nginx as a proxy.
pub(super) async fn proxy(server: Server<'_>, site: &Site<'_>, buffered: bool) -> Result<Proxy> {
    let (port, upstream) = (server.port, site.upstream);
    let listen = match &site.tls {
        None => format!("listen 127.0.0.1:{port};"),
        Some(tls) => format!(
            "listen 127.0.0.1:{port} ssl http2; ssl_protocols TLSv1.3;\n\
             ssl_certificate {}; ssl_certificate_key {};",
            tls.cert.display(),
            tls.key.display()
        ),
    };
    // As much at a time as the gateway reads: unbuffered it would be 4 KiB.
    let buffering =
        if buffered { "" } else { "proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 4 16k;" };
    let http = format!(
        "upstream vendor {{ server {upstream}; keepalive {KEPT_CONNECTIONS}; keepalive_requests {NO_LIMIT}; }}\n\
         server {{ {listen}\nlocation / {{\n\
             proxy_pass http://vendor; proxy_http_version 1.1; proxy_set_header Connection \"\"; {buffering} }} }}"
    );
    nginx(server, &http).await
}

async fn nginx(mut server: Server<'_>, http: &str) -> Result<Proxy> {
    let user = if is_root() { "user root root;" } else { "" };
    let text = format!(
        "daemon off; {user} worker_processes 1; pid nginx.pid; error_log error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; keepalive_requests {NO_LIMIT};\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{http}\n}}\n"
    );
    let config = server.write("nginx.conf", &text)?;
    let program = server.on_core(&debian("nginx")).args(["-p"]).args([&server.folder]);
    let program = program.args(["-e", "error.log", "-c"]).args([&config]);
    server.start(&program).await
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
