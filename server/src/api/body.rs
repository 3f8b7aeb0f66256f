//! What operations are given, in JSON.
//!
//! In: JSON. Out: values, or what is wrong with them. Invariant: a field that is not known is refused, so that nobody
//! believes to have said something that was not heard.

use std::num::NonZeroU64;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::admin::{May, Who};
use fanfare_protocol::{
    ConnectionId, EventName, GroupName, Pattern, Payload, PayloadFormat, Target, UserName,
};
use fanfare_token::{GrantClaim, Right};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::Problem;
use super::request::{at_most, perhaps_text, text};
use crate::reason::REASON_BYTES;

/// How many names a list has at most, whatever the server allows in a send.
const MOST_NAMES: usize = 4_096;

/// How many bytes a token's id has at most.
const MOST_ID: usize = 256;

/// How many grants a token has at most ([`GrantClaim::check`]).
const MOST_GRANTS: usize = 256;

/// How many rights there are.
const MOST_RIGHTS: usize = 2;

/// Where a message goes: to whoever is reached by any of these, once.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct To {
    /// All members of these groups.
    #[serde(deserialize_with = "at_most::<_, _, MOST_NAMES>")]
    #[schema(value_type = Vec<String>)]
    pub(super) groups: Vec<GroupName>,
    /// All connections of these users.
    #[serde(deserialize_with = "at_most::<_, _, MOST_NAMES>")]
    #[schema(value_type = Vec<String>)]
    pub(super) users: Vec<UserName>,
    /// These connections.
    #[serde(deserialize_with = "at_most::<_, _, MOST_NAMES>")]
    #[schema(value_type = Vec<String>)]
    pub(super) connections: Vec<ConnectionId>,
    /// Everyone.
    pub(super) all: bool,
}

/// A message. Of `json`, `text` and `base64` one at most; without any its payload is empty.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendBody {
    pub(crate) to: To,
    /// Connections that do not get it.
    #[serde(default, deserialize_with = "at_most::<_, _, MOST_NAMES>")]
    #[schema(value_type = Vec<String>)]
    pub(crate) except: Vec<ConnectionId>,
    /// The event that it carries; for SignalR's clients the name of the method.
    #[schema(value_type = String, min_length = 1, max_length = 256, example = "ReceiveMessage")]
    pub(crate) event: EventName,
    /// Any value, which is kept as it is written here; for SignalR's clients a list is the method's arguments.
    #[serde(default, deserialize_with = "value")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(super) json: Option<Box<RawValue>>,
    /// A text.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// Bytes, in base64 (RFC 4648 section 4).
    #[serde(default)]
    pub(super) base64: Option<String>,
}

/// Whose connections, and which group.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) group: GroupName,
    /// All connections of this user; or else `connection`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) user: Option<UserName>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) connection: Option<ConnectionId>,
}

/// Whose connections, which group, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) group: GroupName,
    /// All connections of this user; or else `connection`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) user: Option<UserName>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) connection: Option<ConnectionId>,
    /// Why, for those who are removed.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// Who, in which group, what it may do there, and until when.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddLastingBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) group: GroupName,
    /// What it may do there, whatever its token says: `both`, `receive` (it is muted) or `send` (it is no member).
    #[serde(default)]
    #[schema(value_type = Option<MayBody>)]
    pub(super) may: May,
    /// When it ends by itself, in seconds since 1970; never, if it is not given.
    #[serde(default)]
    pub(super) until: Option<u64>,
    /// Why, for the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// What a lasting membership lets its user do in the group.
#[derive(ToSchema)]
#[schema(as = May, rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes `May`, which knows nothing of OpenAPI")]
pub(crate) enum MayBody {
    Both,
    Receive,
    Send,
}

/// Who, in which group, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveLastingBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) group: GroupName,
    /// Why, for the user and the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// Whose connections are closed, and until when. Exactly one of `user`, `connection`, `group` and `all`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseBody {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) user: Option<UserName>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) connection: Option<ConnectionId>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) group: Option<GroupName>,
    #[serde(default)]
    pub(super) all: bool,
    /// In how many milliseconds they may come back: each is told a time of its own between this and half as much again,
    /// a day at most. Not by themselves, if it is 0.
    #[serde(default)]
    #[schema(maximum = 86_400_000)]
    pub(super) retry_after_ms: u32,
    /// Why, for the users and the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// Who, until when, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BanBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    /// When it ends by itself, in seconds since 1970; never, if it is not given.
    #[serde(default)]
    pub(super) until: Option<u64>,
    /// Why, for the user and the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
    /// Only say what it would do.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Who, from which groups, until when, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    /// Which groups: a name, in which `*` stands for any run of characters.
    #[schema(value_type = String, min_length = 1, max_length = 256, example = "room-*")]
    pub(super) groups: Pattern,
    /// When it ends by itself, in seconds since 1970; never, if it is not given.
    #[serde(default)]
    pub(super) until: Option<u64>,
    /// Why, for the user and the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
    /// Only say what it would do.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Which revocation is lifted, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    /// The pattern, as it was revoked.
    #[schema(value_type = String, min_length = 1, max_length = 256, example = "room-*")]
    pub(super) groups: Pattern,
    /// Why, for the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// Who, and why.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(super) user: UserName,
    /// Why, for the audit, and for the user where it is closed.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// A token that is refused from now on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeTokenBody {
    /// The token's id, its claim `jti`.
    #[serde(deserialize_with = "text::<_, MOST_ID>")]
    #[schema(min_length = 1, max_length = 256)]
    pub(super) jti: String,
    /// When it may be forgotten, because the token has ended by then, in seconds since 1970; never, if it is not given.
    #[serde(default)]
    pub(super) until: Option<u64>,
    /// Why, for the user and the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// A token that is taken again.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreTokenBody {
    /// The token's id, its claim `jti`.
    #[serde(deserialize_with = "text::<_, MOST_ID>")]
    #[schema(min_length = 1, max_length = 256)]
    pub(super) jti: String,
    /// Why, for the audit.
    #[serde(default, deserialize_with = "text::<_, REASON_BYTES>")]
    #[schema(max_length = 512)]
    pub(super) reason: String,
}

/// A token to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MintBody {
    /// Whose.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub(crate) user: UserName,
    /// How long it lasts, in seconds; an hour, if it is not given.
    #[serde(default = "hour")]
    #[schema(value_type = u64, minimum = 1)]
    pub(crate) seconds: NonZeroU64,
    /// Its id (`jti`), by which it can be revoked; one is made, if it is not given.
    #[serde(default, deserialize_with = "perhaps_text::<_, MOST_ID>")]
    #[schema(min_length = 1, max_length = 256)]
    pub(crate) jti: Option<String>,
    /// What it allows: docs/protocol/tokens.md.
    #[serde(default, deserialize_with = "at_most::<_, _, MOST_GRANTS>")]
    pub(crate) grants: Vec<GrantBody>,
}

/// What a token allows: exactly one of `group`, `user` and `all`, and what may be done with it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantBody {
    /// The groups that match this pattern.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// The users that match this pattern.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// Everyone.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub(super) all: bool,
    #[serde(deserialize_with = "at_most::<_, _, MOST_RIGHTS>")]
    pub(super) may: Vec<RightBody>,
    /// When it ends, in seconds since 1970; with the token, if it is not given.
    #[serde(default)]
    pub(super) exp: Option<u64>,
}

/// What a grant allows.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RightBody {
    /// To be a member, of groups alone.
    Join,
    /// To send.
    Send,
    /// To be told who is in a group, of groups alone.
    Presence,
}

/// A value that is there, also where it is `null`.
fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

fn hour() -> NonZeroU64 {
    const HOUR: NonZeroU64 = NonZeroU64::new(3_600).unwrap();
    HOUR
}

impl To {
    /// The targets.
    pub(crate) fn targets(self) -> Vec<Target> {
        let Self { groups, users, connections, all } = self;
        let groups = groups.into_iter().map(Target::Group);
        let users = users.into_iter().map(Target::User);
        let connections = connections.into_iter().map(Target::Connection);
        groups.chain(users).chain(connections).chain(all.then_some(Target::All)).collect()
    }
}

impl SendBody {
    /// The payload.
    ///
    /// # Errors
    /// There are several, or it is not what it is said to be.
    pub(crate) fn payload(&mut self) -> Result<Payload, Problem> {
        match (self.json.take(), self.text.take(), self.base64.take()) {
            (None, None, None) => Ok(Payload::default()),
            (Some(json), None, None) => Ok(Payload {
                format: PayloadFormat::Json,
                bytes: Box::<str>::from(json).into_string().into_bytes().into(),
            }),
            (None, Some(text), None) => {
                Ok(Payload { format: PayloadFormat::Text, bytes: text.into_bytes().into() })
            }
            (None, None, Some(base64)) => match STANDARD.decode(base64) {
                Ok(bytes) => Ok(Payload { format: PayloadFormat::Binary, bytes: bytes.into() }),
                Err(error) => Err(Problem::invalid(format!("base64 is none: {error}"))),
            },
            _ => Err(Problem::invalid("a message has one of json, text and base64, and this has several")),
        }
    }
}

/// Whose connections are meant: a user's, or one.
pub(super) fn whose(user: Option<UserName>, connection: Option<ConnectionId>) -> Result<Target, Problem> {
    match (user, connection) {
        (Some(user), None) => Ok(Target::User(user)),
        (None, Some(connection)) => Ok(Target::Connection(connection)),
        _ => Err(Problem::invalid("a membership is of one of user and connection")),
    }
}

impl CloseBody {
    pub(super) fn who(&self) -> Result<Who, Problem> {
        match (&self.user, &self.connection, &self.group, self.all) {
            (Some(user), None, None, false) => Ok(Who::User(user.clone())),
            (None, Some(connection), None, false) => Ok(Who::Connection(*connection)),
            (None, None, Some(group), false) => Ok(Who::Group(group.clone())),
            (None, None, None, true) => Ok(Who::All),
            _ => Err(Problem::invalid(
                "it is said in one way whose are closed: user, connection, group, or all",
            )),
        }
    }
}

impl GrantBody {
    /// As a token has it.
    pub(crate) fn claim(self) -> GrantClaim {
        let Self { group, user, all, may, exp } = self;
        let right = |right| match right {
            RightBody::Join => Right::Join,
            RightBody::Send => Right::Send,
            RightBody::Presence => Right::Presence,
        };
        GrantClaim { group, user, all: all.then_some(true), may: may.into_iter().map(right).collect(), exp }
    }
}
