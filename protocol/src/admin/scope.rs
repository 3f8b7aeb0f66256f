//! What a key of the HTTP API may do: scopes, as they are written and as they are asked.
//!
//! In: text such as `send:group:room-*`. Out: a [`Scope`], which says whether it allows something. Invariant: what is
//! not allowed by a scope is not allowed; a scope that means nothing cannot be made, so that nobody believes to have
//! given a right that is none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{GroupName, NameError, Pattern, UserName};

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Send messages.
    Send,
    /// Add to groups, and remove from them.
    Members,
    /// See who is here, in which groups, how many.
    Read,
    /// Close connections.
    Close,
    /// Ban, revoke, sign out, and see bans and the audit.
    Moderate,
    /// Make tokens.
    Mint,
}

/// What a verb is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Extent {
    /// Everything that it can be about.
    Any,
    /// Groups with such names.
    Groups(Pattern),
    /// Users with such names, and their connections.
    Users(Pattern),
    /// Connections, whosever they are.
    Connections,
    /// Everyone at once.
    All,
}

/// A right: a verb, and what it is about.
///
/// `VERB:group:PATTERN`, `VERB:user:PATTERN` (with it, the connections of such users), `VERB:connection`, `VERB:all`;
/// `VERB` alone is all of it, and `*` is everything.
///
/// ```
/// use fanfare_protocol::GroupName;
/// use fanfare_protocol::admin::{Scope, Subject, Verb};
///
/// let scope: Scope = "send:group:room-*".parse()?;
/// let (room, other) = (GroupName::new("room-7")?, GroupName::new("hall")?);
/// assert!(scope.allows(Verb::Send, &Subject::Group(&room)));
/// assert!(!scope.allows(Verb::Send, &Subject::Group(&other)));
/// assert!(!scope.allows(Verb::Read, &Subject::Group(&room)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// `None`: every verb.
    verb: Option<Verb>,
    extent: Extent,
}

/// What something is to be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A group.
    Group(&'a GroupName),
    /// A user.
    User(&'a UserName),
    /// A connection; with its user, where it is there.
    Connection(Option<&'a UserName>),
    /// Everyone, or the server itself.
    All,
}

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It begins with no verb.
    #[error(
        "{0:?} is no scope: it begins with one of send, members, read, close, moderate and mint, or is *"
    )]
    Verb(String),
    /// The verb cannot be about that.
    #[error("{text:?} is no scope: {verb} is about {extents}")]
    Extent {
        /// What was written.
        text: String,
        /// The verb.
        verb: Verb,
        /// What it can be about.
        extents: &'static str,
    },
    /// What names are compared with cannot be that.
    #[error("{text:?} is no scope: {source}")]
    Pattern {
        /// What was written.
        text: String,
        /// What is wrong with it.
        source: NameError,
    },
}

impl Verb {
    const ALL: [Self; 6] = [Self::Send, Self::Members, Self::Read, Self::Close, Self::Moderate, Self::Mint];

    /// The verb as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Members => "members",
            Self::Read => "read",
            Self::Close => "close",
            Self::Moderate => "moderate",
            Self::Mint => "mint",
        }
    }

    /// What it can be about, for a person.
    fn extents(self) -> &'static str {
        match self {
            Self::Send | Self::Read | Self::Close => "group:PATTERN, user:PATTERN, connection or all",
            Self::Members => "group:PATTERN",
            Self::Moderate => "user:PATTERN or all",
            Self::Mint => "user:PATTERN",
        }
    }

    fn can_be_about(self, extent: &Extent) -> bool {
        match (self, extent) {
            (_, Extent::Any) | (Self::Send | Self::Read | Self::Close, _) => true,
            (Self::Members, extent) => matches!(extent, Extent::Groups(_)),
            (Self::Moderate, extent) => matches!(extent, Extent::Users(_) | Extent::All),
            (Self::Mint, extent) => matches!(extent, Extent::Users(_)),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Scope {
    /// Whether it allows to do this to that.
    #[must_use]
    pub fn allows(&self, verb: Verb, subject: &Subject<'_>) -> bool {
        if self.verb.is_some_and(|own| own != verb) {
            return false;
        }
        match (&self.extent, subject) {
            (Extent::Any, _)
            | (Extent::Connections, Subject::Connection(_))
            | (Extent::All, Subject::All) => true,
            (Extent::Groups(pattern), Subject::Group(group)) => pattern.matches(group.as_str()),
            (Extent::Users(pattern), Subject::User(user) | Subject::Connection(Some(user))) => {
                pattern.matches(user.as_str())
            }
            // Nobody's: who may see all users may know that.
            (Extent::Users(pattern), Subject::Connection(None)) => pattern.is_everything(),
            _ => false,
        }
    }
}

impl Subject<'_> {
    /// The scope that would allow this, and no more.
    #[must_use]
    pub fn needs(&self, verb: Verb) -> String {
        match self {
            Self::Group(group) => format!("{verb}:group:{group}"),
            Self::User(user) => format!("{verb}:user:{user}"),
            Self::Connection(_) => format!("{verb}:connection"),
            Self::All => format!("{verb}:all"),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text == "*" {
            return Ok(Self { verb: None, extent: Extent::Any });
        }
        let (verb, about) = match text.split_once(':') {
            None => (text, None),
            Some((verb, about)) => (verb, Some(about)),
        };
        let verb = Verb::ALL.into_iter().find(|known| known.name() == verb);
        let verb = verb.ok_or_else(|| ScopeError::Verb(text.to_owned()))?;
        let wrong = || ScopeError::Extent { text: text.to_owned(), verb, extents: verb.extents() };
        let pattern = |pattern: &str| {
            Pattern::new(pattern).map_err(|source| ScopeError::Pattern { text: text.to_owned(), source })
        };
        let extent = match about.map(|about| about.split_once(':').unwrap_or((about, ""))) {
            None => Extent::Any,
            Some(("group", names)) => Extent::Groups(pattern(names)?),
            Some(("user", names)) => Extent::Users(pattern(names)?),
            Some(("connection", "")) => Extent::Connections,
            Some(("all", "")) => Extent::All,
            Some(_) => return Err(wrong()),
        };
        if verb.can_be_about(&extent) { Ok(Self { verb: Some(verb), extent }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(verb) = self.verb else { return f.write_str("*") };
        match &self.extent {
            Extent::Any => write!(f, "{verb}"),
            Extent::Groups(pattern) => write!(f, "{verb}:group:{pattern}"),
            Extent::Users(pattern) => write!(f, "{verb}:user:{pattern}"),
            Extent::Connections => write!(f, "{verb}:connection"),
            Extent::All => write!(f, "{verb}:all"),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for text in [
            "*",
            "send",
            "send:group:room-*",
            "send:user:a:b",
            "read:connection",
            "close:all",
            "members:group:*",
            "moderate:user:eve",
            "moderate:all",
            "mint:user:guest-*",
        ] {
            assert_eq!(scope(text).to_string(), text);
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_would_mean_something() {
        for (text, words) in [
            ("", "one of send, members"),
            ("sent:all", "one of send, members"),
            ("Send:all", "one of send, members"),
            ("send:", "group:PATTERN, user:PATTERN, connection or all"),
            ("send:groups:a", "group:PATTERN, user:PATTERN, connection or all"),
            ("send:group:", "the pattern is empty"),
            ("send:group", "the pattern is empty"),
            ("send:all:a", "connection or all"),
            ("send:connection:a", "connection or all"),
            ("members:user:a", "members is about group:PATTERN"),
            ("members:all", "members is about group:PATTERN"),
            ("moderate:group:a", "moderate is about user:PATTERN or all"),
            ("mint:all", "mint is about user:PATTERN"),
            ("*:all", "one of send, members"),
        ] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(&format!("{text:?}")), "{text:?}: {error}");
        }
    }

    #[test]
    fn each_allows_what_it_says_and_nothing_else() {
        let (room, hall) = (GroupName::new("room-1").unwrap(), GroupName::new("hall").unwrap());
        let (ann, bob) = (UserName::new("ann").unwrap(), UserName::new("bob").unwrap());
        let subjects = [
            ("room", Subject::Group(&room)),
            ("hall", Subject::Group(&hall)),
            ("ann", Subject::User(&ann)),
            ("bob", Subject::User(&bob)),
            ("ann's", Subject::Connection(Some(&ann))),
            ("bob's", Subject::Connection(Some(&bob))),
            ("nobody's", Subject::Connection(None)),
            ("all", Subject::All),
        ];
        for (text, allowed) in [
            ("send:group:room-*", &["room"][..]),
            ("send:group:*", &["room", "hall"]),
            ("send:user:ann", &["ann", "ann's"]),
            ("send:user:*", &["ann", "bob", "ann's", "bob's", "nobody's"]),
            ("send:connection", &["ann's", "bob's", "nobody's"]),
            ("send:all", &["all"]),
            ("send", &["room", "hall", "ann", "bob", "ann's", "bob's", "nobody's", "all"]),
            ("*", &["room", "hall", "ann", "bob", "ann's", "bob's", "nobody's", "all"]),
            ("read", &[]),
            ("read:group:*", &[]),
        ] {
            let scope = scope(text);
            let found: Vec<_> = subjects
                .iter()
                .filter(|(_, subject)| scope.allows(Verb::Send, subject))
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(found, allowed, "{text}");
        }
        // What is said to be needed is what would do.
        for verb in Verb::ALL {
            for (name, subject) in &subjects {
                if let Ok(needed) = subject.needs(verb).parse::<Scope>() {
                    assert!(needed.allows(verb, subject), "{verb} {name}: {needed}");
                }
            }
        }
    }
}
