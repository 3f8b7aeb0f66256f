//! What messages carry, so that a sink can tell which they are.
//!
//! In: a stream (one publisher's messages to one topic) and a number. Out: a text of exactly the size that was asked
//! for: six hexadecimal digits of the stream, ten of the number, and filling. Texts, because Socket.IO's users send
//! texts. Invariant: two messages of a run never are the same.

/// The least that says which message it is.
pub const LEAST: usize = 16;

/// Which stream of messages, and which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The topic's number: one publisher sends to each.
    pub stream: u32,
    /// 0 for the first.
    pub number: u64,
}

/// Writes a payload of `size` bytes (at least [`LEAST`]) over `out`.
pub fn write(out: &mut Vec<u8>, mark: Mark, size: usize) {
    out.clear();
    digits(out, u64::from(mark.stream), 6);
    digits(out, mark.number, 10);
    out.resize(size.max(LEAST), b'.');
}

fn digits(out: &mut Vec<u8>, value: u64, count: u32) {
    for place in (0..count).rev() {
        let digit = ((value >> (place * 4)) & 0xf) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// Which message this is; none where it is none of ours.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Mark> {
    let (stream, rest) = payload.split_at_checked(6)?;
    let (number, _) = rest.split_at_checked(10)?;
    Some(Mark { stream: u32::try_from(value(stream)?).ok()?, number: value(number)? })
}

fn value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut out = Vec::new();
        for (stream, number, size) in [(0, 0, 16), (0xab_cdef, 0xff_ffff_ffff, 64), (7, 123_456, 16_384)] {
            write(&mut out, Mark { stream, number }, size);
            assert_eq!((out.len(), read(&out)), (size, Some(Mark { stream, number })));
        }
        assert_eq!(read(b"0000000000zzzzzz"), None);
        assert_eq!(read(b"short"), None);
    }
}
