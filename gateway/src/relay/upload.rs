//! A request's body that comes while its call goes on. It is checked as it passes (`crate::front::framing`) and written as the upstream
//! may see it, a piece at a time: chunks anew, without what else a client could put between them. The upstream is listened to meanwhile.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use super::body::{LAST_CHUNK, chunk};
use super::client::{Client, Gone};
use super::connection::{Connection, Read};
use crate::deadline;
use crate::front::framing::Frame;
use crate::rejection::Rejection;

/// Bytes of one piece. Of a body there is one to be written, and about two more that were read from the client.
pub(super) const PIECE_BYTES: usize = 16_384;

/// A request's body, as far as it is not known yet.
#[derive(Debug)]
pub struct Upload {
    /// What is still to come.
    frame: Frame,
    chunked: bool,
    /// What came of it, without framing.
    pub bytes: u64,
    /// What may come at most.
    max_bytes: u64,
    /// The piece that is being written, head and all for the first one, and how much of it was.
    out: Vec<u8>,
    written: usize,
    flushed: bool,
    /// More of it was taken than came with the head, and is not kept: the call cannot be tried again.
    pub is_beyond: bool,
    /// The upstream takes no more of it.
    refused: bool,
}

/// What a client does wrong while it sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The framing is broken.
    Framing,
    /// There is more than may be.
    TooLarge,
    /// Nothing came in time.
    TimedOut,
}

impl Wrong {
    /// What the client is told, where no answer has begun.
    #[must_use]
    pub const fn rejection(self) -> Rejection {
        match self {
            Self::Framing => Rejection::Malformed("The body's framing is broken."),
            Self::TooLarge => Rejection::BodyTooLarge,
            Self::TimedOut => Rejection::ClientTimeout,
        }
    }
}

/// What a look at both sides came to.
enum Step {
    /// Something went on: all times begin anew.
    Moved,
    /// The upstream has all of it, or takes no more.
    Over,
    /// Somebody else's turn.
    Said(Read),
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            frame: Frame::End,
            chunked: false,
            bytes: 0,
            max_bytes: 0,
            out: Vec::new(),
            written: 0,
            flushed: true,
            is_beyond: false,
            refused: false,
        }
    }
}

impl Upload {
    /// The body of another call, framed as `frame` says, of which so much `came` with its head; how many bytes of that are its own.
    pub fn begin(&mut self, mut frame: Frame, came: &[u8]) -> usize {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (chunked, mut bytes) = (matches!(frame, Frame::Chunked(_)), 0);
        let taken = frame.pass(came, &mut |data| bytes += data.len() as u64);
        *self = Self { frame, chunked, bytes, out, ..Self::default() };
        taken
    }

    /// The body of another call, of so many bytes, which is taken before anything is forwarded.
    pub fn begin_whole(&mut self, bytes: u64) {
        self.begin(Frame::End, &[]);
        self.bytes = bytes;
    }

    /// It may have this many bytes at most; without a length that is only seen as they come.
    ///
    /// # Errors
    /// When more came already.
    pub fn limit(&mut self, max_bytes: u64) -> Result<(), Wrong> {
        self.max_bytes = max_bytes;
        if self.bytes > max_bytes { Err(Wrong::TooLarge) } else { Ok(()) }
    }

    /// Its length, as far as it is known before it has come.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match self.frame {
            _ if self.chunked => 0,
            Frame::Length(left) => self.bytes + left,
            _ => self.bytes,
        }
    }

    /// Another upstream may take what the last one did not.
    pub fn try_anew(&mut self) {
        self.refused = false;
    }

    /// Another try: `out`, the head with what came with it, is written first.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        std::mem::swap(&mut self.out, out);
        (self.written, self.flushed) = (0, false);
    }

    /// Whether it has come to its end: what the client sends next is another request.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.frame == Frame::End
    }

    /// Whether what `came` after what was taken has its end.
    pub(super) fn ends_in(&self, came: &[u8]) -> bool {
        let mut frame = self.frame;
        frame.advance(came);
        frame == Frame::End
    }

    /// Whether the upstream has all of it.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.has_ended() && !self.is_held_up() && !self.refused
    }

    /// Whether there is more to be sent.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.refused && !self.is_sent()
    }

    /// How much room it takes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.out.capacity()
    }

    /// Whether a piece is not written yet.
    pub(super) fn is_held_up(&self) -> bool {
        self.written < self.out.len() || !self.flushed
    }

    /// Makes the next piece of what `came`; whether there was anything.
    pub(super) fn take(&mut self, came: &mut BytesMut) -> Result<bool, Wrong> {
        let Self { frame, chunked, bytes, out, .. } = self;
        out.clear();
        let piece = &came[..came.len().min(PIECE_BYTES)];
        let taken = frame.pass(piece, &mut |data| {
            *bytes = bytes.saturating_add(data.len() as u64);
            if *chunked {
                chunk(out, data);
            } else {
                out.extend_from_slice(data);
            }
        });
        if *frame == Frame::Bad {
            return Err(Wrong::Framing);
        }
        if *bytes > self.max_bytes {
            // It may have come to its end in this piece, of which nothing goes on: it is never taken for one that did.
            *frame = Frame::Bad;
            return Err(Wrong::TooLarge);
        }
        if *frame == Frame::End && *chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        (self.written, self.flushed) = (0, out.is_empty());
        self.is_beyond |= taken > 0;
        came.advance(taken);
        Ok(taken > 0)
    }

    /// Writes the piece.
    fn poll_write(&mut self, stream: &mut Stream, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut *stream).poll_write(task, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if !self.flushed {
            ready!(Pin::new(stream).poll_flush(task))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Connection {
    /// Sends what is left of the client's body, and listens to the upstream meanwhile, where there is room for what it says, which
    /// ends by `until` where it has begun. `None` once it has all, or takes no more.
    pub(super) async fn send(
        &mut self,
        mut into: Option<&mut BytesMut>,
        client: &mut impl Client,
        until: Option<Instant>,
    ) -> Option<Read> {
        loop {
            let (time, late) = if client.upload().is_held_up() {
                (self.read_timeout, Read::TimedOut)
            } else {
                // Who waits for a body says nothing: the client is the one who was silent.
                (self.read_timeout.min(client.timeout()), Read::Wrong(Wrong::TimedOut))
            };
            let silent_at = Instant::now() + time;
            let (at, late) = match until.filter(|until| *until < silent_at) {
                Some(until) => (until, Read::TimedOut),
                None => (silent_at, late),
            };
            let step = std::future::poll_fn(|task| self.step(task, into.as_deref_mut(), client));
            match deadline::until(at, pin!(step)).await {
                Ok(Step::Moved) => {}
                Ok(Step::Over) => return None,
                Ok(Step::Said(read)) => return Some(read),
                Err(_) => return Some(late),
            }
        }
    }

    fn step(
        &mut self,
        task: &mut Context<'_>,
        into: Option<&mut BytesMut>,
        client: &mut impl Client,
    ) -> Poll<Step> {
        // First, for what it says may be why it takes no more.
        if let Some(into) = into
            && let Poll::Ready(read) = pin!(self.stream.read_buf(into)).poll(task)
        {
            return Poll::Ready(Step::Said(Read::of(&read)));
        }
        let upload = client.upload_mut();
        let (was_held_up, before) = (upload.is_held_up(), upload.written);
        match upload.poll_write(&mut self.stream, task) {
            Poll::Ready(Err(_)) => {
                upload.refused = true;
                return Poll::Ready(Step::Over);
            }
            Poll::Ready(Ok(())) if upload.has_ended() => return Poll::Ready(Step::Over),
            // Whose time runs is another's now.
            Poll::Ready(Ok(())) if was_held_up => return Poll::Ready(Step::Moved),
            Poll::Ready(Ok(())) => match client.take_piece() {
                Ok(true) => return Poll::Ready(Step::Moved),
                Ok(false) => {}
                Err(wrong) => return Poll::Ready(Step::Said(Read::Wrong(wrong))),
            },
            Poll::Pending if upload.written > before => return Poll::Ready(Step::Moved),
            Poll::Pending => {}
        }
        match ready!(client.poll_more(task)) {
            Ok(()) => Poll::Ready(Step::Moved),
            Err(Gone) => Poll::Ready(Step::Said(Read::ClientLeft)),
        }
    }
}

#[cfg(test)]
mod tests;
