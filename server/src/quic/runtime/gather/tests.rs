#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::*;

use std::io::IoSliceMut;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::RecvMeta;
use quinn::{Runtime, TokioRuntime, UdpPoller};
use tokio::time::timeout;

/// In the place of quinn's socket: remembers what it was given, and takes only so much.
#[derive(Debug)]
struct Slow {
    room: AtomicUsize,
    sent: Mutex<Vec<(usize, Option<usize>)>>,
    waiting: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct Room(Arc<Slow>);

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.0.waiting.lock() = Some(context.waker().clone());
        if self.0.room.load(Ordering::SeqCst) > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Slow {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self { room: AtomicUsize::new(room), sent: Mutex::default(), waiting: Mutex::default() })
    }

    fn give_room(&self, room: usize) {
        self.room.store(room, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().take() {
            waker.wake();
        }
    }
}

impl AsyncUdpSocket for Slow {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let room = self.room.load(Ordering::SeqCst);
        self.room.store(room.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?, Ordering::SeqCst);
        self.sent.lock().push((transmit.contents.len(), transmit.segment_size));
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn max_transmit_segments(&self) -> usize {
        10
    }
}

fn datagram(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
    Transmit { destination, ecn: Some(EcnCodepoint::Ect0), contents, segment_size: None, src_ip: None }
}

fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// On a real socket, with its tasks.
fn real() -> Arc<Gather> {
    let socket = bound("127.0.0.1");
    let again = socket.try_clone().unwrap();
    let gather = Arc::new(Gather::new(TokioRuntime.wrap_udp_socket(socket).unwrap(), again, 2));
    for lane in 0..gather.lanes() {
        tokio::spawn(Arc::clone(&gather).run(lane));
    }
    gather
}

#[tokio::test]
async fn everything_arrives_once_and_each_peer_gets_its_datagrams_in_order() {
    const ROUNDS: usize = 200;
    let gather = real();
    let peers: Vec<_> = (0..5).map(|_| bound("127.0.0.1")).collect();
    // Several in a row to the same peer, of the same size and of others, so that bursts begin, end and are interrupted.
    let sizes = [1_200, 1_200, 1_200, 700, 1_200, 1_300, 0, 20, 1_300];
    for round in 0..ROUNDS {
        for (number, peer) in peers.iter().enumerate() {
            for (at, size) in sizes.iter().enumerate().take(1 + (round + number) % sizes.len()) {
                let contents = vec![(round + at) as u8; *size];
                gather.send(&datagram(peer.local_addr().unwrap(), &contents)).unwrap();
            }
        }
        tokio::task::yield_now().await;
        for (number, peer) in peers.iter().enumerate() {
            let expected = 1 + (round + number) % sizes.len();
            let peer = peer.try_clone().unwrap();
            let came = tokio::task::spawn_blocking(move || {
                let mut buffer = [0; 2_048];
                (0..expected)
                    .map(|_| peer.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap())
                    .collect::<Vec<_>>()
            });
            for (at, contents) in came.await.unwrap().into_iter().enumerate() {
                assert_eq!(contents, vec![(round + at) as u8; sizes[at]], "round {round}, peer {number}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_kernel_does_not_take_waits_is_bounded_and_goes_later() {
    let slow = Slow::with_room(0);
    // Of the other family: `send_many` fails, so that everything goes to the slow one.
    let gather = Arc::new(Gather::new(Arc::clone(&slow) as _, bound("::1"), 1));
    let task = tokio::spawn(Arc::clone(&gather).run(0));
    let peers: Vec<SocketAddr> =
        (0..200).map(|port| SocketAddr::from(([127, 0, 0, 1], 10_000 + port))).collect();
    let taken = peers.iter().take_while(|peer| gather.send(&datagram(**peer, b"x")).is_ok()).count();
    assert_eq!(taken, MOST, "as many as a batch has");
    slow.give_room(10);
    // What was refused comes again, as quinn's drivers do it.
    for peer in &peers[taken..] {
        while gather.send(&datagram(*peer, b"x")).is_err() {
            slow.give_room(1);
            tokio::task::yield_now().await;
        }
    }
    slow.give_room(usize::MAX);
    gather.close();
    timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
    assert_eq!(slow.sent.lock().len(), peers.len());
}

#[tokio::test]
async fn a_burst_is_as_long_as_the_system_takes_and_ends_with_a_shorter_datagram() {
    let slow = Slow::with_room(usize::MAX);
    let gather = Arc::new(Gather::new(Arc::clone(&slow) as _, bound("::1"), 1));
    let peer = SocketAddr::from(([127, 0, 0, 1], 10_000));
    // Behind 1,400 bytes nothing shorter goes, as long as those may be a probe.
    for size in [[100; 25].as_slice(), &[60, 100, 100, 120], &[1_400, 300, 1_400, 1_400, 300]].concat() {
        gather.send(&datagram(peer, &vec![0; size])).unwrap();
    }
    gather.close();
    Arc::clone(&gather).run(0).await;
    let bursts = [(1_000, Some(100)), (1_000, Some(100)), (560, Some(100)), (200, Some(100)), (120, None)];
    let behind = [(1_400, None), (300, None), (3_100, Some(1_400))];
    assert_eq!(*slow.sent.lock(), [bursts.as_slice(), &behind].concat());
}

#[tokio::test]
async fn datagrams_that_come_alone_go_at_once_after_a_while() {
    let slow = Slow::with_room(usize::MAX);
    let gather = Arc::new(Gather::new(Arc::clone(&slow) as _, bound("127.0.0.1"), 1));
    let task = tokio::spawn(Arc::clone(&gather).run(0));
    let peer = SocketAddr::from(([127, 0, 0, 1], 10_000));
    for sent in 0..DISAPPOINTMENTS as usize {
        gather.send(&datagram(peer, b"alone")).unwrap();
        assert_eq!(slow.sent.lock().len(), sent, "gathered at first");
        while slow.sent.lock().len() == sent {
            tokio::task::yield_now().await;
        }
    }
    let before = slow.sent.lock().len();
    for sent in 1..=DIRECT as usize {
        gather.send(&datagram(peer, b"alone")).unwrap();
        assert_eq!(slow.sent.lock().len(), before + sent);
    }
    // It is tried again, and when it is worthwhile it stays.
    for _ in 0..3 {
        let before = slow.sent.lock().len();
        for port in 10_000..10_003 {
            gather.send(&datagram(SocketAddr::from(([127, 0, 0, 1], port)), b"together")).unwrap();
        }
        assert_eq!(slow.sent.lock().len(), before);
        // By `sendmmsg`, past the slow one.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    gather.close();
    timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_driver_changes_threads_keeps_its_order() {
    const DATAGRAMS: u32 = 20_000;
    let gather = real();
    let peer = bound("127.0.0.1");
    let destination = peer.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let received = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        for number in 0..DATAGRAMS {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], number.to_be_bytes());
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut before = None;
    for first in (0..DATAGRAMS).step_by(20) {
        // No more on their way than the peer's socket holds: 208 KiB, in which each may take a page of the kernel's, and
        // what is beyond that is lost.
        while seen.load(Ordering::SeqCst) + 20 < first as usize && !received.is_finished() {
            tokio::task::yield_now().await;
        }
        let gather = Arc::clone(&gather);
        // Any thread at all: two workers, and those for what blocks.
        let mut driver = move || {
            for number in first..first + 20 {
                while {
                    let followed = gather.follow(before);
                    before = followed.unwrap_or(before);
                    followed.is_err() || gather.send(&datagram(destination, &number.to_be_bytes())).is_err()
                } {
                    std::thread::yield_now();
                }
            }
            before
        };
        before = if first % 40 == 0 {
            tokio::task::spawn_blocking(driver).await.unwrap()
        } else {
            tokio::spawn(async move { driver() }).await.unwrap()
        };
    }
    tokio::task::spawn_blocking(|| received.join()).await.unwrap().unwrap();
}
