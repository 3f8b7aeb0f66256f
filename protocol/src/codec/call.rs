//! What both sides say of calls, as bytes.
//!
//! In: [`ClientCall`] and [`ServerCall`], or the bytes of one behind its number. Out: bytes, or the value. Invariant:
//! as for all frames, what is a request begins with its number, so that it can be refused with it.

use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, Unknown};
use crate::call::{ClientCall, Failure, Invoke, Outcome, ServerCall};
use crate::{MethodName, NameError, Payload};

/// The numbers of a client's frames. They are only ever added to.
pub(super) mod client {
    pub(in super::super) const INVOKE: u32 = 6;
    pub(in super::super) const CANCEL: u32 = 7;
    pub(in super::super) const CREDIT: u32 = 8;
    pub(in super::super) const ITEM: u32 = 128;
    pub(in super::super) const END: u32 = 129;
    pub(in super::super) const COMPLETION: u32 = 130;
}

/// The numbers of a server's frames. They are only ever added to.
pub(super) mod server {
    pub(in super::super) const COMPLETION: u32 = 9;
    pub(in super::super) const ITEM: u32 = 10;
    pub(in super::super) const INVOKE: u32 = 11;
    pub(in super::super) const CANCEL: u32 = 12;
    pub(in super::super) const CREDIT: u32 = 13;
    pub(in super::super) const STOP: u32 = 14;
}

pub(super) fn write_client(call: &ClientCall) -> Writer {
    match call {
        ClientCall::Invoke(Invoke { request, method, credit, streams, arguments }) => {
            let mut writer = numbered(client::INVOKE, *request, arguments.bytes.len());
            writer.text(method.as_str());
            writer.integer(*credit);
            writer.length(streams.len());
            for stream in streams {
                writer.integer(*stream);
            }
            writer.payload(arguments);
            writer
        }
        ClientCall::Cancel { request } => numbered(client::CANCEL, *request, 0),
        ClientCall::Credit { request, items } => {
            let mut writer = numbered(client::CREDIT, *request, 0);
            writer.integer(*items);
            writer
        }
        ClientCall::Item { stream, item } => {
            let mut writer = numbered(client::ITEM, *stream, item.bytes.len());
            writer.payload(item);
            writer
        }
        ClientCall::End { stream, failure } => {
            let mut writer = numbered(client::END, *stream, 0);
            writer.outcome(&failure.clone().map_or(Outcome::Nothing, Outcome::Failed));
            writer
        }
        ClientCall::Completion { call, outcome } => {
            let mut writer = numbered(client::COMPLETION, *call, 0);
            writer.outcome(outcome);
            writer
        }
    }
}

pub(super) fn write_server(call: &ServerCall) -> Writer {
    match call {
        ServerCall::Completion { request, outcome } => {
            let mut writer = numbered(server::COMPLETION, *request, 0);
            writer.outcome(outcome);
            writer
        }
        ServerCall::Item { request, item } => {
            let mut writer = numbered(server::ITEM, *request, item.bytes.len());
            writer.payload(item);
            writer
        }
        ServerCall::Invoke { call, method, arguments } => {
            let mut writer = numbered(server::INVOKE, *call, arguments.bytes.len());
            writer.text(method.as_str());
            writer.payload(arguments);
            writer
        }
        ServerCall::Cancel { call } => numbered(server::CANCEL, *call, 0),
        ServerCall::Credit { stream, items } => {
            let mut writer = numbered(server::CREDIT, *stream, 0);
            writer.integer(*items);
            writer
        }
        ServerCall::Stop { stream } => numbered(server::STOP, *stream, 0),
    }
}

fn numbered(frame: u32, number: u64, payload_bytes: usize) -> Writer {
    let mut writer = Writer::frame(frame, payload_bytes);
    writer.integer(number);
    writer
}

/// Reads a client's frame behind its number. `None` where that is another frame's.
pub(super) fn read_client(number: u32, reader: &mut Reader<'_>) -> Option<Result<ClientCall, DecodeError>> {
    Some(match number {
        client::INVOKE => invoke(reader),
        client::CANCEL => reader.request().and_then(|request| {
            reader.end()?;
            Ok(ClientCall::Cancel { request })
        }),
        client::CREDIT => reader.request().and_then(|request| {
            let items = reader.u32()?;
            reader.end()?;
            Ok(ClientCall::Credit { request, items })
        }),
        client::ITEM => reader.u64().and_then(|stream| {
            let item = reader.payload()?;
            reader.end()?;
            Ok(ClientCall::Item { stream, item })
        }),
        client::END => reader.u64().and_then(|stream| {
            let failure = match reader.outcome()? {
                Outcome::Nothing => None,
                Outcome::Failed(failure) => Some(failure),
                Outcome::Value(_) => return Err(DecodeError::Malformed("the end of a stream has a value")),
            };
            reader.end()?;
            Ok(ClientCall::End { stream, failure })
        }),
        client::COMPLETION => reader.u64().and_then(|call| {
            let outcome = reader.outcome()?;
            reader.end()?;
            Ok(ClientCall::Completion { call, outcome })
        }),
        _ => return None,
    })
}

fn invoke(reader: &mut Reader<'_>) -> Result<ClientCall, DecodeError> {
    let (request, method) = (reader.request()?, reader.name(MethodName::new)?);
    let credit = reader.u32()?;
    let streams = reader.list(1, |reader| Ok(Ok::<_, NameError>(reader.u64()?)))?;
    let arguments = reader.payload()?;
    reader.end()?;
    let (method, streams) = (reader.judged(method)?, reader.judged(streams)?);
    Ok(ClientCall::Invoke(Invoke { request, method, credit, streams, arguments }))
}

/// Reads a server's frame behind its number. `None` where that is another frame's.
pub(super) fn read_server(number: u32, reader: &mut Reader<'_>) -> Option<Result<ServerCall, DecodeError>> {
    Some(match number {
        server::COMPLETION => reader.u64().and_then(|request| {
            let outcome = reader.outcome()?;
            reader.end()?;
            Ok(ServerCall::Completion { request, outcome })
        }),
        server::ITEM => reader.u64().and_then(|request| {
            let item = reader.payload()?;
            reader.end()?;
            Ok(ServerCall::Item { request, item })
        }),
        server::INVOKE => reader.u64().and_then(|call| {
            let (method, arguments) = (reader.name(MethodName::new)?, reader.payload()?);
            reader.end()?;
            Ok(ServerCall::Invoke { call, method: reader.judged(method)?, arguments })
        }),
        server::CANCEL => reader.u64().and_then(|call| {
            reader.end()?;
            Ok(ServerCall::Cancel { call })
        }),
        server::CREDIT => reader.u64().and_then(|stream| {
            let items = reader.u32()?;
            reader.end()?;
            Ok(ServerCall::Credit { stream, items })
        }),
        server::STOP => reader.u64().and_then(|stream| {
            reader.end()?;
            Ok(ServerCall::Stop { stream })
        }),
        _ => return None,
    })
}

impl Writer {
    fn payload(&mut self, payload: &Payload) {
        self.byte(payload.format.number());
        self.blob(&payload.bytes);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Nothing => self.byte(0),
            Outcome::Value(value) => {
                self.byte(1);
                self.payload(value);
            }
            Outcome::Failed(Failure { code, detail, data }) => {
                self.byte(2);
                self.integer(*code);
                self.text(detail);
                self.payload(data);
            }
        }
    }
}

impl Reader<'_> {
    fn payload(&mut self) -> Result<Payload, DecodeError> {
        Ok(Payload { format: self.byte()?.into(), bytes: self.shared()? })
    }

    fn outcome(&mut self) -> Result<Outcome, DecodeError> {
        Ok(match self.u32()? {
            0 => Outcome::Nothing,
            1 => Outcome::Value(self.payload()?),
            2 => {
                let (code, detail) = (self.u16()?, self.text()?.to_owned());
                Outcome::Failed(Failure { code, detail, data: self.payload()? })
            }
            other => return Err(self.unknown(Unknown::Kind("outcome", other))),
        })
    }
}
