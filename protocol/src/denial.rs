//! Why something is refused: a numbered code, and what the peer is told.
//!
//! Invariant: nothing of a token, and nothing about others, is in it.

use crate::Code;

/// Something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why, by number.
    pub code: Code,
    /// What exactly is missing or wrong, for a person.
    pub detail: String,
}

impl From<Code> for Denial {
    fn from(code: Code) -> Self {
        Self { code, detail: code.sentence().to_owned() }
    }
}
