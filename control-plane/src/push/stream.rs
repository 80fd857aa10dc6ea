//! One gateway's stream: everything or the deltas since its revision, then each delta as it comes, and a heartbeat every
//! second. A task writes frames into a short queue; a gateway that does not read stops its own task and nobody else's.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::snapshot::Frame;
use apiclay_config::wire;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::{ChangeEntry, Push, changes, snapshot};
use crate::admin::gateways;
use crate::refusal::Refusal;
use crate::store::{Query, StoreError};

/// Frames that wait for a gateway to read them.
const QUEUE_MAX_FRAMES: usize = 16;
/// Revisions read at a time.
const REVISIONS_AT_ONCE_MAX: usize = 200;
/// How often a gateway hears that the connection lives.
const HEARTBEAT_INTERVAL_MS: u64 = 1_000;
/// How often it is written down that a gateway lives, in heartbeats.
const HEARTBEATS_PER_SIGN_OF_LIFE: u32 = 5;
/// A gateway that takes nothing for so long is let go.
const SEND_TIMEOUT_S: u64 = 30;

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    /// The gateway left, or does not read, or this process ends.
    #[error("the gateway has gone or does not read, or this process ends")]
    Gone,
    /// There is nothing to send.
    #[error("the configuration cannot be read from the store")]
    Configuration(#[from] StoreError),
    /// A frame cannot be written.
    #[error("a frame cannot be written")]
    Frame,
}

/// How many gateways are live, among which rates are divided; 0 while that is not known.
pub(super) type LiveGateways = Arc<std::sync::atomic::AtomicU32>;

/// Starts a stream for a gateway that has `revision`; the task ends when the receiver is dropped.
pub(super) fn start(
    push: Arc<Push>,
    live: LiveGateways,
    gateway: String,
    revision: u64,
    fingerprint: Option<u64>,
) -> mpsc::Receiver<Bytes> {
    let (frames, receiver) = mpsc::channel(QUEUE_MAX_FRAMES);
    tokio::spawn(async move {
        let mut stream = Stream { push, live, frames, gateway: gateway.clone(), revision };
        let end = stream.run(fingerprint).await;
        match end {
            Ok(()) | Err(StreamEnd::Gone) => tracing::debug!(gateway, "a configuration stream ended"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(gateway, cause, "a configuration stream ended: {error}");
            }
        }
    });
    receiver
}

fn heartbeats() -> Interval {
    let mut heartbeats = tokio::time::interval(Duration::from_millis(HEARTBEAT_INTERVAL_MS));
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats
}

struct Stream {
    push: Arc<Push>,
    live: LiveGateways,
    frames: mpsc::Sender<Bytes>,
    gateway: String,
    /// What the gateway has been sent.
    revision: u64,
}

impl Stream {
    async fn run(&mut self, fingerprint: Option<u64>) -> Result<(), StreamEnd> {
        let mut latest = self.push.watch();
        let closing = self.push.closing.clone();
        if !self.can_continue(fingerprint).await? {
            self.send_everything().await?;
        }
        let mut heartbeat = heartbeats();
        let mut beats: u32 = 0;
        loop {
            latest.borrow_and_update();
            self.send_deltas().await?;
            tokio::select! {
                changed = latest.changed() => changed.map_err(|_| StreamEnd::Gone)?,
                _ = heartbeat.tick() => {
                    self.send_heartbeat().await?;
                    beats = beats.wrapping_add(1);
                    if beats.is_multiple_of(HEARTBEATS_PER_SIGN_OF_LIFE) {
                        self.note_sign_of_life().await?;
                    }
                }
                () = self.frames.closed() => return Err(StreamEnd::Gone),
                () = closing.cancelled() => return Ok(()),
            }
        }
    }

    /// Whether deltas lead from the gateway's revision to ours: not from none, not from one that we have never had or that
    /// is another change here (a restored store), not from one whose successors are dropped.
    async fn can_continue(&self, fingerprint: Option<u64>) -> Result<bool, StoreError> {
        let last = self.push.poll().await?;
        if self.revision == 0 || self.revision > last {
            return Ok(false);
        }
        let here = self.push.store.get::<ChangeEntry>(&ChangeEntry::id_of(self.revision)).await?;
        if here.is_none_or(|entry| fingerprint != Some(entry.value.fingerprint())) {
            return Ok(false);
        }
        let next = ChangeEntry::id_of(self.revision + 1);
        Ok(self.revision == last || self.push.store.get::<ChangeEntry>(&next).await?.is_some())
    }

    async fn send_everything(&mut self) -> Result<(), StreamEnd> {
        let push = Arc::clone(&self.push);
        let snapshot = self.heard_during(snapshot::build(&push.store, push.now())).await??;
        self.revision = snapshot.revision;
        self.send(&Frame::Snapshot(Box::new(snapshot))).await
    }

    /// What `work` comes to, which takes long in a large market: meanwhile the gateway hears that the connection lives, and when it
    /// leaves, nobody works on for it.
    async fn heard_during<T>(&self, work: impl Future<Output = T>) -> Result<T, StreamEnd> {
        let mut work = pin!(work);
        let mut heartbeat = heartbeats();
        // The first comes at once, and what is done soon needs none.
        heartbeat.reset();
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = heartbeat.tick() => self.send_heartbeat().await?,
                () = self.frames.closed() => return Err(StreamEnd::Gone),
                () = self.push.closing.cancelled() => return Err(StreamEnd::Gone),
            }
        }
    }

    async fn send_deltas(&mut self) -> Result<(), StreamEnd> {
        loop {
            let after =
                Query::by("id").from(ChangeEntry::id_of(self.revision + 1)).limit(REVISIONS_AT_ONCE_MAX);
            let entries = self.push.store.query::<ChangeEntry>(&after).await?.items;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                if entry.value.revision != self.revision + 1 {
                    // Dropped while this gateway was reading slowly.
                    self.send_everything().await?;
                    break;
                }
                let delta = changes::delta(&self.push.store, &entry.value).await?;
                self.send(&Frame::Delta(delta)).await?;
                self.revision = entry.value.revision;
            }
        }
    }

    async fn send_heartbeat(&self) -> Result<(), StreamEnd> {
        let live = self.live.load(std::sync::atomic::Ordering::Relaxed);
        let live_gateways = (live > 0).then_some(live);
        self.send(&Frame::Heartbeat { revision: self.revision, live_gateways }).await
    }

    /// A gateway that takes its heartbeats lives, whether it reports or not. One that was forgotten is let go.
    async fn note_sign_of_life(&self) -> Result<(), StreamEnd> {
        match gateways::heard(&self.push.store, &self.gateway, None, self.push.now()).await {
            Err(Refusal::NotFound(_)) => Err(StreamEnd::Gone),
            Err(Refusal::Store(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn send(&self, frame: &Frame) -> Result<(), StreamEnd> {
        let payload = serde_json::to_vec(frame).map_err(|_| StreamEnd::Frame)?;
        let mut framed = Vec::with_capacity(payload.len() + wire::HEADER_BYTES);
        wire::write(&mut framed, &payload).map_err(|_| StreamEnd::Frame)?;
        let sent = self.frames.send_timeout(Bytes::from(framed), Duration::from_secs(SEND_TIMEOUT_S)).await;
        sent.map_err(|_| StreamEnd::Gone)
    }
}

#[cfg(test)]
mod tests {
    use apiclay_config::clock::Clock;

    use super::*;
    use crate::store::Store;

    async fn stream(folder: &std::path::Path) -> (Stream, mpsc::Receiver<Bytes>) {
        let store = Store::open_embedded(&folder.join("store")).await.unwrap();
        store.register::<ChangeEntry>().await.unwrap();
        let push = Arc::new(Push::open(store, Clock::System).await.unwrap());
        let (frames, receiver) = mpsc::channel(QUEUE_MAX_FRAMES);
        (Stream { push, live: Arc::default(), frames, gateway: "gw".into(), revision: 0 }, receiver)
    }

    #[tokio::test]
    async fn heartbeats_come_while_a_snapshot_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, mut receiver) = stream(folder.path()).await;
        stream.heard_during(std::future::ready(())).await.unwrap();
        assert!(receiver.try_recv().is_err(), "nothing comes before what is there soon");
        let building = tokio::time::sleep(Duration::from_millis(HEARTBEAT_INTERVAL_MS * 5 / 2));
        stream.heard_during(building).await.unwrap();
        let mut heard = 0;
        while let Ok(frame) = receiver.try_recv() {
            let (payload, _) = wire::read(&frame).unwrap().unwrap();
            assert!(matches!(Frame::read(payload), Frame::Heartbeat { revision: 0, .. }));
            heard += 1;
        }
        assert_eq!(heard, 2);
    }

    #[tokio::test]
    async fn nothing_is_built_on_for_a_gateway_that_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, receiver) = self::stream(folder.path()).await;
        drop(receiver);
        let ended = stream.heard_during(std::future::pending::<()>()).await;
        assert!(matches!(ended, Err(StreamEnd::Gone)));
        let folder = tempfile::tempdir().unwrap();
        let (stream, _receiver) = self::stream(folder.path()).await;
        stream.push.close();
        let ended = stream.heard_during(std::future::pending::<()>()).await;
        assert!(matches!(ended, Err(StreamEnd::Gone)));
    }
}
