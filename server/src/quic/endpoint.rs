//! A UDP socket with QUIC on it.
//!
//! In: a socket and settings. Out: attempts to connect. The settings can be replaced while it runs. Its tasks are the
//! caller's, so that the socket is known to be free when they have ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Code;
use quinn::{EndpointConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::Incoming;
use super::keys::EndpointKeys;
use super::runtime::OwnedTasks;
use super::settings::Settings;

/// QUIC on a socket. A clone is the same endpoint; its socket is closed when the last has gone and its tasks have
/// ended.
#[derive(Clone)]
pub(crate) struct Endpoint {
    quinns: quinn::Endpoint,
    tasks: TaskTracker,
    /// quinn's own tasks end with it.
    over: CancellationToken,
}

/// How long the peers' words may take that they have our close. Who has not heard of it by then has gone, or is slow by
/// its own will: how long it may take to acknowledge something a peer says itself (RFC 9000 section 18.2).
const LAST_PACKETS: Duration = Duration::from_secs(1);

impl Endpoint {
    /// Starts QUIC on a socket. Its tasks are `tasks`.
    pub(crate) fn open(
        Settings(server): Settings,
        socket: std::net::UdpSocket,
        keys: &EndpointKeys,
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        let mut endpoint = EndpointConfig::new(Arc::clone(&keys.reset) as _);
        // With a key of each life's own, as is quinn's default, a restarted server takes the packets of its last life
        // for noise and never resets them.
        let key = keys.connection_ids;
        endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        let over = CancellationToken::new();
        let runtime = Arc::new(OwnedTasks { tracker: tasks.clone(), over: over.clone() });
        let quinns = quinn::Endpoint::new(endpoint, Some(server), socket, runtime)?;
        Ok(Self { quinns, tasks: tasks.clone(), over })
    }

    /// The next attempt to connect; `None` when the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        self.quinns.accept().await.map(|attempt| Incoming { attempt, tasks: self.tasks.clone() })
    }

    /// Uses other settings for the connections that come from now on.
    pub(crate) fn replace(&self, Settings(server): Settings) {
        self.quinns.set_server_config(Some(server));
    }

    /// Closes every connection that is left, and takes no more.
    pub(crate) fn close(&self, code: Code) {
        self.quinns.close(VarInt::from_u32(code.number().into()), code.sentence().as_bytes());
    }

    /// Waits until the peers have our close, for a second at most (test
    /// `a_client_that_is_slow_by_its_own_will_does_not_hold_up_the_end`). Nothing is sent or received after that.
    pub(crate) async fn finish(&self) {
        let _ = tokio::time::timeout(LAST_PACKETS, self.quinns.wait_idle()).await;
        self.over.cancel();
    }
}

/// Binds a socket. What comes before [`Endpoint::open`] waits in it.
pub(crate) fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, on every system alike.
        socket.set_only_v6(false)?;
    }
    // One socket is everybody's: with the usual 208 KiB a burst of arrivals is lost before it is seen. The system may
    // give less (net.core.rmem_max), which is not an error.
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
