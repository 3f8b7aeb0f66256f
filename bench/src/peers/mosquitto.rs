//! MQTT 3.1.1 with quality of service 0: `mosquitto` of Debian, a password for the clients.
//!
//! The source of the protocol is the OASIS standard MQTT 3.1.1.

use std::path::Path;

use crate::error::{Fallible, wrong};
use crate::peer::{Launch, Peer, Transport};
use crate::wire::{Heard, Topic, Wire};

pub struct Mosquitto {
    pub tls: bool,
}

impl Peer for Mosquitto {
    fn name(&self) -> &'static str {
        if self.tls { "mosquitto" } else { "mosquitto-plain" }
    }

    fn launch(&self, directory: &Path, port: u16) -> Fallible<Launch> {
        // Started as root it becomes another user, who may not read the files here.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let mut config = format!(
            "{user}listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nlog_type error\nmax_queued_messages 10000\n"
        );
        if self.tls {
            config += "certfile server.pem\nkeyfile server.key\n";
        }
        Launch::program("mosquitto", "apt-get install mosquitto")
            .file(directory, "mosquitto.conf", &config)?
            .arguments(["-c", "mosquitto.conf"])
            .version(["-h"])
            .done()
    }

    fn transport(&self) -> Transport {
        if self.tls { Transport::Tls } else { Transport::Plain }
    }

    fn wire(&self, user: u32) -> Box<dyn Wire> {
        Box::new(Mqtt { user, packets: 0 })
    }
}

struct Mqtt {
    user: u32,
    packets: u16,
}

fn packet(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        out.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if more == 0 {
            break;
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), text.as_bytes()].concat()
}

impl Mqtt {
    fn numbered(&mut self, kind: u8, topic: Topic, tail: &[u8]) -> Vec<u8> {
        self.packets += 1;
        let mut out = Vec::new();
        packet(&mut out, kind, &[&self.packets.to_be_bytes(), &text(&topic.name()), tail]);
        out
    }
}

impl Wire for Mqtt {
    fn greeting(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        // A clean session, no keep-alive.
        let head = [text("MQTT"), vec![4, 2, 0, 0], text(&format!("bench{}", self.user))].concat();
        packet(&mut out, 0x10, &[&head]);
        out
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.numbered(0x82, topic, &[0])
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        self.numbered(0xa2, topic, &[])
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        packet(out, 0x30, &[&text(&topic.name()), payload]);
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let mut rest = bytes;
        while let Some((kind, mut behind)) = rest.split_first() {
            let (mut length, mut shift) = (0usize, 0);
            let whole = loop {
                let Some((digit, next)) = behind.split_first() else { break false };
                behind = next;
                length |= usize::from(digit & 0x7f) << shift;
                shift += 7;
                if digit & 0x80 == 0 {
                    break true;
                }
                if shift > 21 {
                    return Err(wrong("MQTT: a length of more than four bytes"));
                }
            };
            let Some((content, next)) = whole.then(|| behind.split_at_checked(length)).flatten() else {
                break;
            };
            match (kind >> 4, content) {
                (2, [_, 0]) => hear(Heard::Welcome),
                (9, [_, _, 0]) | (11, _) => hear(Heard::Done),
                (3, [high, low, named @ ..]) => {
                    let name = usize::from(u16::from_be_bytes([*high, *low]));
                    let payload =
                        named.get(name..).ok_or_else(|| wrong("MQTT: a PUBLISH that is too short"))?;
                    hear(Heard::Message(payload));
                }
                other => return Err(wrong(format!("MQTT: {other:?}"))),
            }
            rest = next;
        }
        Ok(bytes.len() - rest.len())
    }
}
