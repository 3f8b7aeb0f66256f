//! What a client says, as bytes.
//!
//! In: frames, or bytes that a client sent. Out: bytes, or frames. Invariant: a request that cannot be carried out is
//! refused with its number, so every frame below [`FIRST_WITHOUT_REQUEST`] but `Hello` begins with it, known here or
//! not.

use bytes::Bytes;

use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, FIRST_WITHOUT_REQUEST, Unknown, call, presence};
use crate::{ClientFrame, EventName, Features, GroupName, Send, Token};

/// The frames' numbers. They are only ever added to; protocol/vectors holds every one of them to its bytes.
mod number {
    pub(super) const HELLO: u32 = 0;
    pub(super) const JOIN: u32 = 1;
    pub(super) const LEAVE: u32 = 2;
    pub(super) const SEND: u32 = 3;
    pub(super) const COUNT: u32 = 4;
    pub(super) const REFRESH: u32 = 5;
}

/// The version that a `Hello` says, whatever stands behind it; `None` for another frame.
#[must_use]
pub fn hello_version(frame: &Bytes) -> Option<u32> {
    let mut reader = Reader::new(frame);
    match reader.u32() {
        Ok(number::HELLO) => reader.u32().ok(),
        _ => None,
    }
}

/// Whether it is a frame of those that have no request, known here or not.
#[must_use]
pub fn has_no_request(frame: &Bytes) -> bool {
    Reader::new(frame).u32().is_ok_and(|number| number >= FIRST_WITHOUT_REQUEST)
}

/// The frame as bytes, prefix included.
#[must_use]
pub fn encode_client(frame: &ClientFrame) -> Bytes {
    let writer = match frame {
        ClientFrame::Hello { protocol, features, credential } => {
            let mut writer = Writer::frame(number::HELLO, 0);
            writer.integer(*protocol);
            writer.integer(features.bits());
            writer.credential(credential);
            writer
        }
        ClientFrame::Join { request, group } => {
            let mut writer = request_frame(number::JOIN, *request, 0);
            writer.text(group.as_str());
            writer
        }
        ClientFrame::Leave { request, group } => {
            let mut writer = request_frame(number::LEAVE, *request, 0);
            writer.text(group.as_str());
            writer
        }
        ClientFrame::Send(Send { request, ack, to, except, others, event, format, payload }) => {
            let mut writer = request_frame(number::SEND, *request, payload.len());
            writer.bool(*ack);
            writer.length(to.len());
            for target in to {
                writer.target(target);
            }
            writer.length(except.len());
            for id in except {
                writer.raw(id.as_bytes());
            }
            writer.bool(*others);
            writer.text(event.as_str());
            writer.byte(format.number());
            writer.blob(payload);
            writer
        }
        ClientFrame::Count { request, target } => {
            let mut writer = request_frame(number::COUNT, *request, 0);
            writer.target(target);
            writer
        }
        ClientFrame::Refresh { request, token } => {
            let token = token.expose();
            let mut writer = request_frame(number::REFRESH, *request, token.len());
            writer.text(token);
            writer
        }
        ClientFrame::Call(call) => call::write_client(call),
        ClientFrame::Watch { request, group } => {
            presence::write_request(presence::client::WATCH, *request, group)
        }
        ClientFrame::Unwatch { request, group } => {
            presence::write_request(presence::client::UNWATCH, *request, group)
        }
    };
    writer.into_frame(0)
}

fn request_frame(number: u32, request: u64, payload_bytes: usize) -> Writer {
    let mut writer = Writer::frame(number, payload_bytes);
    writer.integer(request);
    writer
}

/// Reads a frame that a client sent: all of `frame`, without its prefix.
///
/// # Errors
/// When `frame` is not exactly one frame, a name in it is out of bounds, or something in it is of a later version.
pub fn decode_client(frame: &Bytes) -> Result<ClientFrame, DecodeError> {
    let reader = &mut Reader::new(frame);
    match reader.u32()? {
        number::HELLO => {
            let (protocol, features) = (reader.u32()?, Features::from_bits(reader.u64()?));
            let credential = reader.credential()?;
            reader.end()?;
            Ok(ClientFrame::Hello { protocol, features, credential: reader.judged(credential)? })
        }
        number::JOIN => {
            let (request, group) = (reader.request()?, reader.name(GroupName::new)?);
            reader.end()?;
            Ok(ClientFrame::Join { request, group: reader.judged(group)? })
        }
        number::LEAVE => {
            let (request, group) = (reader.request()?, reader.name(GroupName::new)?);
            reader.end()?;
            Ok(ClientFrame::Leave { request, group: reader.judged(group)? })
        }
        number::SEND => send(reader),
        number::COUNT => {
            let (request, target) = (reader.request()?, reader.target()?);
            reader.end()?;
            Ok(ClientFrame::Count { request, target: reader.judged(target)? })
        }
        number::REFRESH => {
            let (request, token) = (reader.request()?, Token::new(reader.text()?));
            reader.end()?;
            Ok(ClientFrame::Refresh { request, token })
        }
        other => {
            if let Some(call) = call::read_client(other, reader) {
                return call.map(ClientFrame::Call);
            }
            if let Some(request) = presence::read_client(other, reader) {
                return request;
            }
            if other < FIRST_WITHOUT_REQUEST {
                reader.request()?;
            }
            Err(reader.unknown(Unknown::Frame(other)))
        }
    }
}

fn send(reader: &mut Reader<'_>) -> Result<ClientFrame, DecodeError> {
    let (request, ack) = (reader.request()?, reader.bool()?);
    let to = reader.list(1, Reader::target)?;
    let except = reader.list(16, |reader| reader.id().map(Ok))?;
    let (others, event) = (reader.bool()?, reader.name(EventName::new)?);
    let (format, payload) = (reader.byte()?.into(), reader.shared()?);
    reader.end()?;
    let (to, except, event) = (reader.judged(to)?, reader.judged(except)?, reader.judged(event)?);
    Ok(ClientFrame::Send(Send { request, ack, to, except, others, event, format, payload }))
}
