//! Why an act was not carried out, and what the operator is told.

use fanfare_protocol::admin::AdminError;
use fanfare_protocol::{Code, Denial};

use super::store::StoreError;

/// Why an act was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// It was refused.
    #[error("{message} (code {})", code.number())]
    Refused {
        /// Why, by number.
        code: Code,
        /// Why, and what to do.
        message: String,
    },
    /// It could not be written down, and so was not done; or it was done and could not be recorded, which the message
    /// says.
    #[error("{said}: {source}")]
    Store {
        /// Whether it was done all the same.
        is_done: bool,
        /// How far it came.
        said: &'static str,
        /// What is wrong with the store.
        source: StoreError,
    },
}

impl ModerationError {
    pub(super) fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// Nothing was done.
    pub(super) fn not_done(source: StoreError) -> Self {
        Self::Store { is_done: false, said: "nothing was done, because it could not be written down", source }
    }

    /// It was done. The next act records it, or is not done either.
    pub(super) fn not_recorded(source: StoreError) -> Self {
        Self::Store { is_done: true, said: "it was done, but the audit record could not be written", source }
    }

    /// Its number.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Store { .. } => Code::Internal,
        }
    }
}

impl From<Denial> for ModerationError {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self::refused(code, detail)
    }
}

impl From<&ModerationError> for AdminError {
    fn from(error: &ModerationError) -> Self {
        let message = match error {
            ModerationError::Refused { message, .. } => message.clone(),
            error @ ModerationError::Store { .. } => error.to_string(),
        };
        Self { code: error.code().number(), message }
    }
}
