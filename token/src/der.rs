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
            (length.iter().fold(0, |length, byte| length * 256 + usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found != tag { None } else { rest.split_at_checked(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_ends_where_it_says_and_what_is_shorter_is_none() {
        let long = [&[0x30, 0x82, 0x01, 0x02][..], &[7; 0x102], b"behind"].concat();
        assert_eq!(element(0x30, &long), Some((&[7; 0x102][..], &b"behind"[..])));
        assert_eq!(element(0x30, &long[..0x102]), None, "shorter than it says");
        assert_eq!(element(0x31, &long), None, "of another kind");
        for (bytes, expected) in [
            (&b"\x04\x00"[..], Some((&b""[..], &b""[..]))),
            (b"\x04\x02ab", Some((b"ab", b""))),
            (b"\x04\x81\x02abc", Some((b"ab", b"c"))),
            (b"\x04\x83\x00\x00\x02abc", Some((b"ab", b"c"))),
            (b"\x04\x83\x01\x00\x02abc", None),
            (b"\x04\x82\x00", None),
            // Without a length, and with one of more bytes than any key has.
            (b"\x04\x80ab\x00\x00", None),
            (b"\x04\x84\x00\x00\x00\x02ab", None),
            (b"\x04", None),
            (b"", None),
        ] {
            assert_eq!(element(0x04, bytes), expected, "{bytes:?}");
        }
    }
}
