//! QUIC's settings, each with its reason.
//!
//! In: a TLS configuration. Out: what quinn needs to connect.
//! Invariant: what a server can make this client hold is bounded by the windows set here.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::tls::Trust;

/// Below the 30 seconds after which many NATs and firewalls forget a UDP flow, with two tries to spare.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// When nothing at all comes for this long, in milliseconds, the connection is lost: three keep-alives went unanswered.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// What the server may send ahead of what the application takes. At 100 ms of round trip it allows 40 Mbit/s, and a
/// client that stops reading pushes back after this and a full event queue.
const RECEIVE_WINDOW: u32 = 512 * 1024;

/// What quinn keeps for sending again. The same reckoning; beyond it sends wait.
const SEND_WINDOW: u64 = 1024 * 1024;

/// Datagrams that may wait, in bytes.
const DATAGRAMS_BYTES: usize = 64 * 1024;

/// The settings for quinn.
pub(crate) fn quic(trust: &Trust) -> quinn::ClientConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // The protocol has one stream, and the client opens it.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        // Datagrams: what is not read in time makes room for what is newer.
        .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES))
        .datagram_send_buffer_size(DATAGRAMS_BYTES)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW);
    let mut quic = quinn::ClientConfig::new(Arc::clone(&trust.crypto) as _);
    quic.transport_config(Arc::new(transport));
    quic
}
