//! Every setting, declared once: its place in the file, its name in the environment, what it may be, what holds without
//! it, and what it is for. `load.rs` reads by this table, `example.rs` writes `config.example.toml` and `--help` from it.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its place in the file: `key`, or `section.key`.
    pub key: &'static str,
    /// Its name in the environment, which wins over the file.
    pub env: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What holds where it is not set.
    pub unset: Unset,
    /// What it is for, in a sentence or two.
    pub doc: &'static str,
}

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Scheme http or https, host and port; no path.
    Url,
    /// IP address and port.
    Address,
    /// A file or folder; a relative one starts at the folder the process was started in.
    Path,
    /// A connection string, never shown; begins with one of these schemes.
    Secret(&'static [&'static str]),
    /// A domain name.
    Domain,
    /// Letters, digits, `_` and `-`.
    Name,
    /// Any text.
    Text,
    /// A whole number.
    Number {
        /// What it counts.
        unit: &'static str,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// `on` or `off`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// IP ranges: a list in the file, separated by commas in the environment.
    Networks,
}

/// What holds where a setting is not set. `sample` is shown in the example file, commented out like everything there.
#[derive(Debug, Clone, Copy)]
pub enum Unset {
    /// This value.
    Value(&'static str),
    /// A value that follows from something else.
    Derived {
        /// From what.
        from: &'static str,
        /// How a value looks.
        sample: &'static str,
    },
    /// Nothing.
    Absent {
        /// What that means.
        means: &'static str,
        /// How a value looks.
        sample: &'static str,
    },
}

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const TIB: u64 = 1_024 * 1_024 * MIB;

const fn setting(
    key: &'static str,
    env: &'static str,
    kind: Kind,
    unset: Unset,
    doc: &'static str,
) -> Setting {
    Setting { key, env, kind, unset, doc }
}

const fn number(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Number { unit, min, max }
}

const fn absent(means: &'static str, sample: &'static str) -> Unset {
    Unset::Absent { means, sample }
}

const fn derived(from: &'static str, sample: &'static str) -> Unset {
    Unset::Derived { from, sample }
}

/// All of them, in the order the example file has them: those without a section first.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("app_url", "APP_URL", Kind::Url, derived("control.listen", "https://apis.example.com"),
        "Where people reach the web app and the API. It is https, save on this machine's own loopback."),
    setting("data_dir", "APICLAY_DATA_DIR", Kind::Path, Unset::Value("./data"),
        "Where this process keeps what it must not lose: the embedded store, the spool, the last good configuration."),
    setting("mongodb_uri", "MONGODB_URI", Kind::Secret(&["mongodb://", "mongodb+srv://"]),
        absent("the embedded store, one file in the data folder", "mongodb://apiclay:password@db.example.com/apiclay?replicaSet=rs0"),
        "MongoDB, for more than one machine. A secret: rather set it in the environment."),
    setting("redis_url", "REDIS_URL", Kind::Secret(&["redis://", "rediss://"]),
        absent("counters embedded in this process", "rediss://:password@redis.example.com:6379"),
        "Redis, where gateways share their counters. A secret: rather set it in the environment."),
    setting("admin_listen", "APICLAY_ADMIN_LISTEN", Kind::Address, Unset::Value("127.0.0.1:9464"),
        "Where /metrics, /live and /ready of this process answer, to anyone who can connect. Port 0 is any free one."),
    setting("master_key_file", "APICLAY_MASTER_KEY_FILE", Kind::Path,
        absent("made in the data folder at first start", "/etc/apiclay/master.key"),
        "The key that wraps the keys of vendors' secrets. Keep a copy apart from the data: one without the other opens nothing."),
    setting("egress_allow", "APICLAY_EGRESS_ALLOW", Kind::Networks, Unset::Value(""),
        "Ranges that outgoing connections to addresses which users chose may reach though they are not public."),

    setting("control.listen", "APICLAY_CONTROL_LISTEN", Kind::Address, Unset::Value("127.0.0.1:8080"),
        "Where the control plane takes connections: web app, API, gateways. Port 0 is any free one."),
    setting("control.tls_cert_file", "APICLAY_CONTROL_TLS_CERT_FILE", Kind::Path,
        absent("no TLS", "/etc/apiclay/control.pem"),
        "Its certificate chain, PEM, leaf first; read again when it changes. Goes with its key."),
    setting("control.tls_key_file", "APICLAY_CONTROL_TLS_KEY_FILE", Kind::Path,
        absent("no TLS", "/etc/apiclay/control.key"),
        "Its private key, PEM; read again when it changes. Goes with its certificate."),
    setting("control.trusted_proxies", "APICLAY_CONTROL_TRUSTED_PROXIES", Kind::Networks, Unset::Value(""),
        "Ranges of the proxies before the control plane: only their X-Forwarded-For is believed. Without them all people behind a proxy share one limit on sign-ins."),

    setting("gateway.listen", "APICLAY_GATEWAY_LISTEN", Kind::Address, Unset::Value("127.0.0.1:8000"),
        "Where the gateway takes buyers' calls. Port 0 is any free one."),
    setting("gateway.url", "APICLAY_GATEWAY_URL", Kind::Url, derived("gateway.listen", "https://gw.example.com"),
        "The gateway's address as buyers are shown it."),
    setting("gateway.tls_cert_file", "APICLAY_GATEWAY_TLS_CERT_FILE", Kind::Path,
        absent("no TLS", "/etc/apiclay/gateway.pem"),
        "Its certificate chain, PEM, leaf first; read again when it changes. Goes with its key."),
    setting("gateway.tls_key_file", "APICLAY_GATEWAY_TLS_KEY_FILE", Kind::Path,
        absent("no TLS", "/etc/apiclay/gateway.key"),
        "Its private key, PEM; read again when it changes. Goes with its certificate."),
    setting("gateway.domain", "APICLAY_GATEWAY_DOMAIN", Kind::Domain,
        absent("listings are told apart by path only", "gw.example.com"),
        "The domain under which each listing has a host name of its own."),
    setting("gateway.control_url", "APICLAY_CONTROL_URL", Kind::Url, derived("control.listen", "https://control.example.com"),
        "The control plane this gateway takes its configuration from and reports usage to."),
    setting("gateway.id", "APICLAY_GATEWAY_ID", Kind::Name, absent("the gateway inside `apiclay serve`", "gateway-1"),
        "This gateway's id, as `apiclay gateway enrol` printed it."),
    setting("gateway.token_file", "APICLAY_GATEWAY_TOKEN_FILE", Kind::Path,
        absent("the gateway inside `apiclay serve`", "/etc/apiclay/gateway.token"),
        "The file with the token that `apiclay gateway enrol` printed."),
    setting("gateway.threads", "APICLAY_GATEWAY_THREADS", number("threads", 1, 1_024), derived("this machine's cores", "4"),
        "Worker threads of the gateway."),
    setting("gateway.fast_lane", "APICLAY_FAST_LANE", Kind::Switch, Unset::Value("on"),
        "Whether plain calls may take the shorter way; off sends all through Pingora's proxy."),
    setting("gateway.header_read_timeout_ms", "APICLAY_GATEWAY_HEADER_READ_TIMEOUT_MS",
        number("milliseconds", 100, 300_000), Unset::Value("10000"),
        "Longest time from the first byte of a request's head to its last, for a TLS handshake, and for a new connection's first byte."),
    setting("gateway.keepalive_timeout_ms", "APICLAY_GATEWAY_KEEPALIVE_TIMEOUT_MS",
        number("milliseconds", 1_000, 3_600_000), Unset::Value("60000"),
        "How long a buyer's connection may stand idle between calls, send nothing of a request's body, or take nothing of an answer."),
    setting("gateway.body_max_bytes", "APICLAY_GATEWAY_BODY_MAX_BYTES",
        number("bytes", KIB, TIB), Unset::Value("104857600"),
        "Longest request body; bodies are streamed and cost no memory of this size."),
    setting("gateway.lease_wait_ms", "APICLAY_GATEWAY_LEASE_WAIT_MS",
        number("milliseconds", 10, 30_000), Unset::Value("500"),
        "How long a call waits for units of its quota when none are at hand."),
    setting("gateway.wallet_lease_max_s", "APICLAY_GATEWAY_WALLET_LEASE_MAX_S",
        number("seconds", 1, 300), Unset::Value("5"),
        "How long calls are paid from one hold on a wallet before its rest goes back and the charge is posted."),
    setting("gateway.wallet_lease_units", "APICLAY_GATEWAY_WALLET_LEASE_UNITS",
        number("calls", 1, 100_000), Unset::Value("1000"),
        "How many calls one hold on a wallet pays for at most. They go on while the control plane is away."),
    setting("gateway.spool_sync_ms", "APICLAY_GATEWAY_SPOOL_SYNC_MS",
        number("milliseconds", 1, 10_000), Unset::Value("50"),
        "How often usage is synced to disk: about what a power cut may lose. A killed process loses nothing."),
    setting("gateway.spool_max_bytes", "APICLAY_GATEWAY_SPOOL_MAX_BYTES",
        number("bytes", MIB, TIB), Unset::Value("4294967296"),
        "How much disk usage may take until the control plane has it. When it is full, all calls are refused."),
    setting("gateway.batch_interval_ms", "APICLAY_GATEWAY_BATCH_INTERVAL_MS",
        number("milliseconds", 50, 60_000), Unset::Value("500"),
        "How often usage is sent to the control plane."),
    setting("gateway.shutdown_grace_s", "APICLAY_GATEWAY_SHUTDOWN_GRACE_S",
        number("seconds", 0, 600), Unset::Value("20"),
        "How long calls in flight may take to end after SIGTERM."),

    setting("payments.razorpay_key_id", "RAZORPAY_KEY_ID", Kind::Name,
        absent("no payments are taken", "rzp_live_a1b2c3d4e5f6g7"),
        "The key's name at Razorpay, which takes buyers' payments. Goes with its secret and the webhook's."),
    setting("payments.razorpay_key_secret_file", "RAZORPAY_KEY_SECRET_FILE", Kind::Path,
        absent("no payments are taken", "/etc/apiclay/razorpay.key"),
        "The file with the key's secret."),
    setting("payments.razorpay_webhook_secret_file", "RAZORPAY_WEBHOOK_SECRET_FILE", Kind::Path,
        absent("no payments are taken", "/etc/apiclay/razorpay.webhook"),
        "The file with the secret of the webhook, which at Razorpay is set to APP_URL and /backend/v1/webhooks/razorpay."),
    setting("payments.razorpay_previous_webhook_secret_file", "RAZORPAY_PREVIOUS_WEBHOOK_SECRET_FILE", Kind::Path,
        absent("only the present secret is accepted", "/etc/apiclay/razorpay.webhook.previous"),
        "The file with the webhook's secret until it was changed: deliveries that are tried again bear it for 24 hours."),

    setting("log.filter", "APICLAY_LOG", Kind::Text, Unset::Value("info"),
        "Which lines are logged: a level, or levels by module, like \"info,apiclay_gateway=debug\". A demo logs less."),
    setting("log.format", "APICLAY_LOG_FORMAT", Kind::Choice(&["json", "text"]), Unset::Value("json"),
        "How a line looks: one JSON object, or text for people."),
];

impl Setting {
    /// The section of the file it stands in; empty for those before the first.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its key inside its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}
