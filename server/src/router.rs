//! What a request may do, and then doing it.
//!
//! In: one decoded frame of a welcomed connection. Out: changes in the registry, messages in outboxes, and exactly one
//! answer in the caller's own outbox where one is due. This is the one place that decides; the registry only does.
//!
//! Invariants:
//! - requests of one connection are carried out one after the other, each before the next is looked at (promise 4);
//! - a refused request has changed nothing, has a numbered code, and is counted (promise 11).

use std::sync::Arc;

use fanfare_protocol::{ClientFrame, Code, Limits, RequestId, Send, Sender, ServerFrame, Target};

use crate::envelope::Envelope;
use crate::metrics::Metrics;
use crate::outbox::Ending;
use crate::registry::{Member, Origin, Registry};

/// Routes requests.
pub(crate) struct Router {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    limits: Limits,
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
    pub(crate) fn new(registry: Arc<Registry>, metrics: Arc<Metrics>, limits: Limits) -> Self {
        Self { registry, metrics, limits }
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
            ClientFrame::Join { request, group } => {
                let outcome = self.registry.join(
                    caller,
                    &group,
                    self.limits.groups as usize,
                    Origin::Client,
                    || Ok(()),
                );
                let outcome = outcome.map(|members| Some(members as u64)).map_err(|code| match code {
                    Code::TooManyGroups => Refusal {
                        code,
                        detail: format!(
                            "this connection is in {} groups, as many as it may be in",
                            self.limits.groups
                        ),
                    },
                    code => code.into(),
                });
                (request, outcome)
            }
            ClientFrame::Leave { request, group } => {
                (request, Ok(Some(self.registry.leave(caller, &group) as u64)))
            }
            ClientFrame::Count { request, target } => {
                (request, Ok(Some(self.registry.count(&target) as u64)))
            }
            ClientFrame::Refresh { request, token: _ } => (request, Err(Code::TokensNotConfigured.into())),
            ClientFrame::Send(send) => (send.request, self.send(caller, send)),
        };
        self.metrics.requests.add(1);
        caller.requested();
        match outcome {
            Ok(None) => {}
            Ok(Some(count)) => {
                caller.outbox().push_notice(&ServerFrame::Ack { request, count });
            }
            Err(Refusal { code, detail }) => self.refuse(caller, request, code, detail),
        }
        Ok(())
    }

    /// Answers a request that cannot be carried out.
    pub(crate) fn refuse(&self, caller: &Member, request: RequestId, code: Code, detail: String) {
        self.metrics.refused.add(code);
        caller.outbox().push_notice(&ServerFrame::Error { request, code: code.number(), detail });
    }

    fn send(&self, caller: &Member, send: Send) -> Result<Option<u64>, Refusal> {
        let Send { request: _, ack, to, mut except, others, event, payload } = send;
        self.check(&to, except.len(), payload.len())?;
        if others {
            except.push(caller.id());
        }
        let from = Sender::Connection { connection: caller.id(), user: caller.user().clone() };
        let envelope = Arc::new(Envelope::new(&from, to, event, payload));
        let delivery = self.registry.send(&envelope, &except);
        self.metrics.sends.add(1);
        self.metrics.deliveries.add(delivery.queued);
        self.metrics.displaced.add(delivery.displaced);
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
