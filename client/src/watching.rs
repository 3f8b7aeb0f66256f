//! Keeps a connection watching what the application watches, and nothing else.
//!
//! In: a connection that has gone live, and the groups that are watched. Out: requests. Invariant: what is watched when
//! the connection goes live is asked for again; a group is given up on the server only while nobody here wants it.

use std::sync::Arc;

use fanfare_protocol::{ClientFrame, Code, Features, GroupName, codec};

use crate::link::Link;
use crate::requests::Effect;
use crate::state::Shared;
use crate::watches::NO_PRESENCE;

/// Asks for what is watched, and then gives up what is not any more, for ever; to be dropped with the connection.
pub(crate) async fn run(shared: Arc<Shared>, link: Arc<Link>) -> std::convert::Infallible {
    let has_presence = Features::PRESENCE.are_in(link.welcome.features);
    for group in shared.watches.connected() {
        if !has_presence {
            shared.watches.refused(&group, None, Code::NotKnownHere.number(), NO_PRESENCE);
            continue;
        }
        watch(&shared, group).await;
    }
    loop {
        shared.watches.wishes.notified().await;
        while let Some(group) = shared.watches.take_unsure() {
            watch(&shared, group).await;
        }
        while shared.unwatch_next(&link).await {}
    }
}

/// Asks for a group. A refusal ends the watches of it, with the server's words; and where the connection is lost, the
/// next one asks.
async fn watch(shared: &Shared, group: GroupName) {
    let request = shared.next_request();
    let frame = codec::encode_client(&ClientFrame::Watch { request, group: group.clone() });
    let _ = shared.request(request, frame, Effect::Watch(group, None)).await;
}
