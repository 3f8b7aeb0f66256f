//! What a request may do, and then doing it.
//!
//! In: one decoded frame of a welcomed connection. Out: changes in the registry, messages in outboxes, and exactly one
//! answer in the caller's own outbox where one is due. This is the one place that decides; the registry only does.
//!
//! Invariants:
//! - requests of one connection are carried out one after the other, those of a run together, and in their order (promise 4);
//! - a refused request has changed nothing, has a numbered code, and is counted (promise 11).

use std::sync::Arc;

use fanfare_protocol::{
    ClientFrame, Code, DATAGRAM_BYTES, GroupName, Limits, RequestId, Send, Sender, ServerFrame, Target, Token,
};

use crate::access::{self, Bans, Pass, Verifier};
use crate::envelope::Envelope;
use crate::expiry::Expiry;
use crate::metrics::Metrics;
use crate::outbox::Ending;
use crate::registry::{Delivery, Member, Origin, Registry};

/// Routes requests.
pub(crate) struct Router {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    limits: Limits,
    verifier: Arc<Verifier>,
    expiry: Arc<Expiry>,
    bans: Arc<Bans>,
}

/// How a send's messages go to those whom they reach: as it came.
#[derive(Clone, Copy)]
enum Lane {
    Stream,
    Datagrams,
}

/// A refusal of one request: the connection goes on.
struct Refusal {
    code: Code,
    detail: String,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, detail: code.sentence().to_owned() }
    }
}

impl Router {
    pub(crate) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        limits: Limits,
        verifier: Arc<Verifier>,
        expiry: Arc<Expiry>,
        bans: Arc<Bans>,
    ) -> Self {
        Self { registry, metrics, limits, verifier, expiry, bans }
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn bans(&self) -> &Bans {
        &self.bans
    }

    pub(crate) fn expiry(&self) -> &Arc<Expiry> {
        &self.expiry
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Carries out one request and queues its answer.
    ///
    /// # Errors
    /// When the frame has no business here, and the connection must end.
    pub(crate) fn route(&self, caller: &Arc<Member>, frame: ClientFrame) -> Result<(), Ending> {
        let (request, outcome) = match frame {
            ClientFrame::Hello { .. } => return Err(Code::HelloRepeated.into()),
            ClientFrame::Join { request, group } => (request, self.join(caller, &group).map(Some)),
            ClientFrame::Leave { request, group } => {
                (request, Ok(Some(self.registry.leave(caller, &group) as u64)))
            }
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
        for Send { request, ack: _, mut to, except, others, event, payload } in sends {
            let permitted = self
                .check(&to, except.len(), payload.len())
                .and_then(|()| self.permit(caller, &to))
                .and_then(|()| to.pop().ok_or(Refusal::from(Code::NoTarget)));
            match permitted {
                Ok(target) => {
                    whom.get_or_insert((target, except, others));
                    messages.push((event, payload));
                }
                Err(Refusal { code, detail }) => self.refuse(caller, request, code, detail),
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
    fn answer(&self, caller: &Member, request: RequestId, outcome: Result<Option<u64>, Refusal>) {
        self.metrics.requests.add(1);
        caller.requested(1);
        match outcome {
            Ok(None) => {}
            Ok(Some(count)) => {
                caller.outbox().push_notice(&ServerFrame::Ack { request, count });
            }
            Err(Refusal { code, detail }) => self.refuse(caller, request, code, detail),
        }
    }

    /// Answers a request that cannot be carried out.
    pub(crate) fn refuse(&self, caller: &Member, request: RequestId, code: Code, detail: String) {
        self.metrics.refused.add(code);
        caller.outbox().push_notice(&ServerFrame::Error { request, code: code.number(), detail });
    }

    fn join(&self, caller: &Arc<Member>, group: &GroupName) -> Result<u64, Refusal> {
        // Asked inside the group's critical section: an end or a ban that comes meanwhile finds the member there, or keeps
        // it out.
        let permit = || {
            if self.bans.forbids_group(caller.user(), group, access::now()) {
                return Err(Code::BannedFromGroup);
            }
            let covered = caller.pass().grants.may_join(group, access::now());
            if covered { Ok(()) } else { Err(Code::NotGranted) }
        };
        let most = self.limits.groups as usize;
        let joined = self.registry.join(caller, group, most, Origin::Client, permit);
        let members = joined.map_err(|code| match code {
            Code::TooManyGroups => Refusal {
                code,
                detail: format!("this connection is in {most} groups, as many as it may be in"),
            },
            Code::NotGranted => {
                Refusal { code, detail: format!("the token grants no right to join {:?}", group.as_str()) }
            }
            code => code.into(),
        })?;
        self.expiry.joined(caller, caller.pass().grants.join_until(group));
        Ok(members as u64)
    }

    /// Goes on with another token. Gives the number of groups that the connection is still in.
    fn refresh(&self, caller: &Arc<Member>, token: &Token) -> Result<u64, Refusal> {
        let (user, pass) = self
            .verifier
            .verify(token.expose(), access::now())
            .map_err(|error| Refusal { code: error.code(), detail: error.to_string() })?;
        if user != *caller.user() {
            return Err(Code::OtherUser.into());
        }
        let forbidden = |pass: &Pass| self.bans.forbids_connection(caller.user(), pass, access::now());
        if let Some(code) = forbidden(&pass) {
            return Err(code.into());
        }
        caller.replace_pass(pass);
        // Asked again when the pass is there for whoever revokes its token: a revocation that came in between either found
        // it, or is found here. What the connection had before is gone, so it ends.
        if let Some(code) = forbidden(&caller.pass()) {
            caller.outbox().end(code.into());
            return Err(code.into());
        }
        self.expiry.refreshed(caller);
        Ok(caller.groups() as u64)
    }

    /// How many there are, for those who may have to do with them.
    fn count(&self, caller: &Member, target: &Target) -> Result<u64, Refusal> {
        let may_see = match target {
            Target::Group(group) => {
                let now = access::now();
                let banned = self.bans.forbids_group(caller.user(), group, now);
                !banned && caller.pass().grants.may_join(group, now)
            }
            _ => false,
        };
        if !may_see {
            self.permit(caller, std::slice::from_ref(target))?;
        }
        Ok(self.registry.count(target) as u64)
    }

    /// Whether the caller may send to all of these.
    fn permit(&self, caller: &Member, targets: &[Target]) -> Result<(), Refusal> {
        let pass = caller.pass();
        let now = access::now();
        for target in targets {
            let granted = match target {
                Target::Group(group) if self.bans.forbids_group(caller.user(), group, now) => {
                    let detail = format!("the user is banned from {}", described(target));
                    return Err(Refusal { code: Code::BannedFromGroup, detail });
                }
                Target::Group(group) => pass.grants.may_send_to_group(group, now),
                Target::User(user) => pass.grants.may_send_to_user(user, now),
                // Nobody: nothing to grant, and nobody to reach.
                Target::Connection(id) => self
                    .registry
                    .connection(id)
                    .is_none_or(|member| pass.grants.may_send_to_user(member.user(), now)),
                Target::All => pass.grants.may_send_to_all(now),
            };
            if !granted {
                let detail = format!("the token grants no right to send to {}", described(target));
                return Err(Refusal { code: Code::NotGranted, detail });
            }
        }
        Ok(())
    }

    fn send(&self, caller: &Member, send: Send, lane: Lane) -> Result<Option<u64>, Refusal> {
        let Send { request: _, ack, to, mut except, others, event, payload } = send;
        self.check(&to, except.len(), payload.len())?;
        self.permit(caller, &to)?;
        if others {
            except.push(caller.id());
        }
        let from = sender(caller);
        let delivery = match lane {
            Lane::Stream => {
                let envelope = Arc::new(Envelope::new(&from, to, event, payload));
                self.registry.send(&envelope, &except)
            }
            Lane::Datagrams => {
                let envelope = Envelope::unreliable(&from, to, &event, &payload);
                fits(&envelope, payload.len())?;
                self.registry.send_unreliably(&envelope, &except)
            }
        };
        self.sent(1, delivery);
        Ok(ack.then_some(delivery.queued))
    }

    fn check(&self, to: &[Target], except: usize, payload: usize) -> Result<(), Refusal> {
        let most = self.limits.targets as usize;
        if to.is_empty() {
            return Err(Code::NoTarget.into());
        }
        let (what, count) = if to.len() > most { ("targets", to.len()) } else { ("exceptions", except) };
        if count > most {
            let detail = format!("the send names {count} {what}; at most {most} are allowed");
            return Err(Refusal { code: Code::TooManyTargets, detail });
        }
        if payload > self.limits.payload_bytes as usize {
            let limit = self.limits.payload_bytes;
            let detail = format!("the payload has {payload} bytes; at most {limit} are allowed");
            return Err(Refusal { code: Code::PayloadTooLarge, detail });
        }
        Ok(())
    }
}

/// Whom recipients are told that it is from.
fn sender(caller: &Member) -> Sender {
    Sender::Connection { connection: caller.id(), user: caller.user().clone() }
}

/// Refuses what is too long for a datagram to one of its targets.
fn fits(envelope: &Envelope, payload: usize) -> Result<(), Refusal> {
    let bytes =
        (0u16..).zip(envelope.targets()).map(|(position, _)| envelope.bytes(position)).max().unwrap_or(0);
    if bytes <= DATAGRAM_BYTES {
        return Ok(());
    }
    let room = payload.saturating_sub(bytes - DATAGRAM_BYTES);
    let detail = format!(
        "the message has {bytes} bytes as a datagram; at most {DATAGRAM_BYTES} are allowed, which leaves {room} for this payload"
    );
    Err(Refusal { code: Code::PayloadTooLarge, detail })
}

/// A target in words, for a refusal.
fn described(target: &Target) -> String {
    match target {
        Target::Group(group) => format!("the group {:?}", group.as_str()),
        Target::User(user) => format!("the user {:?}", user.as_str()),
        Target::Connection(id) => format!("the user of the connection {id}"),
        Target::All => "everyone".to_owned(),
    }
}
