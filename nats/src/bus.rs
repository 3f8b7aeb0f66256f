//! What a node has of NATS: messages to others, entries of the bucket, and what happens.
//!
//! In: calls from any thread. Out: [`Event`]s, and errors at once where something cannot be done now. Invariants:
//! sending never waits; what was not refused is handed over in the order of the calls, or dropped with its connection;
//! all tasks end with [`Bus::close`], or when the last [`Bus`] is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::bucket;
use crate::error::{NotSent, OpenError, PutError};
use crate::keeper::Keeper;
use crate::marks::{self, Found};
use crate::requests::Requests;
use crate::settings::Settings;
use crate::shared::{Counters, Event, Expect, Outgoing, Outlet, Shared};
use crate::stamp::BYTES;

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
        let shared = Shared::new(settings, node);
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
        self.hand_over(Some(to), message.as_ref())
    }

    /// Sends a message to all nodes but this one. Among those to all it keeps its place; towards those to one node it
    /// has none.
    ///
    /// # Errors
    ///
    /// [`NotSent`]: it will not arrive.
    pub fn send_all(&self, message: impl AsRef<[u8]>) -> Result<(), NotSent> {
        self.hand_over(None, message.as_ref())
    }

    fn hand_over(&self, to: Option<[u8; 4]>, message: &[u8]) -> Result<(), NotSent> {
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
        let seen = self.shared.seen.load(Ordering::Acquire);
        place.send(Outgoing { to, message: Bytes::copy_from_slice(message), seen });
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
        bucket::change(&*self.requests()?, &self.shared.settings, key, value, over).await
    }

    fn requests(&self) -> Result<Arc<Requests>, PutError> {
        let requests = self.shared.link.read().as_ref().map(|link| Arc::clone(&link.requests));
        requests.ok_or_else(|| PutError::Unavailable { reason: NotSent::Disconnected.to_string() })
    }

    /// Whether [`Bus::purge`] can do anything, as it was found at the start: the user may not have the right to it, or
    /// the bucket or the server may be one for which it cannot be done.
    pub fn purges(&self) -> bool {
        self.shared.purges.load(Ordering::Relaxed)
    }

    /// The first entry after a revision, as the bucket's leader has it, with the marks of what was deleted.
    ///
    /// # Errors
    ///
    /// It is not known now.
    pub async fn after(&self, revision: u64) -> Result<Option<Found>, PutError> {
        marks::after(&*self.requests()?, &self.shared.settings, revision).await
    }

    /// Whether all servers that keep the bucket are there, and have what its leader has.
    ///
    /// # Errors
    ///
    /// It is not known now.
    pub async fn is_whole(&self) -> Result<bool, PutError> {
        marks::is_whole(&*self.requests()?, &self.shared.settings).await
    }

    /// Takes out what a key had up to a revision, without a mark that says so: a mark that was found there, of which
    /// nobody has to know any more. What was put later stays, also where this is done later than it was answered.
    ///
    /// # Errors
    ///
    /// It was not done, or may not have been.
    pub async fn purge(&self, key: &str, revision: u64) -> Result<(), PutError> {
        marks::purge(&*self.requests()?, &self.shared.settings, key, revision).await
    }

    /// What tells the bucket from any other of its name: when it was made. Known from [`Event::CaughtUp`] on.
    pub fn bucket(&self) -> Option<&str> {
        self.shared.bucket.get().map(String::as_str)
    }

    /// Whether messages may be sent now.
    pub fn is_connected(&self) -> bool {
        self.shared.link.read().is_some()
    }

    /// Waits until what was sent so far was handed to NATS, or there is no connection any more: what is put after that
    /// comes behind it, as far as this node can see to it.
    pub async fn handed_over(&self) {
        let queue = self.shared.link.read().as_ref().map(|link| link.queue.clone());
        if let Some(queue) = queue {
            // All its places are free when nothing waits in it; and it is closed when the connection ends.
            let _ = queue.reserve_many(queue.max_capacity()).await;
        }
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters.read()
    }

    /// Ends everything, for all clones: what was sent is handed over, for a second at most; what is asked is answered
    /// with [`PutError::Unknown`]. Returns when all tasks have ended.
    pub async fn close(self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}
