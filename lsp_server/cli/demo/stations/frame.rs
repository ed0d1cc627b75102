//! The frames that a station sends: station number, kind, value, checksum.

#[derive(Debug, PartialEq)]
pub struct Frame {
    pub station: u8,
    pub kind: u8,
    pub value: i16,
}

#[derive(Debug, PartialEq)]
pub enum FrameError {
    TooShort(usize),
    WrongChecksum { expected: u8, found: u8 },
    UnknownKind(u8),
}

/// Adds all bytes; the sum wraps around.
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Reads a frame: station, kind, two bytes of the value (big-endian), checksum of those four.
pub fn parse(bytes: &[u8]) -> Result<Frame, FrameError> {
    let &[station, kind, high, low, found, ..] = bytes else {
        return Err(FrameError::TooShort(bytes.len()));
    };
    let expected = checksum(&bytes[..4]);
    if found != expected {
        return Err(FrameError::WrongChecksum { expected, found });
    }
    if kind > 4 {
        return Err(FrameError::UnknownKind(kind));
    }
    Ok(Frame { station, kind, value: i16::from_be_bytes([high, low]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_frame() {
        let frame = parse(&[7, 1, 0x01, 0x2c, 0x35]).unwrap();
        assert_eq!(frame, Frame { station: 7, kind: 1, value: 300 });
    }

    #[test]
    fn refuses_a_short_frame() {
        assert_eq!(parse(&[7, 1, 0]), Err(FrameError::TooShort(3)));
    }
}
