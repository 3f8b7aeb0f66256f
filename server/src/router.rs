//! What a request may do, and then doing it.
//!
//! In: one decoded frame of a welcomed connection. Out: changes in the registry, messages in outboxes, and exactly one
//! answer in the caller's own outbox where one is due. Whether the caller may is the gate's to say; the registry only does.
//!
//! Invariants:
//! - requests of one connection are carried out one after the other, those of a run together, and in their order (promise 4);
//! - a refused request has changed nothing, has a numbered code, and is counted (promise 11).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use fanfare_protocol::{
    ClientFrame, Code, DATAGRAM_BYTES, GroupName, Limits, RequestId, Send, Sender, ServerFrame, Target, Token,
};

use crate::access::{self, Denial, Gate, Recipient};
use crate::envelope::Envelope;
use crate::expiry::Expiry;
use crate::metrics::Metrics;
use crate::outbox::Ending;
use crate::registry::{Delivery, Member, Origin, Registry, Seat};

/// Routes requests.
pub(crate) struct Router {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    limits: Limits,
    gate: Arc<Gate>,
    expiry: Arc<Expiry>,
}

/// How a send's messages go to those whom they reach: as it came.
#[derive(Clone, Copy)]
enum Lane {
    Stream,
    Datagrams,
}

impl Router {
    pub(crate) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        limits: Limits,
        gate: Arc<Gate>,
        expiry: Arc<Expiry>,
    ) -> Self {
        Self { registry, metrics, limits, gate, expiry }
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

    /// Gives a connection its place, where its user may be here.
    pub(crate) fn admit(&self, member: Arc<Member>, per_user: usize) -> Result<Seat, Denial> {
        let asking = Arc::clone(&member);
        self.registry
            .arrive(member, per_user, || self.gate.enter(asking.user(), &asking.pass(), access::now()))
    }

    /// Carries out one request and queues its answer.
    ///
    /// # Errors
    /// When the frame has no business here, and the connection must end.
    pub(crate) fn route(&self, caller: &Arc<Member>, frame: ClientFrame) -> Result<(), Ending> {
        let (request, outcome) = match frame {
            ClientFrame::Hello { .. } => return Err(Code::HelloRepeated.into()),
            ClientFrame::Join { request, group } => (request, self.join(caller, &group).map(Some)),
            ClientFrame::Leave { request, group } => (request, Ok(Some(self.leave(caller, &group)))),
            ClientFrame::Count { request, target } => (request, self.count(caller, &target).map(Some)),
            ClientFrame::Refresh { request, token } => (request, self.refresh(caller, &token).map(Some)),
            ClientFrame::Send(send) => {
                self.route_send(caller, send);
                return Ok(());
            }
        };
        self.answer(caller, request, outcome);
        Ok(())
    }

    /// Carries out a send that came on the stream.
    pub(crate) fn route_send(&self, caller: &Arc<Member>, send: Send) {
        let request = send.request;
        let outcome = self.send(caller, send, Lane::Stream);
        self.answer(caller, request, outcome);
    }

    /// Carries out a send that came in a datagram, by datagrams: what gets lost is lost. Answers come on the stream.
    pub(crate) fn route_unreliable(&self, caller: &Arc<Member>, send: Send) {
        let request = send.request;
        let outcome = self.send(caller, send, Lane::Datagrams);
        self.answer(caller, request, outcome);
    }

    /// Carries out sends that follow each other, want no answer, and name the same one target and the same exceptions: those that are
    /// permitted go as one run. Each is answered for itself where it is refused.
    pub(crate) fn route_run(&self, caller: &Arc<Member>, sends: Vec<Send>) {
        self.metrics.requests.add(sends.len() as u64);
        caller.requested(sends.len() as u64);
        let mut messages = Vec::with_capacity(sends.len());
        let mut whom = None;
        for Send { request, ack: _, mut to, except, others, event, format, payload } in sends {
            let permitted = self
                .check(&to, except.len(), payload.len())
                .and_then(|()| self.permit(caller, &to))
                .and_then(|()| to.pop().ok_or(Denial::from(Code::NoTarget)));
            match permitted {
                Ok(target) => {
                    whom.get_or_insert((target, except, others));
                    messages.push((event, format, payload));
                }
                Err(Denial { code, detail }) => self.refuse(caller, request, code, detail),
            }
        }
        let Some((target, mut except, others)) = whom else { return };
        if others {
            except.push(caller.id());
        }
        let sent = messages.len() as u64;
        let envelope = Arc::new(Envelope::run(&sender(caller), target, messages));
        self.sent(sent, self.registry.send(&envelope, &except));
    }

    /// Counts what was sent.
    fn sent(&self, sends: u64, delivery: Delivery) {
        self.metrics.sends.add(sends);
        self.metrics.deliveries.add(delivery.queued);
        self.metrics.displaced.add(delivery.displaced);
        self.metrics.bytes_out.add(delivery.datagram_bytes);
    }

    /// Counts a request, and queues its answer where one is due.
    fn answer(&self, caller: &Member, request: RequestId, outcome: Result<Option<u64>, Denial>) {
        self.metrics.requests.add(1);
        caller.requested(1);
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
        if let Some(request) = request {
            let detail = format!("this server does not know {what}");
            self.answer(caller, request, Err(Denial { code, detail }));
        }
    }

    fn join(&self, caller: &Arc<Member>, group: &GroupName) -> Result<u64, Denial> {
        // Asked inside the group's critical section: an end or a ban that comes meanwhile finds the member there, or keeps
        // it out.
        let is_new = Cell::new(false);
        let permit = || {
            is_new.set(true);
            self.gate.join(caller.user(), &caller.pass(), group, access::now())
        };
        let most = self.gate.groups();
        let members = self.registry.join(caller, group, most, Origin::Client, permit).map_err(|denial| {
            if denial.code == Code::TooManyGroups { self.gate.too_many_groups() } else { denial }
        })?;
        let pass = caller.pass();
        self.expiry.joined(caller, pass.grants.join_until(group));
        // Who is in it already, because an operator said so, need not have a grant to count it.
        let may_count = is_new.get()
            || self.gate.count(caller.user(), &pass, Recipient::Group(group), access::now()).is_ok();
        Ok(if may_count { members as u64 } else { 0 })
    }

    /// Ends a membership. Whoever was no member learns how many there are only where it may count them.
    fn leave(&self, caller: &Arc<Member>, group: &GroupName) -> u64 {
        match self.registry.leave(caller, group) {
            Some(left) => left as u64,
            None => self.count(caller, &Target::Group(group.clone())).unwrap_or(0),
        }
    }

    /// Goes on with another token. Gives the number of groups that the connection is still in.
    fn refresh(&self, caller: &Arc<Member>, token: &Token) -> Result<u64, Denial> {
        let (user, pass) = self.gate.verify(token.expose(), access::now())?;
        if user != *caller.user() {
            return Err(Code::OtherUser.into());
        }
        self.gate.enter(&user, &pass, access::now())?;
        caller.replace_pass(pass);
        // Asked again when the pass is there for whoever revokes its token: a revocation that came in between either found
        // it, or is found here. What the connection had before is gone, so it ends.
        if let Err(denial) = self.gate.enter(&user, &caller.pass(), access::now()) {
            caller.outbox().end(denial.clone().into());
            return Err(denial);
        }
        self.expiry.refreshed(caller);
        Ok(caller.groups() as u64)
    }

    /// How many there are, for those who may have to do with them.
    fn count(&self, caller: &Member, target: &Target) -> Result<u64, Denial> {
        self.about(target, |what| self.gate.count(caller.user(), &caller.pass(), what, access::now()))?;
        Ok(self.registry.count(target) as u64)
    }

    /// Whether the caller may send to all of these.
    fn permit(&self, caller: &Member, targets: &[Target]) -> Result<(), Denial> {
        let pass = caller.pass();
        let now = access::now();
        targets
            .iter()
            .try_for_each(|target| self.about(target, |to| self.gate.send(caller.user(), &pass, to, now)))
    }

    /// Asks about a target, with the user of a connection where it is there.
    fn about<T>(&self, target: &Target, ask: impl FnOnce(Recipient<'_>) -> T) -> T {
        match target {
            Target::Group(group) => ask(Recipient::Group(group)),
            Target::User(user) => ask(Recipient::User(user)),
            Target::Connection(id) => {
                let member = self.registry.connection(id);
                ask(Recipient::Connection(id, member.as_ref().map(|member| member.user())))
            }
            Target::All => ask(Recipient::All),
        }
    }

    fn send(&self, caller: &Member, send: Send, lane: Lane) -> Result<Option<u64>, Denial> {
        let Send { request: _, ack, to, mut except, others, event, format, payload } = send;
        self.check(&to, except.len(), payload.len())?;
        self.permit(caller, &to)?;
        if others {
            except.push(caller.id());
        }
        let from = sender(caller);
        let delivery = match lane {
            Lane::Stream => {
                let envelope = Arc::new(Envelope::new(&from, to, event, format, payload));
                self.registry.send(&envelope, &except)
            }
            Lane::Datagrams => {
                let envelope = Envelope::unreliable(&from, to, &event, format, &payload);
                fits(&envelope, payload.len())?;
                self.registry.send_unreliably(&envelope, &except)
            }
        };
        self.sent(1, delivery);
        Ok(ack.then_some(delivery.queued))
    }

    fn check(&self, to: &[Target], except: usize, payload: usize) -> Result<(), Denial> {
        let most = self.limits.targets as usize;
        if to.is_empty() {
            return Err(Code::NoTarget.into());
        }
        let (what, count) = if to.len() > most { ("targets", to.len()) } else { ("exceptions", except) };
        if count > most {
            let detail = format!("the send names {count} {what}; at most {most} are allowed");
            return Err(Denial { code: Code::TooManyTargets, detail });
        }
        if payload > self.limits.payload_bytes as usize {
            let limit = self.limits.payload_bytes;
            let detail = format!("the payload has {payload} bytes; at most {limit} are allowed");
            return Err(Denial { code: Code::PayloadTooLarge, detail });
        }
        Ok(())
    }
}

/// Whom recipients are told that it is from.
fn sender(caller: &Member) -> Sender {
    Sender::Connection { connection: caller.id(), user: caller.user().clone() }
}

/// Refuses what is too long for a datagram to one of its targets.
fn fits(envelope: &Envelope, payload: usize) -> Result<(), Denial> {
    let bytes =
        (0u16..).zip(envelope.targets()).map(|(position, _)| envelope.bytes(position)).max().unwrap_or(0);
    if bytes <= DATAGRAM_BYTES {
        return Ok(());
    }
    let room = payload.saturating_sub(bytes - DATAGRAM_BYTES);
    let detail = format!(
        "the message has {bytes} bytes as a datagram; at most {DATAGRAM_BYTES} are allowed, which leaves {room} for this payload"
    );
    Err(Denial { code: Code::PayloadTooLarge, detail })
}
