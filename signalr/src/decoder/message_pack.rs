//! A message in MessagePack (`HubProtocol.md`, "MessagePack (MsgPack) encoding").
//!
//! In: one array. Out: the message. Invariants: an array may be shorter than the specification has it where clients
//! leave something out, and longer; what is behind the known elements is stepped over, as are headers; an empty
//! invocation id is none.

use bytes::Bytes;

use crate::message_pack::{Token, Walker};
use crate::{Arguments, DecodeError, Encoding, Limits, Message, Outcome, ShapeError, Value};

const ID: &str = "invocationId";
const STREAMS: &str = "streamIds";

/// The kinds of results of a completion.
const KIND_ERROR: i64 = 1;
const KIND_VOID: i64 = 2;
const KIND_RESULT: i64 = 3;

pub(super) fn message(frame: &Bytes, limits: &Limits) -> Result<Message, DecodeError> {
    let mut walker = Walker::new(frame, limits.levels());
    let Token::Array(left) = walker.token()? else { return Err(ShapeError::NotA("array").into()) };
    walker.enter()?;
    let mut elements = Elements { frame, limits, walker, left };
    let message = match elements.integer("type")? {
        1 => {
            elements.headers()?;
            let has_id = !elements.begin_with_target();
            Message::Invocation {
                id: if has_id { elements.optional_id()? } else { None },
                target: elements.target()?,
                arguments: elements.arguments()?,
                streams: elements.streams()?,
            }
        }
        2 => {
            elements.headers()?;
            Message::StreamItem { id: elements.id()?, item: elements.value("item")? }
        }
        3 => {
            elements.headers()?;
            Message::Completion { id: elements.id()?, outcome: elements.outcome()? }
        }
        4 => {
            elements.headers()?;
            Message::StreamInvocation {
                id: elements.id()?,
                target: elements.target()?,
                arguments: elements.arguments()?,
                streams: elements.streams()?,
            }
        }
        5 => {
            elements.headers()?;
            Message::CancelInvocation { id: elements.id()? }
        }
        6 => Message::Ping,
        7 => {
            let error = elements.optional_text("error")?.map(str::to_owned);
            Message::Close { error, allow_reconnect: elements.allow_reconnect()? }
        }
        8 => Message::Ack { sequence: elements.sequence()? },
        9 => Message::Sequence { sequence: elements.sequence()? },
        kind => Message::Unknown { kind },
    };
    elements.end()?;
    Ok(message)
}

/// The elements of a message that were not read yet.
struct Elements<'a> {
    frame: &'a Bytes,
    limits: &'a Limits,
    walker: Walker<'a>,
    left: usize,
}

impl<'a> Elements<'a> {
    fn token(&mut self, member: &'static str) -> Result<Token<'a>, DecodeError> {
        self.count(member)?;
        Ok(self.walker.token()?)
    }

    fn span(&mut self, member: &'static str) -> Result<&'a [u8], DecodeError> {
        self.count(member)?;
        Ok(self.walker.value()?)
    }

    fn count(&mut self, member: &'static str) -> Result<(), ShapeError> {
        self.left = self.left.checked_sub(1).ok_or(ShapeError::Missing(member))?;
        Ok(())
    }

    fn headers(&mut self) -> Result<(), DecodeError> {
        self.span("headers").map(|_| ())
    }

    /// Whether the id was left out, and not said to be none, as signalrcore does in front of a stream: there the second
    /// of three elements is the array of arguments.
    fn begin_with_target(&self) -> bool {
        let mut ahead = self.walker.clone();
        self.left == 3
            && matches!(ahead.token(), Ok(Token::Text(_)))
            && matches!(ahead.token(), Ok(Token::Array(_)))
    }

    fn integer(&mut self, member: &'static str) -> Result<i64, DecodeError> {
        let number = match self.token(member)? {
            Token::Signed(number) => Some(number),
            Token::Unsigned(number) => number.try_into().ok(),
            _ => None,
        };
        Ok(number.ok_or(ShapeError::WrongType { member, expected: "an integer" })?)
    }

    fn sequence(&mut self) -> Result<u64, DecodeError> {
        const MEMBER: &str = "sequenceId";
        let number = match self.token(MEMBER)? {
            Token::Signed(number) => number.try_into().ok(),
            Token::Unsigned(number) => Some(number),
            _ => None,
        };
        let expected = "an integer that is not negative";
        Ok(number.ok_or(ShapeError::WrongType { member: MEMBER, expected })?)
    }

    fn optional_text(&mut self, member: &'static str) -> Result<Option<&'a str>, DecodeError> {
        match self.token(member)? {
            Token::Nil => Ok(None),
            Token::Text(text) => Ok(Some(text)),
            _ => Err(ShapeError::WrongType { member, expected: "a text" }.into()),
        }
    }

    fn text(&mut self, member: &'static str) -> Result<&'a str, DecodeError> {
        match self.optional_text(member)? {
            None => Err(ShapeError::Missing(member).into()),
            Some("") => Err(ShapeError::Empty(member).into()),
            Some(text) => Ok(text),
        }
    }

    fn optional_id(&mut self) -> Result<Option<String>, DecodeError> {
        let Some(id) = self.optional_text(ID)?.filter(|id| !id.is_empty()) else { return Ok(None) };
        self.limits.check_id(ID, id)?;
        Ok(Some(id.to_owned()))
    }

    fn id(&mut self) -> Result<String, DecodeError> {
        let id = self.text(ID)?;
        self.limits.check_id(ID, id)?;
        Ok(id.to_owned())
    }

    fn target(&mut self) -> Result<String, DecodeError> {
        self.text("target").map(str::to_owned)
    }

    fn arguments(&mut self) -> Result<Arguments, DecodeError> {
        let levels = self.limits.levels();
        let span = self.span("arguments")?;
        let Token::Array(count) = Walker::new(span, levels).token()? else {
            return Err(ShapeError::WrongType { member: "arguments", expected: "an array" }.into());
        };
        Ok(Arguments::trusted(Encoding::MessagePack, self.frame.slice_ref(span), count))
    }

    fn value(&mut self, member: &'static str) -> Result<Value, DecodeError> {
        let span = self.span(member)?;
        Ok(Value::trusted(Encoding::MessagePack, self.frame.slice_ref(span)))
    }

    /// JavaScript and older clients send no array where there are no streams.
    fn streams(&mut self) -> Result<Vec<String>, DecodeError> {
        let wrong = ShapeError::WrongType { member: STREAMS, expected: "an array of texts" };
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let count = match self.token(STREAMS)? {
            Token::Nil => return Ok(Vec::new()),
            Token::Array(count) => count,
            _ => return Err(wrong.into()),
        };
        if count > self.limits.streams {
            return Err(ShapeError::TooManyStreams { limit: self.limits.streams }.into());
        }
        self.walker.enter()?;
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let Token::Text(id) = self.walker.token()? else { return Err(wrong.into()) };
            if id.is_empty() {
                return Err(ShapeError::Empty(STREAMS).into());
            }
            self.limits.check_id(STREAMS, id)?;
            streams.push(id.to_owned());
        }
        self.walker.leave();
        Ok(streams)
    }

    /// signalrcore says nothing of how a stream has ended.
    fn outcome(&mut self) -> Result<Outcome, DecodeError> {
        if self.left == 0 {
            return Ok(Outcome::Void);
        }
        match self.integer("resultKind")? {
            KIND_ERROR => match self.optional_text("error")? {
                Some(error) => Ok(Outcome::Error(error.to_owned())),
                None => Err(ShapeError::Missing("error").into()),
            },
            KIND_VOID => Ok(Outcome::Void),
            KIND_RESULT => Ok(Outcome::Result(self.value("result")?)),
            _ => Err(ShapeError::WrongType { member: "resultKind", expected: "1, 2 or 3" }.into()),
        }
    }

    fn allow_reconnect(&mut self) -> Result<bool, DecodeError> {
        if self.left == 0 {
            return Ok(false);
        }
        match self.token("allowReconnect")? {
            Token::Bool(value) => Ok(value),
            Token::Nil => Ok(false),
            _ => Err(ShapeError::WrongType { member: "allowReconnect", expected: "true or false" }.into()),
        }
    }

    /// Steps over what a later version may have put behind the elements that are known here.
    fn end(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.left {
            self.walker.value()?;
        }
        self.walker.leave();
        Ok(self.walker.end()?)
    }
}
