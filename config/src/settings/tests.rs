//! Settings as an operator meets them: defaults, file, environment, and every fault of a bad start at once.

use std::io::Write as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::load::Reader;
use super::*;

/// Set to anything, the test that compares `config.example.toml` writes it instead.
const WRITE_EXAMPLE_ENV: &str = "APICLAY_TEST_WRITE_EXAMPLE";

fn env(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(None, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

/// A file that is gone when the test ends.
struct File(PathBuf);

impl File {
    fn new(text: &[u8]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("apiclay-settings-{}-{number}.toml", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn file(text: &str, pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let file = File::new(text.as_bytes());
    Settings::load(Some(&file.0), pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

/// The only fault of a start that must have just one.
fn fault(result: Result<Settings, SettingsError>) -> Fault {
    let mut faults = result.expect_err("a fault").faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[test]
fn without_anything_set_the_defaults_hold() {
    let settings = env(&[("PATH", "/bin")]).unwrap();
    assert_eq!(settings.app_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(settings.public_gateway_url.as_str(), "http://127.0.0.1:8000/");
    assert_eq!(settings.gateway.control_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(settings.data_dir, Path::new("./data"));
    assert_eq!(settings.control.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.admin_listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!((settings.gateway.spool_sync_ms, settings.gateway.batch_interval_ms), (50, 500));
    assert!(settings.gateway.threads >= 1 && settings.gateway.fast_lane && !settings.demo);
    assert!(settings.store.is_none() && settings.redis_url.is_none() && settings.egress_allow.is_empty());
    assert_eq!(settings.log, LogSettings { format: LogFormat::Json, filter: "info".to_owned() });
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "egress_allow = [\"10.0.0.0/8\", \"fd00::/8\"]\n[gateway]\nthreads = 3\nfast_lane = false\nlease_wait_ms = 77";
    let settings = file(text, &[("APICLAY_GATEWAY_THREADS", "5")]).unwrap();
    assert_eq!((settings.gateway.threads, settings.gateway.lease_wait_ms), (5, 77));
    assert!(!settings.gateway.fast_lane);
    assert_eq!(settings.egress_allow.len(), 2);
    let settings = file(text, &[("APICLAY_EGRESS_ALLOW", ""), ("APICLAY_FAST_LANE", "on")]).unwrap();
    assert!(settings.egress_allow.is_empty() && settings.gateway.fast_lane);
    assert!(settings.control.trusted_proxies.is_empty());
    let settings = env(&[("APICLAY_CONTROL_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")]).unwrap();
    assert_eq!(settings.control.trusted_proxies.len(), 2);
}

#[test]
fn every_fault_is_named_at_once() {
    let error = file(
        "colour = 1\n[gateway]\nthreads = \"many\"\nlistn = \"127.0.0.1:1\"\n[control]\ntls_cert_file = \"c.pem\"\n[other]\nx = 1",
        &[
            ("APP_URL", "ftp://x"),
            ("APICLAY_GATEWAY_LISTEN", "8000"),
            ("APICLAY_GATEWAY_SPOOL_SYNC_MS", "0"),
            ("APICLAY_DATADIR", "/x"),
            ("APICLAY_LOG_FORMAT", "xml"),
            ("APICLAY_EGRESS_ALLOW", "10.1.2.3/8"),
            ("MONGODB_URI", "postgres://h"),
        ],
    )
    .unwrap_err();
    let named: Vec<&str> = error.faults.iter().map(|f| f.setting.as_str()).collect();
    for setting in [
        "colour",
        "gateway.threads",
        "gateway.listn",
        "other",
        "APICLAY_CONTROL_TLS_KEY_FILE",
        "APP_URL",
        "APICLAY_GATEWAY_LISTEN",
        "APICLAY_GATEWAY_SPOOL_SYNC_MS",
        "APICLAY_DATADIR",
        "APICLAY_LOG_FORMAT",
        "APICLAY_EGRESS_ALLOW",
        "MONGODB_URI",
    ] {
        assert!(named.contains(&setting), "{setting} in {error}");
    }
    assert_eq!(named.len(), 12, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("did you mean APICLAY_DATA_DIR?") && text.contains("did you mean gateway.listen?"),
        "{text}"
    );
    assert!(error.faults.iter().all(|f| !f.remedy.is_empty()));
}

#[test]
fn no_fault_and_no_debug_shows_a_secret() {
    let settings =
        env(&[("MONGODB_URI", "mongodb://u:hunter2@h/d"), ("REDIS_URL", "redis://:hunter2@h")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.store.unwrap().expose_secret(), "mongodb://u:hunter2@h/d");
    for bad in [
        env(&[("MONGODB_URI", "hunter2"), ("REDIS_URL", "hunter2"), ("APP_URL", "https://u:hunter2@h")]),
        env(&[("APICLAY_GATEWAY_ID", "hunter2 \u{7}"), ("APICLAY_LOG", "hunter2\n")]),
        file("redis_url = 'redis://:hunter2@h\n", &[]),
        file("redis_url = hunter2", &[]),
        file("redis_url = \"hunter2\"\nredis_url = \"hunter2\"", &[]),
        file("redis_url = [\"hunter2\"]", &[]),
        file("[redis_url]\nx = \"hunter2\"", &[]),
    ] {
        let error = bad.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn app_url_is_https_unless_it_is_loopback_or_a_demo() {
    for loopback in ["http://localhost:8080", "http://127.0.0.9", "http://[::1]:1", "http://a.localhost"] {
        assert!(env(&[("APP_URL", loopback)]).is_ok(), "{loopback}");
    }
    for plain in ["http://apis.example.com", "http://10.0.0.1:8080", "http://localhost.example.com"] {
        assert_eq!(fault(env(&[("APP_URL", plain)])).setting, "APP_URL", "{plain}");
    }
    let pair = || std::iter::once(("APP_URL".to_owned(), "http://10.0.0.1:8080".to_owned()));
    let demo = Settings::load_demo(None, pair()).unwrap();
    assert!(demo.demo && demo.log.filter.contains("http=warn"), "{:?}", demo.log);
    assert!(env(&[("APP_URL", "https://apis.example.com")]).is_ok());
    // A listener for others, and nobody said how they reach it.
    assert_eq!(fault(env(&[("APICLAY_CONTROL_LISTEN", "10.0.0.1:8080")])).setting, "APP_URL");
    for more in [
        "https://a.example/x",
        "https://a.example/?x",
        "https://a.example/#x",
        "https://a.example:0",
        "a.example",
    ] {
        assert_eq!(fault(env(&[("APP_URL", more)])).setting, "APP_URL", "{more}");
    }
}

#[test]
fn addresses_that_nobody_set_follow_the_listeners() {
    let mut settings = env(&[
        ("APICLAY_CONTROL_LISTEN", "0.0.0.0:0"),
        ("APICLAY_GATEWAY_LISTEN", "[::]:0"),
        ("APICLAY_CONTROL_URL", "https://control.example.com"),
        ("APICLAY_GATEWAY_TLS_CERT_FILE", "c.pem"),
        ("APICLAY_GATEWAY_TLS_KEY_FILE", "k.pem"),
    ])
    .unwrap();
    settings.bound(Some("0.0.0.0:4001".parse().unwrap()), Some("[::]:4002".parse().unwrap()));
    assert_eq!(settings.app_url.as_str(), "http://127.0.0.1:4001/");
    assert_eq!(settings.public_gateway_url.as_str(), "https://[::1]:4002/");
    assert_eq!(settings.gateway.control_url.as_str(), "https://control.example.com/");
    assert_eq!(settings.gateway.listen.port(), 4002);
    assert_eq!(settings.gateway.tls, Some(TlsFiles { cert: "c.pem".into(), key: "k.pem".into() }));
}

#[test]
fn empty_values_are_refused_not_taken_for_defaults() {
    for name in SETTINGS.iter().filter(|s| !matches!(s.kind, Kind::Networks)).map(|s| s.env) {
        assert_eq!(fault(env(&[(name, " ")])).setting, name);
    }
}

#[test]
fn razorpay_is_set_whole_or_not_at_all() {
    let whole = [
        ("RAZORPAY_KEY_ID", "rzp_live_1"),
        ("RAZORPAY_KEY_SECRET_FILE", "/run/key"),
        ("RAZORPAY_WEBHOOK_SECRET_FILE", "/run/webhook"),
    ];
    let set = env(&whole).unwrap().razorpay.unwrap();
    assert_eq!((set.key_id.as_str(), set.previous_webhook_secret), ("rzp_live_1", None));
    assert!(env(&[]).unwrap().razorpay.is_none());
    for missing in 0..whole.len() {
        let mut some = whole.to_vec();
        let gone = some.remove(missing);
        assert_eq!(fault(env(&some)).setting, gone.0);
    }
}

#[test]
fn numbers_hold_their_bounds() {
    for setting in SETTINGS {
        let Kind::Number { min, max, .. } = setting.kind else { continue };
        for good in [min, max] {
            assert!(env(&[(setting.env, &good.to_string())]).is_ok(), "{} {good}", setting.env);
        }
        let under = min.checked_sub(1).map(|n| n.to_string());
        for bad in under.into_iter().chain([
            (max + 1).to_string(),
            "-1".into(),
            "+1".into(),
            "1.0".into(),
            "x".into(),
        ]) {
            assert_eq!(fault(env(&[(setting.env, &bad)])).setting, setting.env, "{bad}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_beside_the_others() {
    let missing = Settings::load(Some(Path::new("no/such/file.toml")), std::iter::empty());
    assert!(fault(missing).problem.contains("cannot be read"));
    assert_eq!(fault(file("a = 1\nb = = 2", &[])).problem, "is not TOML at line 2");
    let both = file("x = ", &[("APICLAY_GATEWAY_THREADS", "0")]).unwrap_err();
    assert_eq!(both.faults.len(), 2);
    let not_text = File::new(b"app_url = \"\xff\"");
    assert!(fault(Settings::load(Some(&not_text.0), std::iter::empty())).problem.contains("cannot be read"));
    let large = File::new(&b"#".repeat(1_024 * 1_024 + 1));
    assert!(fault(Settings::load(Some(&large.0), std::iter::empty())).problem.contains("too large"));
}

#[test]
fn every_setting_of_the_table_is_asked_for_and_named_by_one_pattern() {
    let mut reader = Reader::default();
    assert!(reader.assemble(false).is_some());
    let table: std::collections::BTreeSet<&str> = SETTINGS.iter().map(|s| s.key).collect();
    assert_eq!(reader.asked, table);
    assert_eq!(table.len(), SETTINGS.len(), "no key twice");
    let names: std::collections::BTreeSet<&str> = SETTINGS.iter().map(|s| s.env).collect();
    assert_eq!(names.len(), SETTINGS.len(), "no name twice");
    for setting in SETTINGS {
        let usual = format!("APICLAY_{}", setting.key.to_uppercase().replace('.', "_"));
        let known = [
            "APP_URL",
            "MONGODB_URI",
            "REDIS_URL",
            "APICLAY_CONTROL_URL",
            "APICLAY_FAST_LANE",
            "APICLAY_LOG",
        ];
        // Providers' settings have the names that their own tools know them by.
        let provider = setting.key.strip_prefix("payments.").map(str::to_uppercase).unwrap_or_default();
        let right = setting.env == usual || setting.env == provider || known.contains(&setting.env);
        assert!(right, "{}", setting.env);
    }
}

#[test]
fn the_example_with_all_its_lines_taken_in_is_valid() {
    let text = example();
    let set: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(set.lines().filter(|l| l.contains(" = ") && !l.starts_with('#')).count(), SETTINGS.len());
    let settings = file(&set, &[]).unwrap();
    assert_eq!(settings.app_url.as_str(), "https://apis.example.com/");
    assert!(file(&text, &[]).is_ok());
    assert!(SETTINGS.iter().all(|s| help().contains(s.env) && text.contains(s.env)));
}

#[test]
fn the_example_in_the_repository_is_the_one_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.example.toml");
    if std::env::var_os(WRITE_EXAMPLE_ENV).is_some() {
        std::fs::write(&path, example()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, example(), "run this test with {WRITE_EXAMPLE_ENV}=1 to write it anew");
}
