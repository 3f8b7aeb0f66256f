//! NATS: `nats-server` of Debian, core NATS, a token for each client, verbose off.
//!
//! The source of the protocol is docs.nats.io, "Client Protocol". A subscription has no answer of its own, so a `PING`
//! follows it.

use std::path::Path;

use crate::error::{Fallible, wrong};
use crate::peer::{Launch, Peer, Transport};
use crate::text::{line, number};
use crate::wire::{Heard, Topic, Wire};

pub struct Nats {
    pub tls: bool,
}

/// What every client shows.
const TOKEN: &str = "a-token-of-the-benchmark";

impl Peer for Nats {
    fn name(&self) -> &'static str {
        if self.tls { "nats" } else { "nats-plain" }
    }

    fn launch(&self, directory: &Path, port: u16) -> Fallible<Launch> {
        let mut config = format!(
            "listen: 127.0.0.1:{port}\nauthorization {{ token: \"{TOKEN}\" }}\nmax_connections: 100000\n"
        );
        if self.tls {
            let at = directory.display();
            config += &format!("tls {{ cert_file: \"{at}/server.pem\", key_file: \"{at}/server.key\" }}\n");
        }
        Launch::program("nats-server", "apt-get install nats-server")
            .file(directory, "nats.conf", &config)?
            .arguments(["-c", "nats.conf"])
            .version(["--version"])
            .done()
    }

    fn transport(&self) -> Transport {
        if self.tls { Transport::TlsAfterLine } else { Transport::Plain }
    }

    fn wire(&self, _user: u32) -> Box<dyn Wire> {
        Box::new(NatsWire { tls: self.tls, welcomed: false, subscribed: Vec::new() })
    }
}

struct NatsWire {
    tls: bool,
    welcomed: bool,
    /// Subscriptions by their number.
    subscribed: Vec<Option<Topic>>,
}

impl Wire for NatsWire {
    fn greeting(&mut self) -> Vec<u8> {
        let tls = self.tls;
        format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"tls_required\":{tls},\"auth_token\":\"{TOKEN}\",\"lang\":\"bench\",\"version\":\"1\",\"echo\":true}}\r\nPING\r\n"
        )
        .into_bytes()
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.subscribed.push(Some(topic));
        format!("SUB {} {}\r\nPING\r\n", topic.name(), self.subscribed.len()).into_bytes()
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        let Some(at) = self.subscribed.iter().position(|known| *known == Some(topic)) else {
            return b"PING\r\n".to_vec();
        };
        if let Some(place) = self.subscribed.get_mut(at) {
            *place = None;
        }
        format!("UNSUB {}\r\nPING\r\n", at + 1).into_bytes()
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("PUB {} {}\r\n", topic.name(), payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let mut rest = bytes;
        while let Some((head, behind)) = line(rest) {
            if head.starts_with(b"MSG ") {
                let size = head.rsplit(|byte| *byte == b' ').next().and_then(number);
                let size = size.ok_or_else(|| wrong("NATS sent a MSG without a size"))?;
                let Some(payload) = behind.get(..size) else { break };
                let Some(next) = behind.get(size + 2..) else { break };
                hear(Heard::Message(payload));
                rest = next;
                continue;
            }
            match head {
                b"PONG" if self.welcomed => hear(Heard::Done),
                b"PONG" => {
                    self.welcomed = true;
                    hear(Heard::Welcome);
                }
                b"PING" => hear(Heard::Answer(b"PONG\r\n".to_vec())),
                other if other.starts_with(b"INFO ") || other == b"+OK" => {}
                other => return Err(wrong(format!("NATS said {}", String::from_utf8_lossy(other)))),
            }
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }
}
