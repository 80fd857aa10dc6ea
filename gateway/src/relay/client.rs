//! The client of one call: what it is written, within a time, and what it sends meanwhile, within a bound.

use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::upload::Upload;
use crate::deadline;

/// Bytes that a connection may have sent ahead of the call that is being answered.
const AHEAD_MAX_BYTES: usize = 65_536;

/// The client of one call.
pub struct Client<'a> {
    /// Its connection.
    pub stream: &'a mut Stream,
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
    /// Whether the gateway is about to stop.
    pub shutdown: &'a ShutdownWatch,
}

/// The client has gone, or does not take what it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Gone;

impl Client<'_> {
    /// Whether the connection ends with this call: also where the rest of its body would be in the next one's way.
    pub fn closes(&self) -> bool {
        self.said_close || !self.upload.has_ended() || *self.shutdown.borrow()
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match deadline::within(self.timeout, pin!(write)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// How much more it may send ahead. At 0 it is not looked at: nobody needs more before this call is over.
    pub fn room(&self) -> usize {
        AHEAD_MAX_BYTES.saturating_sub(self.waiting + self.followers.len())
    }

    /// Reads what it sends ahead; comes back with an error where it leaves.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn look(&mut self) -> Result<(), Gone> {
        let room = self.room();
        match self.stream.read_buf(&mut (&mut *self.followers).limit(room)).await {
            Ok(1..) => Ok(()),
            _ => Err(Gone),
        }
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
            let mut client = Client {
                stream: &mut stream,
                waiting: buffer.len(),
                followers: &mut followers,
                upload: &mut Upload::default(),
                timeout: Duration::from_secs(1),
                said_close: false,
                shutdown: &shutdown,
            };
            while client.room() > 0 {
                client.look().await.unwrap();
            }
            buffer.extend_from_slice(&followers);
            assert_eq!(buffer.len(), AHEAD_MAX_BYTES);
            // The next call's own bytes.
            let _ = buffer.split_to(100);
        }
    }
}
