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

    /// Has the translation ready that this client gets.
    pub(crate) fn translate(&self, dialect: &dyn Dialect) -> Translation {
        let translation = dialect.translation();
        if let Some(translated) = self.translations.get(translation.place()) {
            translated.get_or_init(|| {
                // It was encoded here, so that it is read as well.
                let frame = codec::decode_server(&self.bytes.slice(codec::PREFIX_BYTES..));
                frame.map(|frame| dialect.notice(&frame)).unwrap_or_default()
            });
        }
        translation
    }

    /// What is written: the frame, or its translation.
    pub(crate) fn written(&self, translation: Option<Translation>) -> Bytes {
        match translation {
            None => self.bytes.clone(),
            Some(translation) => self.translated(translation).cloned().unwrap_or_default(),
        }
    }

    /// What it counts in an outbox: what is written, or what is kept with it, where that is more.
    pub(crate) fn weight(&self, translation: Option<Translation>) -> usize {
        let translated =
            translation.and_then(|translation| self.translated(translation)).map_or(0, Bytes::len);
        self.bytes.len().max(translated)
    }

    fn translated(&self, translation: Translation) -> Option<&Bytes> {
        self.translations.get(translation.place()).and_then(OnceLock::get)
    }
}
