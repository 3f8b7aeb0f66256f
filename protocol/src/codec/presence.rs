//! What is said of presence, as bytes.
//!
//! In: a watch's request, or a [`PresenceFrame`], or the bytes of one behind its number. Out: bytes, or the value.
//! Invariant: as for all frames, what is a request begins with its number, so that it can be refused with it.

use super::DecodeError;
use super::reader::Reader;
use super::writer::Writer;
use crate::presence::{PresenceFrame, Present};
use crate::{ClientFrame, GroupName, NameError, Payload, RequestId, UserName};

/// The numbers of a client's frames. They are only ever added to.
pub(super) mod client {
    pub(in super::super) const WATCH: u32 = 9;
    pub(in super::super) const UNWATCH: u32 = 10;
}

/// The numbers of a server's frames. They are only ever added to.
pub(super) mod server {
    pub(in super::super) const SNAPSHOT: u32 = 15;
    pub(in super::super) const CHANGES: u32 = 16;
    pub(in super::super) const ENDED: u32 = 17;
}

/// The fewest bytes of a user who is present: a name of one byte, a number, and that there is no data.
const LEAST_PRESENT: usize = 4;

/// The fewest bytes of a name.
const LEAST_NAME: usize = 2;

pub(super) fn write_request(number: u32, request: RequestId, group: &GroupName) -> Writer {
    let mut writer = Writer::frame(number, 0);
    writer.integer(request);
    writer.text(group.as_str());
    writer
}

pub(super) fn write_server(frame: &PresenceFrame) -> Writer {
    let about = |number, payload_bytes| {
        let mut writer = Writer::frame(number, payload_bytes);
        writer.text(frame.group().as_str());
        writer
    };
    match frame {
        PresenceFrame::Snapshot { group: _, revision, begins, complete, present } => {
            let mut writer = about(server::SNAPSHOT, present.iter().map(bytes).sum());
            writer.integer(*revision);
            writer.bool(*begins);
            writer.bool(*complete);
            writer.all_present(present);
            writer
        }
        PresenceFrame::Changes { group: _, revision, present, left } => {
            let mut writer = about(server::CHANGES, present.iter().map(bytes).sum());
            writer.integer(*revision);
            writer.all_present(present);
            writer.length(left.len());
            for user in left {
                writer.text(user.as_str());
            }
            writer
        }
        PresenceFrame::Ended { group: _, code, reason } => {
            let mut writer = about(server::ENDED, reason.len());
            writer.integer(*code);
            writer.text(reason);
            writer
        }
    }
}

/// The most bytes that a user who is present takes in a frame.
fn bytes(present: &Present) -> usize {
    let Present { user, connections: _, data } = present;
    // Three for the length of a name, five for a number, one for whether there is data, and six for its format and
    // length.
    15 + user.as_str().len() + data.as_ref().map_or(0, |data| data.bytes.len())
}

/// Reads a client's frame behind its number. `None` where that is another frame's.
pub(super) fn read_client(number: u32, reader: &mut Reader<'_>) -> Option<Result<ClientFrame, DecodeError>> {
    let frame: fn(RequestId, GroupName) -> ClientFrame = match number {
        client::WATCH => |request, group| ClientFrame::Watch { request, group },
        client::UNWATCH => |request, group| ClientFrame::Unwatch { request, group },
        _ => return None,
    };
    Some(reader.request().and_then(|request| {
        let group = reader.name(GroupName::new)?;
        reader.end()?;
        Ok(frame(request, reader.judged(group)?))
    }))
}

/// Reads a server's frame behind its number. `None` where that is another frame's.
pub(super) fn read_server(
    number: u32,
    reader: &mut Reader<'_>,
) -> Option<Result<PresenceFrame, DecodeError>> {
    Some(match number {
        server::SNAPSHOT => snapshot(reader),
        server::CHANGES => changes(reader),
        server::ENDED => ended(reader),
        _ => return None,
    })
}

fn snapshot(reader: &mut Reader<'_>) -> Result<PresenceFrame, DecodeError> {
    let (group, revision) = (reader.name(GroupName::new)?, reader.u64()?);
    let (begins, complete) = (reader.bool()?, reader.bool()?);
    let present = reader.list(LEAST_PRESENT, Reader::present)?;
    reader.end()?;
    let (group, present) = (reader.judged(group)?, reader.judged(present)?);
    Ok(PresenceFrame::Snapshot { group, revision, begins, complete, present })
}

fn changes(reader: &mut Reader<'_>) -> Result<PresenceFrame, DecodeError> {
    let (group, revision) = (reader.name(GroupName::new)?, reader.u64()?);
    let present = reader.list(LEAST_PRESENT, Reader::present)?;
    let left = reader.list(LEAST_NAME, |reader| reader.name(UserName::new))?;
    reader.end()?;
    let (group, present, left) = (reader.judged(group)?, reader.judged(present)?, reader.judged(left)?);
    Ok(PresenceFrame::Changes { group, revision, present, left })
}

fn ended(reader: &mut Reader<'_>) -> Result<PresenceFrame, DecodeError> {
    let (group, code, reason) = (reader.name(GroupName::new)?, reader.u16()?, reader.text()?);
    reader.end()?;
    Ok(PresenceFrame::Ended { group: reader.judged(group)?, code, reason: reason.to_owned() })
}

impl Writer {
    fn all_present(&mut self, all: &[Present]) {
        self.length(all.len());
        for Present { user, connections, data } in all {
            self.text(user.as_str());
            self.integer(*connections);
            self.bool(data.is_some());
            if let Some(Payload { format, bytes }) = data {
                self.byte(format.number());
                self.blob(bytes);
            }
        }
    }
}

impl Reader<'_> {
    fn present(&mut self) -> Result<Result<Present, NameError>, DecodeError> {
        let (user, connections) = (self.name(UserName::new)?, self.u32()?);
        let data = if self.bool()? {
            Some(Payload { format: self.byte()?.into(), bytes: self.shared()? })
        } else {
            None
        };
        Ok(user.map(|user| Present { user, connections, data }))
    }
}
