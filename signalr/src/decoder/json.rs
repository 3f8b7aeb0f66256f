//! A message in JSON (`HubProtocol.md`, "JSON Encoding").
//!
//! In: one object. Out: the message. Invariants: members may be in any order, `type` last and `arguments` first among
//! them; those that are not known are stepped over, as are headers; a member that is null is not there, except where
//! null is a value (`item`, `result`); and a member that the message's kind does not have may be anything.

use std::borrow::Cow;

use bytes::Bytes;

use crate::json::Raw;
use crate::object::each_member;
use crate::{Arguments, DecodeError, Encoding, Limits, Message, Outcome, ShapeError, Value};

const TEXT: &str = "a text";

pub(super) fn message(record: &Bytes, limits: &Limits) -> Result<Message, DecodeError> {
    let mut members = Members::default();
    each_member(record, limits.levels(), |name, value| members.put(name, value))?;
    let found = Found { record, limits, members };
    let kind = found.members.kind.ok_or(ShapeError::Missing("type"))?;
    let no_integer = ShapeError::WrongType { member: "type", expected: "an integer" };
    match kind.text.parse::<i64>().map_err(|_| no_integer)? {
        1 => Ok(Message::Invocation {
            id: found.optional_id()?,
            target: found.target()?,
            arguments: found.arguments()?,
            streams: found.streams()?,
        }),
        2 => Ok(Message::StreamItem { id: found.id()?, item: found.item()? }),
        3 => Ok(Message::Completion { id: found.id()?, outcome: found.outcome()? }),
        4 => Ok(Message::StreamInvocation {
            id: found.id()?,
            target: found.target()?,
            arguments: found.arguments()?,
            streams: found.streams()?,
        }),
        5 => Ok(Message::CancelInvocation { id: found.id()? }),
        6 => Ok(Message::Ping),
        7 => Ok(Message::Close { error: found.error()?, allow_reconnect: found.allow_reconnect()? }),
        8 => Ok(Message::Ack { sequence: found.sequence()? }),
        9 => Ok(Message::Sequence { sequence: found.sequence()? }),
        kind => Ok(Message::Unknown { kind }),
    }
}

/// Those members that mean something, wherever they stood.
#[derive(Default)]
struct Members<'a> {
    kind: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    target: Option<Raw<'a>>,
    arguments: Option<Raw<'a>>,
    streams: Option<Raw<'a>>,
    item: Option<Raw<'a>>,
    result: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    allow_reconnect: Option<Raw<'a>>,
    sequence: Option<Raw<'a>>,
}

impl<'a> Members<'a> {
    fn put(&mut self, name: &str, value: Raw<'a>) -> Result<(), ShapeError> {
        let (name, place) = match name {
            "type" => ("type", &mut self.kind),
            "invocationId" => ("invocationId", &mut self.id),
            "target" => ("target", &mut self.target),
            "arguments" => ("arguments", &mut self.arguments),
            "streamIds" => ("streamIds", &mut self.streams),
            "item" => ("item", &mut self.item),
            "result" => ("result", &mut self.result),
            "error" => ("error", &mut self.error),
            "allowReconnect" => ("allowReconnect", &mut self.allow_reconnect),
            "sequenceId" => ("sequenceId", &mut self.sequence),
            _ => return Ok(()),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(ShapeError::Twice(name)),
        }
    }
}

/// The members of one message, read as its kind asks for them.
struct Found<'a> {
    record: &'a Bytes,
    limits: &'a Limits,
    members: Members<'a>,
}

impl<'a> Found<'a> {
    fn optional_id(&self) -> Result<Option<String>, ShapeError> {
        let id = text("invocationId", self.members.id)?.filter(|id| !id.is_empty());
        id.map(|id| self.checked("invocationId", id)).transpose()
    }

    fn id(&self) -> Result<String, ShapeError> {
        let id = not_empty("invocationId", text("invocationId", self.members.id)?)?;
        self.checked("invocationId", id)
    }

    fn target(&self) -> Result<String, ShapeError> {
        Ok(not_empty("target", text("target", self.members.target)?)?.into_owned())
    }

    fn arguments(&self) -> Result<Arguments, ShapeError> {
        let array = self.members.arguments.ok_or(ShapeError::Missing("arguments"))?;
        if !array.is_array() {
            return Err(ShapeError::WrongType { member: "arguments", expected: "an array" });
        }
        let bytes = self.record.slice_ref(array.text.as_bytes());
        Ok(Arguments::trusted(Encoding::Json, bytes, array.elements))
    }

    fn streams(&self) -> Result<Vec<String>, ShapeError> {
        const MEMBER: &str = "streamIds";
        let wrong = ShapeError::WrongType { member: MEMBER, expected: "an array of texts" };
        let Some(array) = self.members.streams.filter(|array| !array.is_null()) else {
            return Ok(Vec::new());
        };
        if !array.is_array() {
            return Err(wrong);
        }
        if array.elements > self.limits.streams {
            return Err(ShapeError::TooManyStreams { limit: self.limits.streams });
        }
        // It was scanned as a part of the record, and is no deeper.
        let bytes = self.record.slice_ref(array.text.as_bytes());
        let ids = Arguments::trusted(Encoding::Json, bytes, array.elements);
        let id = |index| {
            let id = ids.str(index).map_err(|_| wrong)?;
            self.checked(MEMBER, not_empty(MEMBER, Some(id))?)
        };
        (0..array.elements).map(id).collect()
    }

    fn item(&self) -> Result<Value, ShapeError> {
        self.members.item.map(|item| self.value(item)).ok_or(ShapeError::Missing("item"))
    }

    fn outcome(&self) -> Result<Outcome, ShapeError> {
        match (self.members.result, self.error()?) {
            (None, None) => Ok(Outcome::Void),
            (Some(result), None) => Ok(Outcome::Result(self.value(result))),
            (Some(result), Some(_)) if !result.is_null() => Err(ShapeError::ResultAndError),
            (_, Some(error)) => Ok(Outcome::Error(error)),
        }
    }

    fn error(&self) -> Result<Option<String>, ShapeError> {
        Ok(text("error", self.members.error)?.map(Cow::into_owned))
    }

    fn allow_reconnect(&self) -> Result<bool, ShapeError> {
        match self.members.allow_reconnect.map(|value| value.text) {
            None | Some("null" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ShapeError::WrongType { member: "allowReconnect", expected: "true or false" }),
        }
    }

    fn sequence(&self) -> Result<u64, ShapeError> {
        let number = self.members.sequence.ok_or(ShapeError::Missing("sequenceId"))?;
        let expected = "an integer that is not negative";
        number.text.parse().map_err(|_| ShapeError::WrongType { member: "sequenceId", expected })
    }

    fn value(&self, value: Raw<'a>) -> Value {
        Value::trusted(Encoding::Json, self.record.slice_ref(value.text.as_bytes()))
    }

    fn checked(&self, member: &'static str, id: Cow<'_, str>) -> Result<String, ShapeError> {
        self.limits.check_id(member, &id)?;
        Ok(id.into_owned())
    }
}

fn text<'a>(member: &'static str, value: Option<Raw<'a>>) -> Result<Option<Cow<'a, str>>, ShapeError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    value.string().map(Some).ok_or(ShapeError::WrongType { member, expected: TEXT })
}

fn not_empty<'a>(member: &'static str, text: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, ShapeError> {
    let text = text.ok_or(ShapeError::Missing(member))?;
    if text.is_empty() { Err(ShapeError::Empty(member)) } else { Ok(text) }
}
