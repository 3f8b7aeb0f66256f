//! The hub as the server has it: what a connection may do is its [`Permissions`].

#[cfg(any(test, fuzzing, feature = "bench"))]
use fanfare_hub::{Newcomer, Nowhere};
#[cfg(any(test, fuzzing, feature = "bench"))]
use fanfare_protocol::{ConnectionId, Denial, ServerFrame, UserName};
use fanfare_token::Permissions;

pub(crate) type Hub = fanfare_hub::Hub<Permissions>;
pub(crate) type Member = fanfare_hub::Member<Permissions>;
pub(crate) type Seat = fanfare_hub::Seat<Permissions>;

/// For tests, fuzzing and benchmarks: a connection that nothing carries.
#[cfg(any(test, fuzzing, feature = "bench"))]
pub(crate) fn register(
    hub: &Hub,
    connection: ConnectionId,
    user: UserName,
    permissions: Permissions,
) -> Result<Seat, Denial> {
    let newcomer = Newcomer {
        connection,
        user,
        source: [127, 0, 0, 1].into(),
        line: std::sync::Arc::new(Nowhere),
        permissions,
        dialect: None,
    };
    let first = ServerFrame::Lagged { dropped: 0 };
    let seat = hub.register(newcomer, &first, (std::time::Instant::now(), std::time::SystemTime::now()))?;
    // Nobody here wants to know what it is told first.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = seat.member().outbox().poll_take(&mut context, &mut Vec::new());
    Ok(seat)
}

/// For tests: what waits for a connection, in its order. It is taken.
#[cfg(test)]
pub(crate) fn read(member: &Member) -> Vec<ServerFrame> {
    use fanfare_protocol::codec;

    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut chunks = Vec::new();
    let _ = member.outbox().poll_take(&mut context, &mut chunks);
    let mut stream = bytes::Bytes::from(chunks.concat());
    let mut reader = codec::FrameReader::new(u32::MAX);
    std::iter::from_fn(|| reader.next_frame(&mut stream).unwrap())
        .map(|frame| codec::decode_server(&frame).unwrap())
        .collect()
}
