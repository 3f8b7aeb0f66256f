//! Fanfare's frames, as much of them as the load tool speaks, over whatever carries them.
//!
//! The source of the protocol is PROTOCOL.md. Messages are read by hand, because the client's decoding is not what is
//! measured.

use bytes::Bytes;
use fanfare_protocol::call::{ClientCall, Invoke, Outcome, ServerCall};
use fanfare_protocol::{
    ClientFrame, Credential, EventName, Features, GroupName, MethodName, PROTOCOL_VERSION, Payload,
    PayloadFormat, Send, ServerFrame, Target, UserName, codec,
};

use crate::application;
use crate::error::{Fallible, wrong};
use crate::wire::{Heard, Topic, Wanted, Wire};

/// An event's name of one letter: the others' messages have no names.
const EVENT: &str = "E";
const WELCOME: u8 = 0;
const ACK: u8 = 1;
const ERROR: u8 = 2;
const MESSAGE: u8 = 3;
const COMPLETION: u8 = 9;

pub(super) struct FanfareWire {
    credential: Credential,
    request: u64,
}

impl FanfareWire {
    pub(super) fn new(credential: Credential) -> Self {
        Self { credential, request: 0 }
    }

    fn next(&mut self) -> u64 {
        self.request += 1;
        self.request
    }
}

#[allow(clippy::expect_used, reason = "names of letters and digits are names")]
fn group(topic: Topic) -> GroupName {
    GroupName::new(&topic.name()).expect("a group's name")
}

#[allow(clippy::expect_used, reason = "names of letters and digits are names")]
fn target(topic: Topic) -> Target {
    match topic {
        Topic::Group(_) => Target::Group(group(topic)),
        Topic::User(_) => Target::User(named(&topic.name())),
    }
}

#[allow(clippy::expect_used, reason = "names of letters and digits are names")]
pub(super) fn named(user: &str) -> UserName {
    UserName::new(user).expect("a user's name")
}

impl Wire for FanfareWire {
    fn greeting(&mut self) -> Vec<u8> {
        let credential = self.credential.clone();
        codec::encode_client(&ClientFrame::Hello {
            protocol: PROTOCOL_VERSION,
            features: Features::CALLS,
            credential,
        })
        .to_vec()
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        let request = self.next();
        let frame = match topic {
            Topic::Group(_) => ClientFrame::Join { request, group: group(topic) },
            // A user gets what is for the user; the answer says that the server is there.
            Topic::User(_) => ClientFrame::Count { request, target: target(topic) },
        };
        codec::encode_client(&frame).to_vec()
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        codec::encode_client(&ClientFrame::Leave { request: self.next(), group: group(topic) }).to_vec()
    }

    #[allow(clippy::expect_used, reason = "constants that are names")]
    fn request(&mut self, wanted: Wanted, out: &mut Vec<u8>) -> bool {
        let (request, text) = (self.next(), "x".repeat(64));
        out.extend_from_slice(&codec::encode_client(&match wanted {
            Wanted::Ack => ClientFrame::Send(Send {
                request,
                ack: true,
                to: vec![Target::User(named("nobody"))],
                except: Vec::new(),
                others: false,
                event: EventName::new(EVENT).expect("an event's name"),
                format: PayloadFormat::Text,
                payload: text.into(),
            }),
            Wanted::Completion => ClientFrame::Call(ClientCall::Invoke(Invoke {
                request,
                method: MethodName::new(application::METHOD).expect("a method's name"),
                credit: 0,
                streams: Vec::new(),
                // Sixty-four bytes as well.
                arguments: Payload::json(format!("[{:?}]", text.get(4..).unwrap_or_default())),
            })),
        }));
        true
    }

    #[allow(clippy::expect_used, reason = "a constant of one letter")]
    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        let frame = ClientFrame::Send(Send {
            request: self.next(),
            ack: false,
            to: vec![target(topic)],
            except: Vec::new(),
            others: false,
            event: EventName::new(EVENT).expect("an event's name"),
            format: PayloadFormat::Binary,
            payload: Bytes::copy_from_slice(payload),
        });
        out.extend_from_slice(&codec::encode_client(&frame));
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let mut rest = bytes;
        while let Some((prefix, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*prefix) as usize;
            let Some((frame, next)) = behind.split_at_checked(length) else { break };
            match frame.first() {
                Some(&MESSAGE) => {
                    let payload = payload(frame).ok_or_else(|| wrong("a message that is too short"))?;
                    hear(Heard::Message(payload));
                }
                Some(&ACK) => hear(Heard::Done),
                Some(&WELCOME) => hear(Heard::Welcome),
                Some(&ERROR) => {
                    let told = codec::decode_server(&Bytes::copy_from_slice(frame));
                    let Ok(ServerFrame::Error { code, detail, .. }) = told else {
                        return Err(wrong("an error that cannot be read"));
                    };
                    return Err(wrong(format!("refused with {code}: {detail}")));
                }
                Some(&COMPLETION) => {
                    let told = codec::decode_server(&Bytes::copy_from_slice(frame));
                    let Ok(ServerFrame::Call(ServerCall::Completion { outcome: Outcome::Value(_), .. })) =
                        told
                    else {
                        return Err(wrong("a call without a value"));
                    };
                    hear(Heard::Done);
                }
                // `Joined`, `Removed` and the like.
                Some(_) => {}
                None => return Err(wrong("an empty frame")),
            }
            rest = next;
        }
        Ok(bytes.len() - rest.len())
    }
}

/// Of a `Message` from a client to a group or a user: names here are shorter than 251 bytes, which have one byte of
/// length.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let named = |rest: &'_ [u8]| -> Option<usize> { Some(usize::from(*rest.first()?) + 1) };
    // Tag, sender's tag, its id; its user, the target's tag and name, the event.
    let mut at = 1 + 1 + 16;
    at += named(frame.get(at..)?)?;
    at += 1;
    at += named(frame.get(at..)?)?;
    at += named(frame.get(at..)?)?;
    // The format.
    at += 1;
    let rest = frame.get(at..)?;
    // Variable integers: up to 250 in one byte, 251 and two bytes, 252 and four.
    match rest.first()? {
        251 => rest.get(3..),
        252 => rest.get(5..),
        _ => rest.get(1..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::{ConnectionId, Message, Sender};

    #[test]
    fn a_message_is_read_as_the_codec_wrote_it() {
        for size in [16, 250, 251, 16_384, 65_535] {
            for to in [target(Topic::Group(70_000)), target(Topic::User(3))] {
                let message = Message {
                    from: Sender::Connection {
                        connection: ConnectionId::from_bytes([9; 16]),
                        user: UserName::new("u17").unwrap(),
                    },
                    to,
                    event: EventName::new(EVENT).unwrap(),
                    format: PayloadFormat::Binary,
                    payload: Bytes::from(vec![b'x'; size]),
                };
                let frame = codec::encode_message(&message);
                let mut wire = FanfareWire::new(Credential::DevUser(named("u1")));
                let mut heard = Vec::new();
                let used = wire.parse(&[&frame[..], &frame[..9]].concat(), &mut |said| {
                    if let Heard::Message(payload) = said {
                        heard.push(payload.to_vec());
                    }
                });
                assert_eq!((used.unwrap(), heard), (frame.len(), vec![vec![b'x'; size]]));
            }
        }
    }
}
