//! What each of our processes does at its start and end: logs, the one TLS provider, the signal to stop.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::access_log;
use crate::settings::{LogFormat, LogSettings};

/// Libraries through which requests pass, and whose talkative levels would print their secrets: whatever the setting says,
/// they stay at `info`. What a buyer supplies stays nowhere, logs included.
const QUIET: [&str; 10] = [
    "pingora_core",
    "pingora_proxy",
    "h2",
    "hyper",
    "hyper_util",
    "tower_http",
    "reqwest",
    "rustls",
    "mongodb",
    "redis",
];

/// Logs to standard error, as the settings say. Called once, first thing.
pub fn start_logging(settings: &LogSettings) {
    access_log::start(wants_calls(&settings.filter).then_some(settings.format));
    let wanted = filter(&settings.filter).and(filter_fn(|line| may_be_logged(line.target(), *line.level())));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second call, in tests, keeps the first one's logs.
    let _ = match settings.format {
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true).with_current_span(false).with_filter(wanted);
            tracing_subscriber::registry().with(logs).try_init()
        }
        LogFormat::Text => tracing_subscriber::registry().with(logs.with_filter(wanted)).try_init(),
    };
}

fn filter(setting: &str) -> EnvFilter {
    EnvFilter::try_new(setting).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Asked of the filter alone: as one of a layer's it would take note of the answer, and drop the next line for it.
fn wants_calls(setting: &str) -> bool {
    let asked = tracing_subscriber::registry().with(filter(setting));
    tracing::subscriber::with_default(asked, || tracing::enabled!(target: access_log::TARGET, Level::INFO))
}

fn may_be_logged(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    level <= Level::INFO || !QUIET.contains(&library)
}

/// Several TLS stacks share one process: all of them use this provider.
pub fn install_tls_provider() {
    // An error says that one is installed already, which is all we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns when the process is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// When signals cannot be listened to.
pub async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The end of a process: the last lines about calls, and what went wrong in one line, each cause after the other, without a backtrace, which tells a
/// person at a command line nothing.
#[must_use]
pub fn exit_code(outcome: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> std::process::ExitCode {
    access_log::flush();
    let Err(error) = outcome else { return std::process::ExitCode::SUCCESS };
    eprintln!("error: {}", in_a_line(&*error));
    std::process::ExitCode::FAILURE
}

/// An error in one line, its causes behind it.
#[must_use]
pub fn in_a_line(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_calls_are_written_where_the_setting_wants_them() {
        for (setting, wanted) in [
            ("info", true),
            ("debug", true),
            ("error,apiclay::access=info", true),
            ("info,[request]=debug", true),
            ("nonsense=nonsense", true),
            ("warn", false),
            ("off", false),
            ("info,apiclay::access=off", false),
            ("warn,[request]=debug", false),
            ("info,apiclay::access=off,[request]=debug", false),
        ] {
            assert_eq!(wants_calls(setting), wanted, "{setting}");
        }
    }

    #[test]
    fn libraries_print_no_requests() {
        assert!(!may_be_logged("h2::server", Level::DEBUG));
        assert!(!may_be_logged("pingora_core::protocols::http", Level::TRACE));
        assert!(may_be_logged("pingora_core::server", Level::INFO));
        assert!(may_be_logged("apiclay_gateway::proxy", Level::DEBUG));
    }
}
