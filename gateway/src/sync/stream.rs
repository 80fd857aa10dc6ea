//! The connection to a control plane: asks for what came after the revision at hand, applies what comes, reports what is
//! served. Broken, it comes back with a growing pause; the gateway serves on meanwhile.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::background::giving_way;
use apiclay_config::clock::Clock;
use apiclay_config::process::in_a_line;
use apiclay_config::snapshot::Frame;
use apiclay_config::wire;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use parking_lot::Mutex;
use rand::Rng as _;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::watch;

use super::configuration::{Applied, Configuration, Gap};
use super::control_plane::ControlPlane;
use super::leases::said_in;

/// The first pause before connecting or reporting again, and the longest.
const RETRY_FIRST_MS: u64 = 100;
const RETRY_MAX_MS: u64 = 5_000;
/// Without a frame for so long (heartbeats come every second) the connection is taken for dead.
const SILENCE_MAX_MS: u64 = 10_000;
/// Frames up to here are read at once; longer ones give way to calls.
const READ_AT_ONCE_MAX_BYTES: usize = 1024 * 1024;
/// Bytes that are taken in while what came before them is applied.
const AHEAD_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why the stream broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the control plane cannot be reached")]
    Http(#[from] reqwest::Error),
    #[error("the control plane answered {status}: {said}")]
    Refused {
        status: StatusCode,
        /// What it says to do, where it says something.
        said: String,
    },
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
        tracing::warn!(error = in_a_line(&broken), pause_ms, "the configuration stream broke");
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
    let ((revision, fingerprint), standing) = {
        let configuration = configuration.lock();
        (configuration.revision(), Standing::of(configuration.standing()))
    };
    // A plugin type must be announced before anybody may bind it: report first.
    standing.report(control).await?;
    let from = match fingerprint {
        None => revision.to_string(),
        Some(fingerprint) => format!("{revision}&fingerprint={fingerprint}"),
    };
    // Its body has no end; its head has its time, or a control plane that hangs would keep this gateway from the others.
    let asked = control.request(Method::GET, &format!("config/stream?revision={from}")).send();
    let Ok(answer) = tokio::time::timeout(Duration::from_millis(SILENCE_MAX_MS), asked).await else {
        return Err(StreamError::Silence);
    };
    let answer = answer?;
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    control.note_back();
    let (tell, told) = watch::channel(standing);
    tokio::select! {
        ended = read(answer, control, configuration, clock, &tell) => ended,
        () = report_each(control, told) => Ok(()),
    }
}

/// Applies what comes, to its end, and tells where that has led.
async fn read(
    answer: reqwest::Response,
    control: &ControlPlane,
    configuration: &Arc<Mutex<Configuration>>,
    clock: &Clock,
    tell: &watch::Sender<Standing>,
) -> Result<(), StreamError> {
    let mut coming = Coming { body: answer.bytes_stream(), buffer: Vec::new(), broken: None };
    loop {
        if matches!(wire::read(&coming.buffer), Ok(None)) {
            coming.wait(control).await?;
            continue;
        }
        let Heard { applied, told_more } = coming.apply(control, configuration).await?;
        configuration.lock().gateway().metrics.config_heard(clock.now());
        if let Some(error) = &applied.not_kept {
            tracing::error!(error = in_a_line(error), "the configuration is served and not on disk");
        }
        let why = applied.wrong.or_else(|| applied.not_kept.map(|error| error.to_string().into()));
        let standing = Standing { revision: applied.revision, wrong: why };
        tell.send_if_modified(|said| {
            let is_news = told_more || standing != *said;
            if is_news {
                *said = standing;
            }
            is_news
        });
    }
}

/// What comes of a stream, and has not been applied.
struct Coming<B> {
    body: B,
    buffer: Vec<u8>,
    /// Why no more will come. What came whole before it holds.
    broken: Option<StreamError>,
}

impl<B: Stream<Item = reqwest::Result<Bytes>> + Unpin> Coming<B> {
    /// Waits for more. What is there already comes with it: pieces are handed over one by one, each in no time.
    async fn wait(&mut self, control: &ControlPlane) -> Result<(), StreamError> {
        if let Some(why) = self.broken.take() {
            return Err(why);
        }
        let next = tokio::time::timeout(Duration::from_millis(SILENCE_MAX_MS), self.body.next()).await;
        self.take(next.map_err(|_| StreamError::Silence)?, control);
        while self.broken.is_none()
            && let Some(next) = self.body.next().now_or_never()
        {
            self.take(next, control);
        }
        Ok(())
    }

    fn take(&mut self, next: Option<reqwest::Result<Bytes>>, control: &ControlPlane) {
        match next {
            Some(Ok(more)) => {
                self.buffer.extend_from_slice(&more);
                control.heard.note();
            }
            Some(Err(why)) => self.broken = Some(why.into()),
            None => self.broken = Some(StreamError::End),
        }
    }

    /// Applies the frames that are whole. Of a large market that takes seconds: the control plane is heard meanwhile.
    async fn apply(
        &mut self,
        control: &ControlPlane,
        configuration: &Arc<Mutex<Configuration>>,
    ) -> Result<Heard, StreamError> {
        let mut applied = pin!(apply(Arc::clone(configuration), std::mem::take(&mut self.buffer)));
        let (rest, heard) = loop {
            let hears = self.broken.is_none() && self.buffer.len() < AHEAD_MAX_BYTES;
            tokio::select! {
                biased;
                applied = &mut applied => break applied?,
                next = self.body.next(), if hears => self.take(next, control),
            }
        };
        self.buffer.splice(..0, rest);
        Ok(heard)
    }
}

/// What a report says.
#[derive(Clone, PartialEq, Eq)]
struct Standing {
    revision: u64,
    wrong: Option<Arc<str>>,
}

impl Standing {
    fn of((revision, wrong): (u64, Option<Arc<str>>)) -> Self {
        Self { revision, wrong }
    }

    async fn report(&self, control: &ControlPlane) -> Result<(), StreamError> {
        let answer = control.report(self.revision, self.wrong.as_deref().map(str::to_owned)).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer).await) }
    }
}

pub(super) async fn refused(answer: Response) -> StreamError {
    let status = answer.status();
    let body = tokio::time::timeout(Duration::from_millis(SILENCE_MAX_MS), answer.text()).await;
    let said = said_in(&body.map(Result::unwrap_or_default).unwrap_or_default());
    let said = said.unwrap_or_else(|| "see that this gateway is enrolled and its token is right".to_owned());
    StreamError::Refused { status, said }
}

/// Reports the last of what is told, beside the stream, which is read on however long that takes. What cannot be reported is
/// reported again: no word of the stream is lost by it.
async fn report_each(control: &ControlPlane, mut told: watch::Receiver<Standing>) {
    let mut pause_ms = RETRY_FIRST_MS;
    while told.changed().await.is_ok() {
        let standing = told.borrow_and_update().clone();
        match standing.report(control).await {
            Ok(()) => pause_ms = RETRY_FIRST_MS,
            Err(error) => {
                tracing::warn!(%error, revision = standing.revision, "what is served could not be reported");
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                pause_ms = (pause_ms * 2).min(RETRY_MAX_MS);
                told.mark_changed();
            }
        }
    }
}

/// What some frames came to.
struct Heard {
    applied: Applied,
    told_more: bool,
}

/// Applies all whole frames in `buffer`, of which there is one, and gives back the beginning of the next; on a thread that may block, because large
/// snapshots take a while to read, compile and write.
async fn apply(
    configuration: Arc<Mutex<Configuration>>,
    mut buffer: Vec<u8>,
) -> Result<(Vec<u8>, Heard), StreamError> {
    tokio::task::spawn_blocking(move || {
        // Of a large market, for seconds.
        let is_long = buffer.len() > READ_AT_ONCE_MAX_BYTES;
        let frames = giving_way(is_long, || take_frames(&mut buffer))?;
        let told_more = frames.iter().any(|f| !matches!(f, Frame::Heartbeat { .. }));
        let applied = configuration.lock().apply(frames)?;
        Ok((buffer, Heard { applied, told_more }))
    })
    .await?
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
