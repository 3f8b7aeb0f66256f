//! What a node has of NATS: messages to others, entries of the bucket, and what happens.
//!
//! In: calls from any thread. Out: [`Event`]s, and errors at once where something cannot be done now. Invariants:
//! sending never waits; what was not refused is handed over in the order of the calls, or dropped with its connection;
//! all tasks end with [`Bus::close`], or when the last [`Bus`] is dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::bucket;
use crate::error::{NotSent, OpenError, PutError};
use crate::judge::Judge;
use crate::keeper::Keeper;
use crate::requests::Requests;
use crate::settings::Settings;
use crate::stamp::{BYTES, Kind, Stamp};

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
    /// It has this revision. Servers look at that before they agree on a put, and not again: in a cluster, of several
    /// puts over one revision within milliseconds more than one is done where a server is older than 2.9.21
    /// (nats-server#4320; there is no connection to such a server), and may be done in any while its leader changes (nats-server#8469). What counts is what the
    /// watch tells last.
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
    /// Messages that arrived over an older connection of their sender than another before them.
    pub stale: u64,
    /// Messages whose sender knew only what is long past: [`Settings::late`].
    pub late: u64,
    /// Messages that were none of this version's.
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

/// A connection, as those who send see it.
pub(crate) struct Link {
    pub(crate) queue: mpsc::Sender<Outgoing>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) epoch: u64,
    /// The longest message with its stamp, in bytes.
    pub(crate) limit: usize,
}

pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
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
    pub(crate) counters: Counting,
}

/// Where events go.
#[derive(Clone)]
pub(crate) struct Outlet {
    sender: mpsc::Sender<Event>,
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

/// A node's place in NATS. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Closes it when the last one goes.
    _guard: Arc<DropGuard>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("prefix", &self.shared.settings.prefix).finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects, makes the bucket where there is none, looks whether all can be done that will have to be, listens for
    /// this node and for all, and begins to watch the bucket.
    ///
    /// The events are to be taken: while as many wait as [`Settings::events`] says, nothing more is. When their
    /// receiver is dropped, the bus closes.
    ///
    /// # Errors
    ///
    /// Where trying again would be of no use, at once; else when [`Settings::patience`] is over.
    pub async fn open(settings: Settings, node: [u8; 4]) -> Result<(Self, mpsc::Receiver<Event>), OpenError> {
        let servers = settings.check()?;
        let (sender, events) = mpsc::channel(settings.events.max(1));
        let closing = CancellationToken::new();
        let guard = Arc::new(closing.clone().drop_guard());
        let shared = Arc::new(Shared {
            judge: Mutex::new(Judge::new(settings.late)),
            settings,
            node,
            link: RwLock::new(None),
            seen: AtomicU64::new(0),
            bucket: OnceLock::new(),
            counters: Counting::default(),
        });
        let outlet = Outlet { sender, closing: closing.clone() };
        let (keeper, session) = Keeper::begin(Arc::clone(&shared), outlet, servers).await?;
        let tasks = TaskTracker::new();
        tasks.spawn(keeper.run(session));
        tasks.close();
        Ok((Self { shared, tasks, closing, _guard: guard }, events))
    }

    /// Sends a message to one node. It arrives once, behind those that were sent to the node before, or not at all.
    ///
    /// # Errors
    ///
    /// [`NotSent`]: it will not arrive.
    pub fn send(&self, to: [u8; 4], message: impl AsRef<[u8]>) -> Result<(), NotSent> {
        self.hand_over(self.shared.settings.node_subject(to), message.as_ref())
    }

    /// Sends a message to all nodes but this one. Among those to all it keeps its place; towards those to one node it
    /// has none.
    ///
    /// # Errors
    ///
    /// [`NotSent`]: it will not arrive.
    pub fn send_all(&self, message: impl AsRef<[u8]>) -> Result<(), NotSent> {
        self.hand_over(self.shared.settings.all_subject(), message.as_ref())
    }

    fn hand_over(&self, subject: String, message: &[u8]) -> Result<(), NotSent> {
        let link = self.shared.link.read();
        let Some(link) = link.as_ref() else { return Err(NotSent::Disconnected) };
        let limit = link.limit.saturating_sub(BYTES);
        if message.len() > limit {
            return Err(NotSent::TooLong { bytes: message.len(), limit });
        }
        let place = link.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => NotSent::Full,
            mpsc::error::TrySendError::Closed(()) => NotSent::Disconnected,
        })?;
        let stamp = Stamp {
            kind: Kind::Message,
            from: self.shared.node,
            epoch: link.epoch,
            seen: self.shared.seen.load(Ordering::Acquire),
        };
        place.send(Outgoing { subject, payload: stamp.seal(message) });
        Ok(())
    }

    /// Puts an entry into the bucket. Answers with its revision, at the latest after [`Settings::answer`]. By then the
    /// watch may have told of it, or not yet.
    ///
    /// What is [`PutError::Unknown`] may be done later, also after what was put in its place meanwhile: a server that
    /// was stopped still has it. Over [`Expect::Anything`] it then takes the place of what is newer.
    ///
    /// # Errors
    ///
    /// [`PutError::Unknown`] where it may have been put, or may still be; else it was not.
    pub async fn put(&self, key: &str, value: Bytes, over: Expect) -> Result<u64, PutError> {
        self.change(key, Some(value), over).await
    }

    /// Says in the bucket that a key has no entry. Like [`Bus::put`].
    ///
    /// # Errors
    ///
    /// As those of [`Bus::put`].
    pub async fn delete(&self, key: &str, over: Expect) -> Result<u64, PutError> {
        self.change(key, None, over).await
    }

    async fn change(&self, key: &str, value: Option<Bytes>, over: Expect) -> Result<u64, PutError> {
        let requests = self.shared.link.read().as_ref().map(|link| Arc::clone(&link.requests));
        let Some(requests) = requests else {
            return Err(PutError::Unavailable { reason: NotSent::Disconnected.to_string() });
        };
        bucket::change(&requests, &self.shared.settings, key, value, over).await
    }

    /// What tells the bucket from any other of its name: when it was made. Known from [`Event::CaughtUp`] on.
    pub fn bucket(&self) -> Option<&str> {
        self.shared.bucket.get().map(String::as_str)
    }

    /// Whether messages may be sent now.
    pub fn is_connected(&self) -> bool {
        self.shared.link.read().is_some()
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        let counting = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: read(&counting.connections),
            sent: read(&counting.sent),
            discarded: read(&counting.discarded),
            received: read(&counting.received),
            stale: read(&counting.stale),
            late: read(&counting.late),
            unreadable: read(&counting.unreadable),
            overrun: read(&counting.overrun),
            rewatches: read(&counting.rewatches),
            fetched: read(&counting.fetched),
        }
    }

    /// Ends everything, for all clones: what was sent is handed over, for a second at most; what is asked is answered
    /// with [`PutError::Unknown`]. Returns when all tasks have ended.
    pub async fn close(self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}
