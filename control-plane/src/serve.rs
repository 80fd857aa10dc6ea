//! Listening: connections with their limits, TLS where it is configured, and an end within a grace period.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use apiclay_config::settings::TlsFiles;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;

use crate::app::App;
use crate::http::{HEADERS_MAX_BYTES, HEADERS_TIMEOUT_S, STREAMS_MAX_PER_CONNECTION};
use crate::tls::{self, TlsError};
use crate::{jobs, router};

/// How long requests that are under way may take to end after the signal.
pub const GRACE_PERIOD_S: u64 = 10;
/// How long an idle HTTP/2 connection may stay silent when asked for a sign of life.
const KEEP_ALIVE_S: u64 = 30;

/// Why the control plane does not listen any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The router could not be built.
    #[error("the router could not be built")]
    Router(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no certificate.
    #[error("the control plane cannot speak TLS")]
    Tls(#[from] TlsError),
    /// The listener failed.
    #[error("the control plane's listener failed; see that its address is free")]
    Listener(#[from] std::io::Error),
}

/// Answers on `listener` until `shutdown`, then lets what is under way end.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    app: App,
    listener: TcpListener,
    files: Option<TlsFiles>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let service =
        router::build(&app).map_err(ServeError::Router)?.into_make_service_with_connect_info::<SocketAddr>();
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    // Stop when this ends, since they are dropped with it.
    let _jobs = jobs::start(&app);
    let push = std::sync::Arc::clone(&app.push);
    let ending = app.ending.clone();
    let certificate = match &files {
        Some(files) => Some(tls::load(files).await?),
        None => None,
    };
    let following = async {
        if let (Some(files), Some(config)) = (&files, certificate.clone()) {
            tls::follow(files, config).await;
        }
        std::future::pending::<()>().await;
    };
    let answering = async {
        if let Some(config) = certificate.clone() {
            let mut server = axum_server::from_tcp_rustls(listener, config)?.handle(handle.clone());
            limit(server.http_builder());
            server.serve(service).await
        } else {
            let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
            limit(server.http_builder());
            server.serve(service).await
        }
    };
    let told = async {
        shutdown.await;
        push.close();
        // What streams for as long as it is listened to ends by itself, or the grace period would pass waiting for it.
        ending.cancel();
        handle.graceful_shutdown(Some(Duration::from_secs(GRACE_PERIOD_S)));
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        answered = answering => answered,
        () = told => Ok(()),
        () = following => Ok(()),
    };
    Ok(ended?)
}

/// A client that sends slowly, sends much, or opens many streams is cut off.
fn limit<E>(builder: &mut hyper_util::server::conn::auto::Builder<E>) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEADERS_TIMEOUT_S))
        .max_buf_size(HEADERS_MAX_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX_PER_CONNECTION)
        .max_header_list_size(HEADERS_MAX_BYTES as u32)
        .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_S))
        .keep_alive_timeout(Duration::from_secs(KEEP_ALIVE_S));
}
