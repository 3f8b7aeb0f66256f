//! Somebody who proves an address, begins handshakes and falls silent, over and over.
//!
//! In: a server, and the address to come from: one of loopback's, of which there are millions. Out: handshakes that
//! the server holds open. Of what the server answers its Retry packets alone are heard, so that the address is proven
//! and nothing else ever comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use quinn::{Endpoint, VarInt};
use rustls::RootCertStore;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::peer::Dialer;

/// The largest packet that UDP carries.
const PACKET: usize = 65_536;

/// One address that floods.
pub struct Silent {
    dialer: Dialer,
    far: Arc<UdpSocket>,
    near: SocketAddr,
    proven: Arc<Mutex<Vec<Vec<u8>>>>,
    attempts: Vec<quinn::Connecting>,
    tasks: Vec<AbortHandle>,
}

impl Silent {
    /// From this address to this server, with this protocol.
    pub async fn from(address: IpAddr, server: SocketAddr, roots: &Arc<RootCertStore>, alpn: &[u8]) -> Self {
        let near = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        let far = Arc::new(UdpSocket::bind((address, 0)).await.unwrap());
        far.connect(server).await.unwrap();
        let (to_far, to_near) = (Arc::clone(&far), Arc::clone(&near));
        let client = Arc::new(Mutex::new(None));
        let (asked, proven) = (Arc::clone(&client), Arc::new(Mutex::new(Vec::new())));
        let captured = Arc::clone(&proven);
        let there = tokio::spawn({
            let near = Arc::clone(&near);
            async move {
                let mut packet = vec![0; PACKET];
                while let Ok((length, from)) = near.recv_from(&mut packet).await {
                    let packet = packet.get(..length).unwrap();
                    *asked.lock().unwrap() = Some(from);
                    if has_token(packet) {
                        captured.lock().unwrap().push(packet.to_vec());
                    }
                    let _ = to_far.send(packet).await;
                }
            }
        });
        let heard = Arc::clone(&far);
        let back = tokio::spawn(async move {
            let mut packet = vec![0; PACKET];
            while let Ok(length) = heard.recv(&mut packet).await {
                let packet = packet.get(..length).unwrap();
                let to = *client.lock().unwrap();
                // A long header of the type Retry (RFC 9000 section 17.2.5).
                if let (Some(to), Some(first)) = (to, packet.first())
                    && first & 0xf0 == 0xf0
                {
                    let _ = to_near.send_to(packet, to).await;
                }
            }
        });
        Self {
            dialer: Dialer::with(roots, &[alpn], 1 << 20),
            near: near.local_addr().unwrap(),
            far,
            proven,
            attempts: Vec::new(),
            tasks: vec![there.abort_handle(), back.abort_handle()],
        }
    }

    /// Begins so many handshakes more.
    pub fn begin(&mut self, attempts: usize) {
        let endpoint: &Endpoint = self.dialer.endpoint();
        for _ in 0..attempts {
            self.attempts.push(endpoint.connect(self.near, "localhost").unwrap());
        }
    }

    /// Forgets the handshakes, without a word to the server.
    pub fn vanish(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.attempts.clear();
        self.dialer.endpoint().close(VarInt::from_u32(0), b"");
    }

    /// Sends the newest so many of them again.
    pub async fn replay_some(&self, most: usize) -> usize {
        let packets: Vec<_> = self.proven.lock().unwrap().iter().rev().take(most).cloned().collect();
        for packet in &packets {
            let _ = self.far.send(packet).await;
        }
        packets.len()
    }

    /// Sends every first packet again that had a proof of the address in it, as it was.
    pub async fn replay(&self) -> usize {
        let packets = self.proven.lock().unwrap().clone();
        for packet in &packets {
            // Refused where the server has gone.
            let _ = self.far.send(packet).await;
        }
        packets.len()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// Whether it is an Initial packet with a token (RFC 9000 section 17.2.2).
fn has_token(packet: &[u8]) -> bool {
    let id = |at: usize| packet.get(at).map(|length| at + 1 + usize::from(*length));
    let token = id(5).and_then(id).and_then(|at| packet.get(at));
    packet.first().is_some_and(|first| first & 0xf0 == 0xc0) && token.is_some_and(|length| *length > 0)
}
