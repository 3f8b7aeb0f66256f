//! Why a method did not do what its caller wanted, as the caller is told.
//!
//! In: the application's own words, numbers and data, or a refusal of the hub's. Out: a [`Failure`]. Invariant: nothing
//! gets to a caller that was not written for one: no other error turns into this one by itself.

use std::fmt::{self, Display};

use fanfare_protocol::call::Failure;
use fanfare_protocol::{Code, Denial, Limits, NameError, Payload};

use crate::handle::HubError;

/// Why a method did not do what its caller wanted. All of it is sent to the caller, the reason up to 1,024 bytes, and
/// data no longer than a payload may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError(pub(super) Failure);

/// A number of the application's own, for errors that programs tell apart.
///
/// ```
/// use fanfare_server::OwnCode;
///
/// const SOLD_OUT: OwnCode = OwnCode::new(10_001).unwrap();
/// assert_eq!(OwnCode::new(9_999), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCode(u16);

impl OwnCode {
    /// A number from 10,000 to 63,999; `None` for any other.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= Failure::FIRST_OWN && number <= Failure::LAST_OWN { Some(Self(number)) } else { None }
    }
}

impl CallError {
    /// The method refused it, for this reason: code [`Code::CallFailed`].
    pub fn new(reason: impl Into<String>) -> Self {
        Denial { code: Code::CallFailed, detail: reason.into() }.into()
    }

    /// The same, with a number of the application's own.
    pub fn own(code: OwnCode, reason: impl Into<String>) -> Self {
        Self(Failure { code: code.0, detail: reason.into(), data: Payload::default() })
    }

    /// With something for programs beside the reason.
    #[must_use]
    pub fn with_data(mut self, data: Payload) -> Self {
        self.0.data = data;
        self
    }

    /// Something failed that is none of the caller's business: it goes into the log, and the caller is told
    /// [`Code::Internal`] and no more.
    pub fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a method failed");
        Self::from(Denial::from(Code::Internal))
    }

    /// What the caller gets: no longer than a reason and a payload may be.
    pub(super) fn within(self, limits: &Limits) -> Failure {
        let Self(Failure { code, detail, data }) = self;
        let data = if limits.check_payload(data.bytes.len()).is_ok() { data } else { Payload::default() };
        Failure { code, detail, data }.shortened()
    }

    /// The number that the caller gets.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// The reason that the caller gets.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.0.detail, self.0.code)
    }
}

/// So that it passes through what takes any error, such as tower's layers.
impl std::error::Error for CallError {}

impl From<Denial> for CallError {
    fn from(denial: Denial) -> Self {
        Self(denial.into())
    }
}

impl From<HubError> for CallError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Name(error) => error.into(),
            HubError::Refused { code, detail } => Denial { code, detail }.into(),
        }
    }
}

impl From<NameError> for CallError {
    fn from(error: NameError) -> Self {
        Denial { code: Code::InvalidName, detail: error.to_string() }.into()
    }
}

impl From<std::convert::Infallible> for CallError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_numbers_are_those_that_are_left_to_applications() {
        for (number, is_own) in [(9_999, false), (10_000, true), (63_999, true), (64_000, false)] {
            assert_eq!(OwnCode::new(number).is_some(), is_own, "{number}");
        }
        let error = CallError::own(OwnCode::new(10_001).unwrap(), "sold out").with_data(Payload::json("[3]"));
        assert_eq!((error.code(), error.detail()), (10_001, "sold out"));
    }

    #[test]
    fn a_reason_and_data_are_no_longer_than_they_may_be() {
        let limits = Limits::default();
        let long = Payload::from(vec![0; limits.payload_bytes as usize + 1]);
        let failure = CallError::new("\u{20ac}".repeat(1_000)).with_data(long).within(&limits);
        assert_eq!((failure.detail.len(), failure.data), (1_023, Payload::default()));
    }

    #[test]
    fn what_is_internal_is_not_told() {
        let error = CallError::internal("password wrong at db.internal");
        assert_eq!((error.code(), error.detail()), (5001, Code::Internal.sentence()));
    }
}
