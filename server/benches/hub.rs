//! Nanoseconds of the parts that every message goes through: `cargo bench -p fanfare-server --features bench`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare_protocol::codec::{self, FrameReader};
use fanfare_protocol::{
    ConnectionId, EventName, GroupName, Message, PayloadFormat, Sender, Target, UserName,
};
use fanfare_server::microbench::Rig;

const SIZES: [usize; 5] = [16, 64, 256, 1_024, 16_384];

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for size in SIZES {
        let message = Message {
            from: Sender::Connection {
                connection: ConnectionId::from_bytes([7; 16]),
                user: UserName::new("alice").unwrap(),
            },
            to: Target::Group(GroupName::new("room").unwrap()),
            event: EventName::new("E").unwrap(),
            format: PayloadFormat::Binary,
            payload: Bytes::from(vec![7; size]),
        };
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("encode message of {size}"), |bencher| {
            bencher.iter(|| codec::encode_message(black_box(&message)));
        });
        let frame = codec::encode_message(&message).slice(codec::PREFIX_BYTES..);
        group.bench_function(format!("decode message of {size}"), |bencher| {
            bencher.iter(|| codec::decode_server(black_box(&frame)).unwrap());
        });
        let send = Rig::burst(1, size);
        group.bench_function(format!("cut and decode send of {size}"), |bencher| {
            bencher.iter(|| {
                let mut chunk = send.clone();
                let frame = FrameReader::new(u32::MAX).next_frame(&mut chunk).unwrap().unwrap();
                codec::decode_client(black_box(&frame)).unwrap()
            });
        });
    }
    group.finish();
}

fn outboxes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route and drain");
    for (members, sends) in [(1, 1), (1, 64), (1_000, 1), (1_000, 16)] {
        let (rig, burst) = (Rig::new(members), Rig::burst(sends, 64));
        group.throughput(Throughput::Elements(u64::from(members) * sends as u64));
        group.bench_function(format!("{sends} sends to {members}"), |bencher| {
            bencher.iter(|| {
                rig.route(&burst);
                rig.drain()
            });
        });
    }
    group.finish();
}

/// The time of `rounds` on each of so many threads at once.
fn at_once(threads: usize, rounds: u64, work: impl Fn(usize) + Sync) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for at in 0..threads {
            let work = &work;
            scope.spawn(move || (0..rounds).for_each(|_| work(at)));
        }
    });
    begun.elapsed()
}

fn registry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join and leave");
    let rig = Rig::new(8);
    let shared = GroupName::new("shared").unwrap();
    let own: Vec<_> = (0..8).map(|at| GroupName::new(&format!("own {at}")).unwrap()).collect();
    for threads in [1, 2, 4] {
        group.bench_function(format!("{threads} threads, a group each"), |bencher| {
            bencher.iter_custom(|rounds| at_once(threads, rounds, |at| rig.visit(at, &own[at])));
        });
        group.bench_function(format!("{threads} threads, the same group"), |bencher| {
            bencher.iter_custom(|rounds| at_once(threads, rounds, |at| rig.visit(at, &shared)));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("iterate");
    let (rig, one) = (Rig::new(1_000), Rig::burst(1, 64));
    group.throughput(Throughput::Elements(1_000));
    for threads in [1, 2] {
        group.bench_function(format!("{threads} threads send to the same 1,000"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    took += at_once(threads, 1, |_| rig.route(&one));
                    rig.drain();
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = codec, outboxes, registry
}
criterion_main!(benches);
