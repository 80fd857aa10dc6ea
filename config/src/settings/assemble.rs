//! Asks for each setting by its key, checks what only two together can show, and makes [`Settings`] of them all, or of
//! none. Every value is asked for before the first is needed, so that all faults are found. Next: the mains.

use std::path::PathBuf;

use url::Url;

use super::load::Reader;
use super::table::Kind;
use super::{
    ControlSettings, Derived, GatewaySettings, LogFormat, LogSettings, RazorpayFiles, Settings, TlsFiles,
    parse, url_of,
};

/// Where the machine does not tell how many cores it has.
const THREADS_FALLBACK: usize = 1;

/// A newcomer looks for the addresses and the line to paste, not for each call that fills the demo.
const DEMO_LOG_FILTER: &str =
    "info,apiclay_control_plane::http=warn,apiclay::access=warn,pingora_core=warn,pingora_proxy=warn";

impl Reader {
    /// Nothing where there was a fault.
    pub(super) fn assemble(&mut self, demo: bool) -> Option<Settings> {
        let data_dir = self.path("data_dir");
        let store = self.read("mongodb_uri", parse::secret);
        let redis_url = self.read("redis_url", parse::secret);
        let admin_listen = self.read("admin_listen", |_, text| parse::address(text));
        let master_key_file = self.path("master_key_file");
        let egress_allow = self.read("egress_allow", |_, text| parse::networks(text));
        let razorpay = self.razorpay();
        let log = self.log(demo);
        let control = self.control();
        let app_url = self.url("app_url");
        let public_gateway_url = self.url("gateway.url");
        let control_url = self.url("gateway.control_url");

        let derived = Derived {
            app_url: app_url.is_none(),
            control_url: control_url.is_none(),
            public_gateway_url: public_gateway_url.is_none(),
        };
        let by_control = control.as_ref().map(|c| url_of(c.listen, c.tls.is_some()));
        let app_url = app_url.or_else(|| by_control.clone());
        if let Some(url) = &app_url
            && url.scheme() == "http"
            && !parse::is_loopback(url)
            && !demo
        {
            let remedy = "give APP_URL with https, and TLS to control.listen or to a proxy before it";
            self.fault(
                self.shown("app_url"),
                "is plain http beyond this machine, where sessions could be stolen",
                remedy,
            );
        }
        let gateway = self.gateway(control_url.or(by_control));
        let by_gateway = gateway.as_ref().map(|g| url_of(g.listen, g.tls.is_some()));

        Some(Settings {
            app_url: app_url?,
            data_dir: data_dir?,
            demo,
            store,
            redis_url,
            razorpay,
            control: control?,
            gateway: gateway?,
            admin_listen: admin_listen?,
            master_key_file,
            egress_allow: egress_allow?,
            log: log?,
            public_gateway_url: public_gateway_url.or(by_gateway)?,
            derived,
        })
    }

    fn control(&mut self) -> Option<ControlSettings> {
        let listen = self.read("control.listen", |_, text| parse::address(text));
        let tls = self.tls("control.tls_cert_file", "control.tls_key_file");
        let trusted_proxies = self.read("control.trusted_proxies", |_, text| parse::networks(text));
        Some(ControlSettings { listen: listen?, tls, trusted_proxies: trusted_proxies? })
    }

    fn gateway(&mut self, control_url: Option<Url>) -> Option<GatewaySettings> {
        let listen = self.read("gateway.listen", |_, text| parse::address(text));
        let tls = self.tls("gateway.tls_cert_file", "gateway.tls_key_file");
        let domain = self.read("gateway.domain", |_, text| parse::domain(text));
        let id = self.read("gateway.id", |_, text| parse::name(text));
        let token_file = self.path("gateway.token_file");
        let threads = self.number("gateway.threads");
        let fast_lane = self.read("gateway.fast_lane", |_, text| parse::switch(text));
        let header_read_timeout_ms = self.number("gateway.header_read_timeout_ms");
        let keepalive_timeout_ms = self.number("gateway.keepalive_timeout_ms");
        let body_max_bytes = self.number("gateway.body_max_bytes");
        let lease_wait_ms = self.number("gateway.lease_wait_ms");
        let wallet_lease_max_s = self.number("gateway.wallet_lease_max_s");
        let wallet_lease_units = self.number("gateway.wallet_lease_units");
        let spool_sync_ms = self.number("gateway.spool_sync_ms");
        let spool_max_bytes = self.number("gateway.spool_max_bytes");
        let batch_interval_ms = self.number("gateway.batch_interval_ms");
        let shutdown_grace_s = self.number("gateway.shutdown_grace_s");
        let cores = || std::thread::available_parallelism().map_or(THREADS_FALLBACK, usize::from);
        Some(GatewaySettings {
            listen: listen?,
            tls,
            domain,
            control_url: control_url?,
            id,
            token_file,
            threads: threads.and_then(|n| usize::try_from(n).ok()).unwrap_or_else(cores),
            fast_lane: fast_lane?,
            header_read_timeout_ms: header_read_timeout_ms?,
            keepalive_timeout_ms: keepalive_timeout_ms?,
            body_max_bytes: body_max_bytes?,
            lease_wait_ms: lease_wait_ms?,
            wallet_lease_max_s: wallet_lease_max_s?,
            wallet_lease_units: wallet_lease_units.and_then(|n| u32::try_from(n).ok())?,
            spool_sync_ms: spool_sync_ms?,
            spool_max_bytes: spool_max_bytes?,
            batch_interval_ms: batch_interval_ms?,
            shutdown_grace_s: shutdown_grace_s?,
        })
    }

    /// The key, its secret and the webhook's, or none of them.
    fn razorpay(&mut self) -> Option<RazorpayFiles> {
        const TOGETHER: [&str; 3] = [
            "payments.razorpay_key_id",
            "payments.razorpay_key_secret_file",
            "payments.razorpay_webhook_secret_file",
        ];
        let key_id = self.read(TOGETHER[0], |_, text| parse::name(text));
        let (key_secret, webhook_secret) = (self.path(TOGETHER[1]), self.path(TOGETHER[2]));
        let previous_webhook_secret = self.path("payments.razorpay_previous_webhook_secret_file");
        let found = [key_id.is_some(), key_secret.is_some(), webhook_secret.is_some()];
        if let Some(first) = found.iter().position(|found| *found) {
            let beside = self.shown(TOGETHER[first]);
            // One that was given and refused has its fault already.
            for missing in TOGETHER.into_iter().filter(|key| !self.is_given(key)).collect::<Vec<_>>() {
                let missing = self.shown(missing);
                self.fault(missing, format!("is missing beside {beside}"), "set all three, or none");
            }
        }
        Some(RazorpayFiles {
            key_id: key_id?,
            key_secret: key_secret?,
            webhook_secret: webhook_secret?,
            previous_webhook_secret,
        })
    }

    fn log(&mut self, demo: bool) -> Option<LogSettings> {
        let quiet = demo && !self.is_given("log.filter");
        let filter =
            self.read(
                "log.filter",
                |_, text| {
                    if quiet { Ok(DEMO_LOG_FILTER.to_owned()) } else { parse::text(text) }
                },
            );
        let format = self.read("log.format", |kind: Kind, text| {
            Ok(if parse::choice(kind, text)? == "json" { LogFormat::Json } else { LogFormat::Text })
        });
        Some(LogSettings { format: format?, filter: filter? })
    }

    /// Both files or neither: with one alone the listener would speak in the clear, or not at all.
    fn tls(&mut self, cert: &'static str, key: &'static str) -> Option<TlsFiles> {
        match (self.path(cert), self.path(key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (found, _) => {
                let (given, missing) = if found.is_some() { (cert, key) } else { (key, cert) };
                // A file that was given and refused has its fault already.
                if !self.is_given(missing) {
                    let (given, missing) = (self.shown(given), self.shown(missing));
                    self.fault(missing, format!("is missing beside {given}"), "set both, or neither");
                }
                None
            }
        }
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |_, text| parse::path(text))
    }

    fn url(&mut self, key: &'static str) -> Option<Url> {
        self.read(key, |_, text| parse::url(text))
    }

    fn number(&mut self, key: &'static str) -> Option<u64> {
        self.read(key, parse::number)
    }
}
