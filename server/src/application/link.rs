//! One connection's calls: those that run, those that wait for their turn, its streams, and what its client is asked.
//!
//! In: frames about calls, from the session that reads them. Out: calls that may begin, and frames in the connection's
//! outbox. Nothing here waits but for room in that. Invariants:
//! - calls begin in the order in which they came, and no more run at a time than the limits say; an answer to what the
//!   application asks of the client passes them all, so that a method can wait for it;
//! - a number is in use from the call to its completion; what comes for a number that is not in use has no effect;
//! - arguments and items that wait are counted in what the connection may have wait, beside its outbox;
//! - when the connection ends, all that runs is told so at once, and nothing of it is kept.

mod room;
mod uploads;

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use fanfare_hub::Stock;
use fanfare_protocol::call::{CallId, ClientCall, Invoke, Outcome, ServerCall, StreamId};
use fanfare_protocol::{
    Code, ConnectionId, Denial, GroupName, MethodName, Payload, RequestId, ServerFrame, UserName,
};
use fanfare_token::Grants;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(super) use self::room::Room;
pub(super) use self::uploads::Upload;
use self::uploads::Uploading;
use super::context::Context;
use super::events::Events;
use crate::hub::Member;
use crate::transport::Transport;

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

/// What `connected` has decided so far.
#[derive(Default)]
pub(super) struct Admission {
    /// Instead of what the token grants.
    pub(super) grants: Option<Grants>,
    pub(super) groups: Vec<GroupName>,
    /// What is said of it to those who watch its groups.
    pub(super) description: Option<Payload>,
}

/// One connection, as the application has it.
pub(crate) struct Link {
    pub(super) context: Arc<Context>,
    pub(super) opening: Opening,
    /// Begins what may begin.
    begin: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Whose it is, where the application says so.
    renamed: OnceLock<UserName>,
    /// There from its welcome on.
    member: OnceLock<Weak<Member>>,
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
    /// Calls that go on when they have one of those places again, ahead of those that wait.
    returning: VecDeque<oneshot::Sender<()>>,
    /// All calls that run.
    begun: u64,
    waiting: VecDeque<Accepted>,
    /// Arguments of those, and items that nobody has read yet.
    stock: Stock,
    /// Done when the call that was the last to get its place has begun.
    last_begun: Option<oneshot::Receiver<()>>,
    /// Every call that has no completion yet.
    calls: HashMap<RequestId, Active>,
    /// Streams of both directions.
    streams: usize,
    uploads: HashMap<StreamId, Uploading>,
    last_upload: u64,
    asked: HashMap<CallId, oneshot::Sender<Outcome>>,
    next_call: CallId,
    ended: bool,
}

struct Active {
    stop: CancellationToken,
    credit: Arc<Semaphore>,
}

/// A call that is to be carried out.
pub(super) struct Accepted {
    pub(super) request: RequestId,
    pub(super) name: MethodName,
    pub(super) arguments: Payload,
    /// Its streams, in their order.
    pub(super) uploads: Vec<Upload>,
    /// Whether its result is items.
    pub(super) wants_items: bool,
    /// How many streams it has, of both directions. One with streams lasts as long as those, so it does not hold up the
    /// others.
    pub(super) streams: usize,
    /// Done when the call before it has begun; and for the one behind it.
    pub(super) turn: Option<oneshot::Receiver<()>>,
    pub(super) begun: Option<oneshot::Sender<()>>,
    pub(super) credit: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

impl Link {
    pub(super) fn new(context: Arc<Context>, opening: Opening) -> Self {
        Self {
            context,
            opening,
            begin: OnceLock::new(),
            renamed: OnceLock::new(),
            member: OnceLock::new(),
            ended: CancellationToken::new(),
            state: Mutex::default(),
            events: Events::default(),
            admission: Mutex::default(),
            data: Mutex::default(),
        }
    }

    /// Whose connection it is.
    pub(super) fn user(&self) -> &UserName {
        self.renamed.get().unwrap_or(&self.opening.user)
    }

    /// The application says whose it is; the first time counts.
    pub(super) fn rename(&self, user: UserName) {
        let _ = self.renamed.set(user);
    }

    /// Whether its client understands calls.
    pub(crate) fn understands_calls(&self) -> bool {
        self.opening.calls
    }

    /// How what may begin is begun.
    pub(super) fn begin_by(&self, begin: impl Fn() + Send + Sync + 'static) {
        let _ = self.begin.set(Box::new(begin));
    }

    /// It is welcomed, and in the hub.
    pub(super) fn welcomed(&self, member: &Arc<Member>) {
        let _ = self.member.set(Arc::downgrade(member));
    }

    /// The connection in the hub; `None` before its welcome, and when it is gone.
    pub(super) fn member(&self) -> Option<Arc<Member>> {
        self.member.get()?.upgrade()
    }

    /// Queues something about a call.
    pub(super) fn say(&self, call: ServerCall) {
        if let Some(member) = self.member() {
            member.outbox().push_notice(&ServerFrame::Call(call));
        }
    }

    /// Takes what the client says about calls. One that may begin is given by [`Self::next_call`].
    ///
    /// # Errors
    /// The number of a call that is refused, and why.
    pub(super) fn take(&self, call: ClientCall) -> Result<(), (RequestId, Denial)> {
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

    fn accept(&self, invoke: Invoke) -> Result<(), Denial> {
        let Invoke { request, method: name, credit, streams, arguments } = invoke;
        let limits = self.context.limits;
        self.context.payloads.check_payload(arguments.bytes.len())?;
        let own = streams.len() + usize::from(credit > 0);
        let full = |what: &str, most: usize| {
            let detail = format!("at most {most} {what} of a connection go on at a time");
            Denial { code: Code::TooManyCalls, detail }
        };
        // Before its streams are compared with each other.
        if own > limits.streams {
            return Err(full("streams", limits.streams));
        }
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
        if own > 0 && state.streams + own > limits.streams {
            return Err(full("streams", limits.streams));
        }
        let must_wait = !state.waiting.is_empty() || (own == 0 && state.running >= limits.in_flight);
        if must_wait && state.waiting.len() >= limits.waiting {
            return Err(full("calls", limits.waiting + limits.in_flight));
        }
        let member = self.member().ok_or(Code::ShuttingDown)?;
        if !member.outbox().keep(&mut state.stock, arguments.bytes.len()) {
            return Err(no_room());
        }
        let uploads = streams.into_iter().map(|stream| {
            // One more place than items, for why it ends.
            let (sender, items) = mpsc::channel(limits.stream_items as usize + 1);
            state.last_upload += 1;
            let serial = state.last_upload;
            state.uploads.insert(stream, Uploading { items: sender, credit: 0, serial });
            Upload { stream, serial, items }
        });
        let uploads = uploads.collect();
        // What cannot be counted down is no bound.
        let permits = if credit == u32::MAX { Semaphore::MAX_PERMITS } else { credit as usize };
        let (stop, credits) = (self.ended.child_token(), Arc::new(Semaphore::new(permits)));
        state.calls.insert(request, Active { stop: stop.clone(), credit: Arc::clone(&credits) });
        state.streams += own;
        let wants_items = credit > 0;
        state.waiting.push_back(Accepted {
            request,
            name,
            arguments,
            uploads,
            wants_items,
            streams: own,
            turn: None,
            begun: None,
            credit: credits,
            stop,
        });
        Ok(())
    }

    /// A call has its outcome: its number is free. Its completion is to be queued by the caller of this.
    pub(super) fn completed(&self, request: RequestId) {
        self.state.lock().calls.remove(&request);
    }

    /// So many bytes do not wait any more.
    fn taken(&self, state: &mut State, bytes: usize) {
        // What a connection has that is gone is given back with it.
        if let Some(member) = self.member() {
            member.outbox().taken(&mut state.stock, bytes);
        }
    }

    fn cancel(&self, request: RequestId) {
        let mut state = self.state.lock();
        let Some(call) = state.calls.get(&request) else { return };
        call.stop.cancel();
        // One that has not begun never does.
        let Some(at) = state.waiting.iter().position(|waiting| waiting.request == request) else { return };
        let waiting = state.waiting.remove(at);
        if let Some(waiting) = &waiting {
            state.streams -= waiting.streams;
            self.taken(&mut state, waiting.arguments.bytes.len());
        }
        drop(state);
        for upload in waiting.into_iter().flat_map(|waiting| waiting.uploads) {
            self.stop_upload(upload.stream, upload.serial);
        }
        self.refuse(request, Code::CallCancelled.into());
    }

    /// A call that was taken does not begin.
    pub(super) fn refuse(&self, request: RequestId, denial: Denial) {
        self.completed(request);
        self.context.metrics.refused.add(denial.code);
        self.say(ServerCall::Completion { request, outcome: Outcome::Failed(denial.into()) });
    }

    /// Queues what the application makes for a client, when there is room in the connection's outbox. Tells whether it
    /// was queued: not where the connection has ended.
    pub(super) async fn deliver(&self, call: ServerCall) -> bool {
        let Some(member) = self.member() else { return false };
        let frame = member.outbox().encode(&ServerFrame::Call(call));
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            queued = poll_fn(|context| member.outbox().poll_produce(context, &frame)) => queued,
        }
    }

    /// Gets ready for an answer of the client's; `None` where the connection has ended, or is asked too much.
    pub(super) fn expect(&self) -> Option<(CallId, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        if state.ended || state.asked.len() >= self.context.limits.client_results {
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

    /// All is over and told: what the application kept for it is given up.
    pub(super) fn forget(&self) {
        let data = std::mem::take(&mut *self.data.lock());
        drop(data);
    }

    /// The connection has ended: whatever runs is told so, and nothing else begins.
    pub(crate) fn end(&self) {
        self.ended.cancel();
        let mut state = self.state.lock();
        state.ended = true;
        let uploads = std::mem::take(&mut state.uploads);
        (state.waiting, state.asked, state.returning) = (VecDeque::new(), HashMap::new(), VecDeque::new());
        drop(state);
        // Or a reader would take what has come for all there is.
        for upload in uploads.values() {
            let detail = "the connection has ended before the stream".to_owned();
            let _ = upload.items.try_send(Err(Denial { code: Code::CallCancelled, detail }.into()));
        }
    }
}

/// What waits of all connections, the user's or the address's is as much as may.
fn no_room() -> Denial {
    let detail = "as much waits already, of everybody or of this user or address, as may wait".to_owned();
    Denial { code: Code::TooManyCalls, detail }
}
