//! What is answered where something was not done: RFC 9457, with the protocol's codes.
//!
//! In: a code, and what exactly is wrong. Out: `application/problem+json`. Invariant: each code has one status, given
//! here and nowhere else; nothing in it tells of what the key may not see.

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fanfare_protocol::admin::AdminError;
use fanfare_protocol::{Code, Denial};
use serde::Serialize;
use utoipa::ToSchema;

use crate::handle::HubError;
use crate::moderation::ModerationError;

/// Why something was not done.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
}

/// A problem as it is written (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// `urn:fanfare:code:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:fanfare:code:3103")]
    kind: String,
    /// The code in a sentence.
    title: &'static str,
    /// The status of the answer, or of this operation's part in it.
    status: u16,
    /// What exactly is wrong, and what to do.
    detail: String,
    /// The number of a code: docs/protocol/errors.md has all of them.
    code: u16,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { status: status(code), code, detail: detail.into(), retry_after: None }
    }

    /// The request itself makes no sense.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// The same with a status that says more.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same, with a time after which it may be tried again.
    pub(crate) fn after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:fanfare:code:{}", self.code.number()),
            title: self.code.sentence(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.number(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_vec(&self.body()).unwrap_or_default();
        // For who reads it in a terminal.
        body.push(b'\n');
        let headers = [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")];
        let mut response = (self.status, headers, body).into_response();
        if let Some(pause) = self.retry_after {
            // Whole seconds, and never sooner than it may.
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Denial> for Problem {
    fn from(Denial { code, detail }: Denial) -> Self {
        Self::new(code, detail)
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Name(error) => Self::new(Code::InvalidName, error.to_string()),
            HubError::Refused { code, detail } => Self::new(code, detail),
        }
    }
}

impl From<ModerationError> for Problem {
    fn from(error: ModerationError) -> Self {
        let code = error.code();
        match error {
            ModerationError::Refused { message, .. } => Self::new(code, message),
            // What is wrong with the disk is for operators, whom the log tells.
            error @ ModerationError::Store { .. } => {
                tracing::error!(%error, "an operation of the HTTP API failed");
                let ModerationError::Store { said, is_done, .. } = error else { return Self::new(code, "") };
                let problem = Self::new(code, said);
                // What was done is not to be tried again.
                if is_done { problem } else { problem.with_status(StatusCode::SERVICE_UNAVAILABLE) }
            }
        }
    }
}

impl From<AdminError> for Problem {
    fn from(AdminError { code, message }: AdminError) -> Self {
        Self::new(Code::try_from(u64::from(code)).unwrap_or(Code::Internal), message)
    }
}

/// The status of a code: RFC 9110 section 15.
fn status(code: Code) -> StatusCode {
    match code {
        Code::Normal => StatusCode::OK,
        Code::MalformedFrame
        | Code::TruncatedFrame
        | Code::HelloExpected
        | Code::HelloRepeated
        | Code::UnsupportedProtocol
        | Code::StreamReset
        | Code::InvalidName
        | Code::NoTarget
        | Code::InvalidRequest
        | Code::NotKnownHere
        | Code::ExtensionNotKnown
        | Code::ArgumentsInvalid
        | Code::NotAStream
        | Code::TooManyTargets
        | Code::StreamOverrun => StatusCode::BAD_REQUEST,
        Code::ApiKeyRefused
        | Code::TokensNotConfigured
        | Code::DevUserRefused
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenNotYetValid
        | Code::TokenNotForHere
        | Code::TokenRevoked
        | Code::CertificateRefused
        | Code::SignedOut => StatusCode::UNAUTHORIZED,
        Code::ApiKeyTooNarrow
        | Code::OtherUser
        | Code::UserBanned
        | Code::ClosedByOperator
        | Code::OperatorRefused
        | Code::ViewerMayNotAct
        | Code::OriginRefused
        | Code::ConnectRefused
        | Code::RemovedFromGroup
        | Code::NotGranted
        | Code::BannedFromGroup
        | Code::GrantEnded
        | Code::Muted => StatusCode::FORBIDDEN,
        Code::NothingThere | Code::PathUnknown | Code::MethodUnknown => StatusCode::NOT_FOUND,
        Code::IdempotencyInProgress | Code::CallCancelled | Code::TooManyGroups => StatusCode::CONFLICT,
        Code::FrameTooLarge | Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::IdempotencyMismatch | Code::CallFailed => StatusCode::UNPROCESSABLE_ENTITY,
        Code::TooManyRequests
        | Code::AddressFull
        | Code::UserFull
        | Code::SlowConsumer
        | Code::TooManyCalls => StatusCode::TOO_MANY_REQUESTS,
        Code::MintingNotConfigured => StatusCode::NOT_IMPLEMENTED,
        Code::ShuttingDown
        | Code::ServerFull
        | Code::ClosedForNow
        | Code::ConnectRefusedForNow
        | Code::CutOff => StatusCode::SERVICE_UNAVAILABLE,
        Code::HandshakeTimeout | Code::CallTimeout => StatusCode::GATEWAY_TIMEOUT,
        Code::BackEndUnavailable => StatusCode::BAD_GATEWAY,
        Code::Internal | Code::MethodPanicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_says_what_is_wrong_and_when_to_come_again() {
        let problem = Problem::new(Code::TooManyRequests, "wait").after(Duration::from_millis(1_200));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "urn:fanfare:code:4010",
            "title": Code::TooManyRequests.sentence(),
            "status": 429,
            "detail": "wait",
            "code": 4010,
        });
        assert_eq!(body, expected);
        let refused = Problem::new(Code::ApiKeyRefused, "none").into_response();
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
