//! One connection's calls: those that run, those that wait for their turn, its streams, and what its client is asked.
//!
//! In: frames about calls, from the session that reads them. Out: tasks that carry calls out, frames in the connection's
//! outbox, and at the end `disconnected`. Nothing here waits. Invariants:
//! - calls begin in the order in which they came, and no more run at a time than the limits say; an answer to what the
//!   application asks of the client passes them all, so that a method can wait for it;
//! - a number is in use from the call to its completion; what comes for a number that is not in use has no effect;
//! - when the connection ends, all that runs is told so at once, and nothing of it is kept.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use fanfare_hub::CloseReason;
use fanfare_protocol::call::{CallId, ClientCall, Failure, Invoke, Outcome, ServerCall, StreamId};
use fanfare_protocol::{
    Code, ConnectionId, Denial, GroupName, MethodName, Payload, RequestId, ServerFrame, UserName,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::connecting::Admission;
use super::events::Events;
use super::methods::Method;
use super::running;
use super::serving::Application;
use super::streams::Inlet;
use crate::hub::Member;
use crate::quic::Transport;

/// More credit than a client can ever have use for. What is above it is not added.
const MOST_CREDIT: usize = 1 << 40;

/// What is known of a connection before the application has let it in.
pub(crate) struct Opening {
    pub(crate) connection: ConnectionId,
    pub(crate) user: UserName,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// Whether its client understands calls.
    pub(crate) calls: bool,
}

/// One connection, as the application has it.
pub(crate) struct Link {
    pub(super) application: Arc<Application>,
    pub(super) opening: Opening,
    /// There from its welcome on.
    member: OnceLock<Arc<Member>>,
    /// Cancelled when the connection has ended.
    pub(super) ended: CancellationToken,
    state: Mutex<State>,
    /// What the application is to be told of it.
    pub(super) events: Events,
    /// What `connected` decides.
    pub(super) admission: Mutex<Admission>,
    /// What the application keeps for it, by type.
    pub(super) data: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    /// Calls that hold one of the places of those that run one after the other.
    running: usize,
    waiting: VecDeque<Accepted>,
    /// Every call that has no completion yet.
    calls: HashMap<RequestId, Active>,
    /// Streams of both directions.
    streams: usize,
    uploads: HashMap<StreamId, Uploading>,
    asked: HashMap<CallId, oneshot::Sender<Outcome>>,
    next_call: CallId,
    ended: bool,
}

struct Active {
    stop: CancellationToken,
    credit: Arc<Semaphore>,
    streams: usize,
}

struct Uploading {
    items: mpsc::Sender<Result<Payload, Failure>>,
    credit: u32,
}

/// A call that is to be carried out.
pub(super) struct Accepted {
    pub(super) request: RequestId,
    pub(super) name: MethodName,
    pub(super) method: Method,
    pub(super) arguments: Payload,
    pub(super) inlets: VecDeque<Inlet>,
    /// Whether its result is items.
    pub(super) wants_items: bool,
    pub(super) credit: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

impl Accepted {
    /// Calls with streams last as long as those, so they do not hold up the others.
    fn has_streams(&self) -> bool {
        self.wants_items || !self.inlets.is_empty()
    }
}

impl Link {
    pub(super) fn new(application: Arc<Application>, opening: Opening) -> Self {
        Self {
            application,
            opening,
            member: OnceLock::new(),
            ended: CancellationToken::new(),
            state: Mutex::default(),
            events: Events::default(),
            admission: Mutex::default(),
            data: Mutex::default(),
        }
    }

    /// Whether its client understands calls.
    pub(crate) fn understands_calls(&self) -> bool {
        self.opening.calls
    }

    /// Whether the application is to be asked before its client joins a group.
    pub(crate) fn asks_about_joins(&self) -> bool {
        self.application.asks_about_joins()
    }

    /// Asks the application whether its client may join a group.
    ///
    /// # Errors
    /// Why not: a number and words for the client.
    pub(crate) fn joining(
        self: &Arc<Self>,
        group: &GroupName,
    ) -> impl Future<Output = Result<(), (u16, String)>> + Send + use<> {
        let (link, group) = (Arc::clone(self), group.clone());
        async move { link.application.joining(&link, &group).await }
    }

    /// The connection in the hub; `None` before its welcome.
    pub(super) fn member(&self) -> Option<&Arc<Member>> {
        self.member.get()
    }

    /// Queues something about a call.
    pub(super) fn say(&self, call: ServerCall) {
        if let Some(member) = self.member() {
            member.outbox().push_notice(&ServerFrame::Call(call));
        }
    }

    /// Takes what the client says about calls.
    ///
    /// # Errors
    /// The number of a call that is refused, and why.
    pub(crate) fn take(self: &Arc<Self>, call: ClientCall) -> Result<(), (RequestId, Denial)> {
        match call {
            ClientCall::Invoke(invoke) => {
                let request = invoke.request;
                return self.accept(invoke).map_err(|denial| (request, denial));
            }
            ClientCall::Cancel { request } => self.cancel(request),
            ClientCall::Credit { request, items } => {
                let credit = self.state.lock().calls.get(&request).map(|call| Arc::clone(&call.credit));
                if let Some(credit) = credit.filter(|credit| credit.available_permits() < MOST_CREDIT) {
                    credit.add_permits(items as usize);
                }
            }
            ClientCall::Item { stream, item } => self.item(stream, item),
            ClientCall::End { stream, failure } => {
                let upload = self.state.lock().uploads.remove(&stream);
                if let (Some(upload), Some(failure)) = (upload, failure) {
                    // There is a place for it beside those of the items.
                    let _ = upload.items.try_send(Err(failure));
                }
            }
            ClientCall::Completion { call, outcome } => {
                let asked = self.state.lock().asked.remove(&call);
                if let Some(asked) = asked {
                    // Nobody waits any more: it came too late.
                    let _ = asked.send(outcome);
                }
            }
        }
        Ok(())
    }

    fn accept(self: &Arc<Self>, invoke: Invoke) -> Result<(), Denial> {
        let Invoke { request, method: name, credit, streams, arguments } = invoke;
        let limits = self.application.limits;
        self.application.payloads.check_payload(arguments.bytes.len())?;
        let Some(method) = self.application.method(&name) else {
            let detail = format!("there is no method {name:?}");
            return Err(Denial { code: Code::MethodUnknown, detail });
        };
        let mut state = self.state.lock();
        if state.ended {
            return Err(Code::ShuttingDown.into());
        }
        if state.calls.contains_key(&request) {
            let detail = format!("number {request} is that of another call, which has not ended");
            return Err(Denial { code: Code::InvalidRequest, detail });
        }
        let has_twice =
            |at: usize, stream: &StreamId| streams.get(..at).is_some_and(|before| before.contains(stream));
        if let Some(stream) = streams.iter().enumerate().find_map(|(at, stream)| {
            (state.uploads.contains_key(stream) || has_twice(at, stream)).then_some(stream)
        }) {
            let detail = format!("number {stream} is that of another stream, which has not ended");
            return Err(Denial { code: Code::InvalidRequest, detail });
        }
        let own = streams.len() + usize::from(credit > 0);
        let full = |what: &str, most: usize| {
            let detail = format!("at most {most} {what} of a connection go on at a time");
            Denial { code: Code::TooManyCalls, detail }
        };
        if own > 0 && state.streams + own > limits.streams {
            return Err(full("streams", limits.streams));
        }
        if state.waiting.len() >= limits.waiting {
            return Err(full("calls", limits.waiting + limits.in_flight));
        }
        let inlets = streams.into_iter().map(|stream| {
            // One more place than items, for why it ends.
            let (items, receiver) = mpsc::channel(limits.stream_items as usize + 1);
            state.uploads.insert(stream, Uploading { items, credit: 0 });
            Inlet::new(stream, Arc::clone(self), receiver)
        });
        let inlets = inlets.collect();
        let (stop, credits) = (self.ended.child_token(), Arc::new(Semaphore::new(credit as usize)));
        state
            .calls
            .insert(request, Active { stop: stop.clone(), credit: Arc::clone(&credits), streams: own });
        state.streams += own;
        let wants_items = credit > 0;
        state.waiting.push_back(Accepted {
            request,
            name,
            method,
            arguments,
            inlets,
            wants_items,
            credit: credits,
            stop,
        });
        self.begin(&mut state);
        Ok(())
    }

    /// Begins what may begin.
    fn begin(self: &Arc<Self>, state: &mut State) {
        while let Some(next) = state.waiting.pop_front() {
            if !next.has_streams() {
                if state.running >= self.application.limits.in_flight {
                    state.waiting.push_front(next);
                    break;
                }
                state.running += 1;
            }
            self.application.tasks.spawn(running::run(Arc::clone(self), next));
        }
    }

    /// A call has ended, and what it held is free. Its completion is to be queued by the caller of this.
    pub(super) fn completed(&self, request: RequestId) {
        let mut state = self.state.lock();
        if let Some(call) = state.calls.remove(&request) {
            state.streams -= call.streams;
        }
    }

    /// A call's place is free: the next one begins.
    pub(super) fn make_way(self: &Arc<Self>, had_streams: bool) {
        let mut state = self.state.lock();
        if !had_streams {
            state.running -= 1;
        }
        if !state.ended {
            self.begin(&mut state);
        }
    }

    fn cancel(&self, request: RequestId) {
        let mut state = self.state.lock();
        let Some(call) = state.calls.get(&request) else { return };
        call.stop.cancel();
        // One that has not begun never does.
        let Some(at) = state.waiting.iter().position(|waiting| waiting.request == request) else { return };
        let waiting = state.waiting.remove(at);
        drop(state);
        // Its streams are told to stop, for which the lock is taken.
        drop(waiting);
        self.completed(request);
        let outcome = Outcome::Failed(Denial::from(Code::CallCancelled).into());
        self.say(ServerCall::Completion { request, outcome });
    }

    fn item(&self, stream: StreamId, item: Payload) {
        let too_long = self.application.payloads.check_payload(item.bytes.len());
        let mut state = self.state.lock();
        // It was told to stop, and has not read that yet.
        let Some(upload) = state.uploads.get_mut(&stream) else { return };
        let refused = match too_long {
            Err(denial) => Some(denial),
            Ok(()) if upload.credit == 0 => Some(Code::StreamOverrun.into()),
            Ok(()) => None,
        };
        match refused {
            None => {
                upload.credit -= 1;
                // There is a place for each item that there was credit for.
                let _ = upload.items.try_send(Ok(item));
            }
            Some(denial) => {
                let _ = upload.items.try_send(Err(denial.into()));
                state.uploads.remove(&stream);
                drop(state);
                self.say(ServerCall::Stop { stream });
            }
        }
    }

    /// Lets a client's stream have so many more items.
    pub(super) fn give_credit(&self, stream: StreamId, items: u32) {
        let mut state = self.state.lock();
        let Some(upload) = state.uploads.get_mut(&stream) else { return };
        upload.credit += items;
        drop(state);
        self.say(ServerCall::Credit { stream, items });
    }

    /// Nobody reads a client's stream any more.
    pub(super) fn stop_upload(&self, stream: StreamId) {
        if self.state.lock().uploads.remove(&stream).is_some() {
            self.say(ServerCall::Stop { stream });
        }
    }

    /// Gets ready for an answer of the client's; `None` where the connection has ended, or is asked too much.
    pub(super) fn expect(&self) -> Option<(CallId, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        if state.ended || state.asked.len() >= self.application.limits.client_results {
            return None;
        }
        let call = state.next_call;
        state.next_call += 1;
        state.asked.insert(call, answer);
        Some((call, answered))
    }

    /// The answer is not waited for any more. Tells whether it had not come.
    pub(super) fn give_up(&self, call: CallId) -> bool {
        self.state.lock().asked.remove(&call).is_some()
    }

    /// The connection has ended: whatever runs is told so, and nothing else begins.
    pub(crate) fn end(&self) {
        self.ended.cancel();
        let mut state = self.state.lock();
        state.ended = true;
        let (waiting, uploads) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.uploads));
        state.asked = HashMap::new();
        drop(state);
        // Or a reader would take what has come for all there is.
        for upload in uploads.values() {
            let detail = "the connection has ended before the stream".to_owned();
            let _ = upload.items.try_send(Err(Denial { code: Code::CallCancelled, detail }.into()));
        }
        // What is dropped here takes the lock.
        drop((waiting, uploads));
    }
}

/// A connection that the application has let in. Dropped, it has ended, and `disconnected` follows.
pub(crate) struct Attached {
    link: Arc<Link>,
    /// Why the connection has ended, where it was closed.
    pub(crate) reason: Option<CloseReason>,
}

impl Attached {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, reason: None }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// It is welcomed. It becomes a member of the groups that `connected` named, before anything of it is read.
    pub(crate) fn welcome(&self, member: &Arc<Member>) {
        let _ = self.link.member.set(Arc::clone(member));
        let caller = Caller::new(Arc::clone(&self.link));
        let groups = std::mem::take(&mut self.link.admission.lock().groups);
        for group in groups {
            if let Err(error) = caller.join(&group) {
                tracing::debug!(connection = %member.id(), ?group, code = error.code(), "not joined at connect");
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.link.end();
        Application::disconnected(&self.link, self.reason.take());
    }
}
