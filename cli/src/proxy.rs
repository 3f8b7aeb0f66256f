//! A proxy with delay and loss between one client and a server on loopback, for the demonstration's far clients.
//!
//! In: UDP packets of one client, at the proxy's own address, and the server's answers. Out: the same, later, and not
//! all of them. Invariants: what is in flight is bounded in packets; only loopback is used; it ends when its task is
//! dropped.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

/// Packets in flight at a time, in both directions together. A real network's queue is no longer.
const PACKETS: usize = 1_024;
/// The largest packet that QUIC sends on loopback.
const PACKET_BYTES: usize = 65_536;

/// Both sides of the proxy.
pub(crate) struct Proxy {
    client: UdpSocket,
    server: UdpSocket,
}

struct Packet {
    due: Instant,
    to_server: bool,
    bytes: Box<[u8]>,
}

impl Proxy {
    /// A proxy to `server`, which is on loopback.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Self { client: UdpSocket::bind(here).await?, server: UdpSocket::bind(here).await? };
        proxy.server.connect(server).await?;
        Ok(proxy)
    }

    /// Where the client connects.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Carries packets until it is dropped: each takes `delay`, and of all of them the share `lost` never arrives.
    pub(crate) async fn run(self, delay: Duration, lost: f64) {
        let mut in_flight: VecDeque<Packet> = VecDeque::new();
        let mut from = None;
        let (mut of_client, mut of_server) = (vec![0; PACKET_BYTES], vec![0; PACKET_BYTES]);
        loop {
            let due = in_flight.front().map_or_else(Instant::now, |packet| packet.due);
            let (to_server, bytes) = tokio::select! {
                () = sleep_until(due), if !in_flight.is_empty() => {
                    if let Some(packet) = in_flight.pop_front() {
                        // Lost, as in any network, where a socket takes no more.
                        let _ = match (packet.to_server, from) {
                            (true, _) => self.server.send(&packet.bytes).await,
                            (false, Some(client)) => self.client.send_to(&packet.bytes, client).await,
                            (false, None) => Ok(0),
                        };
                    }
                    continue;
                }
                received = self.client.recv_from(&mut of_client) => match received {
                    Ok((length, address)) => {
                        from = Some(address);
                        (true, of_client.get(..length))
                    }
                    // A peer that is gone (ICMP) is an error once.
                    Err(_) => continue,
                },
                received = self.server.recv(&mut of_server) => match received {
                    Ok(length) => (false, of_server.get(..length)),
                    Err(_) => continue,
                },
            };
            if in_flight.len() < PACKETS && !rand::rng().random_bool(lost) {
                let bytes = bytes.unwrap_or_default().into();
                in_flight.push_back(Packet { due: Instant::now() + delay, to_server, bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_take_their_time_both_ways_and_some_are_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let delay = Duration::from_millis(30);
        for (lost, arrives) in [(0.0, true), (1.0, false)] {
            let proxy = Proxy::open(server.local_addr().unwrap()).await.unwrap();
            client.connect(proxy.address()).await.unwrap();
            let carried = tokio::spawn(proxy.run(delay, lost));
            let begun = Instant::now();
            client.send(b"ping").await.unwrap();
            let mut bytes = [0; 9];
            let there = async {
                let (length, back) = server.recv_from(&mut bytes).await.unwrap();
                assert_eq!(&bytes[..length], b"ping");
                server.send_to(b"pong", back).await.unwrap();
                let length = client.recv(&mut bytes).await.unwrap();
                assert_eq!(&bytes[..length], b"pong");
            };
            let came = tokio::time::timeout(Duration::from_secs(if arrives { 30 } else { 1 }), there).await;
            assert_eq!(came.is_ok(), arrives);
            assert!(begun.elapsed() >= delay * 2);
            carried.abort();
        }
    }
}
