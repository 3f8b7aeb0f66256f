//! What `bench/instructions` counts with callgrind: each function that begins with `measured_`, and nothing beside it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on must say where"
)]

use std::hint::black_box;

use bytes::Bytes;
use fanfare_protocol::codec;
use fanfare_protocol::{
    ClientFrame, ConnectionId, EventName, GroupName, Message, PayloadFormat, Sender, ServerFrame, Target,
    UserName,
};
use fanfare_server::microbench::Rig;

#[inline(never)]
fn measured_encode(message: &Message) -> Bytes {
    codec::encode_message(message)
}

#[inline(never)]
fn measured_decode(frame: &Bytes) -> ClientFrame {
    codec::decode_client(frame).unwrap()
}

#[inline(never)]
fn measured_receive(frame: &Bytes) -> ServerFrame {
    codec::decode_server(frame).unwrap()
}

#[inline(never)]
fn measured_route(rig: &Rig, stream: &Bytes) {
    rig.route(stream);
}

#[inline(never)]
fn measured_drain(rig: &Rig) -> usize {
    rig.drain()
}

fn main() {
    let message = Message {
        from: Sender::Connection {
            connection: ConnectionId::from_bytes([7; 16]),
            user: UserName::new("alice").unwrap(),
        },
        to: Target::Group(GroupName::new("room").unwrap()),
        event: EventName::new("E").unwrap(),
        format: PayloadFormat::Binary,
        payload: Bytes::from(vec![7; 64]),
    };
    let encoded = codec::encode_message(&message).slice(codec::PREFIX_BYTES..);
    let one = Rig::burst(1, 64);
    let send = one.slice(codec::PREFIX_BYTES..);
    let rig = Rig::new(1_000);
    // Once unmeasured: what is allocated on first use is not what a message costs.
    rig.route(&one);
    rig.drain();
    match std::env::args().nth(1).as_deref() {
        Some("encode") => drop(black_box(measured_encode(&message))),
        Some("decode") => drop(black_box(measured_decode(&send))),
        Some("receive") => drop(black_box(measured_receive(&encoded))),
        Some("route") => measured_route(&rig, &one),
        Some("route_run") => measured_route(&rig, &Rig::burst(16, 64)),
        Some("drain") => {
            rig.route(&one);
            black_box(measured_drain(&rig));
        }
        other => {
            println!("encode, decode, receive, route, route_run or drain, and not {other:?}");
            std::process::exit(2);
        }
    }
}
