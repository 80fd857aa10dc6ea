//! Streams of HTTP/2: Pingora's core accepts them, and each is one call, which the fast lane takes or Pingora's proxy.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

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
        if let (Some(relay), ServerSession::H2(stream)) = (&self.relay, &mut session)
            && relay.http2_call(stream).await != After::NotTaken
        {
            return None;
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
