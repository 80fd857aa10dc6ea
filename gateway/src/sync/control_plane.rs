//! The control plane as its gateway asks it: each request under a name and a token, with its time. Next: its routes under
//! `/internal/v1`; what is particular to leases, to lost counters, and to the stream stands in those files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::heard::LastHeard;
use crate::metering::{BatchSink, PostError, SealedBatch};

/// How long a connection may take.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Usage and reports are written to the store before they are answered.
const REPORT_MAX_MS: u64 = 10_000;
const USAGE_MAX_MS: u64 = 10_000;
/// Lives that the control plane is asked about at once.
const LIVES_AT_ONCE_MAX: usize = 500;

/// Where the control plane is, and who we are to it.
#[derive(Clone)]
pub struct ControlPlane {
    http: reqwest::Client,
    url: Url,
    gateway: String,
    token: SecretString,
    epoch: String,
    counters: CountersAt,
    /// Set when the stream is there again, taken by the sender of usage.
    came_back: Arc<AtomicBool>,
    /// The stream's last word.
    pub(super) heard: LastHeard,
}

/// Where this gateway counts: all of an operator's count in one place.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CountersAt {
    /// In its own folder.
    Embedded,
    /// In Redis.
    Redis,
}

#[derive(Serialize)]
struct Report<'a> {
    revision: u64,
    refused: Option<String>,
    plugins: Vec<apiclay_plugins::Announcement>,
    version: &'static str,
    epoch: &'a str,
    counters: CountersAt,
}

/// Lives of this gateway, each with a batch's number.
#[derive(Serialize, Deserialize)]
struct Lives<L> {
    lives: L,
}

#[derive(Serialize, Deserialize)]
struct OneLife {
    epoch: String,
    seq: u64,
}

impl ControlPlane {
    /// A client for the control plane at `url`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        url: Url,
        gateway: String,
        token: SecretString,
        epoch: String,
        counters: CountersAt,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .build()?;
        let came_back = Arc::new(AtomicBool::new(false));
        Ok(Self { http, url, gateway, token, epoch, counters, came_back, heard: LastHeard::new() })
    }

    /// A request without a time of its own; only the stream has none.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        self.http
            .request(method, format!("{base}/internal/v1/{path}"))
            .header("x-gateway-id", &self.gateway)
            .bearer_auth(self.token.expose_secret())
    }

    /// Posts `body`; the answer, all of it, has to be there within so long.
    pub(super) async fn ask(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        within_ms: u64,
    ) -> reqwest::Result<Response> {
        let request = self.request(Method::POST, path).timeout(Duration::from_millis(within_ms));
        request.json(body).send().await
    }

    /// Says what is served, and why not all of it.
    pub(super) async fn report(&self, revision: u64, refused: Option<String>) -> reqwest::Result<Response> {
        let report = Report {
            revision,
            refused,
            plugins: apiclay_plugins::announcements(),
            version: env!("CARGO_PKG_VERSION"),
            epoch: &self.epoch,
            counters: self.counters,
        };
        let path = format!("gateways/{}/report", self.gateway);
        self.ask(&path, &report, REPORT_MAX_MS).await
    }

    /// Notes that the stream is there again.
    pub(super) fn note_back(&self) {
        self.came_back.store(true, Ordering::Relaxed);
        self.heard.note();
    }
}

#[async_trait::async_trait]
impl BatchSink for ControlPlane {
    async fn post(&self, batch: &SealedBatch) -> Result<(), PostError> {
        let request =
            self.request(Method::POST, "usage/batches").timeout(Duration::from_millis(USAGE_MAX_MS));
        let json = HeaderValue::from_static("application/json");
        let sent = request.header(CONTENT_TYPE, json).body(batch.body.clone()).send().await;
        let answer = sent.map_err(|e| PostError::Retry(e.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.unwrap_or_default();
        Err(match status {
            StatusCode::CONFLICT => PostError::Conflict(said),
            // Sent again it would be refused again: others go first.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
                PostError::Refused(said)
            }
            _ => PostError::Retry(format!("{status}: {said}")),
        })
    }

    fn came_back(&self) -> bool {
        self.came_back.swap(false, Ordering::Relaxed)
    }

    async fn have(&self, lives: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>, PostError> {
        let all: Vec<_> =
            lives.iter().map(|(epoch, seq)| OneLife { epoch: epoch.clone(), seq: *seq }).collect();
        let mut have = BTreeMap::new();
        for lives in all.chunks(LIVES_AT_ONCE_MAX) {
            let asked = async {
                let answer = self.ask("usage/lives", &Lives { lives }, USAGE_MAX_MS).await?;
                answer.error_for_status()?.json::<Lives<Vec<_>>>().await
            };
            let some = asked.await.map_err(|e: reqwest::Error| PostError::Retry(e.to_string()))?;
            have.extend(some.lives.into_iter().map(|life: OneLife| (life.epoch, life.seq)));
        }
        Ok(have)
    }
}
