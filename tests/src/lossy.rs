//! A proxy to a server that loses packets.
//!
//! In: a client's packets. Out: most of them, and most of what the server answers; which are lost is decided by a
//! seed. Ends when it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// The largest packet that UDP carries.
const PACKET: usize = 65_536;

/// The proxy of one client.
pub struct Lossy {
    /// Where the client sends to.
    pub address: SocketAddr,
    tasks: Vec<AbortHandle>,
}

impl Lossy {
    /// Loses `percent` of a hundred packets each way.
    pub async fn to(server: SocketAddr, percent: u32, seed: u64) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let near = Arc::new(UdpSocket::bind(loopback).await.unwrap());
        let far = Arc::new(UdpSocket::bind(loopback).await.unwrap());
        far.connect(server).await.unwrap();
        let address = near.local_addr().unwrap();
        let (to_far, to_near) = (Arc::clone(&far), Arc::clone(&near));
        // The one who asked last is who is answered.
        let client = Arc::new(std::sync::Mutex::new(None));
        let asked = Arc::clone(&client);
        let there = tokio::spawn(async move {
            let mut lost = StdRng::seed_from_u64(seed);
            let mut packet = vec![0; PACKET];
            while let Ok((length, from)) = near.recv_from(&mut packet).await {
                *asked.lock().unwrap() = Some(from);
                if lost.random_range(0..100) >= percent {
                    let _ = to_far.send(packet.get(..length).unwrap()).await;
                }
            }
        });
        let back = tokio::spawn(async move {
            let mut lost = StdRng::seed_from_u64(!seed);
            let mut packet = vec![0; PACKET];
            loop {
                // Refused while the server is away; it may come back.
                let Ok(length) = far.recv(&mut packet).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let to = *client.lock().unwrap();
                if let Some(to) = to
                    && lost.random_range(0..100) >= percent
                {
                    let _ = to_near.send_to(packet.get(..length).unwrap(), to).await;
                }
            }
        });
        Self { address, tasks: vec![there.abort_handle(), back.abort_handle()] }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
