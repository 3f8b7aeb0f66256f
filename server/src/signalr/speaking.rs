//! What a client of SignalR reads instead of frames.
//!
//! In: messages, answers and notices. Out: hub messages in the client's encoding. Invariants: what is said of a message
//! depends on the encoding alone, so that all who have agreed on it get the same bytes; a call is answered once, and
//! nothing of it comes behind that; nothing is said that ends one of the known clients (the encoder sees to it).

use bytes::Bytes;
use fanfare_hub::{Dialect, Translation};
use fanfare_protocol::call::{Failure, Outcome, ServerCall};
use fanfare_protocol::presence::{PresenceFrame, Present};
use fanfare_protocol::{Code, ExpiryScope, Message, PayloadFormat, RequestId, ServerFrame, UserName};
use fanfare_signalr::{Encoding, Value, encode, handshake};
use serde_json::json;

use super::book::{Book, Call};
use super::{error, payload};

/// The server has ended a membership: group, code, reason.
const REMOVED: &str = "fanfare.Removed";
/// Messages were dropped: how many.
const LAGGED: &str = "fanfare.Lagged";
/// What is told of a group that is watched: its name and an object.
const PRESENCE: &str = "fanfare.Presence";
/// Access ends soon: of what, and in how many seconds.
const EXPIRING: &str = "fanfare.Expiring";

impl Dialect for Book {
    fn translation(&self) -> Translation {
        match self.encoding() {
            Encoding::Json => Translation::First,
            Encoding::MessagePack => Translation::Second,
        }
    }

    fn message(&self, message: &Message) -> Bytes {
        let arguments = payload::arguments(message.format, &message.payload, self.encoding());
        encode::invocation(None, message.event.as_str(), &arguments)
    }

    fn notice(&self, frame: &ServerFrame) -> Bytes {
        match frame {
            // Said only when the connection is in the hub: `Connection::welcomed`.
            ServerFrame::Welcome(_) => handshake::accepted(),
            ServerFrame::Ack { request, count } | ServerFrame::AckPart { request, count, .. } => self
                .answer(*request, |id, _| {
                    encode::completion_with_result(id, &self.written(&(*count).into()))
                }),
            ServerFrame::Error { request, code, detail } => self.failed(*request, *code, detail),
            ServerFrame::Message(message) => self.message(message),
            // SignalR's clients are told by the completion, or by their application.
            ServerFrame::Joined { .. } => Bytes::new(),
            ServerFrame::Removed { group, code, reason } => {
                self.tell(REMOVED, &json!([group.as_str(), code, reason]))
            }
            ServerFrame::Goodbye { code, reason, retry_after_ms } => {
                self.goodbye(*code, reason, *retry_after_ms > 0)
            }
            ServerFrame::Lagged { dropped } => self.tell(LAGGED, &json!([dropped])),
            ServerFrame::Expiring { scope, seconds } => {
                let what = match scope {
                    ExpiryScope::Token => "token",
                    ExpiryScope::Groups { .. } => "groups",
                };
                self.tell(EXPIRING, &json!([what, seconds]))
            }
            ServerFrame::Call(call) => self.call(call),
            ServerFrame::Presence(frame) => self.tell(PRESENCE, &presence(frame)),
        }
    }
}

/// What is told of a group's presence, as arguments. It depends on the frame alone.
fn presence(frame: &PresenceFrame) -> serde_json::Value {
    let all = |present: &[Present]| present.iter().map(one).collect::<Vec<_>>();
    let told = match frame {
        PresenceFrame::Snapshot { group: _, revision, begins, complete, present } => json!({
            "kind": "snapshot",
            "revision": revision,
            "begins": begins,
            "complete": complete,
            "present": all(present),
        }),
        PresenceFrame::Changes { group: _, revision, present, left } => json!({
            "kind": "changes",
            "revision": revision,
            "present": all(present),
            "left": left.iter().map(UserName::as_str).collect::<Vec<_>>(),
        }),
        PresenceFrame::Ended { group: _, code, reason } => {
            json!({ "kind": "ended", "code": code, "reason": reason })
        }
    };
    json!([frame.group().as_str(), told])
}

/// A user who is present. What the application says of it is a value, or base64 where it cannot be one.
fn one(present: &Present) -> serde_json::Value {
    let Present { user, connections, data } = present;
    let data = data.as_ref().map(payload::shown);
    json!({ "user": user.as_str(), "connections": connections, "data": data })
}

impl Book {
    fn call(&self, call: &ServerCall) -> Bytes {
        match call {
            ServerCall::Completion { request, outcome } => match outcome {
                Outcome::Nothing => self.answer(*request, |id, _| encode::completion(self.encoding(), id)),
                Outcome::Value(value) => self.answer(*request, |id, _| {
                    let value = payload::value(value.format, &value.bytes, self.encoding());
                    encode::completion_with_result(id, &value)
                }),
                Outcome::Failed(Failure { code, detail, data: _ }) => self.failed(*request, *code, detail),
            },
            ServerCall::Item { request, item } => self.id(*request).map_or_else(Bytes::new, |id| {
                let item = payload::value(item.format, &item.bytes, self.encoding());
                encode::stream_item(&id, &item)
            }),
            ServerCall::Invoke { call, method, arguments } => {
                let arguments = payload::arguments(arguments.format, &arguments.bytes, self.encoding());
                encode::invocation(Some(&encode::result_id(*call)), method.as_str(), &arguments)
            }
            // No client obeys it, and two of them would end their connection.
            ServerCall::Cancel { .. } => Bytes::new(),
            ServerCall::Credit { stream, items } => {
                self.credit(*stream, *items);
                Bytes::new()
            }
            // Its client is told to stop by the completion of the call.
            ServerCall::Stop { stream } => {
                self.end_stream(*stream);
                Bytes::new()
            }
        }
    }

    /// Answers a call, where its client waits for that.
    fn answer(&self, request: RequestId, words: impl FnOnce(&str, &Call) -> Bytes) -> Bytes {
        self.end(request).map_or_else(Bytes::new, |call| words(&call.id, &call))
    }

    fn failed(&self, request: RequestId, code: u16, detail: &str) -> Bytes {
        self.answer(request, |id, call| {
            let text = error::of_call(&call.method, call.is_stream, code, detail);
            encode::completion_with_error(self.encoding(), id, &text)
        })
    }

    fn tell(&self, target: &str, arguments: &serde_json::Value) -> Bytes {
        let bytes = Bytes::from(arguments.to_string());
        let arguments = payload::arguments(PayloadFormat::Json, &bytes, self.encoding());
        encode::invocation(None, target, &arguments)
    }

    fn written(&self, value: &serde_json::Value) -> Value {
        payload::value(PayloadFormat::Json, &Bytes::from(value.to_string()), self.encoding())
    }

    fn goodbye(&self, code: u16, reason: &str, may_come_back: bool) -> Bytes {
        if !self.is_welcomed() {
            return self.refusal().unwrap_or_else(|| handshake::refused(&error::of_handshake(code, reason)));
        }
        // Its next connection asks the application for another token.
        let may_come_back = may_come_back || code == Code::TokenExpired.number();
        encode::close(self.encoding(), error::of_end(code, reason).as_deref(), may_come_back)
    }

    /// What says that the server is there.
    pub(super) fn ping(&self) -> Bytes {
        encode::ping(self.encoding())
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{GroupName, MethodName, Payload};

    use super::*;

    fn text(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap().replace('\u{1e}', "|")
    }

    /// A client that waits for answers to `a` and, for items, to `b`; and has a stream.
    fn book() -> Book {
        let book = Book::new(true);
        book.welcome();
        book.begin(Some("a".to_owned()), "Add", false);
        book.begin(Some("b".to_owned()), "Count", true);
        book.announce(0, vec!["s".to_owned()]);
        book
    }

    #[test]
    fn each_frame_has_its_words_or_none() {
        let group = GroupName::new("room").unwrap();
        let item = Payload::message_pack(&b"\xa1x"[..]);
        let method = MethodName::new("Confirm").unwrap();
        let failed = |code: Code, detail: &str| {
            Outcome::Failed(Failure {
                code: code.number(),
                detail: detail.to_owned(),
                data: Payload::default(),
            })
        };
        let call = |call| ServerFrame::Call(call);
        for (frame, expected) in [
            (ServerFrame::Ack { request: 0, count: 7 }, r#"{"type":3,"invocationId":"a","result":7}|"#),
            (
                ServerFrame::Error { request: 0, code: 3102, detail: "no".to_owned() },
                r#"{"type":3,"invocationId":"a","error":"Failed to invoke 'Add' because user is unauthorized"}|"#,
            ),
            (ServerFrame::Ack { request: 9, count: 7 }, ""),
            (ServerFrame::Joined { group: group.clone(), members: 1 }, ""),
            (
                ServerFrame::Removed { group, code: 3103, reason: "enough".to_owned() },
                r#"{"type":1,"target":"fanfare.Removed","arguments":["room",3103,"enough"]}|"#,
            ),
            (ServerFrame::Lagged { dropped: 3 }, r#"{"type":1,"target":"fanfare.Lagged","arguments":[3]}|"#),
            (
                ServerFrame::Expiring { scope: ExpiryScope::Token, seconds: 60 },
                r#"{"type":1,"target":"fanfare.Expiring","arguments":["token",60]}|"#,
            ),
            (
                ServerFrame::Goodbye { code: 1001, reason: "bye".to_owned(), retry_after_ms: 1 },
                r#"{"type":7,"error":"bye (code 1001)","allowReconnect":true}|"#,
            ),
            (
                ServerFrame::Goodbye { code: 3004, reason: "over".to_owned(), retry_after_ms: 0 },
                r#"{"type":7,"error":"over (code 3004)","allowReconnect":true}|"#,
            ),
            (ServerFrame::Goodbye { code: 0, reason: String::new(), retry_after_ms: 0 }, r#"{"type":7}|"#),
            (
                call(ServerCall::Completion { request: 0, outcome: Outcome::Nothing }),
                r#"{"type":3,"invocationId":"a"}|"#,
            ),
            (
                call(ServerCall::Completion { request: 0, outcome: Outcome::Value(item.clone()) }),
                r#"{"type":3,"invocationId":"a","result":"x"}|"#,
            ),
            (
                call(ServerCall::Completion { request: 1, outcome: failed(Code::NotAStream, "") }),
                "{\"type\":3,\"invocationId\":\"b\",\"error\":\"The client attempted to invoke the non-streaming \
                 'Count' method with a streaming invocation.\"}|",
            ),
            (call(ServerCall::Item { request: 1, item }), r#"{"type":2,"invocationId":"b","item":"x"}|"#),
            (
                call(ServerCall::Invoke { call: 5, method, arguments: Payload::json("[1]") }),
                r#"{"type":1,"invocationId":"r5","target":"Confirm","arguments":[1]}|"#,
            ),
            (call(ServerCall::Cancel { call: 5 }), ""),
            (call(ServerCall::Credit { stream: 0, items: 5 }), ""),
            (call(ServerCall::Stop { stream: 0 }), ""),
        ] {
            assert_eq!(text(&book().notice(&frame)), expected, "{frame:?}");
        }
    }

    #[test]
    fn a_call_is_answered_once_and_has_no_items_behind_that() {
        let book = book();
        let done = ServerFrame::Call(ServerCall::Completion { request: 1, outcome: Outcome::Nothing });
        assert!(!book.notice(&done).is_empty());
        assert_eq!(book.notice(&done), "");
        let item = ServerFrame::Call(ServerCall::Item { request: 1, item: Payload::json("1") });
        assert_eq!(book.notice(&item), "");
    }

    #[test]
    fn who_is_not_welcomed_yet_is_told_in_the_handshake_s_answer() {
        let book = Book::new(false);
        let goodbye = ServerFrame::Goodbye { code: 3009, reason: "banned".to_owned(), retry_after_ms: 0 };
        assert_eq!(text(&book.notice(&goodbye)), r#"{"error":"banned (code 3009)"}|"#);
        book.refuse(Bytes::from_static(b"its own"));
        assert_eq!(book.notice(&goodbye), "its own");
    }
}
