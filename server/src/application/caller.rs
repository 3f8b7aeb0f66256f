//! Who calls, and what the application can do for them.
//!
//! In: a connection's link. Out: facts about it, and the hub's verbs for this one connection. Invariant: everything
//! goes through the hub, so that bans, limits and counters hold for the application, too (promise 14).

use std::any::{Any, TypeId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_hub::Origin;
use fanfare_protocol::call::{CallId, Failure, Outcome, ServerCall};
use fanfare_protocol::{
    Code, ConnectionId, Denial, EventName, GroupName, MethodName, NameError, Payload, PayloadFormat, UserName,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments;
use super::call_error::CallError;
use super::description;
use super::link::Link;
use super::seat::Seat;
use crate::handle::{HubError, HubHandle};
use crate::transport::Transport;

/// A connection, as the application has it. A clone is the same connection; it holds nothing up when it outlives it.
#[derive(Clone)]
pub struct Caller {
    link: Arc<Link>,
    /// The place of the call that it was given to.
    seat: Option<Arc<Seat>>,
}

/// Why a client gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// A method's name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The client is of a version without calls, and was not asked.
    #[error("the client understands no calls")]
    NotUnderstood,
    /// As many answers are waited for on this connection as may be, or on its node for others; it was not asked.
    #[error("as many calls as may wait have not been answered")]
    TooMany,
    /// The arguments cannot be sent.
    #[error("the arguments cannot be sent: {0}")]
    Arguments(String),
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// There is no such connection on its node; or no application there that could ask it.
    #[error("there is no such connection")]
    NotThere,
    /// It is on another node, which has not answered, is not there, or does not know how to ask a client.
    #[error("the node that the connection is on has not answered")]
    Silent,
    /// It took too long.
    #[error("the client has not answered in time")]
    TimedOut,
    /// The client's method failed, as it says itself.
    #[error("{detail} (code {code})")]
    Failed {
        /// The client's number for it.
        code: u16,
        /// The client's words for it.
        detail: String,
        /// What the client says of it to programs.
        data: Payload,
    },
    /// The client's answer is not what is wanted.
    #[error("the client's answer cannot be read: {0}")]
    Answer(String),
}

impl Caller {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, seat: None }
    }

    /// For the method of a call.
    pub(super) fn in_call(link: Arc<Link>, seat: Arc<Seat>) -> Self {
        Self { link, seat: Some(seat) }
    }

    /// The connection's id.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.link.opening.connection
    }

    /// Whose connection it is.
    #[must_use]
    pub fn user(&self) -> &UserName {
        self.link.user()
    }

    /// Where it came from, when it did.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.link.opening.address
    }

    /// What it goes over.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.link.opening.transport
    }

    /// The hub that it is in.
    #[must_use]
    pub fn hub(&self) -> &HubHandle {
        &self.link.context.handle
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        self.link.ended.cancelled().await;
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.link.ended.is_cancelled()
    }

    /// Makes it a member of a group by the application's word, for which it needs no grant. It lifts no ban.
    ///
    /// # Errors
    /// When the user is banned from the group, its name is not taken here, or the connection has ended.
    pub fn join(&self, group: &GroupName) -> Result<(), CallError> {
        self.join_as(group, Origin::Application)
    }

    /// Makes it a member of a group where it has the grant for it, as if its client had asked.
    ///
    /// # Errors
    /// As for the client.
    pub fn join_if_granted(&self, group: &GroupName) -> Result<(), CallError> {
        self.join_as(group, Origin::Client)
    }

    fn join_as(&self, group: &GroupName, origin: Origin) -> Result<(), CallError> {
        let member = self.link.member().ok_or_else(|| Denial::from(Code::ShuttingDown))?;
        self.link.context.hub.join(&member, group, origin)?;
        Ok(())
    }

    /// Ends its membership, as if its client had asked: it is told nothing. Tells whether there was one.
    pub fn leave(&self, group: &GroupName) -> bool {
        self.link.member().is_some_and(|member| self.link.context.hub.leave(&member, group).is_some())
    }

    /// Says something of it to everyone who may watch its groups, in place of what was said before: a name to show, a
    /// mood, a picture's address. Of a user with several connections in a group, what was said last of one of them is
    /// told. What is empty says nothing any more.
    ///
    /// # Errors
    /// When it is longer than 1,024 bytes, or is JSON with a whole number beyond 64 bits, or the connection has ended.
    pub fn describe(&self, data: impl Into<Payload>) -> Result<(), HubError> {
        let member = self.link.member().ok_or_else(|| Denial::from(Code::ShuttingDown))?;
        let data = data.into();
        description::check(&data)?;
        let data = Some(data).filter(|data| !data.bytes.is_empty());
        Ok(self.link.context.hub.describe(&member, data, SystemTime::now())?)
    }

    /// Sends it a message.
    ///
    /// # Errors
    /// When the name or the payload is too long.
    pub fn send<E>(&self, event: E, payload: impl Into<Payload>) -> Result<(), HubError>
    where
        E: TryInto<EventName>,
        HubError: From<E::Error>,
    {
        self.hub().connection(self.connection()).send(event, payload).map(drop)
    }

    /// Keeps something for this connection, in place of what there was of the same type.
    pub fn insert<T: Any + Send + Sync>(&self, value: T) {
        let before = self.link.data.lock().insert(TypeId::of::<T>(), Arc::new(value));
        // Behind the lock: it may use what is kept itself.
        drop(before);
    }

    /// What was kept of this type.
    #[must_use]
    pub fn find<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let found = self.link.data.lock().get(&TypeId::of::<T>()).cloned()?;
        found.downcast().ok()
    }

    /// Invokes a method of the client, and waits for what it gives, no longer than
    /// [`client_result_deadline`](super::CallLimits::client_result_deadline). `arguments` is a tuple with an element
    /// for each, and goes as JSON.
    ///
    /// While a method waits here for its own caller, another call of that connection may have its place, so that the
    /// client's method can call the server; it goes on when it has a place again.
    ///
    /// # Errors
    /// When there is no answer, or none that can be read as `T`.
    pub async fn invoke<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<T, InvokeError> {
        let arguments = arguments::encode(arguments, PayloadFormat::Json)
            .map_err(|error| InvokeError::Arguments(error.detail().to_owned()))?;
        let deadline = self.link.context.limits.client_result_deadline;
        let value = self.invoke_raw(method, arguments, deadline).await?;
        let value = value.unwrap_or_else(|| Payload::json("null"));
        arguments::decode_value(&value).map_err(|error| InvokeError::Answer(error.detail().to_owned()))
    }

    /// The same with arguments and a value as they are, and a deadline of its own. `None`: the client's method gives
    /// no value.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn invoke_raw(
        &self,
        method: &str,
        arguments: Payload,
        deadline: Duration,
    ) -> Result<Option<Payload>, InvokeError> {
        self.ask(MethodName::new(method)?, arguments, deadline).await
    }

    pub(super) async fn ask(
        &self,
        method: MethodName,
        arguments: Payload,
        deadline: Duration,
    ) -> Result<Option<Payload>, InvokeError> {
        if !self.link.understands_calls() {
            return Err(InvokeError::NotUnderstood);
        }
        let payloads = self.link.context.payloads;
        payloads
            .check_payload(arguments.bytes.len())
            .map_err(|denial| InvokeError::Arguments(denial.detail))?;
        if self.has_ended() {
            return Err(InvokeError::Ended);
        }
        let (call, answered) = self.link.expect().ok_or(InvokeError::TooMany)?;
        let asked = Asked { link: &self.link, call, was_asked: false };
        let lent = self.seat.as_ref().map(|seat| seat.lend(&self.link));
        let answer = tokio::time::timeout(deadline, asked.wait(method, arguments, answered)).await;
        if let Some(lent) = lent {
            lent.take_back().await;
        }
        answer.unwrap_or(Err(InvokeError::TimedOut))
    }
}

/// A client that is asked. Dropped before it has answered, it is told that nobody waits.
struct Asked<'a> {
    link: &'a Link,
    call: CallId,
    was_asked: bool,
}

impl Asked<'_> {
    async fn wait(
        mut self,
        method: MethodName,
        arguments: Payload,
        answered: tokio::sync::oneshot::Receiver<Outcome>,
    ) -> Result<Option<Payload>, InvokeError> {
        // From here on: the frame may be queued when this is dropped.
        self.was_asked = true;
        if !self.link.deliver(ServerCall::Invoke { call: self.call, method, arguments }).await {
            return Err(InvokeError::Ended);
        }
        match answered.await {
            Ok(Outcome::Nothing) => Ok(None),
            Ok(Outcome::Value(value)) => Ok(Some(value)),
            Ok(Outcome::Failed(Failure { code, detail, data })) => {
                Err(InvokeError::Failed { code, detail, data })
            }
            // Whoever would have answered is gone.
            Err(_) => Err(InvokeError::Ended),
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.link.give_up(self.call) && self.was_asked {
            self.link.say(ServerCall::Cancel { call: self.call });
        }
    }
}
