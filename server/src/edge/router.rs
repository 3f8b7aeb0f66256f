//! What a request may do, and then doing it; sends are in `sends`.
//!
//! In: one decoded frame of a welcomed connection. Out: what the hub did, messages in outboxes, and exactly one
//! answer in the caller's own outbox where one is due. Whether the caller may is the gate's to say; the hub only does.
//!
//! Invariants:
//! - requests of one connection are carried out one after the other, and in their order (promise 4);
//! - a refused request has changed nothing, has a numbered code, and is counted (promise 11).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use fanfare_hub::{CloseReason, Origin};
use fanfare_protocol::admin::Who;
use fanfare_protocol::{
    ClientFrame, Code, Denial, GroupName, Limits, RequestId, ServerFrame, Target, Token, UserName,
};
use fanfare_token::Permissions;

use crate::access::{self, Gate, Recipient};
use crate::cluster::Side;
use crate::hub::{Hub, Member};

use crate::edge::expiry::Expiry;
use crate::telemetry::Metrics;

/// What a request waits for. It answers when it is done; who asked reads no other request of the connection meanwhile.
pub(crate) type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Routes requests.
pub(crate) struct Router {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    pub(super) gate: Arc<Gate>,
    expiry: Arc<Expiry>,
    /// The other nodes, where the server is one of several.
    pub(super) cluster: Option<Arc<Side>>,
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

    /// Counts a request.
    pub(crate) fn count_request(&self, caller: &Member) {
        self.metrics.requests.add(1);
        caller.requested(1);
    }

    /// Counts a request, and queues its answer where one is due.
    pub(super) fn answer(&self, caller: &Member, request: RequestId, outcome: Result<Option<u64>, Denial>) {
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

    /// Asks about a target, with the user of a connection where it is there.
    pub(super) fn about<T>(&self, target: &Target, ask: impl FnOnce(Recipient<'_>) -> T) -> T {
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
}

/// The answer to a request that counts on all nodes.
pub(super) fn counted(request: RequestId, count: u64, silent: Vec<String>) -> ServerFrame {
    if silent.is_empty() {
        ServerFrame::Ack { request, count }
    } else {
        ServerFrame::AckPart { request, count, silent }
    }
}
