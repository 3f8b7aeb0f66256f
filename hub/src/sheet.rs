//! A frame of presence on its way: encoded once, shared by the outboxes of all who watch (promise 5).
//!
//! In: the frame. Out: the bytes that a watcher's stream gets, or, for clients that speak another protocol, a
//! translation that the first of them has made for all.

use std::sync::OnceLock;

use bytes::Bytes;
use fanfare_protocol::presence::PresenceFrame;
use fanfare_protocol::{GroupName, ServerFrame, codec};

use crate::dialect::{Dialect, Translation};

/// An encoded frame of presence. Its parts never change.
pub(crate) struct Sheet {
    group: GroupName,
    bytes: Bytes,
    translations: [OnceLock<Bytes>; Translation::COUNT],
}

impl Sheet {
    pub(crate) fn new(frame: PresenceFrame) -> Self {
        let group = frame.group().clone();
        let bytes = codec::encode_server(&ServerFrame::Presence(frame));
        Self { group, bytes, translations: Default::default() }
    }

    /// The group that it is about.
    pub(crate) fn group(&self) -> &GroupName {
        &self.group
    }

    /// What is written to a client: the frame, or its translation, which the first who wants it makes for all.
    pub(crate) fn written(&self, dialect: Option<&dyn Dialect>) -> Bytes {
        let translated = dialect.and_then(|dialect| {
            let place = self.translations.get(dialect.translation().place())?;
            Some(place.get_or_init(|| {
                // It was encoded here, so that it is read as well.
                let frame = codec::decode_server(&self.bytes.slice(codec::PREFIX_BYTES..));
                frame.map(|frame| dialect.notice(&frame)).unwrap_or_default()
            }))
        });
        translated.unwrap_or(&self.bytes).clone()
    }
}
