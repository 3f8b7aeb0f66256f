//! Redis pub/sub: `redis-server` of Debian, a password, nothing written to disk.
//!
//! The source of the protocol is redis.io, "RESP protocol spec" and "Redis Pub/Sub".

use std::path::Path;

use crate::error::{Fallible, wrong};
use crate::peer::{Launch, Peer, Transport};
use crate::text::{line, number};
use crate::wire::{Heard, Topic, Wire};

pub struct Redis {
    pub tls: bool,
}

const PASSWORD: &str = "a-password-of-the-benchmark";

impl Peer for Redis {
    fn name(&self) -> &'static str {
        if self.tls { "redis" } else { "redis-plain" }
    }

    fn launch(&self, directory: &Path, port: u16) -> Fallible<Launch> {
        let mut config = format!(
            "bind 127.0.0.1\nsave \"\"\nappendonly no\nmaxclients 20000\nrequirepass {PASSWORD}\nlogfile redis.log\ndir {}\n",
            directory.display()
        );
        if self.tls {
            config += &format!(
                "port 0\ntls-port {port}\ntls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file ca.pem\ntls-auth-clients no\n"
            );
        } else {
            config += &format!("port {port}\n");
        }
        Launch::program("redis-server", "apt-get install redis-server")
            .file(directory, "redis.conf", &config)?
            .arguments(["redis.conf"])
            .version(["--version"])
            .done()
    }

    fn transport(&self) -> Transport {
        if self.tls { Transport::Tls } else { Transport::Plain }
    }

    fn wire(&self, _user: u32) -> Box<dyn Wire> {
        Box::new(RedisWire { welcomed: false })
    }
}

struct RedisWire {
    welcomed: bool,
}

fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn commanded(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    command(&mut out, parts);
    out
}

/// An answer of the two shapes that come: a line, or an array of texts and numbers.
fn answer<'a>(bytes: &'a [u8], parts: &mut Vec<&'a [u8]>) -> Fallible<Option<&'a [u8]>> {
    parts.clear();
    let Some((head, mut rest)) = line(bytes) else { return Ok(None) };
    let count = match head.split_first() {
        Some((b'*', count)) => number(count).ok_or_else(|| wrong("Redis sent an array without a length"))?,
        Some((b'+' | b':', _)) => {
            parts.push(head);
            return Ok(Some(rest));
        }
        _ => return Err(wrong(format!("Redis said {}", String::from_utf8_lossy(head)))),
    };
    for _ in 0..count {
        let Some((head, behind)) = line(rest) else { return Ok(None) };
        rest = match head.split_first() {
            Some((b'$', size)) => {
                let size = number(size).ok_or_else(|| wrong("Redis sent a text without a length"))?;
                let (Some(text), Some(next)) = (behind.get(..size), behind.get(size + 2..)) else {
                    return Ok(None);
                };
                parts.push(text);
                next
            }
            _ => {
                parts.push(head);
                behind
            }
        };
    }
    Ok(Some(rest))
}

impl Wire for RedisWire {
    fn greeting(&mut self) -> Vec<u8> {
        commanded(&[b"AUTH", PASSWORD.as_bytes()])
    }

    fn subscribe(&mut self, topic: Topic) -> Vec<u8> {
        commanded(&[b"SUBSCRIBE", topic.name().as_bytes()])
    }

    fn unsubscribe(&mut self, topic: Topic) -> Vec<u8> {
        commanded(&[b"UNSUBSCRIBE", topic.name().as_bytes()])
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], out: &mut Vec<u8>) {
        command(out, &[b"PUBLISH", topic.name().as_bytes(), payload]);
    }

    fn parse(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Fallible<usize> {
        let (mut rest, mut parts) = (bytes, Vec::new());
        while let Some(behind) = answer(rest, &mut parts)? {
            rest = behind;
            match parts.as_slice() {
                [b"message", _, payload] => hear(Heard::Message(payload)),
                [b"subscribe" | b"unsubscribe", ..] => hear(Heard::Done),
                [b"+OK"] if !self.welcomed => {
                    self.welcomed = true;
                    hear(Heard::Welcome);
                }
                // How many a PUBLISH reached.
                [[b':', ..]] => {}
                other => return Err(wrong(format!("Redis said {other:?}"))),
            }
        }
        Ok(bytes.len() - rest.len())
    }
}
