//! Numbers of requests; and connection ids: the number of a node and 96 random bits, shown as 26 characters of
//! Crockford base32.
//!
//! In: random bytes (the caller brings them: this crate has no source of randomness) or text a person typed.
//! Out: ids, and their one canonical spelling.

use std::fmt;
use std::str::FromStr;

/// Chosen by the client, echoed in the answer. The server keeps no record of it, so a client may use any numbers; to
/// tell its answers apart it should not use one twice at a time.
pub type RequestId = u64;

/// Crockford's alphabet: no I, L, O or U, so that an id read over the phone is not misheard
/// (<https://www.crockford.com/base32.html>).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many characters an id has: 128 bits at 5 bits each, rounded up.
const TEXT_LENGTH: usize = 26;

/// Names one connection, for as long as it lives and never again.
///
/// Shown as 26 characters of Crockford base32, most significant bits first.
///
/// ```
/// use fanfare_protocol::ConnectionId;
///
/// let id = ConnectionId::from_bytes([0xff; 16]);
/// assert_eq!(id.to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
/// assert_eq!("7zzzzzzzzzzzzzzzzzzzzzzzzz".parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId([u8; 16]);

impl ConnectionId {
    /// How many leading bytes of an id name the node that the connection is on.
    pub const NODE_BYTES: u8 = 4;

    /// The id of a connection on this node. Its own bytes should be random: an id that can be guessed can be sent to.
    #[must_use]
    pub const fn on_node(node: [u8; 4], own: [u8; 12]) -> Self {
        let [a, b, c, d] = node;
        let [e, f, g, h, i, j, k, l, m, n, o, p] = own;
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The id with these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, as they go over the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        for position in (0..TEXT_LENGTH).rev() {
            // Masked to 5 bits, so it is always inside the 32 characters of the alphabet.
            let digit = (number >> (position * 5)) as usize & 31;
            let character = ALPHABET.get(digit).copied().unwrap_or(b'0');
            fmt::Write::write_char(f, char::from(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConnectionId {
    type Err = ParseConnectionIdError;

    /// Reads an id as shown. Lower case is taken as upper case; everything else has one spelling only.
    ///
    /// # Errors
    /// When the text has not 26 characters, has a character outside the alphabet, or stands for more than 128 bits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        if length != TEXT_LENGTH {
            return Err(ParseConnectionIdError::Length(length));
        }
        let mut number: u128 = 0;
        for (position, character) in text.chars().enumerate() {
            let digit = u8::try_from(character.to_ascii_uppercase())
                .ok()
                .and_then(|byte| ALPHABET.iter().position(|&known| known == byte))
                .ok_or(ParseConnectionIdError::Character(character))?;
            // 26 characters hold 130 bits: the first may only use 3 of its 5.
            if position == 0 && digit > 7 {
                return Err(ParseConnectionIdError::Overflow);
            }
            number = number << 5 | digit as u128;
        }
        Ok(Self(number.to_be_bytes()))
    }
}

/// Why a text is not a connection id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectionIdError {
    /// It is too short or too long.
    #[error("a connection id has 26 characters; this has {0}")]
    Length(usize),
    /// It has a character outside Crockford's alphabet.
    #[error("a connection id is made of 0-9 and A-Z without I, L, O and U; this has {0:?}")]
    Character(char),
    /// It stands for a number above 128 bits.
    #[error("a connection id is at most 7ZZZZZZZZZZZZZZZZZZZZZZZZZ")]
    Overflow,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_and_one_are_padded() {
        assert_eq!(ConnectionId::from_bytes([0; 16]).to_string(), "0".repeat(26));
        let one = ConnectionId::from_bytes(1u128.to_be_bytes());
        assert_eq!(one.to_string(), format!("{}1", "0".repeat(25)));
    }

    #[test]
    fn bad_text_is_refused_with_the_reason() {
        assert_eq!("7Z".parse::<ConnectionId>(), Err(ParseConnectionIdError::Length(2)));
        let with_u = format!("{}U", "0".repeat(25));
        assert_eq!(with_u.parse::<ConnectionId>(), Err(ParseConnectionIdError::Character('U')));
        let wide = format!("{}\u{1F600}", "0".repeat(25));
        assert_eq!(wide.parse::<ConnectionId>(), Err(ParseConnectionIdError::Character('\u{1F600}')));
        let too_big = format!("8{}", "0".repeat(25));
        assert_eq!(too_big.parse::<ConnectionId>(), Err(ParseConnectionIdError::Overflow));
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            let id = ConnectionId::from_bytes(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.len(), TEXT_LENGTH);
            prop_assert_eq!(text.parse::<ConnectionId>(), Ok(id));
            prop_assert_eq!(text.to_lowercase().parse::<ConnectionId>(), Ok(id));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,30}") {
            if let Ok(id) = text.parse::<ConnectionId>() {
                prop_assert_eq!(id.to_string(), text.to_ascii_uppercase());
            }
        }
    }
}
