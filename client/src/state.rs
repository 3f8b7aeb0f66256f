//! What the client's handles, the reader and the supervisor share: is there a connection, and which groups belong to
//! it.
//!
//! In: the supervisor's word on the connection, the application's requests, the server's answers. Out: a link to send
//! over, or why there is none.
//!
//! Invariants: connection and memberships change under one lock, so that a request belongs either to the connection
//! before an outage or to the one after it, and a group that is left during an outage is left; the lock is never held
//! across an await; frames are queued in the order in which their methods were called.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fanfare_protocol::{ClientFrame, GroupName, RequestId, Token, Welcome, codec};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::answering::Handlers;
use crate::connection::Transport;
use crate::error::{CloseError, RequestError};
use crate::event::Event;
use crate::incoming::Skipped;
use crate::link::Link;
use crate::membership::Membership;
use crate::requests::{Answer, Effect, Place};
use crate::watches::Watches;

/// Whether there is a connection.
enum Phase {
    Live(Arc<Link>),
    /// None now, maybe again later.
    Reconnecting,
    /// Never again.
    Closed,
}

struct State {
    phase: Phase,
    /// Of the current connection, or of the last one.
    welcome: Welcome,
    /// What that connection goes over, or went.
    transport: Transport,
    /// Where it goes to, or went.
    address: String,
    membership: Membership,
    /// The newest token that the server took on a living connection, and the request that it came with.
    newest: Option<(RequestId, Token)>,
    /// The event that ends the series. It does not go through the queue, which may be full.
    last_event: Option<Event>,
    close_result: Result<(), CloseError>,
}

/// What is shared.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// One permit, held while a frame is being queued, and given out in the order of asking: this is what keeps frames
    /// in the order of the calls when several tasks wait for room.
    turn: Semaphore,
    next_request: AtomicU64,
    /// What the application's server may invoke here.
    pub(crate) handlers: Handlers,
    /// The groups that are watched.
    pub(crate) watches: Watches,
    /// Frames of the server that this version does not know.
    pub(crate) skipped: Skipped,
    /// Cancelled when the application wants to close.
    pub(crate) closing: CancellationToken,
    /// Cancelled when the supervisor has ended.
    pub(crate) closed: CancellationToken,
}

impl Shared {
    /// Starts with a live connection.
    pub(crate) fn new(link: Arc<Link>, skipped: Skipped, closing: CancellationToken) -> Self {
        let state = State {
            welcome: link.welcome.clone(),
            transport: link.connection.transport(),
            address: link.server.clone(),
            phase: Phase::Live(link),
            membership: Membership::default(),
            newest: None,
            last_event: None,
            close_result: Ok(()),
        };
        Self {
            state: Mutex::new(state),
            turn: Semaphore::new(1),
            next_request: AtomicU64::new(1),
            handlers: Handlers::default(),
            watches: Watches::default(),
            skipped,
            closing,
            closed: CancellationToken::new(),
        }
    }

    /// A number that no other request of this client has.
    pub(crate) fn next_request(&self) -> RequestId {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks at what the server said first on the current connection, or on the last one.
    pub(crate) fn welcome<T>(&self, look: impl FnOnce(&Welcome) -> T) -> T {
        look(&self.state.lock().welcome)
    }

    /// What the current connection goes over, or the last one.
    pub(crate) fn transport(&self) -> Transport {
        self.state.lock().transport
    }

    /// Where the current connection goes to, or the last one.
    pub(crate) fn address(&self) -> String {
        self.state.lock().address.clone()
    }

    /// The live connection, if there is one.
    pub(crate) fn link(&self) -> Result<Arc<Link>, RequestError> {
        match &self.state.lock().phase {
            Phase::Live(link) => Ok(Arc::clone(link)),
            Phase::Reconnecting => Err(RequestError::NotConnected),
            Phase::Closed => Err(RequestError::Closed),
        }
    }

    /// Queues a frame that gets no answer. When this is dropped before it is done, nothing was queued.
    pub(crate) async fn queue(&self, frame: Bytes) -> Result<(), RequestError> {
        let _turn = self.turn.acquire().await;
        let link = self.link()?;
        link.queue.send(frame).await.map_err(|_| self.not_sent())
    }

    /// Queues a call on this connection, and no later one, and enters it. When this is dropped before it is done,
    /// nothing was queued.
    pub(crate) async fn queue_call<T>(
        &self,
        link: &Link,
        frame: Bytes,
        enter: impl FnOnce(Place) -> Option<T>,
    ) -> Result<T, RequestError> {
        let _turn = self.turn.acquire().await;
        let place = link.requests.place().await.ok_or_else(|| self.not_sent())?;
        let room = link.queue.reserve().await.map_err(|_| self.not_sent())?;
        let entered = enter(place).ok_or_else(|| self.not_sent())?;
        room.send(frame);
        Ok(entered)
    }

    /// Queues a request, and gives what will have its answer; that fails when the connection is lost first. When this
    /// is dropped before it is done, nothing was queued.
    pub(crate) async fn request(
        &self,
        id: RequestId,
        frame: Bytes,
        effect: Effect,
    ) -> Result<oneshot::Receiver<Answer>, RequestError> {
        let queued = self.queue_request(id, frame, &effect).await;
        if let (Err(RequestError::NotConnected), Effect::Leave(group)) = (&queued, &effect) {
            // The connection is gone and with it the membership. What is left of it is that it would be renewed.
            let mut state = self.state.lock();
            match state.phase {
                // Lost, but the reader is still at its last frames. It must not take an earlier join for a later one.
                Phase::Live(_) => state.membership.leave_asked(group),
                Phase::Reconnecting | Phase::Closed => state.membership.ended(group),
            }
        }
        queued
    }

    async fn queue_request(
        &self,
        id: RequestId,
        frame: Bytes,
        effect: &Effect,
    ) -> Result<oneshot::Receiver<Answer>, RequestError> {
        let _turn = self.turn.acquire().await;
        let link = self.link()?;
        let place = link.requests.place().await.ok_or_else(|| self.not_sent())?;
        let room = link.queue.reserve().await.map_err(|_| self.not_sent())?;
        // From here on nothing waits, so the request is either entered and queued, or neither.
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Live(live) if Arc::ptr_eq(live, &link) => {}
            Phase::Live(_) | Phase::Reconnecting => return Err(RequestError::NotConnected),
            Phase::Closed => return Err(RequestError::Closed),
        }
        if let Effect::Watch(group, watch) = effect
            && !self.watches.asked(group, *watch)
        {
            // Nobody is told.
            return Err(RequestError::NotConnected);
        }
        let answer = link.requests.enter(id, effect.clone(), place).ok_or(RequestError::NotConnected)?;
        match effect {
            Effect::Join(group) => state.membership.join_asked(group),
            Effect::Leave(group) => state.membership.leave_asked(group),
            Effect::Watch(..) | Effect::Refresh(_) | Effect::None => {}
        }
        drop(state);
        room.send(frame);
        Ok(answer)
    }

    /// Tells the server of the next group that nobody here watches any more; in its turn, so that it does not come
    /// behind a later wish to watch it. Tells whether there was one. When this is dropped before it is done, nothing
    /// was queued.
    pub(crate) async fn unwatch_next(&self, link: &Link) -> bool {
        let _turn = self.turn.acquire().await;
        let Some(place) = link.requests.place().await else { return false };
        let Ok(room) = link.queue.reserve().await else { return false };
        let Some(group) = self.watches.take_unwanted() else { return false };
        let request = self.next_request();
        // Nobody waits for the answer.
        if link.requests.enter(request, Effect::None, place).is_some() {
            room.send(codec::encode_client(&ClientFrame::Unwatch { request, group }));
        }
        true
    }

    /// Why a live link takes nothing any more.
    fn not_sent(&self) -> RequestError {
        match self.state.lock().phase {
            Phase::Live(_) | Phase::Reconnecting => RequestError::NotConnected,
            Phase::Closed => RequestError::Closed,
        }
    }

    /// Changes what is known about the memberships.
    pub(crate) fn membership<T>(&self, change: impl FnOnce(&mut Membership) -> T) -> T {
        change(&mut self.state.lock().membership)
    }

    /// The server goes on with another token. Of two the later request's is the newer one, whichever is answered last.
    pub(crate) fn refreshed(&self, request: RequestId, token: Token) {
        let mut state = self.state.lock();
        if state.newest.as_ref().is_none_or(|(before, _)| *before < request) {
            state.newest = Some((request, token));
        }
    }

    /// The newest token that the server took since the client began, if it took another than the first.
    pub(crate) fn newest_token(&self) -> Option<Token> {
        self.state.lock().newest.as_ref().map(|(_, token)| token.clone())
    }

    /// The connection is lost and another will be tried: fails everyone who waits for an answer.
    pub(crate) fn lost(&self) {
        self.leave_link(Phase::Reconnecting);
    }

    /// There will be no more requests. Those that wait may still be answered.
    pub(crate) fn refuse_requests(&self) -> Option<Arc<Link>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.phase, Phase::Closed) {
            Phase::Live(link) => Some(link),
            Phase::Reconnecting | Phase::Closed => None,
        }
    }

    /// Makes a new connection the live one, if the memberships on it are what they should be. Of those that refused it
    /// may be in some all the same: `added` are those that an operator added it to. Gives the groups that are lost with
    /// the connections before, because the application had not joined them.
    ///
    /// # Errors
    /// The groups among `rejoined` and `added` that the application left in the meantime.
    pub(crate) fn go_live(
        &self,
        link: &Arc<Link>,
        rejoined: &BTreeSet<GroupName>,
        refused: &[GroupName],
        added: &BTreeSet<GroupName>,
    ) -> Result<Vec<GroupName>, Vec<GroupName>> {
        let mut state = self.state.lock();
        let there = rejoined.iter().chain(added);
        let left: Vec<_> = there.filter(|group| !state.membership.is_member(group)).cloned().collect();
        if !left.is_empty() {
            return Err(left);
        }
        for group in refused {
            state.membership.refused(group, added.contains(group));
        }
        state.welcome = link.welcome.clone();
        state.transport = link.connection.transport();
        state.address.clone_from(&link.server);
        state.phase = Phase::Live(Arc::clone(link));
        Ok(state.membership.take_lost())
    }

    /// The end: nothing will be connected again.
    pub(crate) fn end(&self, last_event: Event, close_result: Result<(), CloseError>) {
        self.leave_link(Phase::Closed);
        self.handlers.end();
        self.watches.close();
        let mut state = self.state.lock();
        state.last_event = Some(last_event);
        state.close_result = close_result;
    }

    /// The event that ends the series, for the first who asks.
    pub(crate) fn take_last_event(&self) -> Option<Event> {
        self.state.lock().last_event.take()
    }

    pub(crate) fn close_result(&self) -> Result<(), CloseError> {
        self.state.lock().close_result.clone()
    }

    fn leave_link(&self, next: Phase) {
        let before = {
            let mut state = self.state.lock();
            state.membership.connection_lost();
            std::mem::replace(&mut state.phase, next)
        };
        if let Phase::Live(link) = before {
            link.fail_all();
        }
    }
}
