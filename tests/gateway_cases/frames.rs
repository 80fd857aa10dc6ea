//! HTTP/2 by hand, for what no library would send: frames as bytes, header blocks as literals without Huffman coding.
//! Reads back just enough to know how a stream ended.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DEADLINE: Duration = Duration::from_secs(20);
/// Less than a gateway waits for the rest of a request that it has refused.
const AT_ONCE: Duration = Duration::from_millis(900);
/// Less than the 8 s after which the tests' gateway lets go of a connection without streams, whatever it has brought.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
const FRAME_HEAD_BYTES: usize = 9;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// How a literal with a new name begins: into the table or not (RFC 7541, sections 6.2.1 and 6.2.2).
pub const INDEXED: u8 = 0x40;
pub const NOT_INDEXED: u8 = 0;
/// No table on our side, so that every block can be read alone: SETTINGS_HEADER_TABLE_SIZE = 0.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];
/// SETTINGS_INITIAL_WINDOW_SIZE = 0.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered with this status.
    Status(u16),
    /// It alone was ended, with this error code.
    Reset(u32),
    /// The whole connection was, with this error code.
    GoAway(u32),
    /// The connection is gone without a word.
    Closed,
}

/// A connection with prior knowledge, in the clear.
#[derive(Debug)]
pub struct Http2 {
    stream: TcpStream,
    /// Streams that were reset.
    pub resets: Vec<u32>,
    /// Streams whose last frame came.
    ends: Vec<u32>,
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_with(address, &NO_TABLE).await
    }

    /// The same of a client that takes nothing of an answer but its head.
    pub async fn without_window(address: SocketAddr) -> Result<Self> {
        Self::connect_with(address, &[NO_TABLE, NO_WINDOW].concat()).await
    }

    async fn connect_with(address: SocketAddr, settings: &[u8]) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
        Ok(Self { stream, resets: Vec::new(), ends: Vec::new() })
    }

    /// Sends a request: its headers in order, pseudo-headers among them, and its DATA frames, all in one write.
    pub async fn send(&mut self, id: u32, headers: &[(&str, &str)], data: &[&str]) -> Result<()> {
        let last = if data.is_empty() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, END_HEADERS | last, id, &block(headers));
        for (at, piece) in data.iter().enumerate() {
            let last = if at + 1 == data.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, last, id, piece.as_bytes()));
        }
        self.stream.write_all(&bytes).await.context("sending a request")
    }

    /// Sends a request's headers, and of its body a part of one DATA frame.
    pub async fn begin(&mut self, id: u32, headers: &[(&str, &str)], part: &str) -> Result<()> {
        let mut bytes = frame(HEADERS, END_HEADERS, id, &block(headers));
        bytes.extend(frame(DATA, 0, id, part.as_bytes()));
        self.stream.write_all(&bytes).await.context("beginning a request")
    }

    /// Sends the last part of a body.
    pub async fn finish(&mut self, id: u32, part: &str) -> Result<()> {
        let bytes = frame(DATA, END_STREAM, id, part.as_bytes());
        self.stream.write_all(&bytes).await.context("ending a request")
    }

    /// Sends frames as they are.
    pub async fn raw(&mut self, frames: &[u8]) -> Result<()> {
        self.stream.write_all(frames).await.context("sending frames")
    }

    /// Sends frames over which the connection is to be ended, and says how it was.
    pub async fn ends_over(&mut self, frames: &[u8]) -> Result<End> {
        let over = async {
            // It may be ended before all of them are sent.
            let _unsent = self.stream.write_all(frames).await;
            while let Some((kind, _, _, payload)) = self.frame().await? {
                if kind == GOAWAY {
                    return Ok(End::GoAway(code_at(&payload, 4)?));
                }
            }
            anyhow::Ok(End::Closed)
        };
        let over = timeout(ENDED_WITHIN, over).await;
        over.with_context(|| format!("the connection is open after {ENDED_WITHIN:?}"))?
    }

    /// How stream `id` ended, or the connection it is on. An answer is told by its first HEADERS frame.
    pub async fn end(&mut self, id: u32) -> Result<End> {
        timeout(DEADLINE, self.read_end(id))
            .await
            .with_context(|| format!("stream {id} did not end in {DEADLINE:?}"))?
    }

    /// That the last frame of an answer comes at once, before anybody would stop waiting for the rest of its request.
    pub async fn ended(&mut self, id: u32) -> Result<()> {
        let at_once = async {
            while !self.ends.contains(&id) {
                let (_, _, of, _) = self.frame().await?.context("the connection is closed")?;
                ensure!(!self.resets.contains(&of), "stream {of} was reset");
            }
            Ok(())
        };
        timeout(AT_ONCE, at_once).await.context("the answer's end does not come")?
    }

    async fn read_end(&mut self, id: u32) -> Result<End> {
        loop {
            let Some((kind, flags, of, payload)) = self.frame().await? else { return Ok(End::Closed) };
            match kind {
                SETTINGS | PING if flags & ACK == 0 => {
                    let echoed = if kind == PING { payload.as_slice() } else { &[] };
                    self.stream.write_all(&frame(kind, ACK, 0, echoed)).await?;
                }
                RST_STREAM if of == id => return Ok(End::Reset(code_at(&payload, 0)?)),
                GOAWAY => return Ok(End::GoAway(code_at(&payload, 4)?)),
                HEADERS if of == id => return Ok(End::Status(status(&payload)?)),
                _ => {}
            }
        }
    }

    /// Waits until a stream is reset.
    pub async fn reset(&mut self, id: u32) -> Result<()> {
        let reset = async {
            while !self.resets.contains(&id) {
                self.frame().await?.context("the connection is closed")?;
            }
            Ok(())
        };
        timeout(DEADLINE, reset).await.context("it is not reset")?
    }

    /// The next frame: kind, flags, stream and payload. None where the connection is closed.
    async fn frame(&mut self) -> Result<Option<(u8, u8, u32, Vec<u8>)>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        if self.stream.read_exact(&mut payload).await.is_err() {
            return Ok(None);
        }
        let of = u32::from_be_bytes([s0, s1, s2, s3]);
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.ends.push(of);
        }
        if kind == RST_STREAM {
            self.resets.push(of);
        }
        Ok(Some((kind, flags, of, payload)))
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals that stay out of the table.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    headers.iter().flat_map(|(name, value)| literal(NOT_INDEXED, name, value)).collect()
}

/// A literal with a new name, which begins with `form`.
pub fn literal(form: u8, name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![form];
    for text in [name, value] {
        // RFC 7541, section 5.1, with seven bits in the first byte.
        let mut length = text.len();
        if length < 127 {
            bytes.push(length as u8);
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push((length % 128) as u8 | 0x80);
                length /= 128;
            }
            bytes.push(length as u8);
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn code_at(payload: &[u8], at: usize) -> Result<u32> {
    let bytes = payload.get(at..at + 4).context("a frame too short for its error code")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

/// `:status`, which stands first in a block, after size updates of the table.
fn status(block: &[u8]) -> Result<u16> {
    let block = block.iter().position(|byte| byte & 0xe0 != 0x20).map_or(&[][..], |at| &block[at..]);
    let first = *block.first().context("an empty header block")?;
    // Statuses that the static table has as they are (RFC 7541, appendix A, 8 to 14).
    if let Some(status) = [200, 204, 206, 304, 400, 404, 500].get(usize::from(first).wrapping_sub(0x88)) {
        return Ok(*status);
    }
    // A literal whose name is one of those entries, with or without indexing.
    ensure!(matches!(first, 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e), "no status first: {block:?}");
    let length = *block.get(1).context("a header without a value")?;
    let value = block.get(2..2 + usize::from(length & 0x7f)).context("a value too short")?;
    let digits = if length & 0x80 == 0 { String::from_utf8_lossy(value).into_owned() } else { digits(value) };
    digits.parse().with_context(|| format!("a status of {digits:?}"))
}

/// Digits in Huffman coding (RFC 7541, appendix B): 0 to 2 in five bits, 3 to 9 in six; the rest is padding.
fn digits(coded: &[u8]) -> String {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let mut rest = bits.as_slice();
    let mut text = String::new();
    let number = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum << 1 | bit);
    while rest.len() >= 5 {
        let five = number(&rest[..5]);
        if five <= 2 {
            text.push(char::from(b'0' + five));
            rest = &rest[5..];
        } else if rest.len() >= 6 && (0x19..=0x1f).contains(&number(&rest[..6])) {
            text.push(char::from(b'3' + number(&rest[..6]) - 0x19));
            rest = &rest[6..];
        } else {
            break;
        }
    }
    text
}

#[test]
fn a_status_is_read_in_every_form_it_may_have() {
    assert_eq!(status(&[0x88]).ok(), Some(200));
    assert_eq!(status(&[0x20, 0x8c]).ok(), Some(400));
    assert_eq!(status(&[0x48, 3, b'4', b'0', b'1']).ok(), Some(401));
    // RFC 7541, appendix C.6.1: 302 in Huffman coding.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]).ok(), Some(302));
}
