//! Why a connection ends: what its peer is told.

use fanfare_protocol::{Code, Denial};

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Why, by number.
    pub code: Code,
    /// What the peer is told: the code's sentence, or something more exact.
    pub reason: String,
}

impl From<Code> for CloseReason {
    fn from(code: Code) -> Self {
        Self { code, reason: code.sentence().to_owned() }
    }
}

impl From<Denial> for CloseReason {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self { code, reason: detail }
    }
}
