//! The client of one call: what it is written, within a time, and what it sends meanwhile, within a bound. What the lane wants of one,
//! and HTTP/1.1's; HTTP/2's is in `super::http2`.

use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answer::{self, HeadOut};
use super::upload::{PIECE_BYTES, Upload, Wrong};
use super::upstream::Failed;
use crate::deadline;
use crate::front::lines::HeadLines;

/// Bytes that a connection may have sent ahead of the call that is being answered.
const AHEAD_MAX_BYTES: usize = 65_536;

/// The client of one call.
pub trait Client: Send {
    /// What takes the head of an answer.
    type Head: HeadOut;
    /// Whether an answer's body is written in chunks where its length is not known.
    const CHUNKS: bool;

    /// Where the head of an answer is written; it goes out with the next write, which `out` is for.
    fn head<'a>(&'a mut self, out: &'a mut Vec<u8>) -> &'a mut Self::Head;

    /// Writes all of it, and where it is the answer's `last` says so.
    ///
    /// # Errors
    /// When the client has gone.
    fn write(&mut self, bytes: &[u8], last: bool) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Passes an interim answer on; whether it did.
    ///
    /// # Errors
    /// When the client has gone.
    fn interim(
        &mut self,
        out: &mut Vec<u8>,
        status: u16,
        lines: HeadLines<'_>,
    ) -> impl Future<Output = Result<bool, Gone>> + Send;

    /// Whether the connection ends with this call: also where the rest of its body would be in the next one's way.
    fn closes(&self) -> bool;

    /// Whether it is looked at while the upstream is waited for.
    fn is_watched(&self) -> bool;

    /// Waits until it sends something ahead; comes back with an error where it leaves.
    ///
    /// # Errors
    /// When the client has gone.
    fn look(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Whether what looks like its leaving may be the end of its sending half alone: a write will tell.
    fn may_read_on(&self) -> bool;

    /// It has left, and its call goes on: it is looked at no more.
    fn leave(&mut self);

    /// Whether it has.
    fn has_left(&self) -> bool;

    /// For one write, and between two reads of a body.
    fn timeout(&self) -> Duration;

    /// What came of its body before the call is forwarded.
    fn body(&self) -> &[u8];

    /// Takes what is not to be forwarded before all of it has come; whether it had to be waited for.
    ///
    /// # Errors
    /// When it does not come.
    fn take_body(&mut self) -> impl Future<Output = Result<bool, Failed>> + Send;

    /// Its body.
    fn upload(&self) -> &Upload;

    /// The same, to go on with.
    fn upload_mut(&mut self) -> &mut Upload;

    /// Makes the next piece of what came of the body; whether there was anything.
    ///
    /// # Errors
    /// When the body cannot be taken.
    fn take_piece(&mut self) -> Result<bool, Wrong>;

    /// Reads more of the body, as much as a piece; pending also where that is here and cannot be sent yet.
    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Gone>>;
}

/// The client of one call of HTTP/1.1.
pub struct Http1<'a> {
    /// Its connection.
    pub stream: &'a mut Stream,
    /// What came of its body, with its framing.
    pub body: &'a [u8],
    /// Bytes that stood behind the call's own when it began.
    pub waiting: usize,
    /// What it sends while the call goes on, and is not taken for its body.
    pub followers: &'a mut BytesMut,
    /// What still comes of its body.
    pub upload: &'a mut Upload,
    /// For one write, and between two reads of a body.
    pub timeout: Duration,
    /// It wants no further call on this connection.
    pub said_close: bool,
    /// It has left while its call goes on.
    pub has_left: bool,
    /// It took a part of something: what came behind that would be read as its rest.
    pub is_broken: bool,
    /// Whether the gateway is about to stop.
    pub shutdown: &'a ShutdownWatch,
}

/// The client has gone, or does not take what it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Gone;

impl Http1<'_> {
    /// How much more it may send ahead. At 0 it is not looked at: nobody needs more before this call is over.
    fn room(&self) -> usize {
        AHEAD_MAX_BYTES.saturating_sub(self.waiting + self.followers.len())
    }
}

impl Client for Http1<'_> {
    type Head = Vec<u8>;
    const CHUNKS: bool = true;

    fn head<'a>(&'a mut self, out: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        out
    }

    async fn write(&mut self, bytes: &[u8], _: bool) -> Result<(), Gone> {
        if self.is_broken {
            return Err(Gone);
        }
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let written = deadline::within(self.timeout, pin!(write)).await;
        self.is_broken = !matches!(written, Ok(Ok(())));
        if self.is_broken { Err(Gone) } else { Ok(()) }
    }

    async fn interim(&mut self, out: &mut Vec<u8>, status: u16, lines: HeadLines<'_>) -> Result<bool, Gone> {
        out.clear();
        answer::interim(out, status, lines);
        self.write(out, false).await.map(|()| true)
    }

    fn closes(&self) -> bool {
        self.said_close || self.has_left || !self.upload.has_ended() || *self.shutdown.borrow()
    }

    fn is_watched(&self) -> bool {
        self.room() > 0 && !self.has_left
    }

    async fn look(&mut self) -> Result<(), Gone> {
        let room = self.room();
        match self.stream.read_buf(&mut (&mut *self.followers).limit(room)).await {
            Ok(1..) => Ok(()),
            _ => Err(Gone),
        }
    }

    fn may_read_on(&self) -> bool {
        !self.has_left && self.upload.has_ended()
    }

    fn leave(&mut self) {
        self.has_left = true;
    }

    fn has_left(&self) -> bool {
        self.has_left
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn body(&self) -> &[u8] {
        self.body
    }

    async fn take_body(&mut self) -> Result<bool, Failed> {
        Ok(false)
    }

    fn upload(&self) -> &Upload {
        self.upload
    }

    fn upload_mut(&mut self) -> &mut Upload {
        self.upload
    }

    fn take_piece(&mut self) -> Result<bool, Wrong> {
        self.upload.take(self.followers)
    }

    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while self.followers.len() < PIECE_BYTES && self.room() > 0 {
            self.followers.reserve(PIECE_BYTES);
            match ready!(pin!(self.stream.read_buf(&mut *self.followers)).poll(task)) {
                Ok(1..) if self.upload.is_held_up() => {}
                Ok(1..) => return Poll::Ready(Ok(())),
                // It has sent all, which goes on.
                Ok(0) if self.upload.is_held_up() && self.upload.ends_in(self.followers) => {
                    return Poll::Pending;
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Gone)),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_ahead_is_bounded_over_all_calls_of_a_connection() {
        let (mut peer, gateway) = tokio::io::duplex(1 << 20);
        peer.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        let mut stream: Stream = Box::new(gateway);
        let (_stop, shutdown) = tokio::sync::watch::channel(false);
        let mut buffer = BytesMut::from(&b"request"[..]);
        for _ in 0..10 {
            let mut followers = BytesMut::new();
            let mut client = Http1 {
                stream: &mut stream,
                body: &[],
                waiting: buffer.len(),
                followers: &mut followers,
                upload: &mut Upload::default(),
                timeout: Duration::from_secs(1),
                said_close: false,
                has_left: false,
                is_broken: false,
                shutdown: &shutdown,
            };
            while client.is_watched() {
                client.look().await.unwrap();
            }
            buffer.extend_from_slice(&followers);
            assert_eq!(buffer.len(), AHEAD_MAX_BYTES);
            // The next call's own bytes.
            let _ = buffer.split_to(100);
        }
    }
}
