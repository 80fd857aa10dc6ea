//! Where a request's body ends: a pure state machine over its bytes, strict where Pingora is lenient (RFC 9112, section
//! 7.1, without extensions and trailers, which nothing needs and attacks like). The gate moves it, and so does the
//! fast lane.

/// Hexadecimal digits of a chunk's size at most: more cannot be counted in 60 bits.
const CHUNK_SIZE_DIGITS_MAX: u8 = 15;

/// What is left of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// No end: an upgraded connection, or HTTP/2.
    Open,
    /// No body; [`Frame::Open`] once the upstream has agreed to the upgrade, which the gate sees by the answer.
    Upgrading,
    /// This many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Nothing: what follows is the next request.
    End,
    /// The framing is broken; nothing more can be believed.
    Bad,
}

/// Where in a chunk we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// In the size: its value and digits so far.
    Size(u64, u8),
    /// After the size's CR.
    SizeLf(u64),
    /// In the data.
    Data(u64),
    /// After the data.
    DataCr,
    /// After the data's CR.
    DataLf,
    /// After the last chunk's size line.
    LastCr,
    /// After the last CR.
    LastLf,
}

impl Frame {
    /// A body of this length.
    #[must_use]
    pub const fn length(bytes: u64) -> Self {
        if bytes == 0 { Self::End } else { Self::Length(bytes) }
    }

    /// A chunked body.
    #[must_use]
    pub const fn chunked() -> Self {
        Self::Chunked(Chunk::Size(0, 0))
    }

    /// Whether the framing is broken within `bytes`.
    #[must_use]
    pub fn breaks_in(mut self, bytes: &[u8]) -> bool {
        self.advance(bytes);
        self == Self::Bad
    }

    /// How many of `bytes` belong to this body; moves on by them.
    pub fn advance(&mut self, bytes: &[u8]) -> usize {
        self.pass(bytes, &mut |_| {})
    }

    /// The same, and shows `data` what of them is the body's own, without framing.
    pub fn pass(&mut self, bytes: &[u8], data: &mut impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match *self {
                Self::Open => {
                    data(&bytes[taken..]);
                    return bytes.len();
                }
                Self::Upgrading | Self::End | Self::Bad => return taken,
                Self::Length(left) => {
                    let n = left.min((bytes.len() - taken) as u64);
                    data(&bytes[taken..taken + n as usize]);
                    taken += n as usize;
                    *self = Self::length(left - n);
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let n = left.min((bytes.len() - taken) as u64);
                    data(&bytes[taken..taken + n as usize]);
                    taken += n as usize;
                    *self = Self::Chunked(if left == n { Chunk::DataCr } else { Chunk::Data(left - n) });
                }
                Self::Chunked(chunk) => {
                    *self = line(chunk, bytes[taken]);
                    if *self == Self::Bad {
                        return taken;
                    }
                    taken += 1;
                }
            }
        }
        taken
    }
}

/// One byte outside a chunk's data.
fn line(chunk: Chunk, byte: u8) -> Frame {
    let next = match (chunk, byte) {
        (Chunk::Size(value, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
            if digits < CHUNK_SIZE_DIGITS_MAX =>
        {
            let digit = char::from(byte).to_digit(16).unwrap_or(0);
            Chunk::Size(value * 16 + u64::from(digit), digits + 1)
        }
        (Chunk::Size(value, 1..), b'\r') => Chunk::SizeLf(value),
        (Chunk::SizeLf(0), b'\n') => Chunk::LastCr,
        (Chunk::SizeLf(value), b'\n') => Chunk::Data(value),
        (Chunk::DataCr, b'\r') => Chunk::DataLf,
        (Chunk::DataLf, b'\n') => Chunk::Size(0, 0),
        (Chunk::LastCr, b'\r') => Chunk::LastLf,
        (Chunk::LastLf, b'\n') => return Frame::End,
        _ => return Frame::Bad,
    };
    Frame::Chunked(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step`; where the body ended, and how.
    fn run(bytes: &[u8], step: usize) -> (usize, Frame) {
        let (taken, frame, _) = data(Frame::chunked(), bytes, step);
        (taken, frame)
    }

    /// The same, and the body's own bytes.
    fn data(mut frame: Frame, bytes: &[u8], step: usize) -> (usize, Frame, Vec<u8>) {
        let (mut taken, mut data) = (0, Vec::new());
        for piece in bytes.chunks(step) {
            let n = frame.pass(piece, &mut |own| data.extend_from_slice(own));
            taken += n;
            if n < piece.len() {
                break;
            }
        }
        (taken, frame, data)
    }

    #[test]
    fn what_is_the_bodys_own_is_shown_without_its_framing() {
        let chunked = &b"4\r\nwiki\r\n1\r\nA\r\n0\r\n\r\nGET"[..];
        for step in 1..chunked.len() {
            assert_eq!(data(Frame::chunked(), chunked, step).2, b"wikiA", "in pieces of {step}");
            assert_eq!(data(Frame::length(5), b"wikiAGET", step), (5, Frame::End, b"wikiA".to_vec()));
        }
        assert_eq!(data(Frame::Open, b"wikiA", 2), (5, Frame::Open, b"wikiA".to_vec()));
    }

    #[test]
    fn a_chunked_body_ends_at_its_last_byte_however_it_arrives() {
        let body = b"4\r\nwiki\r\nA\r\n0123456789\r\n000\r\n\r\n";
        let wire = [&body[..], b"GET / HTTP/1.1\r\n"].concat();
        for step in 1..wire.len() {
            assert_eq!(run(&wire, step), (body.len(), Frame::End), "in pieces of {step}");
        }
    }

    #[test]
    fn every_laxity_is_refused() {
        for bad in [
            "0_2e\r\n",
            "-1\r\n",
            "+2\r\n",
            " 2\r\n",
            "2 \r\n",
            "0x2\r\n",
            "2;x=y\r\n",
            "2\nab",
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "ffffffffffffffff\r\n",
            "2\r\nabX",
            "2\r\nab\n",
            "0\r\nTrailer: x\r\n\r\n",
            "0\n\n",
            "0\r\n\n",
        ] {
            assert_eq!(run(bad.as_bytes(), 1).1, Frame::Bad, "{bad:?}");
        }
    }
}
