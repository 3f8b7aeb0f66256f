//! Other nodes that watch groups here, and what they tell of theirs.
//!
//! In: what the driver hears. Out: what there is to tell each, in messages that fit; frames, to the hub. Invariants: a
//! node that has gone is told nothing, and nobody is there by it; what another node sends and is no presence is passed
//! over.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use fanfare_cluster::NodeId;
use fanfare_hub::Observer;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{ConnectionId, GroupName, Limits, ServerFrame};
use fanfare_token::Permissions;

use super::side::{Side, key};
use crate::hub::Hub;

/// So many bytes of presence are put into a message, where it may be so long.
const MESSAGE: usize = 32 * 1024;

/// The nodes that watch groups here.
#[derive(Default)]
pub(super) struct Observers(BTreeMap<NodeId, Observer<Permissions>>);

impl Observers {
    /// A node watches groups from now on, or not any more; all that it watched before may be over.
    pub(super) fn watch(
        &mut self,
        hub: &Hub,
        from: NodeId,
        (is_anew, is_watched): (bool, bool),
        groups: &[GroupName],
    ) {
        if is_anew {
            self.0.remove(&from);
        }
        // No connection has this id: a node's are numbered by chance, and this one is by no chance.
        let new = || hub.observer(ConnectionId::on_node(from.bytes(), [0xff; 12]));
        let observer = self.0.entry(from).or_insert_with(new);
        for group in groups {
            if is_watched {
                observer.watch(group);
            } else {
                observer.unwatch(group);
            }
        }
    }

    /// A node has gone.
    pub(super) fn part(&mut self, hub: &Hub, node: NodeId) {
        self.0.remove(&node);
        hub.part(key(node), Instant::now());
    }

    /// Tells each what there is to tell.
    pub(super) fn tell(&mut self, side: &Side) {
        let most = side.longest.min(MESSAGE);
        for (node, observer) in &mut self.0 {
            while let Some(frames) = observer.take(most) {
                side.node.lock().present(*node, frames);
            }
        }
    }
}

/// Has the hub hear what another node tells of its members.
pub(super) fn hear(hub: &Hub, from: NodeId, mut frames: Bytes) {
    let mut reader = FrameReader::new(Limits::FRAME_CEILING);
    while let Ok(Some(frame)) = reader.next_frame(&mut frames) {
        if let Ok(ServerFrame::Presence(frame)) = codec::decode_server(&frame) {
            hub.hear(key(from), frame, Instant::now());
        }
    }
}
