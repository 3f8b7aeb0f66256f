//! A message on its way: encoded once, shared by every outbox it is queued in.
//!
//! In: a send, and who it is from. Out: the bytes that each recipient's stream gets. A send with one target is one run
//! of bytes. A send with several has a heading for each, because the message names the target that reached the
//! recipient, and one body behind all of them. Either way the payload is copied once (in a run twice), whatever the
//! number of recipients (promise 5). Messages that one sender sent one behind the other to the same target can share an
//! envelope: a run, which is queued, counted and written as what it is, several frames, and costs as much to queue as
//! one. For clients that speak another protocol the whole envelope is translated once, when the first of them gets it.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{EventName, Limits, Message, PayloadFormat, Sender, ServerFrame, Target};

use crate::dialect::{Dialect, Translation};

/// An encoded message. Its parts never change.
#[derive(Debug)]
pub(crate) struct Envelope {
    headings: Box<[Heading]>,
    body: Bytes,
    accepted: Instant,
    frames: usize,
    translations: [OnceLock<Bytes>; Translation::COUNT],
}

#[derive(Debug)]
struct Heading {
    target: Target,
    bytes: Bytes,
}

impl Envelope {
    /// Encodes a message to `to`: at least one target, and no more than there are positions. The hub sees to both.
    pub(crate) fn new(
        from: &Sender,
        to: Vec<Target>,
        event: EventName,
        format: PayloadFormat,
        payload: Bytes,
        accepted: Instant,
    ) -> Self {
        if let [target] = to.as_slice() {
            let target = target.clone();
            let message = Message { from: from.clone(), to: target.clone(), event, format, payload };
            let bytes = codec::encode_message(&message);
            let headings = Box::new([Heading { target, bytes }]);
            return Self {
                headings,
                body: Bytes::new(),
                accepted,
                frames: 1,
                translations: Default::default(),
            };
        }
        let body = codec::encode_message_body(&event, format, &payload);
        let headings = to
            .into_iter()
            .map(|target| {
                let bytes = codec::encode_message_heading(from, &target, body.len());
                Heading { target, bytes }
            })
            .collect();
        Self { headings, body, accepted, frames: 1, translations: Default::default() }
    }

    /// Encodes messages to the same target, one behind the other; at least one.
    pub(crate) fn run(
        from: &Sender,
        to: Target,
        messages: Vec<(EventName, PayloadFormat, Bytes)>,
        accepted: Instant,
    ) -> Self {
        let frames = messages.len();
        let mut bytes = Vec::new();
        for (event, format, payload) in messages {
            let message = Message { from: from.clone(), to: to.clone(), event, format, payload };
            bytes.extend_from_slice(&codec::encode_message(&message));
        }
        let headings = Box::new([Heading { target: to, bytes: bytes.into() }]);
        Self { headings, body: Bytes::new(), accepted, frames, translations: Default::default() }
    }

    /// The same for datagrams: each target has a frame of its own, whole.
    pub(crate) fn unreliable(
        from: &Sender,
        to: &[Target],
        event: &EventName,
        format: PayloadFormat,
        payload: &Bytes,
        accepted: Instant,
    ) -> Self {
        let heading = |target: &Target| {
            let (event, payload) = (event.clone(), payload.clone());
            let message = Message { from: from.clone(), to: target.clone(), event, format, payload };
            let bytes = codec::encode_message(&message);
            Heading { target: message.to, bytes }
        };
        let headings = to.iter().map(heading).collect();
        Self { headings, body: Bytes::new(), accepted, frames: 1, translations: Default::default() }
    }

    /// What a datagram to the target at `position` has in it: the frame without its length, which a datagram has
    /// already.
    pub(crate) fn datagram(&self, position: u16) -> Bytes {
        let heading = self.headings.get(usize::from(position));
        heading.map(|heading| heading.bytes.slice(codec::PREFIX_BYTES..)).unwrap_or_default()
    }

    /// How many bytes a datagram to the target at `position` has.
    pub(crate) fn datagram_bytes(&self, position: u16) -> usize {
        self.bytes(position).saturating_sub(codec::PREFIX_BYTES)
    }

    /// Has the translation ready that this client gets. Whoever is first makes it for all.
    pub(crate) fn translate(&self, dialect: &dyn Dialect) -> Translation {
        let translation = dialect.translation();
        if let Some(translated) = self.translations.get(translation.place()) {
            translated.get_or_init(|| {
                let messages: Vec<Bytes> = self.messages().iter().map(|one| dialect.message(one)).collect();
                match <[Bytes; 1]>::try_from(messages) {
                    Ok([one]) => one,
                    Err(several) => several.concat().into(),
                }
            });
        }
        translation
    }

    /// Its messages as they were sent, as those to the first target get them.
    fn messages(&self) -> Vec<Message> {
        let mut chunks = Vec::new();
        self.write(0, &mut chunks);
        let mut frames = match <[Bytes; 1]>::try_from(chunks) {
            Ok([whole]) => whole,
            Err(parts) => parts.concat().into(),
        };
        let mut reader = FrameReader::new(Limits::FRAME_CEILING);
        let mut messages = Vec::with_capacity(self.frames);
        // They were encoded here, so that none is passed over.
        while let Ok(Some(frame)) = reader.next_frame(&mut frames) {
            if let Ok(ServerFrame::Message(message)) = codec::decode_server(&frame) {
                messages.push(message);
            }
        }
        messages
    }

    /// What [`Envelope::translate`] made; nothing before that.
    pub(crate) fn translated(&self, translation: Translation) -> Bytes {
        self.translations.get(translation.place()).and_then(OnceLock::get).cloned().unwrap_or_default()
    }

    /// What a translation counts in an outbox: what it has, or what is kept with it, where that is more. A long message
    /// may be a short translation.
    pub(crate) fn translated_bytes(&self, translation: Translation) -> usize {
        let translated = self.translations.get(translation.place()).and_then(OnceLock::get);
        translated.map_or(0, Bytes::len).max(self.bytes(0))
    }

    /// The targets, in the order in which they were named, each with its position.
    pub(crate) fn targets(&self) -> impl ExactSizeIterator<Item = (u16, &Target)> {
        (0..=u16::MAX).zip(self.headings.iter().map(|heading| &heading.target))
    }

    /// How many messages it has for each target.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// When its send was taken.
    pub(crate) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// The target at `position`.
    pub(crate) fn target(&self, position: u16) -> Option<&Target> {
        self.headings.get(usize::from(position)).map(|heading| &heading.target)
    }

    /// How many bytes the frames for the target at `position` have.
    pub(crate) fn bytes(&self, position: u16) -> usize {
        let heading = self.headings.get(usize::from(position)).map_or(0, |heading| heading.bytes.len());
        heading + self.body.len()
    }

    /// Puts the frame for the target at `position` behind `chunks`. Only reference counts are touched.
    pub(crate) fn write(&self, position: u16, chunks: &mut Vec<Bytes>) {
        if let Some(heading) = self.headings.get(usize::from(position)) {
            chunks.push(heading.bytes.clone());
            if !self.body.is_empty() {
                chunks.push(self.body.clone());
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use fanfare_protocol::{ConnectionId, GroupName, ServerFrame, UserName};

    #[test]
    fn one_target_or_several_give_the_same_frames() {
        let from = Sender::Connection {
            connection: ConnectionId::from_bytes([7; 16]),
            user: UserName::new("alice").unwrap(),
        };
        let event = EventName::new("E").unwrap();
        let (format, payload) = (PayloadFormat::Json, Bytes::from_static(b"payload"));
        let targets = vec![
            Target::Group(GroupName::new("room").unwrap()),
            Target::User(UserName::new("bob").unwrap()),
            Target::All,
        ];
        let now = Instant::now();
        let several = Envelope::new(&from, targets.clone(), event.clone(), format, payload.clone(), now);
        for (position, target) in (0u16..).zip(targets) {
            let single =
                Envelope::new(&from, vec![target.clone()], event.clone(), format, payload.clone(), now);
            let mut expected = Vec::new();
            single.write(0, &mut expected);
            let mut found = Vec::new();
            several.write(position, &mut found);
            assert_eq!(found.concat(), expected.concat());
            assert_eq!(several.bytes(position), found.concat().len());

            let frame = Bytes::from(found.concat()).slice(codec::PREFIX_BYTES..);
            let (event, payload) = (event.clone(), payload.clone());
            let message = Message { from: from.clone(), to: target, event, format, payload };
            assert_eq!(codec::decode_server(&frame), Ok(ServerFrame::Message(message)));
        }
    }
}
