//! Patterns of names: what a grant or a ban is about.
//!
//! In: text in which `*` stands for any run of characters. Out: a [`Pattern`], which says whether it matches a name.
//! Invariant: matching takes no more steps than the lengths of pattern and name multiplied, whatever is in them, and
//! does not recurse.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::NameError;

/// A name, or many: `*` stands for any run of characters, also for none; everything else stands for itself, and case
/// counts. 1 to 256 bytes of UTF-8.
///
/// ```
/// use fanfare_protocol::Pattern;
///
/// let rooms = Pattern::new("room-*")?;
/// assert!(rooms.matches("room-7") && rooms.matches("room-") && !rooms.matches("Room-7"));
/// # Ok::<(), fanfare_protocol::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The most bytes a pattern may have.
    pub const MAX_BYTES: usize = 256;

    /// Checks `text` and takes it as a pattern.
    ///
    /// # Errors
    /// When `text` is empty or longer than [`Self::MAX_BYTES`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty { kind: "pattern" }),
            1..=Self::MAX_BYTES => Ok(Self(text.into())),
            length => Err(NameError::TooLong { kind: "pattern", length }),
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one name that it matches, if it has no `*`.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// Whether it matches every name.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether it matches a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // What is before the first star and behind the last is fixed; the pieces between are found from the left, each
        // at its first place. To find one further right could only leave less room for those that follow.
        let mut pieces = self.0.split('*');
        let Some(rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        true
    }
}

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    /// As names are: in quotes, and told from every other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::quoted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word. Exponential, so for short texts only.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            Some((first, rest)) => {
                name.split_first().is_some_and(|(n, name)| n == first && naive(rest, name))
            }
        }
    }

    #[test]
    fn stars_stand_for_any_run_and_all_else_for_itself() {
        for (pattern, name, matches) in [
            ("room", "room", true),
            ("room", "room1", false),
            ("room", "Room", false),
            ("*", "", true),
            ("*", "anything", true),
            ("room-*", "room-", true),
            ("*-log", "a-log", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("caf\u{e9}*", "caf\u{e9} \u{1f389}", true),
            ("[a-z]?", "b1", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
        assert_eq!(Pattern::new("room").unwrap().exact(), Some("room"));
        assert_eq!(Pattern::new("room*").unwrap().exact(), None);
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new(&"x".repeat(257)).is_err());
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_does(pattern in "[ab\u{e9}*]{1,7}", name in "[ab\u{e9}]{0,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Pattern::new(&pattern).unwrap().matches(&name),
                naive(&chars(&pattern), &chars(&name))
            );
        }
    }
}
