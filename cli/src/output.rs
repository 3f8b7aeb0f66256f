//! What happens to a client, as a person reads it and as a program does.
//!
//! In: events. Out: a line of text or a JSON object. Invariant: nothing that another client chose (names, payloads,
//! reasons) reaches the terminal as anything but visible text: control characters are shown escaped.

use std::fmt::Write;

use base64::Engine;
use fanfare_client::Event;
use fanfare_protocol::{Code, ConnectionId, ExpiryScope, Message, PayloadFormat, Sender, Target, UserName};
pub(crate) use fanfare_tui::text::{harmless, visible};
use serde_json::{Value, json};

use crate::preview;

/// Whether colours are wanted: `NO_COLOR` with anything in it says no (no-color.org).
pub(crate) fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The names of nodes, which whoever runs them chose.
pub(crate) fn nodes(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| visible(name)).collect();
    names.join(", ")
}

/// The first object of `listen --json`.
pub(crate) fn welcome(connection: ConnectionId, user: &UserName) -> Value {
    json!({ "kind": "welcome", "connection": connection.to_string(), "user": user.as_str() })
}

/// An event as a JSON object.
pub(crate) fn object(event: &Event) -> Value {
    match event {
        Event::Message(message) => message_object(message),
        Event::Joined { group, members } => {
            json!({ "kind": "joined", "group": group.as_str(), "members": members })
        }
        Event::Removed { group, code, reason } => {
            json!({ "kind": "removed", "group": group.as_str(), "code": code, "reason": reason })
        }
        Event::Lagged { dropped } => json!({ "kind": "lagged", "dropped": dropped }),
        Event::Expiring { scope, seconds } => match scope {
            ExpiryScope::Token => json!({ "kind": "expiring", "what": "token", "seconds": seconds }),
            ExpiryScope::Groups { count } => {
                json!({ "kind": "expiring", "what": "groups", "groups": count, "seconds": seconds })
            }
        },
        Event::RefreshFailed { reason } => json!({ "kind": "refresh_failed", "reason": reason }),
        Event::Goodbye { code, reason, retry_after } => json!({
            "kind": "goodbye",
            "code": code,
            "reason": reason,
            "retry_after_ms": retry_after.map_or(0, |pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        }),
        Event::Refused { request: _, code, detail } => {
            json!({ "kind": "refused", "code": code, "reason": detail })
        }
        Event::Disconnected { reason, retry_in } => json!({
            "kind": "disconnected",
            "code": reason.code().map(Code::number),
            "reason": reason.to_string(),
            "retry_in_ms": retry_in.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        }),
        Event::Reconnected { connection, rejoined, refused, lost } => json!({
            "kind": "reconnected",
            "connection": connection.to_string(),
            "rejoined": rejoined.iter().map(|group| group.as_str()).collect::<Vec<_>>(),
            "refused": refused
                .iter()
                .map(|(group, code, reason)| json!({ "group": group.as_str(), "code": code, "reason": reason }))
                .collect::<Vec<_>>(),
            "lost": lost.iter().map(|group| group.as_str()).collect::<Vec<_>>(),
        }),
        Event::Closed { reason, .. } => json!({ "kind": "closed", "reason": reason.to_string() }),
        other => json!({ "kind": "other", "text": format!("{other:?}") }),
    }
}

fn message_object(message: &Message) -> Value {
    let from = match &message.from {
        Sender::Connection { connection, user } => {
            json!({ "user": user.as_str(), "connection": connection.to_string() })
        }
        Sender::Server => json!({ "server": true }),
    };
    let to = match &message.to {
        Target::Connection(id) => json!({ "connection": id.to_string() }),
        Target::User(user) => json!({ "user": user.as_str() }),
        Target::Group(group) => json!({ "group": group.as_str() }),
        Target::All => json!({ "all": true }),
    };
    let mut object = serde_json::Map::new();
    object.insert("kind".to_owned(), "message".into());
    object.insert("event".to_owned(), message.event.as_str().into());
    object.insert("from".to_owned(), from);
    object.insert("to".to_owned(), to);
    object.insert("format".to_owned(), json!(message.format));
    // JSON, too, stays a text: to read its numbers and its members again would change some.
    let text = match message.format {
        PayloadFormat::Text | PayloadFormat::Json => message.text(),
        PayloadFormat::Binary | PayloadFormat::MessagePack | PayloadFormat::Other(_) => None,
    };
    let (key, payload) = match text {
        Some(text) => ("text", text.to_owned()),
        None => ("base64", base64::engine::general_purpose::STANDARD.encode(&message.payload)),
    };
    object.insert(key.to_owned(), payload.into());
    object.into()
}

/// An event as a line for a person.
pub(crate) fn line(event: &Event) -> String {
    match event {
        Event::Message(message) => message_line(message),
        Event::Joined { group, members: 1 } => {
            format!("* joined {}, the first member", visible(group.as_str()))
        }
        Event::Joined { group, members } => {
            format!("* joined {}, {members} members", visible(group.as_str()))
        }
        Event::Removed { group, code, reason } => {
            format!("* removed from {}: {} (code {code})", visible(group.as_str()), harmless(reason))
        }
        Event::Lagged { dropped } => {
            let were = if *dropped == 1 { "message was" } else { "messages were" };
            format!("* {dropped} {were} dropped: this client reads too slowly")
        }
        Event::Expiring { scope: ExpiryScope::Token, seconds } => format!("* the token ends in {seconds} s"),
        Event::Expiring { scope: ExpiryScope::Groups { count }, seconds } => {
            format!("* the grants for {count} of the groups end in {seconds} s")
        }
        Event::RefreshFailed { reason } => format!("* the token could not be renewed: {}", harmless(reason)),
        Event::Goodbye { code, reason, .. } => {
            format!("* the server says goodbye: {} (code {code})", harmless(reason))
        }
        Event::Refused { code, detail, .. } => {
            format!("* a send was refused: {} (code {code})", harmless(detail))
        }
        Event::Disconnected { reason, retry_in } => {
            let then = retry_in.map_or("not connecting again".to_owned(), |pause| {
                format!("connecting again in {:.1} s", pause.as_secs_f32())
            });
            format!("* disconnected: {}; {then}", harmless(&reason.to_string()))
        }
        Event::Reconnected { connection, rejoined, refused, lost } => {
            let mut line = format!("* connected again as {connection}");
            if !rejoined.is_empty() {
                let names: Vec<String> = rejoined.iter().map(|group| visible(group.as_str())).collect();
                let _ = write!(line, "; joined {} again", names.join(", "));
            }
            for (group, code, reason) in refused {
                let _ = write!(line, "; not {}: {} (code {code})", visible(group.as_str()), harmless(reason));
            }
            if !lost.is_empty() {
                let names: Vec<String> = lost.iter().map(|group| visible(group.as_str())).collect();
                let _ = write!(line, "; no longer in {}, which an operator had added", names.join(", "));
            }
            line
        }
        Event::Closed { reason, .. } => format!("* closed: {}", harmless(&reason.to_string())),
        other => format!("* {}", harmless(&format!("{other:?}"))),
    }
}

/// `[lobby] bob: hello`
fn message_line(message: &Message) -> String {
    let to = match &message.to {
        Target::Group(group) => format!("[{}] ", visible(group.as_str())),
        Target::User(_) | Target::Connection(_) => "[to you] ".to_owned(),
        Target::All => "[to all] ".to_owned(),
    };
    let event = match message.event.as_str() {
        "ReceiveMessage" => String::new(),
        event => format!(" ({})", visible(event)),
    };
    format!("{to}{}{event}: {}", visible(&message.from.to_string()), preview::shown(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fanfare_protocol::{EventName, GroupName};

    fn message(user: &str, event: &str, format: PayloadFormat, payload: &'static [u8]) -> Message {
        Message {
            from: Sender::Connection {
                connection: ConnectionId::from_bytes([0; 16]),
                user: UserName::new(user).unwrap(),
            },
            to: Target::Group(GroupName::new("lobby").unwrap()),
            event: EventName::new(event).unwrap(),
            format,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn what_others_chose_cannot_reach_the_terminal_as_control() {
        let nasty = message(
            "a\u{1b}[2J\u{9b}",
            "E\u{7}",
            PayloadFormat::Text,
            b"line\nbreak\x1b]0;title\x07\xe2\x80\xae",
        );
        let line = line(&Event::Message(nasty));
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(
            line,
            "[lobby] a\\u{1b}[2J\\u{9b} (E\\u{7}): line\\u{a}break\\u{1b}]0;title\\u{7}\\u{202e}"
        );
    }

    #[test]
    fn the_object_of_a_message_is_as_documented() {
        let text = object(&Event::Message(message("alice", "ReceiveMessage", PayloadFormat::Text, b"hi")));
        let expected = json!({
            "kind": "message", "event": "ReceiveMessage",
            "from": { "user": "alice", "connection": "0".repeat(26) },
            "to": { "group": "lobby" }, "format": "text", "text": "hi",
        });
        assert_eq!(text, expected);
        for (format, shown, payload, key, told) in [
            (PayloadFormat::Json, json!("json"), &b"{ \"a\": 1.0 }"[..], "text", "{ \"a\": 1.0 }"),
            (PayloadFormat::Text, json!("text"), &[0xff, 0], "base64", "/wA="),
            (PayloadFormat::Binary, json!("binary"), b"hi", "base64", "aGk="),
            (PayloadFormat::MessagePack, json!("msgpack"), b"\xc0", "base64", "wA=="),
            (PayloadFormat::Other(250), json!(250), b"hi", "base64", "aGk="),
        ] {
            let object = object(&Event::Message(message("alice", "E", format, payload)));
            assert_eq!((&object["format"], &object[key]), (&shown, &json!(told)), "{format}");
            assert!(object.get("text").is_none() || object.get("base64").is_none());
        }
    }
}
