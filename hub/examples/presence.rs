//! What presence costs: `cargo run --release -p fanfare-hub --example presence`.
//!
//! A group of 10,000 users, with 100 who join and 100 who leave in each second of ten, and some who watch. In a hub
//! alone, so that what is measured is the hub's: frames to each who watches, what a join takes, what an announcement
//! takes, and what a send to the group takes beside it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints what it measures"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fanfare_hub::{Hub, HubLimits, Newcomer, Nowhere, Open, Origin, Publication, Seat, Taken};
use fanfare_protocol::{
    ConnectionId, EventName, GroupName, PayloadFormat, Sender, ServerFrame, Target, UserName,
};

const MEMBERS: u32 = 10_000;
const SECONDS: u32 = 10;
/// In each second; and as many leave.
const JOINS: u32 = 100;
/// In each second, as the server has it.
const ANNOUNCEMENTS: u32 = 4;

fn register(hub: &Hub<()>, number: u32) -> Seat<()> {
    let newcomer = Newcomer {
        connection: ConnectionId::from_bytes((u128::from(number) + 1).to_be_bytes()),
        user: UserName::new(&format!("user {number}")).unwrap(),
        source: [127, 0, 0, 1].into(),
        line: Arc::new(Nowhere),
        permissions: (),
        dialect: None,
    };
    let first = ServerFrame::Ack { request: 0, count: 0 };
    hub.register(newcomer, &first, (Instant::now(), SystemTime::now())).ok().unwrap()
}

/// Takes everything that waits, as a client that reads. Gives how many frames, and how many bytes.
fn drain(seat: &Seat<()>) -> (usize, usize) {
    let (mut frames, mut bytes) = (0, 0);
    let (mut context, mut chunks) = (Context::from_waker(Waker::noop()), Vec::new());
    while let Poll::Ready(Taken::Batch(_)) = seat.member().outbox().poll_take(&mut context, &mut chunks) {
        frames += chunks.len();
        bytes += chunks.drain(..).map(|chunk: Bytes| chunk.len()).sum::<usize>();
    }
    (frames, bytes)
}

fn announce(hub: &Hub<()>, now: Instant) {
    hub.announcement(now).go_on(usize::MAX);
}

fn measure(watchers: u32) {
    let hub: Hub<()> = Hub::new(HubLimits::default(), Arc::new(Open));
    let room = GroupName::new("room").unwrap();
    let mut coming: Vec<Seat<()>> =
        (0..MEMBERS + SECONDS * JOINS + watchers).map(|number| register(&hub, number)).collect();
    let members: Vec<Seat<()>> = coming.drain(..MEMBERS as usize).collect();
    let watching: Vec<Seat<()>> = coming.drain(..watchers as usize).collect();
    let join = |seat: &Seat<()>| {
        hub.join(seat.member(), &room, Origin::Application).unwrap();
    };
    members.iter().for_each(join);
    let mut now = Instant::now();
    let begun = Instant::now();
    for seat in &watching {
        drain(seat);
        hub.watch(seat.member(), &room).unwrap();
        // Until it has been told all.
        while drain(seat) != (0, 0) {
            announce(&hub, now);
        }
    }
    let watched = begun.elapsed();

    let (mut joining, mut announcing, mut sending) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut joins, mut frames, mut bytes) = (0, 0, 0);
    let (mut coming, mut leaving) = (coming.iter(), members.iter());
    for _ in 0..SECONDS * ANNOUNCEMENTS {
        for seat in &members {
            drain(seat);
        }
        let step = (JOINS / ANNOUNCEMENTS) as usize;
        let begun = Instant::now();
        coming.by_ref().take(step).for_each(join);
        for seat in leaving.by_ref().take(step) {
            hub.leave(seat.member(), &room);
        }
        joining += begun.elapsed();
        joins += 2 * step;
        now += Duration::from_secs(1) / ANNOUNCEMENTS;
        let begun = Instant::now();
        announce(&hub, now);
        announcing += begun.elapsed();
        for seat in &watching {
            let told = drain(seat);
            (frames, bytes) = (frames + told.0, bytes + told.1);
        }
        let begun = Instant::now();
        let publication = Publication {
            from: Sender::Server,
            to: vec![Target::Group(room.clone())],
            except: Vec::new(),
            event: EventName::new("E").unwrap(),
            format: PayloadFormat::Binary,
            payload: Bytes::from_static(&[0; 64]),
            accepted: begun,
            counts: false,
        };
        hub.send(publication).unwrap();
        sending += begun.elapsed();
    }
    let steps = f64::from(SECONDS * ANNOUNCEMENTS);
    let each = |sum: usize| sum as f64 / f64::from(watchers.max(1) * SECONDS);
    println!(
        "{watchers:>5} watching: {:.1} frames/s and {:.0} bytes/s to each; {:.2} us for a join or a leave, {:.0} us for \
         an announcement, {:.0} us for a send to the group, {:.2} ms for each to be told who is there",
        each(frames),
        each(bytes),
        joining.as_secs_f64() * 1e6 / joins as f64,
        announcing.as_secs_f64() * 1e6 / steps,
        sending.as_secs_f64() * 1e6 / steps,
        watched.as_secs_f64() * 1e3 / f64::from(watchers.max(1)),
    );
}

fn main() {
    for watchers in [0, 1, 100, 1_000] {
        measure(watchers);
    }
}
