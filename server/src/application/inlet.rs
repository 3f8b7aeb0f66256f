//! The reading end of a client's stream.
//!
//! In: items that the link has taken, no more than it gave credit for. Out: the items, one after the other. Invariants:
//! reading an item gives credit for another; what nobody reads any more is told to stop.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanfare_protocol::Payload;

use super::call_error::CallError;
use super::link::{Link, Upload};

/// The reading end of a client's stream.
pub(super) struct Inlet {
    upload: Upload,
    link: Arc<Link>,
    /// Items read that no credit was given for yet.
    read: u32,
}

impl Inlet {
    /// Gives the credit that a stream begins with.
    pub(super) fn new(upload: Upload, link: Arc<Link>) -> Self {
        link.give_credit(upload.stream, upload.serial, link.context.limits.stream_items);
        Self { upload, link, read: 0 }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Payload, CallError>>> {
        let item = ready!(self.upload.items.poll_recv(context));
        if let Some(Ok(item)) = &item {
            self.link.read(item.bytes.len());
            self.read += 1;
            // By halves, so that not every item costs a frame.
            if self.read > self.link.context.limits.stream_items / 2 {
                let read = std::mem::take(&mut self.read);
                self.link.give_credit(self.upload.stream, self.upload.serial, read);
            }
        }
        Poll::Ready(item.map(|item| item.map_err(CallError)))
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.link.stop_upload(self.upload.stream, self.upload.serial);
        self.upload.items.close();
        let unread = std::iter::from_fn(|| self.upload.items.try_recv().ok()).flatten();
        let bytes = unread.map(|item| item.bytes.len()).sum();
        self.link.read(bytes);
    }
}
