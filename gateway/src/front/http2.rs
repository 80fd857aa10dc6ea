//! Streams of HTTP/2: Pingora's core accepts them, and each is one call, which the fast lane takes or Pingora's proxy.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, HttpSession};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::ends::{LINGER_MAX_BYTES, LINGER_MAX_MS};
use crate::deadline;
use crate::proxy::PingoraLane;
use crate::relay::{After, Relay};

/// The lanes that a call may take.
pub struct Lanes {
    /// The fast one, unless it is switched off.
    pub relay: Option<Relay>,
    /// Pingora's.
    pub pingora: Arc<HttpProxy<PingoraLane>>,
}

#[async_trait]
impl HttpServerApp for Lanes {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if let (Some(relay), ServerSession::H2(stream)) = (&self.relay, &mut session) {
            match relay.http2_call(stream).await {
                After::NotTaken => {}
                After::Next => {
                    drop_rest(stream).await;
                    return None;
                }
                After::Close | After::Gone => return None,
            }
        }
        self.pingora.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.pingora.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.pingora.server_options()
    }
}

/// Reads on where a call was answered while its client still sends. The stream would be ended over it with no error (RFC 9113, section
/// 8.1), which some clients take for one and do not show the answer, curl 7.88 among them. Where all was read, there is no wait; a
/// body of no bytes may not have ended yet.
pub(crate) async fn drop_rest(stream: &mut HttpSession) {
    let rest = async {
        let mut dropped = 0;
        while dropped < LINGER_MAX_BYTES
            && let Ok(Some(data)) = stream.read_body_bytes().await
        {
            dropped += data.len();
        }
    };
    let _ = deadline::within(Duration::from_millis(LINGER_MAX_MS), pin!(rest)).await;
}
