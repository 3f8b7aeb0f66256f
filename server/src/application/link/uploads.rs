//! The streams that a connection's client sends: their items, and the credit for them.
//!
//! In: items as the client sends them; that they are read, or are not wanted any more. Out: items, to whoever reads
//! them; credit and stops, to the client. Invariants: no item is taken without credit; what nobody has read yet is
//! counted.

use fanfare_protocol::call::{Failure, ServerCall, StreamId};
use fanfare_protocol::{Code, Payload};
use tokio::sync::mpsc;

use super::{Link, State, no_room};

/// A stream that its client sends.
pub(super) struct Uploading {
    pub(super) items: mpsc::Sender<Result<Payload, Failure>>,
    pub(super) credit: u32,
    /// Tells it from another stream that has had the same number.
    pub(super) serial: u64,
}

/// A client's stream, as the link hands it to whoever reads it.
pub(in crate::application) struct Upload {
    pub(in crate::application) stream: StreamId,
    pub(in crate::application) serial: u64,
    pub(in crate::application) items: mpsc::Receiver<Result<Payload, Failure>>,
}

impl Link {
    /// Items of so many bytes have been read, or nobody will read them.
    pub(in crate::application) fn read(&self, bytes: usize) {
        let mut state = self.state.lock();
        self.taken(&mut state, bytes);
    }

    pub(super) fn item(&self, stream: StreamId, item: Payload) {
        let too_long = self.context.payloads.check_payload(item.bytes.len());
        let mut state = self.state.lock();
        let State { uploads, stock, .. } = &mut *state;
        // It was told to stop, and has not read that yet.
        let (Some(upload), Some(member)) = (uploads.get_mut(&stream), self.member()) else { return };
        // Who sends it may be banned by now.
        let refused = match too_long.and_then(|()| self.context.hub.may_deliver()) {
            Err(denial) => Some(denial),
            Ok(()) if upload.credit == 0 => Some(Code::StreamOverrun.into()),
            Ok(()) if !member.outbox().keep(stock, item.bytes.len()) => Some(no_room()),
            Ok(()) => None,
        };
        match refused {
            None => {
                upload.credit -= 1;
                let bytes = item.bytes.len();
                // There is a place for each item that there was credit for; but the method may read no more of them.
                if upload.items.try_send(Ok(item)).is_err() {
                    member.outbox().taken(stock, bytes);
                }
            }
            Some(denial) => {
                self.context.metrics.refused.add(denial.code);
                let _ = upload.items.try_send(Err(denial.into()));
                state.uploads.remove(&stream);
                drop(state);
                self.say(ServerCall::Stop { stream });
            }
        }
    }

    /// Lets a client's stream have so many more items.
    pub(in crate::application) fn give_credit(&self, stream: StreamId, serial: u64, items: u32) {
        let mut state = self.state.lock();
        let Some(upload) = state.uploads.get_mut(&stream).filter(|upload| upload.serial == serial) else {
            return;
        };
        upload.credit += items;
        drop(state);
        self.say(ServerCall::Credit { stream, items });
    }

    /// Nobody reads a client's stream any more.
    pub(in crate::application) fn stop_upload(&self, stream: StreamId, serial: u64) {
        let mut state = self.state.lock();
        if state.uploads.get(&stream).is_some_and(|upload| upload.serial == serial) {
            state.uploads.remove(&stream);
            drop(state);
            self.say(ServerCall::Stop { stream });
        }
    }
}
