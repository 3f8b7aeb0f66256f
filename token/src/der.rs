//! The elements of DER (X.690 section 8.1), as far as keys need them.
//!
//! In: bytes. Out: the inside of an element and what follows it. Invariant: what is shorter than it says is no element.

/// The inside of an element of this kind, and what follows it (X.690 section 8.1, lengths of at most three bytes).
pub(crate) fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found != tag { None } else { rest.split_at_checked(length) }
}
