//! Listening: connections with their limits, TLS where it is configured, and an end within a grace period.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;

use crate::accounts;
use crate::app::App;
use crate::http::{HEADERS_MAX_BYTES, HEADERS_TIMEOUT_S, STREAMS_MAX_PER_CONNECTION};
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
    tls: Option<RustlsConfig>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let service =
        router::build(&app).map_err(ServeError::Router)?.into_make_service_with_connect_info::<SocketAddr>();
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let push = std::sync::Arc::clone(&app.push);
    // Stop when this ends, since they are dropped with it.
    let _jobs = jobs::start(&app);
    let sweeping = tokio::spawn(accounts::sweep::run(app));
    let answering = async {
        match tls {
            Some(tls) => {
                let mut server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
                limit(server.http_builder());
                server.serve(service).await
            }
            None => {
                let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
                limit(server.http_builder());
                server.serve(service).await
            }
        }
    };
    let ending = async {
        shutdown.await;
        push.close();
        handle.graceful_shutdown(Some(Duration::from_secs(GRACE_PERIOD_S)));
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        answered = answering => answered,
        () = ending => Ok(()),
    };
    sweeping.abort();
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
