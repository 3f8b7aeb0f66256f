//! The registry, the router and outboxes without sockets, for what counts nanoseconds and instructions.
//!
//! In: how many members a group has. Out: what a benchmark repeats. Not part of the crate's interface: it exists only with the feature `bench`.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a benchmark that cannot go on must say where"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ClientFrame, ConnectionId, EventName, GroupName, Limits, PayloadFormat, Send, Target, UserName,
};

use crate::access::{Gate, KeySets, Pass, Verifier};
use crate::expiry::Expiry;
use crate::intake::Intake;
use crate::line::Nowhere;
use crate::metrics::Metrics;
use crate::outbox::{OutboxLimits, Taken};
use crate::registry::{Member, Origin, Registry, Seat};
use crate::router::Router;

/// A hub without sockets: one group that everybody is in.
pub struct Rig {
    registry: Arc<Registry>,
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
        let registry = Arc::new(Registry::new());
        let metrics = Arc::new(Metrics::default());
        let expiry =
            Arc::new(Expiry::new(Arc::clone(&registry), Arc::clone(&metrics), Duration::from_secs(60)));
        let limits = Limits::default();
        let gate = Gate::new(Arc::new(Verifier::new(None, KeySets::none())), Arc::default(), limits.groups);
        let router = Arc::new(Router::new(Arc::clone(&registry), metrics, limits, Arc::new(gate), expiry));
        let seats = (0..members)
            .map(|number| {
                let id = ConnectionId::from_bytes(u128::from(number).to_be_bytes());
                let user = UserName::new(&format!("u{number}")).expect("a name");
                let limits =
                    OutboxLimits { frames: usize::MAX / 2, bytes: usize::MAX / 2, ..OutboxLimits::default() };
                let member = Member::new(id, user, limits, Arc::new(Nowhere), Pass::development());
                let seat = registry.arrive(Arc::new(member), 1, || Ok(())).expect("a seat");
                registry.join(seat.member(), &room(), 1_000, Origin::Client, || Ok(())).expect("a member");
                seat
            })
            .collect();
        let rig = Self { registry, router, seats };
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
        let mut intake = Intake::new(Arc::clone(&self.router), reader, OutboxLimits::default().run());
        let mut chunk = stream.clone();
        let member = self.seats.first().expect("somebody").member();
        while !matches!(intake.step(member, &mut chunk), Ok(0) | Err(_)) {}
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
        self.registry.join(member, group, 1_000, Origin::Client, || Ok(())).expect("a member");
        self.registry.leave(member, group);
        let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
        let _ = member.outbox().poll_take(&mut context, &mut chunks);
    }
}
