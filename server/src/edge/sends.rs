//! Sends: whether the caller may, to whom they go, and what is answered.
//!
//! In: sends of a welcomed connection, one or a run of them, on its stream or in a datagram. Out: messages in outboxes,
//! here and by way of other nodes, and exactly one answer where one is due. Invariants: of a run those that are
//! permitted go together, in their order (promise 4), and each that is refused is told so (promise 11); a connection
//! owes its client a bounded number of answers that wait for other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use fanfare_cluster::Tallied;
use fanfare_hub::{Delivery, Publication};
use fanfare_protocol::{Code, ConnectionId, Denial, RequestId, Send, Sender, Target, UserName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::router::{Call, Router, counted};
use crate::access::{self, Recipient};
use crate::cluster::{Connections, Side};
use crate::hub::Member;
use crate::notices;

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
    /// Carries out a send that came on the stream.
    pub(crate) fn route_send(&self, caller: &Arc<Member>, send: Send) {
        let request = send.request;
        let outcome = self.send(caller, send, Lane::Stream).map(|sent| sent.map(|delivery| delivery.queued));
        self.answer(caller, request, outcome);
    }

    /// Carries out a send that came in a datagram, by datagrams: what gets lost is lost. Answers come on the stream.
    /// Nothing waits for what may get lost: where other nodes are to say whose a connection is, or how many got it, the
    /// next request does not wait for that, and so many sends may that their answers fit. One more is held back, which
    /// is to lose it.
    pub(crate) fn route_unreliable(
        self: &Arc<Self>,
        caller: &Arc<Member>,
        send: Send,
        owed: &mut Option<Owed>,
    ) {
        let Some(cluster) = &self.cluster else {
            return self.send_unreliably(caller, send, &HashMap::new(), None);
        };
        let is_too_much = self.limits.check_send(send.to.len(), send.except.len(), send.payload.len());
        if let Err(denial) = is_too_much {
            return self.answer(caller, send.request, Err(denial));
        }
        let (strangers, known) = if self.names_strangers(caller, &send.to) {
            let strangers = self.strangers(&send.to);
            let known = cluster.known_owners(&strangers);
            (strangers, known)
        } else {
            (Vec::new(), Some(HashMap::new()))
        };
        if !send.ack
            && let Some(owners) = &known
        {
            return self.send_unreliably(caller, send, owners, None);
        }
        let Ok(place) = Arc::clone(&owed.get_or_insert_default().0).try_acquire_owned() else {
            self.metrics.throttled.add(1);
            return;
        };
        if let Some(owners) = known {
            return self.send_unreliably(caller, send, &owners, Some(place));
        }
        let (router, caller) = (Arc::clone(self), Arc::clone(caller));
        cluster.owners_then(strangers, Connections::Welcomed, move |owners| {
            // Whoever was put out meanwhile sends nothing any more; and who has gone may have been forbidden it since.
            if !caller.outbox().has_ended() {
                router.send_unreliably(&caller, send, &owners, Some(place));
            }
        });
    }

    /// Sends it, and answers it, where it is known whose connections on other nodes are. `place` is that of its answer.
    fn send_unreliably(
        &self,
        caller: &Arc<Member>,
        send: Send,
        owners: &HashMap<ConnectionId, UserName>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let request = send.request;
        match (self.send_knowing(caller, send, Lane::Datagrams, owners), &self.cluster) {
            (Ok(Some(Delivery { queued, elsewhere: Some(ticket), .. })), Some(cluster)) => {
                self.count_request(caller);
                let answer = answer_counted(Arc::clone(caller), Arc::clone(cluster), request, queued);
                cluster.elsewhere.then(ticket, move |tallied| {
                    answer(tallied);
                    drop(place);
                });
            }
            (outcome, _) => {
                self.answer(caller, request, outcome.map(|sent| sent.map(|delivery| delivery.queued)));
            }
        }
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
        let answer = answer_counted(Arc::clone(caller), Arc::clone(&cluster), request, queued);
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
        self.is_node()
            && to.iter().any(|target| self.stranger(target).is_some())
            && !caller.permissions().grants.may_send_to_every_user(access::now())
    }

    /// The connections among the targets that are not here.
    fn strangers(&self, to: &[Target]) -> Vec<ConnectionId> {
        to.iter().filter_map(|target| self.stranger(target)).collect()
    }

    fn stranger(&self, target: &Target) -> Option<ConnectionId> {
        match target {
            Target::Connection(id) if self.hub.connection(id).is_none() => Some(*id),
            _ => None,
        }
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
            let owners = cluster.owners(router.strangers(&send.to), Connections::Welcomed).await;
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
                .and_then(|()| notices::refuse(&event))
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
        // The hub refuses a run as a whole, where it cannot reach other nodes. Each is told.
        if let Err(Denial { code, detail }) =
            self.hub.send_run(&sender(caller), target, &except, messages, Instant::now())
        {
            requests.into_iter().for_each(|request| self.refuse(caller, request, code, detail.clone()));
        }
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
        notices::refuse(&event)?;
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
            counts: ack,
        };
        let delivery = match lane {
            Lane::Stream => self.hub.send(publication)?,
            Lane::Datagrams => self.hub.send_unreliable(publication)?,
        };
        Ok(ack.then_some(delivery))
    }
}

/// Answers a send when it is known how many got it on other nodes, beside so many here.
fn answer_counted(
    caller: Arc<Member>,
    nodes: Arc<Side>,
    request: RequestId,
    queued: u64,
) -> impl FnOnce(Tallied) {
    move |tallied| {
        let silent = nodes.names(&tallied.silent);
        caller.outbox().push_notice(&counted(request, queued + tallied.copies, silent));
    }
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
    use fanfare_protocol::{EventName, Limits, PayloadFormat, ServerFrame};
    use fanfare_token::Permissions;

    use super::*;
    use crate::access::{Gate, KeySets, Tokens};
    use crate::edge::expiry::Expiry;
    use crate::hub::{Hub, read, register};

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
