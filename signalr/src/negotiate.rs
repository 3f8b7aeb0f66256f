//! What a client asks before it connects (`TransportProtocols.md`).
//!
//! In: the query of `POST BASE/negotiate`, and the ids that the server made. Out: the answer's JSON, and what is said
//! to a WebSocket that comes with an id nobody knows. Invariant: WebSockets are the one transport that is offered.

use serde::{Serialize, Serializer};

/// The version of negotiation that is answered in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NegotiateVersion {
    /// The connection's id opens it, so that it is a secret.
    Zero,
    /// A token opens it, and the id may be told to others.
    One,
}

impl NegotiateVersion {
    /// The version to answer in, by the `negotiateVersion` of the query. Without one it is 0, which is what pysignalr
    /// and signalrcore want; a higher one than there is counts as 1.
    ///
    /// # Errors
    /// What is asked for is no version: [`NegotiateError`] has the answer, which has the status 200.
    pub fn choose(asked: Option<&str>) -> Result<Self, NegotiateError> {
        let Some(asked) = asked else { return Ok(Self::Zero) };
        match asked.parse::<i64>() {
            Ok(0) => Ok(Self::Zero),
            Ok(1..) => Ok(Self::One),
            Ok(version) => Err(NegotiateError::NoVersion(version)),
            Err(_) => Err(NegotiateError::NoInteger),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

impl Serialize for NegotiateVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// Why a negotiation is refused. The texts are ASP.NET's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// `negotiateVersion` is no number.
    #[error("The client requested a non-integer protocol version.")]
    NoInteger,
    /// `negotiateVersion` is below 0.
    #[error("The client requested version '{0}', but the server does not support this version.")]
    NoVersion(i64),
}

/// The answer to a negotiation: JSON, with the status 200 also where it is an error.
///
/// ```
/// use fanfare_signalr::negotiate::{NegotiateAnswer, NegotiateVersion};
///
/// let version = NegotiateVersion::choose(Some("1"))?;
/// let answer = NegotiateAnswer::accepted(version, "its-id", "its-token");
/// let json = serde_json::to_value(answer)?;
/// assert_eq!(json["connectionToken"], "its-token");
/// assert_eq!(json["availableTransports"][0]["transport"], "WebSockets");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NegotiateAnswer<'a> {
    /// The client may connect.
    Accepted(Accepted<'a>),
    /// The client may not, and is told why. It does not try again.
    Refused {
        /// Why.
        error: &'a str,
    },
}

impl<'a> NegotiateAnswer<'a> {
    /// The client may connect: with `token` as the `id` of its WebSocket's query, or in version 0, which knows no
    /// tokens, with the id itself.
    #[must_use]
    pub fn accepted(version: NegotiateVersion, connection_id: &'a str, token: &'a str) -> Self {
        let connection_token = (version >= NegotiateVersion::One).then_some(token);
        let available_transports = [TRANSPORT];
        Self::Accepted(Accepted {
            negotiate_version: version,
            connection_id,
            connection_token,
            available_transports,
        })
    }

    /// The client may not connect.
    #[must_use]
    pub fn refused(error: &'a str) -> Self {
        Self::Refused { error }
    }
}

/// What a client is told that may connect. [`NegotiateAnswer::accepted`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted<'a> {
    negotiate_version: NegotiateVersion,
    connection_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_token: Option<&'a str>,
    available_transports: [Transport; 1],
}

impl std::fmt::Debug for Accepted<'_> {
    /// Leaves out what opens the connection.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("negotiate_version", &self.negotiate_version).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Transport {
    transport: &'static str,
    transfer_formats: [&'static str; 2],
}

const TRANSPORT: Transport = Transport { transport: "WebSockets", transfer_formats: ["Text", "Binary"] };

/// Why a request that names a connection, or should, has nothing to do with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// Nothing was negotiated under this `id`, or it was too long ago: ASP.NET keeps an id that nobody claims for 15 s.
    NoConnection,
    /// The `id` has a WebSocket already.
    AlreadyConnected,
    /// There is no `id` where one is needed. A WebSocket needs none: without one it is a new connection.
    NoId,
}

impl ConnectRefusal {
    /// The status of HTTP.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoConnection => 404,
            Self::AlreadyConnected => 409,
            Self::NoId => 400,
        }
    }

    /// The body, which is plain text.
    #[must_use]
    pub const fn body(self) -> &'static str {
        match self {
            Self::NoConnection => "No Connection with that ID",
            Self::AlreadyConnected => "",
            Self::NoId => "Connection ID required",
        }
    }
}

#[cfg(test)]
mod tests;
