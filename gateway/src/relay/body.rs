//! An answer's body: where it ends (RFC 9112, section 6.3), and its bytes as the client gets them. Chunks are read leniently, for
//! vendors' servers send extensions and trailers, and written anew without them. Pure: bytes in, bytes out.

use std::io::Write as _;

/// Hexadecimal digits of a chunk's size at most: more cannot be counted in 60 bits.
const CHUNK_SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of one chunk's extensions, and of all trailers.
const ASIDE_MAX_BYTES: u32 = 8_192;

/// The end of a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    Done,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All that comes until the upstream closes; in chunks for the client, who is told of the end by [`LAST_CHUNK`].
    UntilClose,
}

/// Where in the chunks we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// In a size: its value and digits so far.
    Size(u64, u8),
    /// After the size, up to the line's end; bytes of it so far.
    Extension(u64, u32),
    /// After the size line's CR.
    SizeLf(u64),
    /// In the data.
    Data(u64),
    /// After the data.
    DataCr,
    /// After the data's CR.
    DataLf,
    /// At a trailer line's beginning; bytes of trailers so far.
    Trailer(u32),
    /// In a trailer line.
    TrailerLine(u32),
    /// After the last line's CR.
    LastLf,
}

/// The framing is broken: nothing more can be believed of this connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Framing {
    /// A body of this length.
    #[must_use]
    pub const fn length(bytes: u64) -> Self {
        if bytes == 0 { Self::Done } else { Self::Length(bytes) }
    }

    /// A chunked body.
    #[must_use]
    pub const fn chunked() -> Self {
        Self::Chunked(Chunks::Size(0, 0))
    }

    /// Whether what comes next of the body goes to the client as it comes, so that nothing has to be made of it.
    #[must_use]
    pub const fn goes_as_it_comes(&self, in_chunks: bool) -> bool {
        match self {
            Self::Length(_) => true,
            Self::UntilClose => !in_chunks,
            Self::Done | Self::Chunked(_) => false,
        }
    }

    /// How many bytes of `read` are of a body that goes as it comes; moves on by them.
    pub fn take(&mut self, read: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let taken = fitting(*left, read);
                *self = Self::length(*left - taken as u64);
                taken
            }
            _ => read.len(),
        }
    }

    /// Moves on by the bytes of `read` that are this body's, appends to `out` what the client gets of them, `in_chunks` where it can be
    /// told so of a length that is not known, and shows `data` the bytes without their framing. How many of `read` it took: fewer than
    /// all only at the body's end.
    ///
    /// # Errors
    /// When the framing is broken.
    pub fn pass(
        &mut self,
        read: &[u8],
        in_chunks: bool,
        out: &mut Vec<u8>,
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Broken> {
        let chunk = if in_chunks { chunk } else { whole };
        let mut taken = 0;
        while taken < read.len() {
            let rest = &read[taken..];
            match *self {
                Self::Done => break,
                Self::UntilClose => {
                    chunk(out, rest);
                    data(rest);
                    taken += rest.len();
                }
                Self::Length(left) => {
                    let piece = &rest[..fitting(left, rest)];
                    out.extend_from_slice(piece);
                    data(piece);
                    taken += piece.len();
                    *self = Self::length(left - piece.len() as u64);
                }
                Self::Chunked(Chunks::Data(left)) => {
                    let piece = &rest[..fitting(left, rest)];
                    chunk(out, piece);
                    data(piece);
                    taken += piece.len();
                    let left = left - piece.len() as u64;
                    *self = Self::Chunked(if left == 0 { Chunks::DataCr } else { Chunks::Data(left) });
                }
                Self::Chunked(chunks) => {
                    taken += 1;
                    *self = match chunks.byte(rest[0])? {
                        Some(next) => Self::Chunked(next),
                        None => Self::Done,
                    };
                    if *self == Self::Done && in_chunks {
                        out.extend_from_slice(LAST_CHUNK);
                    }
                }
            }
        }
        Ok(taken)
    }
}

/// Writes one chunk.
pub(super) fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    // Writing to memory does not fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes data alone.
fn whole(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
}

/// How many of `rest` are among the next `left` bytes.
fn fitting(left: u64, rest: &[u8]) -> usize {
    usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))
}

impl Chunks {
    /// One byte outside a chunk's data; none after the last one.
    fn byte(self, byte: u8) -> Result<Option<Self>, Broken> {
        let next = match (self, byte) {
            (Self::Size(value, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < CHUNK_SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size(value * 16 + u64::from(digit), digits + 1)
            }
            (Self::Size(value, 1..) | Self::Extension(value, _), b'\r') => Self::SizeLf(value),
            (Self::Size(value, 1..), b';' | b' ' | b'\t') => Self::Extension(value, 1),
            (Self::Extension(value, bytes), b' '..=b'~' | b'\t' | 0x80..) if bytes < ASIDE_MAX_BYTES => {
                Self::Extension(value, bytes + 1)
            }
            (Self::SizeLf(0), b'\n') => Self::Trailer(0),
            (Self::SizeLf(value), b'\n') => Self::Data(value),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0, 0),
            (Self::Trailer(_), b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => return Ok(None),
            (Self::Trailer(_), b'\n') => return Err(Broken),
            (Self::TrailerLine(bytes), b'\n') => Self::Trailer(bytes),
            (Self::Trailer(bytes) | Self::TrailerLine(bytes), 1..) if bytes < ASIDE_MAX_BYTES => {
                Self::TrailerLine(bytes + 1)
            }
            _ => return Err(Broken),
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step`: what the client gets, the data alone, how many bytes were taken, and what is left.
    fn run(
        mut framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Vec<u8>, usize, Framing), Broken> {
        let (mut out, mut data, mut taken) = (Vec::new(), Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let n = framing.pass(piece, true, &mut out, &mut |piece| data.extend_from_slice(piece))?;
            taken += n;
            if n < piece.len() {
                break;
            }
        }
        Ok((out, data, taken, framing))
    }

    #[test]
    fn a_body_ends_at_its_last_byte_however_it_arrives() {
        let chunked = &b"4;a=b\r\nwiki\r\n1 \r\nA\r\n000\r\nTrailer: x\r\n\r\n"[..];
        for (framing, body, data) in
            [(Framing::length(5), &b"wikiA"[..], &b"wikiA"[..]), (Framing::chunked(), chunked, b"wikiA")]
        {
            let wire = [body, b"HTTP/1.1 200 OK\r\n"].concat();
            for step in 1..wire.len() {
                let (_, got, taken, left) = run(framing, &wire, step).unwrap();
                assert_eq!((&got[..], taken, left), (data, body.len(), Framing::Done), "in pieces of {step}");
            }
        }
        let (out, ..) = run(Framing::chunked(), chunked, 100).unwrap();
        assert_eq!(out, b"4\r\nwiki\r\n1\r\nA\r\n0\r\n\r\n");
    }

    #[test]
    fn what_goes_as_it_comes_ends_where_it_would_else() {
        for (framing, is_plain) in [
            (Framing::length(5), true),
            (Framing::UntilClose, false),
            (Framing::Done, false),
            (Framing::chunked(), false),
        ] {
            assert_eq!(framing.goes_as_it_comes(true), is_plain, "{framing:?}");
        }
        assert!(Framing::UntilClose.goes_as_it_comes(false));
        let wire = b"wikiAHTTP/1.1";
        for step in 1..wire.len() {
            let (mut taken, mut framing) = (0, Framing::length(5));
            while framing != Framing::Done {
                taken += framing.take(&wire[taken..wire.len().min(taken + step)]);
            }
            assert_eq!(taken, 5, "in pieces of {step}");
        }
        assert_eq!(Framing::UntilClose.take(wire), wire.len());
    }

    #[test]
    fn what_has_no_end_goes_on() {
        let (out, data, taken, left) = run(Framing::UntilClose, b"all of it", 5).unwrap();
        assert_eq!((&data[..], taken, left), (&b"all of it"[..], 9, Framing::UntilClose));
        assert_eq!(out, b"5\r\nall o\r\n4\r\nf it\r\n");
        assert_eq!(run(Framing::Done, b"x", 1).unwrap().2, 0);
    }

    #[test]
    fn broken_chunks_are_found() {
        for bad in
            ["x\r\n", "\r\n", ";a\r\n", "2\nab", "2\r\nabX", "2\r\nab\n", "ffffffffffffffff\r\n", "0\r\n\n"]
        {
            assert_eq!(run(Framing::chunked(), bad.as_bytes(), 1).unwrap_err(), Broken, "{bad:?}");
        }
        let long = format!("2;{}\r\n", "a".repeat(ASIDE_MAX_BYTES as usize + 1));
        assert_eq!(run(Framing::chunked(), long.as_bytes(), 100).unwrap_err(), Broken);
    }
}
