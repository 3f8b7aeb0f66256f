//! What a request may do, and then doing it.
//!
//! In: one decoded frame of a welcomed connection. Out: what the hub did, messages in outboxes, and exactly one
//! answer in the caller's own outbox where one is due. Whether the caller may is the gate's to say; the hub only does.
//!
//! Invariants:
//! - requests of one connection are carried out one after the other, those of a run together, and in their order
//!   (promise 4);
//! - a refused request has changed nothing, has a numbered code, and is counted (promise 11).

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use fanfare_cluster::Tallied;
use fanfare_hub::{CloseReason, Delivery, Origin, Publication};
use fanfare_protocol::admin::Who;
use fanfare_protocol::{
    ClientFrame, Code, ConnectionId, Denial, EventName, GroupName, Limits, RequestId, Send, Sender,
    ServerFrame, Target, Token, UserName,
};
use fanfare_token::Permissions;
use tokio::sync::Semaphore;

use crate::access::{self, Gate, Recipient};
use crate::cluster::Side;
use crate::hub::{Hub, Member};

use crate::edge::expiry::Expiry;
use crate::telemetry::Metrics;

/// What a request waits for. It answers when it is done; who asked reads no other request of the connection meanwhile.
pub(crate) type Call = Pin<Box<dyn Future<Output = ()> + std::marker::Send>>;

/// Routes requests.
pub(crate) struct Router {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    limits: Limits,
    gate: Arc<Gate>,
    expiry: Arc<Expiry>,
    /// The other nodes, where the server is one of several.
    cluster: Option<Arc<Side>>,
}

/// So many answers of one connection may wait for other nodes before its next request does, so that they never overflow
/// its outbox when they come together.
const OWED: u32 = 256;

/// The places of a connection's answers that wait for other nodes.
#[derive(Clone)]
pub(crate) struct Owed(Arc<Semaphore>);

impl Default for Owed {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OWED as usize)))
    }
}

impl Owed {
    /// Waits until none waits any more. Other nodes have a second for an answer.
    pub(crate) async fn settled(&self) {
        // Nobody closes it.
        let _ = self.0.acquire_many(OWED).await;
    }
}

/// How a send's messages go to those whom they reach: as it came.
#[derive(Clone, Copy)]
enum Lane {
    Stream,
    Datagrams,
}

impl Router {
    pub(crate) fn new(
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        limits: Limits,
        gate: Arc<Gate>,
        expiry: Arc<Expiry>,
        cluster: Option<Arc<Side>>,
    ) -> Self {
        Self { hub, metrics, limits, gate, expiry, cluster }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn expiry(&self) -> &Arc<Expiry> {
        &self.expiry
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Carries out one request and queues its answer; or gives what has to be waited for to do that. `came_as` is whose
    /// its token was.
    ///
    /// # Errors
    /// When the frame has no business here, and the connection must end.
    pub(crate) fn route(
        self: &Arc<Self>,
        caller: &Arc<Member>,
        came_as: &UserName,
        frame: ClientFrame,
    ) -> Result<Option<Call>, CloseReason> {
        let (request, outcome) = match frame {
            ClientFrame::Hello { .. } => return Err(Code::HelloRepeated.into()),
            ClientFrame::Join { request, group } => (request, self.join(caller, &group).map(Some)),
            ClientFrame::Leave { request, group } => (request, Ok(Some(self.leave(caller, &group)))),
            ClientFrame::Count { request, target } => match (&self.cluster, self.count(caller, &target)) {
                (Some(_), Ok(here)) => {
                    return Ok(Some(self.count_everywhere(caller, request, &target, here)));
                }
                (_, outcome) => (request, outcome.map(Some)),
            },
            ClientFrame::Refresh { request, token } => {
                let Some(verified) = self.gate.verify_now(token.expose(), access::now()) else {
                    return Ok(Some(self.refresh_later(caller, came_as, request, token)));
                };
                (request, self.refresh(caller, came_as, verified).map(Some))
            }
            ClientFrame::Send(send) => {
                self.route_send(caller, send);
                return Ok(None);
            }
            ClientFrame::Watch { request, group } => (request, self.watch(caller, &group).map(Some)),
            ClientFrame::Unwatch { request, group } => {
                self.hub.unwatch(caller, &group);
                (request, Ok(Some(0)))
            }
            // Carried out before this: `inbound.rs`.
            ClientFrame::Call(_) => return Err(Code::Internal.into()),
        };
        self.answer(caller, request, outcome);
        Ok(None)
    }

    /// Joins a group where the application lets the client. It is asked only where the grants allow it.
    pub(crate) async fn join_if(
        &self,
        caller: &Arc<Member>,
        request: RequestId,
        group: &GroupName,
        asked: impl Future<Output = Result<(), (u16, String)>>,
    ) {
        let permissions = caller.permissions();
        let outcome = match self.gate.join(caller.user(), &permissions, group, access::now()) {
            Err(denial) => Err(denial),
            Ok(()) => match asked.await {
                Ok(()) => self.join(caller, group).map(Some),
                Err((code, detail)) => {
                    self.count_request(caller);
                    self.metrics.refused.add(Code::try_from(u64::from(code)).unwrap_or(Code::CallFailed));
                    caller.outbox().push_notice(&ServerFrame::Error { request, code, detail });
                    return;
                }
            },
        };
        self.answer(caller, request, outcome);
    }

    /// Goes on with a token by a key that has to be fetched first, as the handshake does with one.
    fn refresh_later(
        self: &Arc<Self>,
        caller: &Arc<Member>,
        came_as: &UserName,
        request: RequestId,
        token: Token,
    ) -> Call {
        let (router, caller, came_as) = (Arc::clone(self), Arc::clone(caller), came_as.clone());
        Box::pin(async move {
            let verified = router.gate.verify_or_fetch(token.expose()).await;
            let outcome = router.refresh(&caller, &came_as, verified).map(Some);
            router.answer(&caller, request, outcome);
        })
    }

    /// Counts on all nodes. Gives what has to be waited for.
    fn count_everywhere(
        self: &Arc<Self>,
        caller: &Arc<Member>,
        request: RequestId,
        target: &Target,
        here: u64,
    ) -> Call {
        let (router, caller, who) = (Arc::clone(self), Arc::clone(caller), Who::from(target));
        Box::pin(async move {
            let (elsewhere, silent) = match &router.cluster {
                Some(cluster) => cluster.count(who).await,
                None => (0, Vec::new()),
            };
            router.count_request(&caller);
            caller.outbox().push_notice(&counted(request, here + elsewhere, silent));
        })
    }

    /// Whether there may be other nodes.
    pub(crate) fn is_node(&self) -> bool {
        self.cluster.is_some()
    }

    /// Carries out a send that came on the stream.
    pub(crate) fn route_send(&self, caller: &Arc<Member>, send: Send) {
        let request = send.request;
        let outcome = self.send(caller, send, Lane::Stream).map(|sent| sent.map(|delivery| delivery.queued));
        self.answer(caller, request, outcome);
    }

    /// Carries out a send that came in a datagram, by datagrams: what gets lost is lost. Answers come on the stream,
    /// and count who is here: nothing waits for what may get lost.
    pub(crate) fn route_unreliable(&self, caller: &Arc<Member>, send: Send) {
        let request = send.request;
        let outcome =
            self.send(caller, send, Lane::Datagrams).map(|sent| sent.map(|delivery| delivery.queued));
        self.answer(caller, request, outcome);
    }

    /// Carries out a send, and answers it when it is known what came of it on all nodes. Where many answers are owed,
    /// the next request has to wait for this one's.
    pub(crate) fn route_counted(
        self: &Arc<Self>,
        caller: &Arc<Member>,
        send: Send,
        owed: &Owed,
    ) -> Option<Call> {
        let request = send.request;
        if let Some(cluster) = self.cluster.as_ref().filter(|_| self.names_strangers(caller, &send.to)) {
            return Some(self.send_to_strangers(Arc::clone(cluster), caller, send));
        }
        let (delivery, cluster) = match (self.send(caller, send, Lane::Stream), &self.cluster) {
            (Ok(Some(delivery)), Some(cluster)) => (delivery, Arc::clone(cluster)),
            (outcome, _) => {
                let outcome = outcome.map(|sent| sent.map(|delivery| delivery.queued));
                self.answer(caller, request, outcome);
                return None;
            }
        };
        let queued = delivery.queued;
        let Some(ticket) = delivery.elsewhere else {
            self.answer(caller, request, Ok(Some(queued)));
            return None;
        };
        self.count_request(caller);
        let (caller, nodes) = (Arc::clone(caller), Arc::clone(&cluster));
        let answer = move |tallied: Tallied| {
            let silent = nodes.names(&tallied.silent);
            caller.outbox().push_notice(&counted(request, queued + tallied.copies, silent));
        };
        match Arc::clone(&owed.0).try_acquire_owned() {
            Ok(place) => {
                cluster.elsewhere.then(ticket, move |tallied| {
                    answer(tallied);
                    drop(place);
                });
                None
            }
            Err(_) => Some(Box::pin(async move { answer(cluster.elsewhere.wait(ticket).await) })),
        }
    }

    /// Whether a send names connections that are not here, where it matters whose they are.
    pub(crate) fn names_strangers(&self, caller: &Member, to: &[Target]) -> bool {
        let is_stranger =
            |target: &Target| matches!(target, Target::Connection(id) if self.hub.connection(id).is_none());
        self.is_node()
            && to.iter().any(is_stranger)
            && !caller.permissions().grants.may_send_to_every_user(access::now())
    }

    /// Asks whose connections on other nodes are, and carries out a send to them then.
    fn send_to_strangers(self: &Arc<Self>, cluster: Arc<Side>, caller: &Arc<Member>, send: Send) -> Call {
        let (router, caller, request) = (Arc::clone(self), Arc::clone(caller), send.request);
        Box::pin(async move {
            if let Err(denial) =
                router.limits.check_send(send.to.len(), send.except.len(), send.payload.len())
            {
                return router.answer(&caller, request, Err(denial));
            }
            let ids = send.to.iter().filter_map(|target| match target {
                Target::Connection(id) => Some(*id),
                _ => None,
            });
            let ids = ids.filter(|id| router.hub.connection(id).is_none()).collect();
            let owners = cluster.owners(ids).await;
            match router.send_knowing(&caller, send, Lane::Stream, &owners) {
                Ok(Some(Delivery { queued, elsewhere: Some(ticket), .. })) => {
                    let tallied = cluster.elsewhere.wait(ticket).await;
                    router.count_request(&caller);
                    let silent = cluster.names(&tallied.silent);
                    caller.outbox().push_notice(&counted(request, queued + tallied.copies, silent));
                }
                outcome => {
                    let outcome = outcome.map(|sent| sent.map(|delivery| delivery.queued));
                    router.answer(&caller, request, outcome);
                }
            }
        })
    }

    /// Carries out sends that follow each other, want no answer, and name the same one target and the same exceptions:
    /// those that are permitted go as one run. Each is answered for itself where it is refused.
    pub(crate) fn route_run(&self, caller: &Arc<Member>, sends: Vec<Send>) {
        self.metrics.requests.add(sends.len() as u64);
        caller.requested(sends.len() as u64);
        let mut messages = Vec::with_capacity(sends.len());
        let mut requests = Vec::with_capacity(sends.len());
        let mut whom = None;
        for Send { request, ack: _, mut to, except, others, event, format, payload } in sends {
            let permitted = self
                .limits
                .check_send(to.len(), except.len(), payload.len())
                .and_then(|()| no_notice(&event))
                .and_then(|()| self.permit(caller, &to, &HashMap::new()))
                .and_then(|()| to.pop().ok_or(Denial::from(Code::NoTarget)));
            match permitted {
                Ok(target) => {
                    whom.get_or_insert((target, except, others));
                    messages.push((event, format, payload));
                    requests.push(request);
                }
                Err(Denial { code, detail }) => self.refuse(caller, request, code, detail),
            }
        }
        let Some((target, mut except, others)) = whom else { return };
        if others {
            except.push(caller.id());
        }
        // A client's limits are within what the hub sends, so it refuses nothing here. If it did, each would be told.
        if let Err(Denial { code, detail }) =
            self.hub.send_run(&sender(caller), target, &except, messages, Instant::now())
        {
            requests.into_iter().for_each(|request| self.refuse(caller, request, code, detail.clone()));
        }
    }

    /// Counts a request.
    pub(crate) fn count_request(&self, caller: &Member) {
        self.metrics.requests.add(1);
        caller.requested(1);
    }

    /// Counts a request, and queues its answer where one is due.
    fn answer(&self, caller: &Member, request: RequestId, outcome: Result<Option<u64>, Denial>) {
        self.count_request(caller);
        match outcome {
            Ok(None) => {}
            Ok(Some(count)) => {
                caller.outbox().push_notice(&ServerFrame::Ack { request, count });
            }
            Err(Denial { code, detail }) => self.refuse(caller, request, code, detail),
        }
    }

    /// Answers a request that cannot be carried out.
    pub(crate) fn refuse(&self, caller: &Member, request: RequestId, code: Code, detail: String) {
        self.metrics.refused.add(code);
        caller.outbox().push_notice(&ServerFrame::Error { request, code: code.number(), detail });
    }

    /// Counts a frame of a later version, and answers it where it is a request. Nothing of it is done.
    pub(crate) fn unknown(
        &self,
        caller: &Member,
        request: Option<RequestId>,
        code: Code,
        what: &dyn fmt::Display,
    ) {
        self.metrics.unknown.add(1);
        match request {
            Some(request) => {
                let detail = format!("this server does not know {what}");
                self.answer(caller, request, Err(Denial { code, detail }));
            }
            // Counted all the same, so that whoever sends many is found.
            None => self.count_request(caller),
        }
    }

    fn join(&self, caller: &Arc<Member>, group: &GroupName) -> Result<u64, Denial> {
        let joined = self.hub.join(caller, group, Origin::Client)?;
        let permissions = caller.permissions();
        if !self.gate.has_lasting(caller.user(), group, access::now()) {
            self.expiry.joined(caller, permissions.grants.join_until(group));
        }
        // Who is in it already, because an operator said so, need not have a grant to count it.
        let may_count = joined.is_new
            || self.gate.count(caller.user(), &permissions, Recipient::Group(group), access::now()).is_ok();
        Ok(if may_count { joined.members as u64 } else { 0 })
    }

    /// Makes a connection a member of a group that its user is in whenever it is here.
    pub(crate) fn join_lasting(&self, member: &Arc<Member>, group: &GroupName) {
        if let Err(Denial { code, .. }) = self.hub.join(member, group, Origin::Lasting) {
            self.metrics.refused.add(code);
            tracing::debug!(connection = %member.id(), ?group, code = code.number(), "not joined at connect");
        }
    }

    /// Has a connection told who is in a group. Gives how many users are.
    fn watch(&self, caller: &Arc<Member>, group: &GroupName) -> Result<u64, Denial> {
        let users = self.hub.watch(caller, group)?;
        self.expiry.joined(caller, caller.permissions().grants.watch_until(group));
        Ok(users as u64)
    }

    /// Ends a membership. Whoever was no member learns how many there are only where it may count them.
    fn leave(&self, caller: &Arc<Member>, group: &GroupName) -> u64 {
        match self.hub.leave(caller, group) {
            Some(left) => left as u64,
            None => self.count(caller, &Target::Group(group.clone())).unwrap_or(0),
        }
    }

    /// Goes on with another token. Gives the number of groups that the connection is still in.
    fn refresh(
        &self,
        caller: &Arc<Member>,
        came_as: &UserName,
        verified: Result<(UserName, Permissions), Denial>,
    ) -> Result<u64, Denial> {
        let (user, mut permissions) = verified?;
        // Who it is here may be another: the application may have said so, and what came since must hold for both.
        if user != *came_as {
            return Err(Code::OtherUser.into());
        }
        if user != *caller.user() {
            self.gate.enter(&user, &permissions, access::now())?;
        }
        let before = caller.permissions();
        if before.grants.are_by_application() {
            permissions.grants = before.grants.clone();
        }
        self.hub.permit(caller, permissions)?;
        self.expiry.refreshed(caller);
        Ok(caller.groups() as u64)
    }

    /// How many there are, for those who may have to do with them.
    fn count(&self, caller: &Member, target: &Target) -> Result<u64, Denial> {
        self.about(target, |what| {
            self.gate.count(caller.user(), &caller.permissions(), what, access::now())
        })?;
        Ok(self.hub.count(target) as u64)
    }

    /// Whether the caller may send to all of these. `owners` is whose connections on other nodes are.
    fn permit(
        &self,
        caller: &Member,
        targets: &[Target],
        owners: &HashMap<ConnectionId, UserName>,
    ) -> Result<(), Denial> {
        let permissions = caller.permissions();
        let now = access::now();
        targets.iter().try_for_each(|target| match target {
            Target::Connection(id) if owners.contains_key(id) => {
                self.gate.send(caller.user(), &permissions, Recipient::Connection(id, owners.get(id)), now)
            }
            target => self.about(target, |to| self.gate.send(caller.user(), &permissions, to, now)),
        })
    }

    /// Asks about a target, with the user of a connection where it is there.
    fn about<T>(&self, target: &Target, ask: impl FnOnce(Recipient<'_>) -> T) -> T {
        match target {
            Target::Group(group) => ask(Recipient::Group(group)),
            Target::User(user) => ask(Recipient::User(user)),
            Target::Connection(id) => {
                let member = self.hub.connection(id);
                ask(Recipient::Connection(id, member.as_ref().map(|member| member.user())))
            }
            Target::All => ask(Recipient::All),
        }
    }

    /// Gives what came of it where its sender wants to know.
    fn send(&self, caller: &Member, send: Send, lane: Lane) -> Result<Option<Delivery>, Denial> {
        self.send_knowing(caller, send, lane, &HashMap::new())
    }

    /// The same, where it is known whose connections on other nodes are.
    fn send_knowing(
        &self,
        caller: &Member,
        send: Send,
        lane: Lane,
        owners: &HashMap<ConnectionId, UserName>,
    ) -> Result<Option<Delivery>, Denial> {
        let Send { request: _, ack, to, mut except, others, event, format, payload } = send;
        self.limits.check_send(to.len(), except.len(), payload.len())?;
        no_notice(&event)?;
        self.permit(caller, &to, owners)?;
        if others {
            except.push(caller.id());
        }
        let publication = Publication {
            from: sender(caller),
            to,
            except,
            event,
            format,
            payload,
            accepted: Instant::now(),
            counts: ack && matches!(lane, Lane::Stream),
        };
        let delivery = match lane {
            Lane::Stream => self.hub.send(publication)?,
            Lane::Datagrams => self.hub.send_unreliable(publication)?,
        };
        Ok(ack.then_some(delivery))
    }
}

/// What the server itself tells clients of SignalR has names that begin so, and nobody else may say it. They look names
/// up without regard to case.
const NOTICES: &str = "fanfare.";

/// The answer to a request that counts on all nodes.
fn counted(request: RequestId, count: u64, silent: Vec<String>) -> ServerFrame {
    if silent.is_empty() {
        ServerFrame::Ack { request, count }
    } else {
        ServerFrame::AckPart { request, count, silent }
    }
}

fn no_notice(event: &EventName) -> Result<(), Denial> {
    let begins = event.as_str().get(..NOTICES.len());
    if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(NOTICES)) {
        let detail = format!("an event's name that begins with {NOTICES:?} is the server's own");
        return Err(Denial { code: Code::InvalidName, detail });
    }
    Ok(())
}

/// Whom recipients are told that it is from.
fn sender(caller: &Member) -> Sender {
    Sender::Connection { connection: caller.id(), user: caller.user().clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fanfare_hub::HubLimits;
    use fanfare_protocol::PayloadFormat;

    use super::*;
    use crate::access::{KeySets, Tokens};
    use crate::hub::{read, register};

    /// No configuration lets a client send so much; but if the hub refuses a run, none of its requests is passed over.
    #[test]
    fn promise_11_each_request_of_a_run_that_the_hub_refuses_is_refused() {
        let tokens = Arc::new(Tokens::new(None, KeySets::none()));
        let gate = Arc::new(Gate::new(tokens, Arc::default()));
        let hub = Arc::new(Hub::new(HubLimits::default(), Arc::clone(&gate) as _));
        let expiry = Arc::new(Expiry::new(Arc::clone(&hub), Arc::clone(&gate), Duration::from_secs(60)));
        let limits = Limits { payload_bytes: u32::MAX, ..Limits::default() };
        let router = Arc::new(Router::new(Arc::clone(&hub), Arc::default(), limits, gate, expiry, None));
        let (id, user) = (ConnectionId::from_bytes([1; 16]), UserName::new("alice").unwrap());
        let seat = register(&hub, id, user, Permissions::development(access::now())).unwrap();
        let send = |request, bytes: usize| Send {
            request,
            ack: false,
            to: vec![Target::All],
            except: Vec::new(),
            others: false,
            event: EventName::new("E").unwrap(),
            format: PayloadFormat::Binary,
            payload: Bytes::from(vec![0; bytes]),
        };
        router.route_run(seat.member(), vec![send(7, 1), send(8, Limits::PAYLOAD_CEILING as usize + 1)]);
        let refused = |frame| match frame {
            ServerFrame::Error { request, code, .. } => (request, code),
            other => panic!("{other:?}"),
        };
        let answers: Vec<_> = read(seat.member()).into_iter().map(refused).collect();
        let code = Code::PayloadTooLarge;
        assert_eq!(answers, [(7, code.number()), (8, code.number())]);
        assert_eq!(router.metrics().refused.values().get(&code), Some(&2));
        assert_eq!(hub.counters().sends.value(), 0);
    }
}
