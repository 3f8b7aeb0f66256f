//! What a back end is told: events, as CloudEvents 1.0.
//!
//! In: what happened. Out: its attributes and its data, for a request of its own (binary mode) or as one of a batch.
//! Invariant: whatever a receiver decides by is in the data, which is signed; the attributes in the headers say the
//! same and are not (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).

use std::time::{Duration, SystemTime};

use fanfare_hub::{CloseReason, Left};
use fanfare_protocol::{ConnectionId, GroupName, UserName};
use serde::{Deserialize, Serialize};

use crate::webhook::WebhookEvent;

/// What the types of events begin with.
const TYPES: &str = "dev.fanfare.";

/// The source of every event.
const SOURCE: &str = "/fanfare";

/// An event as it happened. What its end point adds is in [`Numbered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: WebhookEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection: Option<ConnectionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<GroupName>,
    /// The number of a code, and why in words: why somebody was removed, or a connection closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// How many events were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<u64>,
    /// In a cluster, of a group or a user in one: what is told later has one that comes behind it as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<String>,
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
}

/// What events of one thing are told one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Connection(ConnectionId),
    Presence(GroupName, UserName),
    Group(GroupName),
    Lost,
    /// Everything before is told first, and everything behind it afterwards.
    Node,
}

impl Event {
    fn new(kind: WebhookEvent) -> Self {
        let (connection, user, group, code, reason, events) = (None, None, None, None, None, None);
        Self { kind, connection, user, group, code, reason, events, order: None, at_ms: now_ms() }
    }

    pub(super) fn started() -> Self {
        Self::new(WebhookEvent::Started)
    }

    pub(super) fn lost(events: u64) -> Self {
        Self { events: Some(events), ..Self::new(WebhookEvent::Lost) }
    }

    pub(super) fn joined(connection: ConnectionId, user: &UserName, group: GroupName) -> Self {
        let new = Self::new(WebhookEvent::Joined);
        Self { connection: Some(connection), user: Some(user.clone()), group: Some(group), ..new }
    }

    pub(super) fn left(connection: ConnectionId, user: &UserName, group: GroupName, why: Left) -> Self {
        let (code, reason) = match why {
            Left::Asked => (None, "asked"),
            Left::Removed(code) => (Some(code.number()), "removed"),
            Left::Gone => (None, "gone"),
        };
        let joined = Self::joined(connection, user, group);
        Self { kind: WebhookEvent::Left, code, reason: Some(reason.to_owned()), ..joined }
    }

    pub(super) fn presence(kind: WebhookEvent, user: UserName, group: GroupName) -> Self {
        Self { user: Some(user), group: Some(group), ..Self::new(kind) }
    }

    pub(super) fn group(kind: WebhookEvent, group: GroupName) -> Self {
        Self { group: Some(group), ..Self::new(kind) }
    }

    /// The same, with its place among all of its kind, whichever node tells them.
    pub(super) fn ordered(self, (claim, number): (u64, u64)) -> Self {
        // Wide enough for all that there will be, so that texts are in the order of the numbers.
        Self { order: Some(format!("{claim:020}-{number:020}")), ..self }
    }

    pub(super) fn disconnected(connection: ConnectionId, user: &UserName, why: Option<CloseReason>) -> Self {
        let (code, reason) = why.map(|CloseReason { code, reason }| (code.number(), reason)).unzip();
        let new = Self::new(WebhookEvent::Disconnected);
        Self { connection: Some(connection), user: Some(user.clone()), code, reason, ..new }
    }

    /// What it is about.
    pub(super) fn subject(&self) -> Subject {
        match (&self.connection, &self.group, &self.user) {
            (Some(connection), ..) => Subject::Connection(*connection),
            (None, Some(group), Some(user)) => Subject::Presence(group.clone(), user.clone()),
            (None, Some(group), None) => Subject::Group(group.clone()),
            _ if self.kind == WebhookEvent::Lost => Subject::Lost,
            _ => Subject::Node,
        }
    }

    /// When it was.
    pub(super) fn at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.at_ms)
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An event of one end point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbered {
    /// Which of the server's lives it is of.
    pub(super) epoch: u64,
    /// Its number among the end point's events: without a gap, over all lives.
    pub(super) sequence: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

impl Numbered {
    /// Which it is, however often it is sent.
    pub(super) fn id(&self) -> String {
        format!("evt_{}_{}", self.epoch, self.sequence)
    }

    /// Its attributes but for `specversion` and `datacontenttype`, which are the same for all.
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = attributes(&self.id(), self.event.kind.name(), self.event.at());
        attributes.extend([
            // As CloudEvents' extension has it: texts in the order of their characters.
            ("sequence", format!("{:020}", self.sequence)),
            ("epoch", self.epoch.to_string()),
        ]);
        if let Some(connection) = &self.event.connection {
            attributes.push(("connection", connection.to_string()));
        }
        if let Some(user) = &self.event.user {
            attributes.push(("user", user.to_string()));
        }
        if let Some(group) = &self.event.group {
            attributes.push(("group", group.to_string()));
        }
        attributes
    }

    /// Its data.
    pub(super) fn data(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The whole event, as one of a batch (JSON event format).
    pub(super) fn structured(&self) -> serde_json::Value {
        let mut event: serde_json::Map<_, _> = self
            .attributes()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), serde_json::Value::String(value)))
            .collect();
        event.insert("specversion".to_owned(), "1.0".into());
        event.insert("datacontenttype".to_owned(), "application/json".into());
        event.insert("data".to_owned(), self.data());
        event.into()
    }
}

/// The attributes that every event and every question has.
pub(super) fn attributes(id: &str, name: &str, at: SystemTime) -> Vec<(&'static str, String)> {
    vec![
        ("id", id.to_owned()),
        ("source", SOURCE.to_owned()),
        ("type", format!("{TYPES}{name}")),
        ("time", humantime::format_rfc3339_millis(at).to_string()),
    ]
}

/// An attribute's value as a header has it: what is no visible ASCII, and `%` and `"`, percent-encoded as UTF-8
/// (section 3.1.3.2 of the HTTP binding).
pub(super) fn header_value(value: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Code;

    use super::*;

    fn left() -> Numbered {
        let connection = ConnectionId::on_node([1, 2, 3, 4], [7; 12]);
        let (user, group) = (UserName::new("al\u{ef}ce").unwrap(), GroupName::new("room 7").unwrap());
        let event = Event::left(connection, &user, group, Left::Removed(Code::BannedFromGroup));
        Numbered { epoch: 5, sequence: 42, event: Event { at_ms: 1_700_000_000_123, ..event } }
    }

    #[test]
    fn an_event_says_the_same_in_its_data_and_in_its_attributes() {
        let structured = left().structured();
        let connection = left().event.connection.unwrap().to_string();
        assert_eq!(
            structured,
            serde_json::json!({
                "specversion": "1.0",
                "id": "evt_5_42",
                "source": "/fanfare",
                "type": "dev.fanfare.left",
                "time": "2023-11-14T22:13:20.123Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000042",
                "epoch": "5",
                "connection": connection,
                "user": "al\u{ef}ce",
                "group": "room 7",
                "data": {
                    "type": "left", "epoch": 5, "sequence": 42, "connection": connection, "user": "al\u{ef}ce",
                    "group": "room 7", "code": 3103, "reason": "removed", "at_ms": 1_700_000_000_123_u64,
                },
            })
        );
        let again: Numbered = serde_json::from_value(left().data()).unwrap();
        assert_eq!(again, left(), "what is kept on the disk is what was");
    }

    #[test]
    fn a_header_holds_any_name() {
        for (value, header) in [
            ("room-7", "room-7"),
            ("room 7", "room%207"),
            ("50%", "50%25"),
            ("\"", "%22"),
            ("al\u{ef}ce", "al%C3%AFce"),
            ("a\r\nb", "a%0D%0Ab"),
        ] {
            assert_eq!(header_value(value), header);
        }
    }

    #[test]
    fn what_belongs_together_has_one_subject() {
        let connection = ConnectionId::on_node([0; 4], [1; 12]);
        let (user, group) = (UserName::new("a").unwrap(), GroupName::new("g").unwrap());
        let joined = Event::joined(connection, &user, group.clone());
        let ended = Event::disconnected(connection, &user, None);
        assert_eq!(joined.subject(), ended.subject());
        let opened = Event::group(WebhookEvent::GroupOpened, group.clone()).subject();
        let here = Event::presence(WebhookEvent::UserJoined, user, group).subject();
        assert!(opened != here && here != joined.subject());
        assert_eq!((Event::started().subject(), Event::lost(3).subject()), (Subject::Node, Subject::Lost));
    }
}
