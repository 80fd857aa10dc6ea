//! The connection to a control plane: asks for what came after the revision at hand, applies what comes, reports what is
//! served. Broken, it comes back with a growing pause; the gateway serves on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apiclay_config::clock::Clock;
use apiclay_config::snapshot::Frame;
use apiclay_config::usage::UsageBatch;
use apiclay_config::wire;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use rand::Rng as _;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::configuration::{Applied, Configuration, Gap};
use super::heard::LastHeard;
use crate::metering::{BatchSink, PostError};

/// The first pause before connecting again, and the longest.
const RETRY_FIRST_MS: u64 = 100;
const RETRY_MAX_MS: u64 = 5_000;
/// Without a frame for so long (heartbeats come every second) the connection is taken for dead.
const SILENCE_MAX_MS: u64 = 10_000;
/// How long revisions are gathered before they are applied, and how long a pause ends it.
const GATHER_MAX_MS: u64 = 100;
const GATHER_QUIET_MS: u64 = 5;
/// Lives that the control plane is asked about at once.
const LIVES_AT_ONCE_MAX: usize = 500;
/// Limit on any other request.
const REQUEST_TIMEOUT_MS: u64 = 10_000;

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

/// Why the stream broke.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the control plane cannot be reached")]
    Http(#[from] reqwest::Error),
    #[error("the control plane answered {0}; see that this gateway is enrolled and its token is right")]
    Refused(StatusCode),
    #[error("the stream is damaged")]
    Frame(#[from] wire::InvalidFrame),
    #[error("the control plane fell silent")]
    Silence,
    #[error("the stream ended")]
    End,
    #[error("the configuration could not be applied")]
    Apply(#[from] Gap),
    #[error("applying the configuration was cut off")]
    CutOff(#[from] tokio::task::JoinError),
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
            .connect_timeout(Duration::from_millis(REQUEST_TIMEOUT_MS))
            .build()?;
        let came_back = Arc::new(AtomicBool::new(false));
        Ok(Self { http, url, gateway, token, epoch, counters, came_back, heard: LastHeard::new() })
    }

    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        self.http
            .request(method, format!("{base}/internal/v1/{path}"))
            .header("x-gateway-id", &self.gateway)
            .bearer_auth(self.token.expose_secret())
    }

    async fn report(&self, revision: u64, refused: Option<String>) -> Result<(), StreamError> {
        let plugins = apiclay_plugins::announcements();
        let report = Report {
            revision,
            refused,
            plugins,
            version: env!("CARGO_PKG_VERSION"),
            epoch: &self.epoch,
            counters: self.counters,
        };
        let answer = self
            .request(reqwest::Method::POST, &format!("gateways/{}/report", self.gateway))
            .timeout(Duration::from_millis(REQUEST_TIMEOUT_MS))
            .json(&report)
            .send()
            .await?;
        if answer.status().is_success() { Ok(()) } else { Err(StreamError::Refused(answer.status())) }
    }
}

#[async_trait::async_trait]
impl BatchSink for ControlPlane {
    async fn post(&self, batch: &UsageBatch) -> Result<(), PostError> {
        let sent = self
            .request(reqwest::Method::POST, "usage/batches")
            .timeout(Duration::from_millis(REQUEST_TIMEOUT_MS))
            .json(batch)
            .send()
            .await;
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
                let request = self.request(reqwest::Method::POST, "usage/lives");
                request.json(&Lives { lives }).send().await?.error_for_status()?.json::<Lives<Vec<_>>>().await
            };
            let some = asked.await.map_err(|e: reqwest::Error| PostError::Retry(e.to_string()))?;
            have.extend(some.lives.into_iter().map(|life: OneLife| (life.epoch, life.seq)));
        }
        Ok(have)
    }
}

/// Follows the control plane until the task is dropped.
pub async fn follow(control: ControlPlane, configuration: Configuration, clock: Clock) {
    let configuration = Arc::new(Mutex::new(configuration));
    let mut pause_ms = RETRY_FIRST_MS;
    loop {
        let begun = tokio::time::Instant::now();
        let ended = follow_once(&control, &configuration, &clock).await;
        let broken = ended.err().unwrap_or(StreamError::End);
        control.heard.note_broken();
        if begun.elapsed() > Duration::from_millis(RETRY_MAX_MS) {
            pause_ms = RETRY_FIRST_MS;
        }
        tracing::warn!(error = %broken, cause = ?std::error::Error::source(&broken).map(ToString::to_string),
            pause_ms, "the configuration stream broke");
        let jitter_ms = rand::rng().random_range(0..=pause_ms / 2);
        tokio::time::sleep(Duration::from_millis(pause_ms + jitter_ms)).await;
        pause_ms = (pause_ms * 2).min(RETRY_MAX_MS);
    }
}

async fn follow_once(
    control: &ControlPlane,
    configuration: &Arc<Mutex<Configuration>>,
    clock: &Clock,
) -> Result<(), StreamError> {
    let ((revision, fingerprint), (written, wrong)) = {
        let configuration = configuration.lock();
        (configuration.revision(), configuration.standing())
    };
    // A plugin type must be announced before anybody may bind it: report first.
    control.report(written, wrong.map(|wrong| wrong.to_string())).await?;
    let from = match fingerprint {
        None => revision.to_string(),
        Some(fingerprint) => format!("{revision}&fingerprint={fingerprint}"),
    };
    // Its body has no end; its head has its time, or a control plane that hangs would keep this gateway from the others.
    let silence = Duration::from_millis(SILENCE_MAX_MS);
    let asked = control.request(reqwest::Method::GET, &format!("config/stream?revision={from}")).send();
    let Ok(answer) = tokio::time::timeout(silence, asked).await else {
        return Err(StreamError::Silence);
    };
    let answer = answer?;
    if !answer.status().is_success() {
        return Err(StreamError::Refused(answer.status()));
    }
    control.came_back.store(true, Ordering::Relaxed);
    control.heard.note();
    let mut body = answer.bytes_stream();
    let mut buffer: Vec<u8> = Vec::new();
    let mut reported = written;
    loop {
        let Ok(next) = tokio::time::timeout(silence, body.next()).await else {
            return Err(StreamError::Silence);
        };
        let Some(chunk) = next else { return Ok(()) };
        buffer.extend_from_slice(&chunk?);
        control.heard.note();
        gather(&mut body, &mut buffer).await?;
        let (rest, heard) = apply(Arc::clone(configuration), buffer).await?;
        buffer = rest;
        let Some(Heard { applied, told_more }) = heard else { continue };
        configuration.lock().gateway().metrics.config_heard(clock.now());
        if let Some(error) = &applied.not_kept {
            tracing::error!(%error, cause = ?std::error::Error::source(error).map(ToString::to_string),
                "the configuration is served and not on disk");
        }
        if told_more || applied.revision != reported {
            let wrong = applied.wrong.map(|wrong| wrong.to_string());
            control.report(applied.revision, wrong.or(applied.not_kept.map(|e| e.to_string()))).await?;
            reported = applied.revision;
        }
    }
}

/// What some frames came to.
struct Heard {
    applied: Applied,
    told_more: bool,
}

/// Applies all whole frames in `buffer`, and gives back the beginning of the next; on a thread that may block, because large
/// snapshots take a while to read, compile and write.
async fn apply(
    configuration: Arc<Mutex<Configuration>>,
    mut buffer: Vec<u8>,
) -> Result<(Vec<u8>, Option<Heard>), StreamError> {
    tokio::task::spawn_blocking(move || {
        let frames = take_frames(&mut buffer)?;
        if frames.is_empty() {
            return Ok((buffer, None));
        }
        let told_more = frames.iter().any(|f| !matches!(f, Frame::Heartbeat { .. }));
        let applied = configuration.lock().apply(frames)?;
        Ok((buffer, Some(Heard { applied, told_more })))
    })
    .await?
}

/// What comes right behind is applied with it: compiling costs the same for one revision as for a hundred. Chunks are handed
/// over one by one, so that the next is worth a moment's wait.
async fn gather(
    body: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<(), StreamError> {
    let until = tokio::time::Instant::now() + Duration::from_millis(GATHER_MAX_MS);
    while tokio::time::Instant::now() < until {
        match tokio::time::timeout(Duration::from_millis(GATHER_QUIET_MS), body.next()).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk?),
            // Quiet, or the end, which the next read sees.
            Ok(None) | Err(_) => break,
        }
    }
    Ok(())
}

/// All whole frames in `buffer`; what is left there is the beginning of the next, or a damaged one that others came before: it is
/// met again once they are applied.
pub(super) fn take_frames(buffer: &mut Vec<u8>) -> Result<Vec<Frame>, wire::InvalidFrame> {
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        match wire::read(&buffer[at..]) {
            Ok(Some((payload, used))) => {
                frames.push(Frame::read(payload));
                at += used;
            }
            Err(damaged) if frames.is_empty() => return Err(damaged),
            Ok(None) | Err(_) => break,
        }
    }
    buffer.drain(..at);
    Ok(frames)
}
