//! Calls of the application, as a server has them: taken or refused, carried out, and answered through the outbox.
//!
//! In: clients' calls. Out: refusals and results, and violations of invariant 12: where nothing may be delivered a call
//! is refused, and no result is handed out; each call is answered once, as it was, and at rest all are.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fanfare_protocol::call::{Outcome, ServerCall};
use fanfare_protocol::{Code, RequestId, ServerFrame};

use super::event::Event;
use super::time::{MS, SECOND};
use super::world::World;

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It waits for its turn.
    Taken,
    Running,
    /// What came of it is in the outbox.
    Made,
    Refused,
    /// The client has been told.
    Answered,
}

impl World {
    /// A client calls a method.
    pub(crate) fn call(&mut self, client: usize) {
        let call = self.clients[client].calls.len() as u64;
        self.clients[client].calls.push(Call::Taken);
        self.counts.calls += 1;
        self.trace(|| format!("client {client} makes call {call}"));
        if self.may_call(client, call) {
            // It has its turn at once, or when those before it have begun.
            let after = if self.rng.bool() { 0 } else { self.rng.u64(0..SECOND) };
            self.later(after, Event::Made(client, call));
        }
        self.settle(self.clients[client].at);
    }

    /// Whether anything may be done for it now; it is told where nothing may.
    fn may_call(&mut self, client: usize, call: u64) -> bool {
        let known = &mut self.clients[client];
        let Some(seat) = &known.seat else { return false };
        let Err(denial) = self.nodes[known.at].hub.may_deliver() else {
            self.check_client(client);
            return true;
        };
        assert_eq!(denial.code, Code::CutOff);
        let code = denial.code.number();
        let _ = seat.member().outbox().push_notice(&ServerFrame::Error {
            request: call,
            code,
            detail: denial.detail,
        });
        known.calls[usize::try_from(call).unwrap()] = Call::Refused;
        self.counts.refused += 1;
        false
    }

    /// A call's turn has come, or what came of it is there.
    pub(crate) fn made(&mut self, client: usize, call: u64) {
        let (at, number) = (self.clients[client].at, usize::try_from(call).unwrap());
        let Some(seat) = &self.clients[client].seat else { return };
        let member = Arc::clone(seat.member());
        if self.clients[client].calls[number] == Call::Taken {
            // Its caller may have been banned while it waited. One that is closed takes nothing any more.
            if !member.outbox().has_ended() && self.may_call(client, call) {
                self.clients[client].calls[number] = Call::Running;
                let after = self.rng.u64(MS..3 * SECOND);
                self.later(after, Event::Made(client, call));
            }
            return self.settle(at);
        }
        let completion = ServerCall::Completion { request: call, outcome: Outcome::Nothing };
        let frame = member.outbox().encode(&ServerFrame::Call(completion));
        match member.outbox().poll_produce(&mut Context::from_waker(Waker::noop()), &frame) {
            Poll::Pending => self.later(20 * MS, Event::Made(client, call)),
            Poll::Ready(is_queued) => {
                if is_queued {
                    self.clients[client].calls[number] = Call::Made;
                }
            }
        }
        self.settle(at);
    }

    pub(crate) fn take_result(&mut self, client: usize, call: &ServerCall) {
        let ServerCall::Completion { request, .. } = call else {
            return self.violate(12, format!("client {client} takes {call:?}"));
        };
        self.check_client(client);
        self.counts.results += 1;
        let at = self.clients[client].at;
        if !fanfare_hub::Cluster::delivers(&*self.nodes[at].joint) {
            let what = format!("client {client} takes the result of {request}, and {at} delivers nothing");
            self.violate(12, what);
        }
        self.take_answer(client, *request, Call::Made);
    }

    pub(crate) fn take_refusal(&mut self, client: usize, request: RequestId, code: u16) {
        if code != Code::CutOff.number() {
            self.violate(12, format!("client {client} is refused {request} by {code}"));
        }
        self.take_answer(client, request, Call::Refused);
    }

    fn take_answer(&mut self, client: usize, request: RequestId, was: Call) {
        self.trace(|| format!("client {client} takes what came of call {request}: {was:?}"));
        let call = &mut self.clients[client].calls[usize::try_from(request).unwrap()];
        let before = std::mem::replace(call, Call::Answered);
        if before != was {
            self.violate(12, format!("client {client} takes {was:?} of {request}, which is {before:?}"));
        }
    }

    /// Who is still there was told of everything.
    pub(crate) fn check_calls(&mut self) {
        let open = self.clients.iter().enumerate().filter(|(_, client)| client.seat.is_some());
        let mut open = open.filter_map(|(number, client)| {
            client.calls.iter().position(|call| *call != Call::Answered).map(|call| (number, call))
        });
        if let Some((client, call)) = open.next() {
            let state = self.clients[client].calls[call];
            self.violate(12, format!("client {client} was not told of call {call}, which is {state:?}"));
        }
    }
}
