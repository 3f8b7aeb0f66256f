//! The ways into Fanfare over TCP: its own frames in WebSocket messages, and SignalR's two protocols.
//!
//! The sources are docs/protocol/websocket.md and docs/protocol/signalr.md. Messages are read by hand, because the
//! clients' decoding is not what is measured.

use fanfare_protocol::Credential;

use super::frames::FanfareWire;
use super::websocket::{self, BINARY, Reader, Said, TEXT, frame, framed};
use crate::error::{Fallible, wrong};
use crate::wire::{Heard, Topic, Wire};

/// The kind of a message that has bytes of the stream.
const STREAM: [u8; 1] = [0];

/// Fanfare's frames.
pub struct Framed {
    inner: FanfareWire,
    reader: Reader,
    /// Of the stream: what is no whole frame yet.
    stream: Vec<u8>,
}

impl Framed {
    pub fn new(credential: Credential) -> Self {
        Self { inner: FanfareWire::new(credential), reader: Reader::default(), stream: Vec::new() }
    }

    fn message(frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, BINARY, &[&STREAM, frames]);
        out
    }
}

impl Wire for Framed {
    fn greeting(&mut self) -> Vec<u8> {
        websocket::request("/fanfare", "Sec-WebSocket-Protocol: fanfare.1\r\n")
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        Self::message(&self.inner.subscribe(topic))
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        Self::message(&self.inner.unsubscribe(topic))
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        let mut frames = Vec::new();
        self.inner.publish(topic, payload, &mut frames);
        frame(out, BINARY, &[&STREAM, &frames]);
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let Self { inner, reader, stream } = self;
        reader.read(bytes, &mut |said| {
            match said {
                Said::Upgraded => hear(Heard::Answer(Self::message(&inner.greeting()))),
                Said::Ping(pong) => hear(Heard::Answer(pong)),
                Said::Message([0, frames @ ..]) => {
                    stream.extend_from_slice(frames);
                    let used = inner.parse(stream, hear)?;
                    stream.drain(..used);
                }
                Said::Message(_) => {}
            }
            Ok(())
        })
    }
}

/// SignalR's encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    MessagePack,
}

/// A client of SignalR.
pub struct SignalR {
    encoding: Encoding,
    token: String,
    reader: Reader,
    is_welcome: bool,
    asked: u32,
}

/// What ends each of SignalR's messages in JSON, and its handshake.
const END: u8 = 0x1e;

impl SignalR {
    pub fn new(encoding: Encoding, token: String) -> Self {
        Self { encoding, token, reader: Reader::default(), is_welcome: false, asked: 0 }
    }

    /// An invocation, with a completion where it has a number. The arguments are texts that need no escapes.
    fn invocation(&self, out: &mut Vec<u8>, number: Option<u32>, target: &str, arguments: &[&[u8]]) {
        match self.encoding {
            Encoding::Json => {
                let number =
                    number.map_or_else(String::new, |number| format!("\"invocationId\":\"{number}\","));
                let head = format!("{{\"type\":1,{number}\"target\":\"{target}\",\"arguments\":[");
                let quoted: Vec<Vec<u8>> =
                    arguments.iter().map(|argument| [b"\"", *argument, b"\""].concat()).collect();
                let arguments = quoted.join(&b","[..]);
                frame(out, TEXT, &[head.as_bytes(), &arguments, b"]}", &[END]]);
            }
            Encoding::MessagePack => {
                let mut message = vec![0x95, 1, 0x80];
                match number {
                    Some(number) => packed(&mut message, number.to_string().as_bytes()),
                    None => message.push(0xc0),
                }
                packed(&mut message, target.as_bytes());
                message.push(0x90 | u8::try_from(arguments.len()).unwrap_or(0));
                for argument in arguments {
                    packed(&mut message, argument);
                }
                let mut length = Vec::new();
                let mut rest = message.len();
                while rest >= 0x80 {
                    length.push((rest & 0x7f) as u8 | 0x80);
                    rest >>= 7;
                }
                length.push(rest as u8);
                frame(out, BINARY, &[&length, &message]);
            }
        }
    }

    fn ask(&mut self, target: &str, arguments: &[&[u8]]) -> Vec<u8> {
        self.asked += 1;
        let mut out = Vec::new();
        self.invocation(&mut out, Some(self.asked), target, arguments);
        out
    }
}

/// A text in MessagePack.
fn packed(out: &mut Vec<u8>, text: &[u8]) {
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length), _) if length < 32 => out.push(0xa0 | length),
        (Ok(length), _) => out.extend_from_slice(&[0xd9, length]),
        (_, length) => {
            out.push(0xda);
            out.extend_from_slice(&length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// The text that stands first, and what is behind it.
fn unpacked(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [short @ 0xa0..=0xbf, rest @ ..] => (usize::from(short & 0x1f), rest),
        [0xd9, length, rest @ ..] => (usize::from(*length), rest),
        [0xda, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Hears one of a server's messages in JSON, as Fanfare writes them.
fn hear_json(message: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Option<()> {
    match message.strip_prefix(b"{\"type\":")? {
        [b'1', rest @ ..] => {
            let payload = rest.strip_prefix(b",\"target\":\"E\",\"arguments\":[\"")?.strip_suffix(b"\"]}")?;
            hear(Heard::Message(payload));
        }
        [b'3', rest @ ..] if !rest.windows(8).any(|eight| eight == b"\"error\":") => hear(Heard::Done),
        [b'6', ..] => {}
        _ => return None,
    }
    Some(())
}

/// The same in MessagePack.
fn hear_packed(message: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Option<()> {
    match message {
        [0x95 | 0x96, 1, 0x80, 0xc0, rest @ ..] => {
            let (event, rest) = unpacked(rest)?;
            let (payload, _) = unpacked(rest.strip_prefix(&[0x91])?)?;
            (event == b"E").then(|| hear(Heard::Message(payload)))?;
        }
        [_, 3, 0x80, rest @ ..] => {
            let (_, rest) = unpacked(rest)?;
            (*rest.first()? != 1).then(|| hear(Heard::Done))?;
        }
        [_, 6, ..] => {}
        _ => return None,
    }
    Some(())
}

/// A whole message with its length before it, and what is behind it.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

impl Wire for SignalR {
    fn greeting(&mut self) -> Vec<u8> {
        websocket::request("/signalr", &format!("Authorization: Bearer {}\r\n", self.token))
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        let name = topic.name();
        match topic {
            Topic::Group(_) => self.ask("JoinGroup", &[name.as_bytes()]),
            // A user gets what is for the user; the answer says that the server is there.
            Topic::User(_) => self.ask("Count", &[b"user", name.as_bytes()]),
        }
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.ask("LeaveGroup", &[topic.name().as_bytes()])
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        let target = match topic {
            Topic::Group(_) => "SendToGroup",
            Topic::User(_) => "SendToUser",
        };
        self.invocation(out, None, target, &[topic.name().as_bytes(), b"E", payload]);
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let Self { encoding, reader, is_welcome, .. } = self;
        let wrongly = |message: &[u8]| wrong(format!("SignalR said {}", String::from_utf8_lossy(message)));
        reader.read(bytes, &mut |said| {
            let mut rest = match said {
                Said::Upgraded => {
                    let name = match encoding {
                        Encoding::Json => "json",
                        Encoding::MessagePack => "messagepack",
                    };
                    let handshake = format!("{{\"protocol\":\"{name}\",\"version\":1}}\x1e");
                    hear(Heard::Answer(framed(TEXT, handshake.as_bytes())));
                    return Ok(());
                }
                Said::Ping(pong) => {
                    hear(Heard::Answer(pong));
                    return Ok(());
                }
                Said::Message(messages) => messages,
            };
            if !*is_welcome {
                rest = rest.strip_prefix(b"{}\x1e").ok_or_else(|| wrongly(rest))?;
                *is_welcome = true;
                hear(Heard::Welcome);
            }
            while !rest.is_empty() {
                let (message, behind) = match encoding {
                    Encoding::Json => {
                        let end = rest.iter().position(|byte| *byte == END).ok_or_else(|| wrongly(rest))?;
                        let (message, behind) = rest.split_at(end);
                        (message, behind.get(1..).unwrap_or_default())
                    }
                    Encoding::MessagePack => cut(rest).ok_or_else(|| wrongly(rest))?,
                };
                let heard = match encoding {
                    Encoding::Json => hear_json(message, hear),
                    Encoding::MessagePack => hear_packed(message, hear),
                };
                heard.ok_or_else(|| wrongly(message))?;
                rest = behind;
            }
            Ok(())
        })
    }
}
