//! The registry, the router and outboxes without sockets, for what counts nanoseconds and instructions.
//!
//! In: how many members a group has. Out: what a benchmark repeats. Not part of the crate's interface: it exists only
//! with the feature `bench`.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a benchmark that cannot go on must say where"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{BudgetLimits, HubLimits, Origin, OutboxLimits, Taken};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ClientFrame, ConnectionId, EventName, GroupName, Limits, PayloadFormat, Send, Target, UserName,
};
use fanfare_token::Permissions;

use crate::access::{Gate, KeySets, Tokens};
use crate::edge::expiry::Expiry;
use crate::edge::inbound::{Inbound, Step};
use crate::edge::router::Router;
use crate::hub::{Hub, Seat, register};
use crate::telemetry::Metrics;

/// A hub without sockets: one group that everybody is in.
pub struct Rig {
    hub: Arc<Hub>,
    router: Arc<Router>,
    seats: Vec<Seat>,
}

/// The group.
fn room() -> GroupName {
    GroupName::new("room").expect("a name")
}

impl Rig {
    /// With so many members.
    #[must_use]
    pub fn new(members: u32) -> Self {
        let metrics = Arc::new(Metrics::default());
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::default()));
        let outbox =
            OutboxLimits { frames: usize::MAX / 2, bytes: usize::MAX / 2, ..OutboxLimits::default() };
        // Nothing of what all may hold together is reckoned here: it is taken once, before what is measured.
        let budget =
            BudgetLimits { all: usize::MAX / 4, per_user: usize::MAX / 4, per_address: usize::MAX / 4 };
        let bounds = HubLimits { outbox, budget, ..HubLimits::default() };
        let hub = Arc::new(Hub::new(bounds, Arc::clone(&gate) as _));
        let expiry = Arc::new(Expiry::new(Arc::clone(&hub), Arc::clone(&gate), Duration::from_secs(60)));
        let router = Arc::new(Router::new(Arc::clone(&hub), metrics, Limits::default(), gate, expiry, None));
        let seats = (0..members)
            .map(|number| {
                let id = ConnectionId::from_bytes(u128::from(number).to_be_bytes());
                let user = UserName::new(&format!("u{number}")).expect("a name");
                let seat =
                    register(&hub, id, user, Permissions::development(crate::access::now())).expect("a seat");
                hub.join(seat.member(), &room(), Origin::Client).expect("a member");
                seat
            })
            .collect();
        let rig = Self { hub, router, seats };
        rig.drain();
        rig
    }

    /// So many sends to the group, one behind the other, as they are on the stream.
    #[must_use]
    pub fn burst(sends: usize, payload: usize) -> Bytes {
        let send = ClientFrame::Send(Send {
            request: 1,
            ack: false,
            to: vec![Target::Group(room())],
            except: Vec::new(),
            others: false,
            event: EventName::new("E").expect("a name"),
            format: PayloadFormat::Binary,
            payload: Bytes::from(vec![7; payload]),
        });
        codec::encode_client(&send).repeat(sends).into()
    }

    /// The first member's stream has these bytes: reads, routes and queues what they say.
    pub fn route(&self, stream: &Bytes) {
        let reader = FrameReader::new(u32::MAX);
        let mut inbound = Inbound::new(Arc::clone(&self.router), reader, OutboxLimits::default().run());
        let mut chunk = stream.clone();
        let member = self.seats.first().expect("somebody").member();
        while matches!(inbound.step(member, &mut chunk), Ok(Step::Done(1..))) {}
    }

    /// Takes everything out of every outbox, as the writers do. Returns how many pieces that were.
    pub fn drain(&self) -> usize {
        let (mut context, mut chunks, mut pieces) = (Context::from_waker(Waker::noop()), Vec::new(), 0);
        for seat in &self.seats {
            while let Poll::Ready(Taken::Batch(_)) =
                seat.member().outbox().poll_take(&mut context, &mut chunks)
            {
                pieces += chunks.len();
                chunks.clear();
            }
        }
        pieces
    }

    /// A member joins and leaves a group: `group` of its own, or one that others use at the same time.
    pub fn visit(&self, member: usize, group: &GroupName) {
        let member = self.seats.get(member).expect("a member").member();
        self.hub.join(member, group, Origin::Client).expect("a member");
        self.hub.leave(member, group);
        let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
        let _ = member.outbox().poll_take(&mut context, &mut chunks);
    }
}
