//! What calls and tasks share: what happens, what is counted, the connection as those who send see it, and where events
//! go.
//!
//! In and out: values. Invariant: an event that nobody takes any more closes the bus.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::judge::Judge;
use crate::requests::Requests;
use crate::seal::Seal;
use crate::settings::Settings;

/// What happens, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node has sent this to this one, or to all.
    Message {
        /// As it was sent.
        payload: Bytes,
    },
    /// An entry of the bucket: first those that are there, then each as it changes. Every key's newest is told, those
    /// between may be left out.
    Entry {
        /// Its key.
        key: String,
        /// None: there is none any more.
        value: Option<Bytes>,
        /// Of the whole bucket: greater than any that was told before.
        revision: u64,
        /// Whether nothing was behind it when it was given: what has been told by now is the bucket as it was at this
        /// revision. Where it is not, something may be missing that another entry has taken the place of since.
        is_newest: bool,
    },
    /// Nothing is behind what has been told: that is the bucket as it is.
    Newest,
    /// All has been told that was in the bucket when its watch began. Once.
    CaughtUp,
    /// The bucket is another than it was, or has lost its end (all of its servers lost power at once): from now on
    /// no entry is told. What is known may be wrong, and the node must start again. Once, and for good.
    Replaced,
    /// There is a connection, and messages may be sent.
    Connected {
        /// To which server.
        server: String,
        /// The longest message that may be sent, in bytes. It may be less than [`Settings::largest`] where a server
        /// has other settings than the one before.
        largest: usize,
    },
    /// There is none any more. What was not sent by now will not be.
    Disconnected,
}

/// What an entry is expected to be when it is put or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever it is.
    Anything,
    /// There is none, or it was deleted.
    Nothing,
    /// It has this revision. Servers look at that before they agree on a put, and not again: of several puts over one
    /// revision within milliseconds more than one may be done while the leader changes (nats-server#8469), and in a
    /// cluster of servers before 2.9.21, to which no node connects, at any time (nats-server#4320). What counts
    /// is what the watch tells last.
    Revision(u64),
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections that have begun.
    pub connections: u64,
    /// Messages that were handed to NATS.
    pub sent: u64,
    /// Messages that were accepted by `send`, and dropped because their connection ended.
    pub discarded: u64,
    /// Messages that have arrived and are told; each is counted before it is told.
    pub received: u64,
    /// Messages that arrived over an older connection of their sender than another before them, or once more.
    pub stale: u64,
    /// Messages whose sender knew only what is long past: [`Settings::late`].
    pub late: u64,
    /// Messages that were none of a node of this version and this bucket.
    pub unreadable: u64,
    /// Messages that arrived while too many waited for whoever takes the events.
    pub overrun: u64,
    /// How often the watch of the bucket was made anew over a connection.
    pub rewatches: u64,
    /// Entries that no consumer brought in time, and that were fetched one by one.
    pub fetched: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) connections: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) discarded: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) overrun: AtomicU64,
    pub(crate) rewatches: AtomicU64,
    pub(crate) fetched: AtomicU64,
}

impl Counting {
    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: read(&self.connections),
            sent: read(&self.sent),
            discarded: read(&self.discarded),
            received: read(&self.received),
            stale: read(&self.stale),
            late: read(&self.late),
            unreadable: read(&self.unreadable),
            overrun: read(&self.overrun),
            rewatches: read(&self.rewatches),
            fetched: read(&self.fetched),
        }
    }
}

/// A connection, as those who send see it.
pub(crate) struct Link {
    pub(crate) queue: mpsc::Sender<Outgoing>,
    pub(crate) requests: Arc<Requests>,
    /// The longest message with its stamp, in bytes.
    pub(crate) limit: usize,
}

/// A message on its way to the writer.
pub(crate) struct Outgoing {
    /// For whom it is; none: for all.
    pub(crate) to: Option<[u8; 4]>,
    pub(crate) message: Bytes,
    /// What this node knew when it was handed over.
    pub(crate) seen: u64,
}

/// What calls and tasks share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) node: [u8; 4],
    pub(crate) link: RwLock<Option<Link>>,
    /// Up to which revision the watch has told everything; 0 before it has caught up.
    pub(crate) seen: AtomicU64,
    /// When the bucket was made, as NATS says it.
    pub(crate) bucket: OnceLock<String>,
    pub(crate) judge: Mutex<Judge>,
    /// What this bucket's nodes are known by, and the revision of that; from the first connection on.
    pub(crate) seal: OnceLock<(Seal, u64)>,
    /// Whether old marks can be taken out of the bucket.
    pub(crate) purges: AtomicBool,
    pub(crate) counters: Counting,
}

impl Shared {
    pub(crate) fn new(settings: Settings, node: [u8; 4]) -> Arc<Self> {
        Arc::new(Self {
            judge: Mutex::new(Judge::new(settings.late)),
            settings,
            node,
            link: RwLock::new(None),
            seen: AtomicU64::new(0),
            bucket: OnceLock::new(),
            seal: OnceLock::new(),
            purges: AtomicBool::new(false),
            counters: Counting::default(),
        })
    }
}

/// Where events go.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub(crate) sender: mpsc::Sender<Event>,
    pub(crate) closing: CancellationToken,
}

impl Outlet {
    /// Waits for its place. False: nobody wants to know any more.
    pub(crate) async fn tell(&self, event: Event) -> bool {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => false,
            sent = self.sender.send(event) => {
                if sent.is_err() {
                    self.closing.cancel();
                }
                sent.is_ok()
            }
        }
    }
}
