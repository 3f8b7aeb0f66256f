//! The two encodings of hub messages.
//!
//! In: the name from a handshake. Out: the encoding, and what depends on it. Invariant: a connection has one encoding
//! from its handshake to its end.

use std::fmt;

/// How hub messages are written. A client chooses one in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON objects, each with 0x1E behind it.
    Json,
    /// MessagePack arrays, each with its length in front of it.
    MessagePack,
}

impl Encoding {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The name in a handshake: `json` or `messagepack`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// The encoding with this name, in upper or lower case, as ASP.NET looks it up.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// Whether messages go in WebSocket messages of text, and not in binary ones. Clients decode by that, so it holds
    /// for what a server sends; clients themselves send either, and what they send is to be read whatever it is said
    /// to be.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Json)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case() {
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::by_name(encoding.name()), Some(encoding));
            assert_eq!(Encoding::by_name(&encoding.name().to_uppercase()), Some(encoding));
        }
        assert_eq!(Encoding::by_name("protobuf"), None);
        assert_eq!(Encoding::by_name(""), None);
    }
}
