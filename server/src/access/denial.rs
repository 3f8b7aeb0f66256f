//! Why somebody may not: a numbered code, and what the peer is told.
//!
//! Invariant: nothing of a token, and nothing about others, is in it.

use fanfare_protocol::Code;

use crate::outbox::Ending;

/// Something is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) code: Code,
    /// What exactly is missing, for a person.
    pub(crate) detail: String,
}

impl From<Code> for Denial {
    fn from(code: Code) -> Self {
        Self { code, detail: code.sentence().to_owned() }
    }
}

impl From<Denial> for Ending {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self { code, reason: detail }
    }
}
