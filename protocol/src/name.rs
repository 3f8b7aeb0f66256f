//! The names of users, groups, events and methods: text of 1 to 256 bytes, compared byte for byte.
//!
//! In: any text. Out: a name that is known to be within its bounds, cheap to clone (one reference count), or a
//! [`NameError`] that says which name it was and what is wrong with it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a name. The message tells which kind of name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes at all.
    #[error("the {kind} is empty; it must have 1 to 256 bytes")]
    Empty {
        /// `user name`, `group name`, `event name` or `method name`.
        kind: &'static str,
    },
    /// The name is longer than 256 bytes of UTF-8.
    #[error("the {kind} has {length} bytes; it must have 1 to 256")]
    TooLong {
        /// `user name`, `group name`, `event name` or `method name`.
        kind: &'static str,
        /// How many bytes it has.
        length: usize,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 256 bytes of UTF-8. Two names are the same when their bytes are: case counts, and nothing is
        /// normalised or trimmed.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The most bytes a name may have.
            pub const MAX_BYTES: usize = 256;

            /// Checks `text` and takes it as a name.
            ///
            /// # Errors
            /// When `text` is empty or longer than [`Self::MAX_BYTES`].
            pub fn new(text: &str) -> Result<Self, NameError> {
                match text.len() {
                    0 => Err(NameError::Empty { kind: $kind }),
                    1..=Self::MAX_BYTES => Ok(Self(text.into())),
                    length => Err(NameError::TooLong { kind: $kind, length }),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        // Maps keyed by names are looked up with the text of a name; `Hash` and `Eq` are derived from the same text.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            /// As logs have it: in quotes, and told from every other name by what one sees.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crate::quoted(&self.0))
            }
        }
    };
}

name!(
    /// Who a connection belongs to, as its credential says.
    UserName,
    "user name"
);
name!(
    /// A named set of connections.
    GroupName,
    "group name"
);
name!(
    /// What a message is about; the name that a client's handler is registered for.
    EventName,
    "event name"
);
name!(
    /// What a call invokes: a method of the application's, or of a client's.
    MethodName,
    "method name"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_bytes_not_characters() {
        assert_eq!(GroupName::new(""), Err(NameError::Empty { kind: "group name" }));
        assert!(GroupName::new("a").is_ok());
        assert!(GroupName::new(&"a".repeat(256)).is_ok());
        let long = "a".repeat(257);
        assert_eq!(GroupName::new(&long), Err(NameError::TooLong { kind: "group name", length: 257 }));
        // 64 emoji of 4 bytes fill a name; one more character does not fit.
        let full = "\u{1F600}".repeat(64);
        assert!(UserName::new(&full).is_ok());
        assert!(UserName::new(&format!("{full}x")).is_err());
    }

    #[test]
    fn names_differ_by_case_and_by_space() {
        assert_ne!(UserName::new("Alice"), UserName::new("alice"));
        assert_ne!(UserName::new("alice "), UserName::new("alice"));
    }

    #[test]
    fn names_and_patterns_are_logged_so_that_they_are_told_apart() {
        for (name, shown) in [
            ("alice", "\"alice\""),
            ("a\u{2800}b", "\"a\\u{2800}b\""),
            ("cafe\u{301}", "\"cafe\\u{301}\""),
            // Otherwise the end of a name could not be told from its middle.
            ("a\" or \"b", "\"a\\u{22} or \\u{22}b\""),
            ("\\u{22}", "\"\\u{5c}u{22}\""),
        ] {
            assert_eq!(format!("{:?}", UserName::new(name).unwrap()), shown);
            assert_eq!(format!("{:?}", GroupName::new(name).unwrap()), shown);
            assert_eq!(format!("{:?}", crate::Pattern::new(name).unwrap()), shown);
        }
    }

    #[test]
    fn the_error_says_which_name_and_what_to_do() {
        let error = UserName::new("").unwrap_err().to_string();
        assert_eq!(error, "the user name is empty; it must have 1 to 256 bytes");
    }
}
