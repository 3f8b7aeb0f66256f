//! From a client's messages to frames, as any other client would have sent them.
//!
//! In: bytes, in whatever pieces. Out: a `Hello` for the handshake, and one frame for each request, with its number; or
//! a request for which there is no frame, and what is wrong with it. Invariants: no more is kept of items that have to
//! wait for their method than a bound says, and beyond that nothing is read; an item never overtakes another of its
//! stream; a request that is refused here is answered as one that is refused elsewhere.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_hub::CloseReason;
use fanfare_protocol::call::{ClientCall, Failure, Invoke, Outcome, StreamId};
use fanfare_protocol::{
    ClientFrame, Code, Credential, Denial, Features, MethodName, PROTOCOL_VERSION, Payload, RequestId, codec,
};
use fanfare_signalr::handshake::{HandshakeError, HandshakeReader};
use fanfare_signalr::{Arguments, DecodeError, Decoder, Limits, Message, texts};

use super::book::{Admission, Book};
use super::{methods, payload};
use crate::transport::{Broken, Heard};

/// How much may wait for methods to take it. A client that sends more is not read until there is room.
const HELD_ITEMS: usize = 256;
const HELD_BYTES: usize = 64 * 1024;

/// SignalR has no credit for the items of a result, so that the connection alone sets the pace.
const ANY_NUMBER: u32 = u32::MAX;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// This.
    Heard(Heard),
    /// The client has said its last word.
    Closed,
    /// It is not there yet.
    More,
    /// So much waits for methods that nothing is read before they have taken some.
    Full,
}

/// What of a client's stream waits for the method that reads it.
enum Held {
    Item(StreamId, Payload),
    End(StreamId, Option<Failure>),
}

/// One connection's way in.
pub(crate) struct Hearing {
    book: Arc<Book>,
    limits: Limits,
    /// There until the handshake has come.
    opening: Option<HandshakeReader>,
    decoder: Option<Decoder>,
    chunk: Bytes,
    held: VecDeque<Held>,
    held_bytes: usize,
}

impl Hearing {
    /// For a client who has shown who it is in the request that the WebSocket came with.
    pub(crate) fn new(book: Arc<Book>, message_bytes: usize) -> Self {
        Self {
            book,
            limits: Limits { message_bytes, ..Limits::default() },
            opening: Some(HandshakeReader::default()),
            decoder: None,
            chunk: Bytes::new(),
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Takes what follows. Of use where [`Next::More`] was asked for.
    pub(crate) fn take(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// Whether what waits for methods is no more than it may be: what reached a bound may have gone over it by an item.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_within_bounds(&self) -> bool {
        self.held.len() <= HELD_ITEMS && self.held_bytes < HELD_BYTES + self.limits.message_bytes * 2
    }

    /// Whether something waits for the method that reads it.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What comes next.
    ///
    /// # Errors
    /// What came cannot be read, and why.
    pub(crate) fn next(&mut self) -> Result<Next, Broken> {
        if let Some(mut reader) = self.opening.take() {
            let Some(handshake) = reader.read(&mut self.chunk).map_err(|error| self.refused(&error))? else {
                self.opening = Some(reader);
                return Ok(Next::More);
            };
            self.book.agree(handshake.encoding);
            self.decoder = Some(Decoder::new(handshake.encoding, self.limits));
            let (features, credential) = (Features::KNOWN, Credential::Certificate);
            let hello = ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential };
            return Ok(frame(&hello));
        }
        loop {
            if let Some(next) = self.release() {
                return Ok(next);
            }
            if self.held.len() >= HELD_ITEMS || self.held_bytes >= HELD_BYTES {
                return Ok(Next::Full);
            }
            let Some(decoder) = &mut self.decoder else { return Ok(Next::More) };
            let Some(message) = decoder.next_message(&mut self.chunk).map_err(unreadable)? else {
                self.chunk = Bytes::new();
                return Ok(Next::More);
            };
            if let Some(next) = self.message(message) {
                return Ok(next);
            }
        }
    }

    /// What a message is; nothing where there is nothing to do.
    fn message(&mut self, message: Message) -> Option<Next> {
        match message {
            Message::Invocation { id, target, arguments, streams } => {
                let wants_answer = id.is_some();
                let (request, is_free) = self.book.begin(id, &target, false);
                let begun = Begun { request, is_free, wants_answer, is_stream: false };
                Some(self.invocation(&begun, &target, &arguments, streams))
            }
            Message::StreamInvocation { id, target, arguments, streams } => {
                let (request, is_free) = self.book.begin(Some(id), &target, true);
                let begun = Begun { request, is_free, wants_answer: true, is_stream: true };
                Some(self.invocation(&begun, &target, &arguments, streams))
            }
            Message::StreamItem { id, item } => {
                let stream = self.book.stream(&id)?;
                // A copy: what it was cut from is as long as all that came with it.
                self.hold(Held::Item(stream, payload::of_value(&item.detach())));
                None
            }
            Message::Completion { id, outcome } => {
                if let Some(stream) = self.book.stream(&id) {
                    let failure = match outcome {
                        fanfare_signalr::Outcome::Error(detail) => Some(failure(detail)),
                        _ => None,
                    };
                    self.hold(Held::End(stream, failure));
                    return None;
                }
                let call = fanfare_signalr::encode::parse_result_id(&id)?;
                let outcome = match outcome {
                    fanfare_signalr::Outcome::Void => Outcome::Nothing,
                    fanfare_signalr::Outcome::Result(value) => Outcome::Value(payload::of_value(&value)),
                    fanfare_signalr::Outcome::Error(detail) => Outcome::Failed(failure(detail)),
                };
                self.about_call(ClientCall::Completion { call, outcome })
            }
            Message::CancelInvocation { id } => {
                let request = self.book.number(&id)?;
                self.about_call(ClientCall::Cancel { request })
            }
            Message::Ping => {
                self.book.pinged();
                None
            }
            Message::Close { .. } => Some(Next::Closed),
            // Of stateful reconnects, which are not offered; or of a later version.
            Message::Ack { .. } | Message::Sequence { .. } | Message::Unknown { .. } => None,
        }
    }

    /// Without an application there is nobody whom it could be about.
    fn about_call(&self, call: ClientCall) -> Option<Next> {
        self.book.has_application.then(|| frame(&ClientFrame::Call(call)))
    }

    fn invocation(&self, begun: &Begun, target: &str, arguments: &Arguments, streams: Vec<String>) -> Next {
        match self.request(begun, target, arguments, streams) {
            Ok(request) => frame(&request),
            Err(denial) => Next::Heard(Heard::Refused(begun.request, denial)),
        }
    }

    fn request(
        &self,
        begun: &Begun,
        target: &str,
        arguments: &Arguments,
        streams: Vec<String>,
    ) -> Result<ClientFrame, Denial> {
        let Begun { request, is_free, wants_answer, is_stream } = *begun;
        if !is_free {
            let detail = texts::id_in_use(&self.book.id(request).unwrap_or_default());
            return Err(Denial { code: Code::InvalidRequest, detail });
        }
        if !self.book.has_application || methods::is_always_there(target) {
            if is_stream || !streams.is_empty() {
                return Err(Code::NotAStream.into());
            }
            return methods::built_in(target, request, wants_answer, arguments);
        }
        let method = MethodName::new(target)
            .map_err(|error| Denial { code: Code::InvalidName, detail: error.to_string() })?;
        let streams = self.book.announce(request, streams).ok_or_else(|| {
            let detail = "one of its streams has the id of another that goes on".to_owned();
            Denial { code: Code::InvalidRequest, detail }
        })?;
        Ok(ClientFrame::Call(ClientCall::Invoke(Invoke {
            request,
            method,
            credit: if is_stream { ANY_NUMBER } else { 0 },
            streams,
            arguments: payload::of_arguments(arguments),
        })))
    }

    fn hold(&mut self, held: Held) {
        self.held_bytes += held.bytes();
        self.held.push_back(held);
    }

    /// A method has not begun for too long, and what it waits for may stand behind its items: the first of them goes on
    /// without credit, which ends its stream. One that has begun sets its own pace.
    pub(crate) fn overrun(&mut self) -> Option<Next> {
        let is_early = |held: &Held| matches!(held, Held::Item(stream, _) if self.book.is_early(*stream));
        let at = self.held.iter().position(is_early)?;
        let Held::Item(stream, item) = self.held.remove(at)? else { return None };
        self.held_bytes -= item.bytes.len();
        self.about_call(ClientCall::Item { stream, item })
    }

    /// The first of what waits that may go, and has nothing of its stream before it.
    fn release(&mut self) -> Option<Next> {
        let mut waiting = HashSet::new();
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            let stream = held.stream();
            let admission = match held {
                _ if waiting.contains(&stream) => Admission::Waits,
                Held::Item(..) => self.book.admit(stream),
                Held::End(..) => Admission::Goes,
            };
            if admission == Admission::Waits {
                waiting.insert(stream);
                at += 1;
                continue;
            }
            let Some(held) = self.held.remove(at) else { break };
            self.held_bytes -= held.bytes();
            match held {
                _ if admission == Admission::Gone => {}
                Held::Item(stream, item) => {
                    return self.about_call(ClientCall::Item { stream, item });
                }
                Held::End(stream, failure) => {
                    self.book.end_stream(stream);
                    return self.about_call(ClientCall::End { stream, failure });
                }
            }
        }
        if self.held.is_empty() && self.held.capacity() > 0 {
            self.held = VecDeque::new();
        }
        None
    }

    /// A handshake that is none. What answers it is not what the log says.
    fn refused(&self, error: &HandshakeError) -> Broken {
        self.book.refuse(error.answer());
        let code = match error {
            HandshakeError::NoProtocol(_) | HandshakeError::NoVersion { .. } => Code::UnsupportedProtocol,
            HandshakeError::TooLong => Code::FrameTooLarge,
            HandshakeError::Syntax(_) | HandshakeError::Shape(_) => Code::MalformedFrame,
        };
        Broken::Unreadable(Box::new(CloseReason { code, reason: error.to_string() }))
    }
}

/// A call that has its number.
struct Begun {
    request: RequestId,
    is_free: bool,
    wants_answer: bool,
    is_stream: bool,
}

impl Held {
    fn stream(&self) -> StreamId {
        match self {
            Self::Item(stream, _) | Self::End(stream, _) => *stream,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Item(_, item) => item.bytes.len(),
            Self::End(_, failure) => failure.as_ref().map_or(0, |failure| failure.detail.len()),
        }
    }
}

fn frame(frame: &ClientFrame) -> Next {
    Next::Heard(Heard::Bytes(codec::encode_client(frame)))
}

fn failure(detail: String) -> Failure {
    Failure { code: Code::CallFailed.number(), detail, data: Payload::default() }
}

fn unreadable(error: DecodeError) -> Broken {
    let code = match error {
        DecodeError::TooLong { .. } => Code::FrameTooLarge,
        DecodeError::Syntax(_) | DecodeError::Shape(_) | DecodeError::LengthPrefix => Code::MalformedFrame,
    };
    Broken::Unreadable(Box::new(CloseReason { code, reason: error.to_string() }))
}

#[cfg(test)]
mod tests;
