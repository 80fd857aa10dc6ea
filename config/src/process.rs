//! What each of our processes does at its start and end: logs, the one TLS provider, the signal to stop.

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Logs to standard error, as the settings say. Called once, first thing.
pub fn start_logging(settings: &LogSettings) {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, in tests, keeps the first one's logs.
    let _ = match settings.format {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => logs.try_init(),
    };
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

/// The end of a process: what went wrong in one line, each cause after the other, without a backtrace, which tells a
/// person at a command line nothing.
#[must_use]
pub fn exit_code(outcome: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> std::process::ExitCode {
    let Err(error) = outcome else { return std::process::ExitCode::SUCCESS };
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    eprintln!("error: {line}");
    std::process::ExitCode::FAILURE
}
