//! Lines and numbers in the bytes of protocols that are texts.

/// The bytes before the first CR LF, and those behind it.
#[must_use]
pub fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let behind = bytes.get(end + 2..)?;
    Some((bytes.get(..end)?, behind))
}

/// A decimal number.
#[must_use]
pub fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
