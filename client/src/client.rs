//! The client's handle: what an application calls.
//!
//! In: the application's calls. Out: frames in the order of the calls, answers, and events.
//!
//! Invariant: every method takes `&self` and may be called from several tasks at a time; the client ends when its last
//! handle is dropped.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_channel::Receiver;
use bytes::Bytes;
use fanfare_protocol::codec::{self, PREFIX_BYTES};
use fanfare_protocol::{
    ClientFrame, ConnectionId, DATAGRAM_BYTES, EventName, GroupName, Limits, Message, Payload, RequestId,
    Sender, Target, Token, UserName,
};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::config::ClientConfig;
use crate::connection::Transport;
use crate::error::{CloseError, ConnectError, RequestError};
use crate::event::Event;
use crate::outgoing::Outgoing;
use crate::requests::{Answer, Effect};
use crate::state::Shared;
use crate::supervisor::{self, Started};

/// A client of a Fanfare server. Cheap to clone; every clone is the same client.
///
/// Something must call [`next`](Self::next) all the time: when the event queue is full, the client stops reading from
/// the server, answers to requests included.
///
/// Dropping the last handle closes the connection at once, and sends that are still on their way may be lost;
/// [`close`](Self::close) waits for them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// A client that does not keep itself: for handlers of [`Client::on_invoke`] and whatever else the client holds.
#[derive(Clone)]
pub struct WeakClient {
    inner: Weak<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    request_timeout: Duration,
    runtime: Handle,
    /// Dropped with the last handle, which ends every task of this client.
    _supervisor: AbortOnDropHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The supervisor is dropped with this, and says nothing.
        self.shared.watches.close();
    }
}

/// To how many connections a message was queued, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// How many, on all nodes that said so.
    pub count: u64,
    /// Nodes of a cluster that did not say so within a second, by the names that their operators know them by; none
    /// from a server that does not name them.
    pub silent: Vec<String>,
}

impl Client {
    /// Connects. Must be called within a Tokio runtime with I/O and time enabled, on which the client then runs.
    ///
    /// One attempt is made: reconnecting begins when there was a connection. Takes at most the configured timeout (10 s
    /// by default) and the time to read certificates from disk.
    ///
    /// With several addresses ([`ClientConfig::also_at`]) there is one attempt at each, in an order of chance, until
    /// one succeeds. What a server says about this client is the answer, and no other is asked: a token that is not
    /// valid, a ban. Each may take an equal part of the timeout, and 2 s at least, the last all of it; what a token
    /// provider takes comes on top.
    ///
    /// # Errors
    /// See [`ConnectError`]; each variant says what it means and what to do.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let request_timeout = config.request_timeout;
        // On the heap: connecting holds much state, and the caller's future should not have to.
        let Started { shared, events, supervisor } = Box::pin(supervisor::start(config)).await?;
        let inner =
            Inner { shared, events, request_timeout, runtime: Handle::current(), _supervisor: supervisor };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same client, which ends all the same when the last [`Client`] is dropped.
    ///
    /// ```no_run
    /// # fn run(client: &fanfare_client::Client) {
    /// let weak = client.downgrade();
    /// client.on_invoke("Transport", move |_: [u8; 0]| {
    ///     let client = weak.upgrade();
    ///     async move { client.map(|client| format!("{:?}", client.transport())).ok_or("closed".to_owned()) }
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakClient {
        WeakClient { inner: Arc::downgrade(&self.inner) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// What the connection goes over, or the last one during an outage.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.inner.shared.transport()
    }

    /// Which of its addresses the connection goes to, as it was given, or the last one went to during an outage.
    #[must_use]
    pub fn address(&self) -> String {
        self.inner.shared.address()
    }

    /// The id of the current connection, or of the last one during an outage.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.inner.shared.welcome(|welcome| welcome.connection)
    }

    /// Who the server takes this client for.
    #[must_use]
    pub fn user(&self) -> UserName {
        self.inner.shared.welcome(|welcome| welcome.user.clone())
    }

    /// What the server lets one connection send.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.shared.welcome(|welcome| welcome.limits)
    }

    /// The server's name and version, for a person.
    #[must_use]
    pub fn server(&self) -> String {
        self.inner.shared.welcome(|welcome| welcome.server.clone())
    }

    /// How many frames of the server were skipped since the client began, because this version does not know them: the
    /// server is a later version, and tells of something that this client cannot show.
    #[must_use]
    pub fn unknown_frames(&self) -> u64 {
        self.inner.shared.skipped.count()
    }

    /// Becomes a member of a group; joining again does nothing. Gives how many members the group has.
    ///
    /// The group is joined again after an outage, until it is left or the server removes this client from it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn join<G>(&self, group: G) -> Result<u64, RequestError>
    where
        G: TryInto<GroupName>,
        RequestError: From<G::Error>,
    {
        let group: GroupName = group.try_into()?;
        let effect = Effect::Join(group.clone());
        self.request(effect, |request| ClientFrame::Join { request, group }).await
    }

    /// Stops being a member of a group; leaving a group that one is not in does nothing. Gives how many members are
    /// left.
    ///
    /// Counts in any case: even when this fails with [`RequestError::NotConnected`] or [`RequestError::Disconnected`],
    /// the group is not joined again after the outage.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn leave<G>(&self, group: G) -> Result<u64, RequestError>
    where
        G: TryInto<GroupName>,
        RequestError: From<G::Error>,
    {
        let group: GroupName = group.try_into()?;
        let effect = Effect::Leave(group.clone());
        self.request(effect, |request| ClientFrame::Leave { request, group }).await
    }

    /// How many connections a target has right now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn count(&self, target: Target) -> Result<u64, RequestError> {
        self.request(Effect::None, |request| ClientFrame::Count { request, target }).await
    }

    /// Replaces the token by another one of the same user. Memberships that the new token does not cover end, each with
    /// [`Event::Removed`]. Gives how many groups the connection is still in. After an outage, a client that was
    /// configured with a token connects with the newest one that the server accepted.
    ///
    /// # Errors
    /// See [`RequestError`]. After a refusal the old token stays in force.
    pub async fn refresh(&self, token: Token) -> Result<u64, RequestError> {
        self.request(Effect::Refresh(token.clone()), |request| ClientFrame::Refresh { request, token }).await
    }

    /// Sends to every connection of a user. See [`send`](Self::send).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_to_user<U, E>(
        &self,
        user: U,
        event: E,
        payload: impl Into<Payload>,
    ) -> Result<(), RequestError>
    where
        U: TryInto<UserName>,
        E: TryInto<EventName>,
        RequestError: From<U::Error> + From<E::Error>,
    {
        self.send(Outgoing::new(event, payload).to_user(user)).await.map(drop)
    }

    /// Sends to every member of a group. See [`send`](Self::send).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_to_group<G, E>(
        &self,
        group: G,
        event: E,
        payload: impl Into<Payload>,
    ) -> Result<(), RequestError>
    where
        G: TryInto<GroupName>,
        E: TryInto<EventName>,
        RequestError: From<G::Error> + From<E::Error>,
    {
        self.send(Outgoing::new(event, payload).to_group(group)).await.map(drop)
    }

    /// Sends to one connection. See [`send`](Self::send).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_to_connection<E>(
        &self,
        connection: ConnectionId,
        event: E,
        payload: impl Into<Payload>,
    ) -> Result<(), RequestError>
    where
        E: TryInto<EventName>,
        RequestError: From<E::Error>,
    {
        self.send(Outgoing::new(event, payload).to_connection(connection)).await.map(drop)
    }

    /// Sends to every connection of the server. See [`send`](Self::send).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_to_all<E>(&self, event: E, payload: impl Into<Payload>) -> Result<(), RequestError>
    where
        E: TryInto<EventName>,
        RequestError: From<E::Error>,
    {
        self.send(Outgoing::new(event, payload).to_all()).await.map(drop)
    }

    /// Sends a message without waiting for an answer. Returns when it is handed to the transport, which takes as long
    /// as the stream is blocked, without a limit. If the future is dropped before, nothing was sent.
    ///
    /// Delivery is at most once: a message that is on its way when the connection is lost may be lost with it, and
    /// [`Event::Disconnected`] tells. If the server refuses it, [`Event::Refused`] carries the number returned here.
    ///
    /// # Errors
    /// See [`RequestError`]; here never `Refused`, `Disconnected` or `Timeout`.
    pub async fn send(&self, outgoing: Outgoing) -> Result<RequestId, RequestError> {
        let shared = &self.inner.shared;
        let request = shared.next_request();
        let frame = self.encode(outgoing, request, false)?;
        shared.queue(frame).await?;
        Ok(request)
    }

    /// Sends a message and waits for the server's answer: to how many connections it was queued.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_acked(&self, outgoing: Outgoing) -> Result<u64, RequestError> {
        let request = self.inner.shared.next_request();
        let frame = self.encode(outgoing, request, true)?;
        self.ask(request, frame, Effect::None).await
    }

    /// The same; of a cluster it also gives the nodes that did not say in time how many there were on them.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send_counted(&self, outgoing: Outgoing) -> Result<Counted, RequestError> {
        let request = self.inner.shared.next_request();
        let frame = self.encode(outgoing, request, true)?;
        self.ask_counted(request, frame, Effect::None).await
    }

    /// Sends a message that may get lost, as a datagram: for what is worth nothing a moment later, such as positions,
    /// cursors, levels. It may arrive out of order, or not at all, and never waits. Recipients get [`Event::Message`]
    /// as of any other; who has no room for it misses it. If the server refuses it, [`Event::Refused`] carries the
    /// number returned here.
    ///
    /// # Errors
    /// See [`RequestError`]; [`RequestError::DatagramTooLarge`] where the message does not fit a datagram
    /// ([`fanfare_protocol::DATAGRAM_BYTES`] bytes as recipients get it).
    pub fn send_unreliable(&self, outgoing: Outgoing) -> Result<RequestId, RequestError> {
        let shared = &self.inner.shared;
        let link = shared.link()?;
        let request = shared.next_request();
        let send = outgoing.into_send(request, false, &self.limits())?;
        let from = shared.welcome(|welcome| Sender::Connection {
            connection: welcome.connection,
            user: welcome.user.clone(),
        });
        for to in &send.to {
            let (from, to) = (from.clone(), to.clone());
            let (event, payload) = (send.event.clone(), send.payload.clone());
            let message = codec::encode_message(&Message { from, to, event, format: send.format, payload });
            let bytes = message.len().saturating_sub(PREFIX_BYTES);
            if bytes > DATAGRAM_BYTES {
                return Err(RequestError::DatagramTooLarge { bytes, limit: DATAGRAM_BYTES });
            }
        }
        let frame = codec::encode_client(&ClientFrame::Send(send)).slice(PREFIX_BYTES..);
        let limit = link.connection.longest_datagram();
        if frame.len() > limit {
            return Err(RequestError::DatagramTooLarge { bytes: frame.len(), limit });
        }
        link.connection.send_datagram(frame).map_err(|()| RequestError::NotConnected)?;
        Ok(request)
    }

    /// The next thing that happened. `None` after [`Event::Closed`].
    ///
    /// Several tasks may call this; each event goes to one of them. May be dropped while it waits: no event is lost.
    pub async fn next(&self) -> Option<Event> {
        match self.inner.events.recv().await {
            Ok(event) => Some(event),
            Err(_) => self.inner.shared.take_last_event(),
        }
    }

    /// Closes the client: waits until the server has carried out everything that was sent before, for at most 5 s, and
    /// then for at most 2 s until the last packets are sent. Other calls fail with [`RequestError::Closed`] from now
    /// on.
    ///
    /// Events can still be taken with [`next`](Self::next), up to [`Event::Closed`]; those that come during the close
    /// and find the queue full are dropped and counted. Closing again gives the same result.
    ///
    /// # Errors
    /// The client is closed in any case; the error says why what was sent last may be lost. Closing during an outage is
    /// no error: of what was lost, [`Event::Disconnected`] told.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.inner.shared.closing.cancel();
        self.inner.shared.closed.cancelled().await;
        self.inner.shared.close_result()
    }

    /// Moves the connection to another UDP socket, for example because the network changed. Connection and memberships
    /// stay as they are (QUIC connection migration).
    ///
    /// # Errors
    /// When there is no connection ([`io::ErrorKind::NotConnected`]; the next attempt to reconnect opens a socket of
    /// its own), when it goes over a WebSocket ([`io::ErrorKind::Unsupported`]), when the socket is not of the same IP
    /// version as the server's address, or when the system refuses. The connection stays on the old socket then.
    pub fn rebind(&self, socket: UdpSocket) -> io::Result<()> {
        let link =
            self.inner.shared.link().map_err(|error| io::Error::new(io::ErrorKind::NotConnected, error))?;
        let _runtime = self.inner.runtime.enter();
        link.connection.rebind(socket)
    }

    pub(crate) async fn request(
        &self,
        effect: Effect,
        frame: impl FnOnce(RequestId) -> ClientFrame,
    ) -> Result<u64, RequestError> {
        let request = self.inner.shared.next_request();
        let frame = codec::encode_client(&frame(request));
        self.ask(request, frame, effect).await
    }

    /// Sends a request and waits for the answer.
    async fn ask(&self, request: RequestId, frame: Bytes, effect: Effect) -> Result<u64, RequestError> {
        self.ask_counted(request, frame, effect).await.map(|counted| counted.count)
    }

    async fn ask_counted(
        &self,
        request: RequestId,
        frame: Bytes,
        effect: Effect,
    ) -> Result<Counted, RequestError> {
        let mut sent = false;
        let answer = timeout(self.inner.request_timeout, async {
            let answer = self.inner.shared.request(request, frame, effect).await?;
            sent = true;
            answer.await.map_err(|_| RequestError::Disconnected)
        });
        match answer.await {
            Ok(Ok(Answer::Done(count))) => Ok(Counted { count, silent: Vec::new() }),
            Ok(Ok(Answer::Part(count, silent))) => Ok(Counted { count, silent }),
            Ok(Ok(Answer::Refused { code, detail })) => Err(RequestError::Refused { code, detail }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RequestError::Timeout {
                after: self.inner.request_timeout,
                sent,
                queue_full: self.inner.events.is_full(),
            }),
        }
    }

    fn encode(&self, outgoing: Outgoing, request: RequestId, ack: bool) -> Result<Bytes, RequestError> {
        let limits = self.limits();
        let send = outgoing.into_send(request, ack, &limits)?;
        let frame = codec::encode_client(&ClientFrame::Send(send));
        match frame.len().saturating_sub(PREFIX_BYTES) {
            bytes if bytes > limits.frame_bytes as usize => {
                Err(RequestError::FrameTooLarge { bytes, limit: limits.frame_bytes })
            }
            _ => Ok(frame),
        }
    }
}

impl WeakClient {
    /// The client, where it has not ended.
    #[must_use]
    pub fn upgrade(&self) -> Option<Client> {
        Some(Client { inner: self.inner.upgrade()? })
    }
}

impl fmt::Debug for WeakClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connection", &self.connection_id())
            .field("user", &self.user())
            .finish_non_exhaustive()
    }
}
