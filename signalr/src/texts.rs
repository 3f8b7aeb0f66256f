//! What SignalR says to clients, word for word: applications look for these words.
//!
//! In: names of methods and reasons. Out: texts. Invariant: they are ASP.NET's (`DefaultHubDispatcher`,
//! `HubConnectionContext`, `HttpConnectionDispatcher`), with its punctuation and without a word more.
//!
//! A reason comes behind a text only where the application gave one to be told, which is ASP.NET's `HubException`; it
//! is never what went wrong inside the server.

/// The reason of a completion whose error has no text. This one is Fanfare's.
pub const NO_REASON: &str = "The server gave no reason.";

/// The stream that a client asked for has failed.
pub const STREAM_FAILED: &str = "An error occurred on the server while streaming results.";

/// The connection is closed because of an error.
pub const CONNECTION_CLOSED: &str = "Connection closed with an error.";

/// The handshake took too long; ASP.NET waits for 15 s.
pub const HANDSHAKE_CANCELED: &str = "Handshake was canceled.";

/// The handshake is none.
pub const HANDSHAKE_FAILED: &str = "An unexpected error occurred during connection handshake.";

/// What JavaScript clients answer where they have no method of that name, or one without a result.
pub const CLIENT_WITHOUT_RESULT: &str = "Client didn't provide a result.";

/// What JavaScript clients answer where several handlers of one method have results.
pub const CLIENT_WITH_SEVERAL_RESULTS: &str = "Client provided multiple results.";

/// The method has failed.
#[must_use]
pub fn method_failed(method: &str) -> String {
    format!("An unexpected error occurred invoking '{method}' on the server.")
}

/// The arguments are not what the method takes.
#[must_use]
pub fn arguments_refused(method: &str) -> String {
    format!("Failed to invoke '{method}' due to an error on the server.")
}

/// There is no such method.
#[must_use]
pub fn no_method(method: &str) -> String {
    because(&arguments_refused(method), "Method does not exist.")
}

/// The client may not call the method.
#[must_use]
pub fn unauthorized(method: &str) -> String {
    format!("Failed to invoke '{method}' because user is unauthorized")
}

/// A method that answers with a stream was called as one that has a result.
#[must_use]
pub fn is_a_stream(method: &str) -> String {
    format!("The client attempted to invoke the streaming '{method}' method with a non-streaming invocation.")
}

/// A method that has a result was called as one that answers with a stream.
#[must_use]
pub fn is_no_stream(method: &str) -> String {
    format!("The client attempted to invoke the non-streaming '{method}' method with a streaming invocation.")
}

/// The client sends other streams than the method takes.
#[must_use]
pub fn stream_count(method: &str, sent: usize, expected: usize) -> String {
    let reason = format!("Client sent {sent} stream(s), Hub method expects {expected}.");
    because(&method_failed(method), &reason)
}

/// A stream was asked for by the id of one that goes on.
#[must_use]
pub fn id_in_use(id: &str) -> String {
    format!("Invocation ID '{id}' is already in use.")
}

/// The hub protocol that was asked for is not there.
#[must_use]
pub fn no_protocol(name: &str) -> String {
    format!("The protocol '{name}' is not supported.")
}

/// The hub protocol is there, and not in this version.
#[must_use]
pub fn no_version(version: i64, name: &str) -> String {
    format!("The server does not support version {version} of the '{name}' protocol.")
}

/// A text, and behind it the reason that the application wants to be told.
#[must_use]
pub fn because(text: &str, reason: &str) -> String {
    format!("{text} HubException: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_asp_nets_words() {
        for (text, expected) in [
            (method_failed("Add"), "An unexpected error occurred invoking 'Add' on the server."),
            (
                because(&method_failed("Add"), "Too large."),
                "An unexpected error occurred invoking 'Add' on the server. HubException: Too large.",
            ),
            (arguments_refused("Add"), "Failed to invoke 'Add' due to an error on the server."),
            (
                no_method("Add"),
                "Failed to invoke 'Add' due to an error on the server. HubException: Method does not exist.",
            ),
            (unauthorized("Add"), "Failed to invoke 'Add' because user is unauthorized"),
            (
                is_a_stream("Count"),
                "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation.",
            ),
            (
                is_no_stream("Add"),
                "The client attempted to invoke the non-streaming 'Add' method with a streaming invocation.",
            ),
            (
                stream_count("Up", 2, 1),
                "An unexpected error occurred invoking 'Up' on the server. HubException: Client sent 2 stream(s), \
                 Hub method expects 1.",
            ),
            (id_in_use("1"), "Invocation ID '1' is already in use."),
            (no_protocol("x"), "The protocol 'x' is not supported."),
            (no_version(3, "json"), "The server does not support version 3 of the 'json' protocol."),
        ] {
            assert_eq!(text, expected);
        }
    }
}
