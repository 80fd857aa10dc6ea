//! Envoy: as a proxy that only passes on; and refusing calls without a key's header, with its local rate limit. It has no
//! look-up of a key among many, nor a rate for each: this is less than the gateway does.

use anyhow::Result;
use serde_json::{Value, json};

use super::{KEPT_CONNECTIONS, NO_LIMIT, Proxy, Server, Site, brought};
use crate::rows::Policy;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

pub(super) async fn proxy(mut server: Server<'_>, site: &Site<'_>, policy: Policy) -> Result<Proxy> {
    let pass = json!({ "cluster": "vendor" });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router") },
    });
    let (routes, filters) = match policy {
        Policy::Bare => (json!([{ "match": { "prefix": "/" }, "route": pass }]), json!([router])),
        Policy::On => {
            let with_key =
                json!({ "prefix": "/", "headers": [{ "name": "x-api-key", "present_match": true }] });
            let refused = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 401 } });
            (json!([{ "match": with_key, "route": pass }, refused]), json!([rate(), router]))
        }
    };
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "calls",
            "http_filters": filters,
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        },
    });
    let mut chain = json!({ "filters": [manager] });
    if let Some(tls) = &site.tls {
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "tls_certificates": [{
                        "certificate_chain": { "filename": tls.cert },
                        "private_key": { "filename": tls.key },
                    }],
                },
            },
        });
    }
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoint = json!({ "endpoint": { "address": address(site.upstream.port()) } });
    let most = json!({
        "max_connections": KEPT_CONNECTIONS, "max_requests": KEPT_CONNECTIONS, "max_pending_requests": KEPT_CONNECTIONS,
    });
    let configuration = json!({ "static_resources": {
        "listeners": [{ "name": "calls", "address": address(server.port), "filter_chains": [chain] }],
        "clusters": [{
            "name": "vendor",
            "type": "STATIC",
            "circuit_breakers": { "thresholds": [most] },
            "load_assignment": { "cluster_name": "vendor", "endpoints": [{ "lb_endpoints": [endpoint] }] },
        }],
    } });
    let config = server.write("envoy.json", &serde_json::to_string_pretty(&configuration)?)?;
    let program = server.on_core(&brought("ENVOY")?).args(["--concurrency", "1", "--disable-hot-restart"]);
    let program = program.args(["--log-level", "error", "-c"]).args([&config]);
    server.start(&program).await
}

/// A limit that nothing reaches.
fn rate() -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.http.local_ratelimit.v3.LocalRateLimit"),
            "stat_prefix": "rate",
            "token_bucket": { "max_tokens": NO_LIMIT, "tokens_per_fill": NO_LIMIT, "fill_interval": "1s" },
            "filter_enabled": always,
            "filter_enforced": always,
        },
    })
}
