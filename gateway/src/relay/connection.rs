//! A connection to an upstream for one call: the request goes out, the answer's head comes in, the interim ones before it are passed
//! on. All that is waited for has its time, and the client may leave meanwhile.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answer;
use super::client::{Client, Gone};
use super::upload::Wrong;
use super::upstream::Failed;
use crate::deadline;
use crate::phases::respond;
use crate::rejection::Rejection;

/// Room for one read of an answer.
pub(super) const READ_BYTES: usize = 16_384;
/// What the room grows to after one that was full, for more comes: of 1 MB that takes half the CPU. Where a read always has as much, it
/// takes more than with what is left of it, for the vendor then sends in fewer pieces, and each of them wakes somebody.
pub(super) const FULL_READ_BYTES: usize = 65_536;

/// Calls that go on without their clients at most, in the process: a client that leaves has room for the next one.
const LEFT_MAX: usize = 1_024;
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// The place of a call among those that go on without their clients.
#[derive(Debug, Default)]
struct Left(bool);

impl Left {
    /// Whether there is one for it.
    fn is_room(&mut self) -> bool {
        if !self.0 {
            self.0 = LEFT.fetch_add(1, Relaxed) < LEFT_MAX;
            if !self.0 {
                LEFT.fetch_sub(1, Relaxed);
            }
        }
        self.0
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if self.0 {
            LEFT.fetch_sub(1, Relaxed);
        }
    }
}

/// Buffers of an exchange.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The answer's head.
    pub head: answer::Head,
    /// What was read from the upstream and not passed on yet; the answer's head stands at its beginning.
    pub read: BytesMut,
    /// What is being written, to either side.
    pub out: Vec<u8>,
}

impl Exchange {
    /// How much room it takes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.read.capacity() + self.out.capacity()
    }
}

/// What a wait for the upstream came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// There is more in the buffer.
    Bytes,
    /// It has closed as one does.
    End,
    /// The connection broke: whatever came is not known to be all.
    Broke,
    /// Nothing came in time.
    TimedOut,
    /// The client left meanwhile.
    ClientLeft,
    /// Its body cannot be taken.
    Wrong(Wrong),
}

impl Read {
    /// What a read came to.
    pub(super) fn of(read: &std::io::Result<usize>) -> Self {
        match read {
            Ok(1..) => Self::Bytes,
            Ok(0) => Self::End,
            Err(_) => Self::Broke,
        }
    }
}

/// A connection to an upstream.
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    /// Where it leads to.
    pub address: SocketAddr,
    /// From the pool: the upstream may have closed it, unseen.
    pub reused: bool,
    /// For one wait.
    pub read_timeout: Duration,
    /// From when on the answer is waited for.
    pub since: Instant,
}

impl Connection {
    /// Whether all was written, as [`Read::Bytes`].
    pub async fn write(&mut self, bytes: &[u8]) -> Read {
        let stream = &mut self.stream;
        let write = pin!(async {
            stream.write_all(bytes).await?;
            stream.flush().await
        });
        let mut written = deadline::within(self.read_timeout, write);
        let result = (&mut written).await;
        if written.has_waited() {
            self.since = Instant::now();
        }
        match result {
            Ok(Ok(())) => Read::Bytes,
            Ok(Err(_)) => Read::Broke,
            Err(_) => Read::TimedOut,
        }
    }

    /// Reads up to the final head; interim ones are passed on. Each of them has its time, however many reads it comes in.
    ///
    /// # Errors
    /// When what comes is no answer, or the client is gone.
    pub async fn head(&mut self, client: &mut impl Client, exchange: &mut Exchange) -> Result<Read, Failed> {
        let Exchange { head, read, out, .. } = exchange;
        let no_answer = || Failed::Refused(Rejection::UpstreamUnreachable);
        read.clear();
        let (mut interims, mut told, mut left) = (0, false, Left::default());
        let mut until = self.since + self.read_timeout;
        loop {
            while !read.is_empty() && head.read(read).map_err(|_| no_answer())? {
                match head.status {
                    // What is below 100 is no status (RFC 9110, section 15).
                    0..=99 | 101 => return Err(no_answer()),
                    200.. => return Ok(Read::Bytes),
                    _ if interims == respond::INTERIMS_MAX => return Err(no_answer()),
                    _ => {
                        interims += 1;
                        if !client.has_left() {
                            match client.interim(out, head.status, head.lines(read)).await {
                                Ok(passed) => told |= passed,
                                Err(Gone) if client.upload().is_sent() && left.is_room() => client.leave(),
                                Err(Gone) => return Err(Failed::ClientLeft),
                            }
                        }
                    }
                }
                read.advance(head.bytes);
                until = Instant::now() + self.read_timeout;
            }
            let begins_beside_body = read.is_empty() && client.upload().goes_on();
            match self.read(read, client, until).await {
                // Its time begins with it, be it that the request's body still comes or that it came first.
                Read::Bytes if begins_beside_body => {
                    until = Instant::now() + self.read_timeout;
                }
                Read::Bytes => {}
                // Part of an answer is with the client: no other one follows it.
                Read::End | Read::Broke if told => return Err(no_answer()),
                // The upstream has all of the request: what came of it is told by its answer, whoever waits for that.
                Read::ClientLeft if client.upload().is_sent() && left.is_room() => client.leave(),
                other => return Ok(other),
            }
        }
    }

    /// Waits for more from the upstream, and for the client to leave. What is left of the client's body is sent meanwhile; after it the time
    /// begins anew, unless the answer has begun.
    pub async fn read(&mut self, into: &mut BytesMut, client: &mut impl Client, mut until: Instant) -> Read {
        into.reserve(READ_BYTES);
        if client.upload().goes_on() {
            let begun_until = (!into.is_empty()).then_some(until);
            // Boxed, as all that most calls do not.
            if let Some(read) = Box::pin(self.send(Some(&mut *into), client, begun_until)).await {
                return read;
            }
            // An answer that began beside the body has had its time since then.
            until = begun_until.unwrap_or_else(|| Instant::now() + self.read_timeout);
        }
        let read = async {
            loop {
                tokio::select! {
                    biased;
                    read = self.stream.read_buf(into) => return Read::of(&read),
                    sent = client.look(), if client.is_watched() => {
                        if sent.is_err() {
                            return Read::ClientLeft;
                        }
                    }
                }
            }
        };
        deadline::until(until, pin!(read)).await.unwrap_or(Read::TimedOut)
    }
}
