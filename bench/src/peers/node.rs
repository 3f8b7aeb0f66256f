//! The two of npm: `ws` (a hub of thirty lines, as people write it) and Socket.IO with its rooms, both on Node.
//!
//! Both speak WebSocket; Socket.IO has Engine.IO 4 and its own packets in it.

use std::path::{Path, PathBuf};

use super::websocket::{self, Reader, Said, TEXT, frame};
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
        Box::new(WebSocket { hub: self.hub, reader: Reader::default(), asked: 0 })
    }
}

struct WebSocket {
    hub: Hub,
    reader: Reader,
    asked: u32,
}

fn framed(text: &str) -> Vec<u8> {
    websocket::framed(TEXT, text.as_bytes())
}

fn heard(hub: Hub, text: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<()> {
    match (hub, text) {
        (Hub::Ws, b"ok") => hear(Heard::Done),
        (Hub::Ws, payload) => hear(Heard::Message(payload)),
        // Engine.IO: open, ping. Socket.IO: connected, an event, an answer.
        (_, [b'0', ..]) => hear(Heard::Answer(framed("40"))),
        (_, b"2") => hear(Heard::Answer(framed("3"))),
        (_, [b'4', b'0', ..]) => hear(Heard::Welcome),
        (_, [b'4', b'3', ..]) => hear(Heard::Done),
        (_, event) => {
            let payload = event.strip_prefix(b"42[\"m\",\"").and_then(|rest| rest.strip_suffix(b"\"]"));
            let payload =
                payload.ok_or_else(|| wrong(format!("Socket.IO said {}", String::from_utf8_lossy(event))))?;
            hear(Heard::Message(payload));
        }
    }
    Ok(())
}

impl Wire for WebSocket {
    fn greeting(&mut self) -> Vec<u8> {
        let path = if self.hub == Hub::Ws { "/" } else { "/socket.io/?EIO=4&transport=websocket" };
        websocket::request(path, "")
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
        let hub = self.hub;
        self.reader.read(bytes, &mut |said| {
            match said {
                Said::Upgraded if hub == Hub::Ws => hear(Heard::Welcome),
                Said::Upgraded => {}
                Said::Message(text) => return heard(hub, text, hear),
                Said::Ping(pong) => hear(Heard::Answer(pong)),
            }
            Ok(())
        })
    }
}
