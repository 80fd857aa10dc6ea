//! Frames: length, checksum, payload. The configuration stream is a row of these, so that a torn or flipped byte is found before
//! anything is believed.

/// Bytes before a payload: length and CRC-32 of the payload, both little-endian.
pub const HEADER_BYTES: usize = 8;
/// A payload beyond this is refused: 1 GiB holds a snapshot of millions of credentials.
pub const PAYLOAD_MAX_BYTES: usize = 1 << 30;

/// Why a frame is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidFrame {
    /// The length is beyond [`PAYLOAD_MAX_BYTES`].
    #[error("a frame says it is larger than {PAYLOAD_MAX_BYTES} bytes")]
    TooLarge,
    /// The checksum is another's.
    #[error("a frame's checksum does not match its content")]
    Checksum,
}

/// Appends `payload` to `out` as a frame.
///
/// # Errors
/// When the payload is larger than a frame may be.
pub fn write(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), InvalidFrame> {
    let length = u32::try_from(payload.len()).map_err(|_| InvalidFrame::TooLarge)?;
    if payload.len() > PAYLOAD_MAX_BYTES {
        return Err(InvalidFrame::TooLarge);
    }
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// The first whole frame's payload and how many bytes it took; `None` while it is not all there.
///
/// # Errors
/// When the frame is damaged.
pub fn read(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, InvalidFrame> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > PAYLOAD_MAX_BYTES {
        return Err(InvalidFrame::TooLarge);
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    if crc32fast::hash(payload).to_le_bytes() != header[4..8] {
        return Err(InvalidFrame::Checksum);
    }
    Ok(Some((payload, HEADER_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_and_any_flipped_payload_byte_is_found() {
        let mut bytes = Vec::new();
        write(&mut bytes, b"one").unwrap();
        write(&mut bytes, b"").unwrap();
        let (payload, used) = read(&bytes).unwrap().unwrap();
        assert_eq!((payload, used), (&b"one"[..], 11));
        assert_eq!(read(&bytes[used..]).unwrap().unwrap().0, b"");
        assert_eq!(read(&bytes[..10]).unwrap(), None);
        for place in 4..11 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(read(&damaged), Err(InvalidFrame::Checksum));
        }
    }
}
