//! Capsules on the stream of a session's CONNECT (RFC 9297 section 3): its end, and credit for who waits for some.
//!
//! In: what a client sends on that stream. Out: how it ended the session; what is said to it.

use quinn::RecvStream;
use web_transport_proto::{Capsule, Http3CapsuleReader};

use super::frame;

/// `WT_MAX_DATA`.
const MAX_DATA: u64 = 0x190b_4d3d;
/// `WT_MAX_STREAMS`, of streams that go both ways, and one way.
const MAX_STREAMS: [u64; 2] = [0x190b_4d3f, 0x190b_4d40];

/// More streams than QUIC can number, and more bytes than anybody sends: as much as these capsules can say.
const WITHOUT_END: u64 = 1 << 60;

/// Waits for the end of a session, and gives the code and the reason where the client said them. Credit that a client
/// gives is passed over, as section 5.1 of the draft asks where flow control was not agreed on.
pub(super) async fn ending(stream: RecvStream) -> Option<(u32, String)> {
    let mut capsules = Http3CapsuleReader::new(stream);
    // What is no capsule ends the session like the stream's end.
    while let Ok(Some(capsule)) = capsules.read().await {
        if let Capsule::CloseWebTransportSession { code, reason } = capsule {
            return Some((code, reason));
        }
    }
    None
}

/// Says why a session ends.
pub(in crate::quic) fn close(code: u32, reason: String) -> Vec<u8> {
    let mut capsule = Vec::new();
    Capsule::CloseWebTransportSession { code, reason }.encode(&mut capsule);
    frame::frame(frame::DATA, &capsule)
}

/// Credit that does not run out, for a client that waits for some although none was offered: Safari between drafts.
/// Whoever keeps to the draft passes over it. Nothing is counted here: QUIC's own credit bounds streams and bytes.
pub(in crate::quic) fn credit() -> Vec<u8> {
    let mut capsules = Vec::new();
    for kind in [MAX_DATA].into_iter().chain(MAX_STREAMS) {
        let mut value = Vec::new();
        frame::put(WITHOUT_END, &mut value);
        frame::put(kind, &mut capsules);
        frame::put(value.len() as u64, &mut capsules);
        capsules.extend_from_slice(&value);
    }
    frame::frame(frame::DATA, &capsules)
}
