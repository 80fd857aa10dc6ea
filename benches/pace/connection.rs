//! One connection of the load: a call at a time, and its answer up to the last byte, by its length; chunks are not read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result};

const READ_BYTES: usize = 16 * 1_024;

/// A connection.
pub struct Connection {
    stream: TcpStream,
    /// When the call that is out was due.
    due: Option<Instant>,
    /// Its head, until that is whole.
    head: Vec<u8>,
    /// Then its status, and what is still to come.
    body: Option<(u16, usize)>,
    room: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// Not all of an answer.
    Part,
    /// An answer, to the call that was due then.
    Answer { status: u16, due: Instant },
    /// The end of the connection, or what cannot be read.
    End { in_call: bool },
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
        stream.set_nodelay(true).context("setting up a connection")?;
        stream.set_nonblocking(true).context("setting up a connection")?;
        Ok(Self { stream, due: None, head: Vec::new(), body: None, room: vec![0; READ_BYTES] })
    }

    /// For events.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request, which the socket takes whole: it is small, and nothing stands before it.
    ///
    /// # Errors
    /// When the connection does not take it.
    pub fn send(&mut self, request: &[u8], due: Instant) -> std::io::Result<()> {
        (self.due, self.body) = (Some(due), None);
        self.head.clear();
        self.stream.write_all(request)
    }

    /// Takes what has come.
    pub fn read(&mut self) -> Got {
        loop {
            let bytes = match self.stream.read(&mut self.room) {
                Ok(0) => return Got::End { in_call: self.due.is_some() },
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Got::Part,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Got::End { in_call: self.due.is_some() },
            };
            match self.take(bytes) {
                // A short read has emptied the socket: events come again when there is more.
                Some(Got::Part) if bytes < self.room.len() => return Got::Part,
                Some(Got::Part) => {}
                Some(got) => return got,
                None => return Got::End { in_call: self.due.is_some() },
            }
        }
    }

    /// Reads the first bytes of the room as part of an answer; `None` where they are none.
    fn take(&mut self, bytes: usize) -> Option<Got> {
        let (status, left) = match self.body.take() {
            Some((status, left)) => (status, left.checked_sub(bytes)?),
            None => {
                self.head.extend_from_slice(&self.room[..bytes]);
                let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return Some(Got::Part);
                };
                let (status, length) = head(std::str::from_utf8(&self.head[..end]).ok()?)?;
                (status, length.checked_sub(self.head.len() - end - 4)?)
            }
        };
        if left > 0 {
            self.body = Some((status, left));
            return Some(Got::Part);
        }
        Some(Got::Answer { status, due: self.due.take()? })
    }
}

/// Status and length of an answer.
fn head(text: &str) -> Option<(u16, usize)> {
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length =
        fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.trim().parse().ok()?;
    Some((status, length))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_ends_at_its_length() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        connection.stream.set_nonblocking(false).unwrap();
        let due = Instant::now();
        connection.send(b"GET / HTTP/1.1\r\n\r\n", due).unwrap();
        server.write_all(b"HTTP/1.1 429 No\r\nContent-").unwrap();
        assert_eq!(connection.read(), Got::Part);
        server.write_all(b"length: 5\r\n\r\nab").unwrap();
        assert_eq!(connection.read(), Got::Part);
        server.write_all(b"cde").unwrap();
        assert_eq!(connection.read(), Got::Answer { status: 429, due });
        // Nobody asked: it is not that a call failed, whose place would be free a second time.
        server.write_all(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(connection.read(), Got::End { in_call: false });
        drop(server);
        assert_eq!(connection.read(), Got::End { in_call: false });
    }
}
