//! Which names of users and groups the server takes.
//!
//! In: a name. Out: yes, or why not, for the peer. Invariant: the door and `explain` ask here, by way of the gate,
//! and nobody else decides it.
//!
//! What looks like something else is a wide field (UTS #39, Unicode Security Mechanisms). Refused by default is what
//! is never meant in a name: control characters and marks of direction. Letters that are confusable with others are
//! not: in whose language would they be?

use fanfare_protocol::{Code, Denial, turns};

/// Which names are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Printable ASCII alone: the profile "ASCII-Only" of UTS #39, section 5.2, without control characters.
    Ascii,
    /// Everything but control characters, line and paragraph separators, and marks of direction.
    #[default]
    Unicode,
    /// Everything.
    Any,
}

impl Names {
    /// Whether a name is taken. `kind` is what it names, for the one who is told.
    pub(crate) fn permit(self, kind: &str, name: &str) -> Result<(), Denial> {
        let (taken, what): (fn(char) -> bool, _) = match self {
            Self::Ascii => {
                (|character| matches!(character, ' '..='~'), "other characters than those of ASCII")
            }
            Self::Unicode => (
                |character| {
                    !character.is_control()
                        && !turns(character)
                        && !matches!(character, '\u{2028}' | '\u{2029}')
                },
                "control characters, or characters that turn the direction of writing",
            ),
            Self::Any => return Ok(()),
        };
        if name.chars().all(taken) {
            return Ok(());
        }
        let detail = format!("the {kind}'s name has {what}, which this server does not take");
        Err(Denial { code: Code::InvalidName, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_takes_what_it_says() {
        for (name, ascii, unicode) in [
            ("alice", true, true),
            ("room 7 ~*\\", true, true),
            ("émile", false, true),
            ("日本", false, true),
            ("a\u{200b}b", false, true),
            ("a\u{1b}[2J", false, false),
            ("a\nb", false, false),
            ("a\u{85}b", false, false),
            ("a\u{202e}b", false, false),
            ("a\u{2066}b", false, false),
            ("a\u{2028}b", false, false),
        ] {
            let taken = |names: Names| names.permit("user", name).is_ok();
            assert_eq!(
                (taken(Names::Ascii), taken(Names::Unicode), taken(Names::Any)),
                (ascii, unicode, true),
                "{name:?}"
            );
        }
    }
}
