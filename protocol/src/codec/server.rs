//! What a server says, as bytes.
//!
//! In: frames, or bytes that a server sent. Out: bytes, or frames. Invariant: a message that is encoded whole has the
//! same bytes as one whose heading and body are encoded apart (test
//! `a_heading_and_a_body_make_the_same_bytes_as_a_whole_message`).

use bytes::Bytes;

use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, Unknown, call, presence};
use crate::{
    EventName, Features, GroupName, Message, PayloadFormat, Sender, ServerFrame, Target, UserName, Welcome,
};

/// The frames' numbers. They are only ever added to; protocol/vectors holds every one of them to its bytes.
mod number {
    pub(super) const WELCOME: u32 = 0;
    pub(super) const ACK: u32 = 1;
    pub(super) const ERROR: u32 = 2;
    pub(super) const MESSAGE: u32 = 3;
    pub(super) const JOINED: u32 = 4;
    pub(super) const REMOVED: u32 = 5;
    pub(super) const GOODBYE: u32 = 6;
    pub(super) const LAGGED: u32 = 7;
    pub(super) const EXPIRING: u32 = 8;
}

/// The extension of an `Ack` that names the nodes that were silent: a list of texts, and whatever a later version adds.
const SILENT: u64 = 2;

fn names(content: &Bytes) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(content);
    let names = reader.list(1, |reader| reader.text().map(|name| Ok(name.to_owned())))?;
    names.map_err(|_| DecodeError::Malformed("a name in it is none"))
}

/// The version that a `Welcome` says, whatever stands behind it; `None` for another frame.
#[must_use]
pub fn welcome_version(frame: &Bytes) -> Option<u32> {
    let mut reader = Reader::new(frame);
    match reader.u32() {
        Ok(number::WELCOME) => reader.u32().ok(),
        _ => None,
    }
}

/// The frame as bytes, prefix included.
#[must_use]
pub fn encode_server(frame: &ServerFrame) -> Bytes {
    let writer = match frame {
        ServerFrame::Welcome(welcome) => {
            let mut writer = Writer::frame(number::WELCOME, 0);
            writer.integer(welcome.protocol);
            writer.integer(welcome.features.bits());
            writer.raw(welcome.connection.as_bytes());
            writer.byte(welcome.node_bytes);
            writer.raw(&welcome.session);
            writer.integer(welcome.position);
            writer.text(welcome.user.as_str());
            writer.limits(&welcome.limits);
            writer.text(&welcome.server);
            writer
        }
        ServerFrame::Ack { request, count } => {
            let mut writer = Writer::frame(number::ACK, 0);
            writer.integer(*request);
            writer.integer(*count);
            writer
        }
        ServerFrame::AckPart { request, count, silent } => {
            let mut names = Writer::part(0);
            names.length(silent.len());
            silent.iter().for_each(|name| names.text(name));
            let mut writer = Writer::frame(number::ACK, 0);
            writer.integer(*request);
            writer.integer(*count);
            writer.integer(SILENT);
            writer.blob(&names.into_part());
            writer
        }
        ServerFrame::Error { request, code, detail } => {
            let mut writer = Writer::frame(number::ERROR, detail.len());
            writer.integer(*request);
            writer.integer(*code);
            writer.text(detail);
            writer
        }
        ServerFrame::Message(message) => return encode_message(message),
        ServerFrame::Joined { group, members } => {
            let mut writer = Writer::frame(number::JOINED, 0);
            writer.text(group.as_str());
            writer.integer(*members);
            writer
        }
        ServerFrame::Removed { group, code, reason } => {
            let mut writer = Writer::frame(number::REMOVED, reason.len());
            writer.text(group.as_str());
            writer.integer(*code);
            writer.text(reason);
            writer
        }
        ServerFrame::Goodbye { code, reason, retry_after_ms } => {
            let mut writer = Writer::frame(number::GOODBYE, reason.len());
            writer.integer(*code);
            writer.text(reason);
            writer.integer(*retry_after_ms);
            writer
        }
        ServerFrame::Lagged { dropped } => {
            let mut writer = Writer::frame(number::LAGGED, 0);
            writer.integer(*dropped);
            writer
        }
        ServerFrame::Expiring { scope, seconds } => {
            let mut writer = Writer::frame(number::EXPIRING, 0);
            writer.scope(*scope);
            writer.integer(*seconds);
            writer
        }
        ServerFrame::Call(call) => call::write_server(call),
        ServerFrame::Presence(frame) => presence::write_server(frame),
    };
    writer.into_frame(0)
}

/// A message as one run of bytes, prefix included: what every recipient of a send with one target gets.
#[must_use]
pub fn encode_message(message: &Message) -> Bytes {
    let mut writer = Writer::frame(number::MESSAGE, message.payload.len());
    heading(&mut writer, &message.from, &message.to);
    body(&mut writer, &message.event, message.format, &message.payload);
    writer.into_frame(0)
}

/// The part of a message that is the same for all targets of a send: event, format and payload. It goes behind a
/// heading.
#[must_use]
pub fn encode_message_body(event: &EventName, format: PayloadFormat, payload: &[u8]) -> Bytes {
    let mut writer = Writer::part(payload.len());
    body(&mut writer, event, format, payload);
    writer.into_part()
}

/// The part of a message that differs by target, length prefix included, for a body of `body_bytes`.
#[must_use]
pub fn encode_message_heading(from: &Sender, to: &Target, body_bytes: usize) -> Bytes {
    let mut writer = Writer::frame(number::MESSAGE, 0);
    heading(&mut writer, from, to);
    writer.into_frame(body_bytes)
}

fn heading(writer: &mut Writer, from: &Sender, to: &Target) {
    writer.sender(from);
    writer.target(to);
}

fn body(writer: &mut Writer, event: &EventName, format: PayloadFormat, payload: &[u8]) {
    writer.text(event.as_str());
    writer.byte(format.number());
    writer.blob(payload);
}

/// Reads a frame that a server sent: all of `frame`, without its prefix.
///
/// # Errors
/// When `frame` is not exactly one frame, a name in it is out of bounds, or something in it is of a later version.
pub fn decode_server(frame: &Bytes) -> Result<ServerFrame, DecodeError> {
    let reader = &mut Reader::new(frame);
    Ok(match reader.u32()? {
        number::WELCOME => ServerFrame::Welcome(welcome(reader)?),
        number::ACK => {
            let (request, count) = (reader.u64()?, reader.u64()?);
            match reader.end_with(Some(SILENT))? {
                None => ServerFrame::Ack { request, count },
                Some(content) => ServerFrame::AckPart { request, count, silent: names(&content)? },
            }
        }
        number::ERROR => {
            let (request, code, detail) = (reader.u64()?, reader.u16()?, reader.text()?);
            reader.end()?;
            ServerFrame::Error { request, code, detail: detail.to_owned() }
        }
        number::MESSAGE => ServerFrame::Message(message(reader)?),
        number::JOINED => {
            let (group, members) = (reader.name(GroupName::new)?, reader.u64()?);
            reader.end()?;
            ServerFrame::Joined { group: reader.judged(group)?, members }
        }
        number::REMOVED => {
            let (group, code, reason) = (reader.name(GroupName::new)?, reader.u16()?, reader.text()?);
            reader.end()?;
            ServerFrame::Removed { group: reader.judged(group)?, code, reason: reason.to_owned() }
        }
        number::GOODBYE => {
            let (code, reason, retry_after_ms) = (reader.u16()?, reader.text()?, reader.u32()?);
            reader.end()?;
            ServerFrame::Goodbye { code, reason: reason.to_owned(), retry_after_ms }
        }
        number::LAGGED => {
            let dropped = reader.u64()?;
            reader.end()?;
            ServerFrame::Lagged { dropped }
        }
        number::EXPIRING => {
            let (scope, seconds) = (reader.scope()?, reader.u32()?);
            reader.end()?;
            ServerFrame::Expiring { scope, seconds }
        }
        other => match call::read_server(other, reader) {
            Some(call) => ServerFrame::Call(call?),
            None => match presence::read_server(other, reader) {
                Some(frame) => ServerFrame::Presence(frame?),
                None => return Err(reader.unknown(Unknown::Frame(other))),
            },
        },
    })
}

fn welcome(reader: &mut Reader<'_>) -> Result<Welcome, DecodeError> {
    let (protocol, features) = (reader.u32()?, Features::from_bits(reader.u64()?));
    let (connection, node_bytes) = (reader.id()?, reader.byte()?);
    let (session, position) = (reader.array()?, reader.u64()?);
    let (user, limits, server) = (reader.name(UserName::new)?, reader.limits()?, reader.text()?);
    reader.end()?;
    let (user, server) = (reader.judged(user)?, server.to_owned());
    Ok(Welcome { protocol, features, connection, node_bytes, session, position, user, limits, server })
}

fn message(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let (from, to) = (reader.sender()?, reader.target()?);
    let event = reader.name(EventName::new)?;
    let (format, payload) = (reader.byte()?.into(), reader.shared()?);
    reader.end()?;
    let (from, to, event) = (reader.judged(from)?, reader.judged(to)?, reader.judged(event)?);
    Ok(Message { from, to, event, format, payload })
}
