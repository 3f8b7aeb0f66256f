//! The two of npm: `ws` (a hub of thirty lines, as people write it) and Socket.IO with its rooms, both on Node.
//!
//! Both speak WebSocket (RFC 6455); Socket.IO has Engine.IO 4 and its own packets in it. A client masks what it sends
//! with zeros, which the RFC allows nobody to expect, and which costs the server what any mask costs.

use std::path::{Path, PathBuf};

use crate::error::{Fallible, wrong};
use crate::peer::{Launch, Peer, Transport};
use crate::wire::{Heard, Topic, Wire};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hub {
    Ws,
    SocketIo,
}

pub struct Node {
    pub hub: Hub,
    pub tls: bool,
    /// Where `bench/peers` is.
    pub scripts: PathBuf,
}

impl Peer for Node {
    fn name(&self) -> &'static str {
        match (self.hub, self.tls) {
            (Hub::Ws, true) => "ws",
            (Hub::Ws, false) => "ws-plain",
            (Hub::SocketIo, true) => "socket.io",
            (Hub::SocketIo, false) => "socket.io-plain",
        }
    }

    fn launch(&self, _: &Path, port: u16) -> Fallible<Launch> {
        let script = self.scripts.join(if self.hub == Hub::Ws { "ws.mjs" } else { "socket.io.mjs" });
        let package =
            self.scripts.join("node_modules").join(if self.hub == Hub::Ws { "ws" } else { "socket.io" });
        if !package.exists() {
            return Err(crate::error::Error::Missing {
                program: package.display().to_string(),
                remedy: "npm ci in bench/peers".to_owned(),
            });
        }
        let script = script.display().to_string();
        let port = port.to_string();
        let tls = if self.tls { "tls" } else { "plain" };
        Launch::program("node", "apt-get install nodejs")
            .arguments([script.as_str(), &port, tls])
            .version([script.as_str(), "--version"])
            .says("ready")
            .done()
    }

    fn transport(&self) -> Transport {
        if self.tls { Transport::Tls } else { Transport::Plain }
    }

    fn wire(&self, _user: u32) -> Box<dyn Wire> {
        Box::new(WebSocket { hub: self.hub, upgraded: false, asked: 0 })
    }
}

struct WebSocket {
    hub: Hub,
    upgraded: bool,
    asked: u32,
}

const TEXT: u8 = 0x81;

fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn framed(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, TEXT, &[text.as_bytes()]);
    out
}

impl WebSocket {
    fn said(&self, text: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<()> {
        match (self.hub, text) {
            (Hub::Ws, b"ok") => hear(Heard::Done),
            (Hub::Ws, payload) => hear(Heard::Message(payload)),
            // Engine.IO: open, ping. Socket.IO: connected, an event, an answer.
            (_, [b'0', ..]) => hear(Heard::Answer(framed("40"))),
            (_, b"2") => hear(Heard::Answer(framed("3"))),
            (_, [b'4', b'0', ..]) => hear(Heard::Welcome),
            (_, [b'4', b'3', ..]) => hear(Heard::Done),
            (_, event) => {
                let payload = event.strip_prefix(b"42[\"m\",\"").and_then(|rest| rest.strip_suffix(b"\"]"));
                let payload = payload
                    .ok_or_else(|| wrong(format!("Socket.IO said {}", String::from_utf8_lossy(event))))?;
                hear(Heard::Message(payload));
            }
        }
        Ok(())
    }
}

impl Wire for WebSocket {
    fn greeting(&mut self) -> Vec<u8> {
        let path = if self.hub == Hub::Ws { "/" } else { "/socket.io/?EIO=4&transport=websocket" };
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        .into_bytes()
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.asked += 1;
        let name = topic.name();
        framed(&match self.hub {
            Hub::Ws => format!("s {name}"),
            Hub::SocketIo => format!("42{}[\"s\",\"{name}\"]", self.asked),
        })
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.asked += 1;
        let name = topic.name();
        framed(&match self.hub {
            Hub::Ws => format!("u {name}"),
            Hub::SocketIo => format!("42{}[\"u\",\"{name}\"]", self.asked),
        })
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        let name = topic.name();
        match self.hub {
            Hub::Ws => frame(out, TEXT, &[b"p ", name.as_bytes(), b" ", payload]),
            Hub::SocketIo => frame(out, TEXT, &[b"42[\"p\",\"", name.as_bytes(), b"\",\"", payload, b"\"]"]),
        }
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let mut rest = bytes;
        if !self.upgraded {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(wrong(format!("no WebSocket: {}", String::from_utf8_lossy(bytes))));
            }
            self.upgraded = true;
            rest = bytes.get(end + 4..).unwrap_or_default();
            if self.hub == Hub::Ws {
                hear(Heard::Welcome);
            }
        }
        while let [kind, length, behind @ ..] = rest {
            let (length, behind) = match length {
                127 => match behind.split_first_chunk::<8>() {
                    Some((length, behind)) => {
                        (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), behind)
                    }
                    None => break,
                },
                126 => match behind.split_first_chunk::<2>() {
                    Some((length, behind)) => (usize::from(u16::from_be_bytes(*length)), behind),
                    None => break,
                },
                length => (usize::from(*length), behind),
            };
            let Some((content, next)) = behind.split_at_checked(length) else { break };
            match kind & 0x0f {
                1 | 2 => self.said(content, hear)?,
                9 => {
                    let mut pong = Vec::new();
                    frame(&mut pong, 0x8a, &[content]);
                    hear(Heard::Answer(pong));
                }
                8 => return Err(wrong("the WebSocket was closed")),
                _ => {}
            }
            rest = next;
        }
        Ok(bytes.len() - rest.len())
    }
}
