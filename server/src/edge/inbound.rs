//! From bytes to requests that are carried out: what the session, the fuzzer and the tests feed with what came.
//!
//! In: chunks of a connection's stream, and datagrams. Out: requests to the router, one after the other; sends that
//! follow each other to the same target go together, as a run. No I/O. Invariants: a frame that cannot be read ends the
//! connection with a code, one that can be read but not carried out is answered with a code (promise 12); one of a
//! later version is counted, answered where it is a request, and otherwise passed over; a run adds no more to any
//! outbox than its bounds say.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_hub::CloseReason;
use fanfare_protocol::call::{ClientCall, Invoke};
use fanfare_protocol::codec::{self, DecodeError, FrameReader, Unknown};
use fanfare_protocol::{ClientFrame, Code, Denial, Features, GroupName, RequestId, Send, Target};

use crate::access;
use crate::application::Attachment;
use crate::edge::router::{Call, Router};
use crate::edge::sends::Owed;
use crate::hub::Member;
use crate::telemetry::Metrics;

/// One connection's.
pub(crate) struct Inbound {
    router: Arc<Router>,
    reader: FrameReader,
    /// How many sends, and how many bytes in an outbox, may be carried out as one run.
    run: (usize, usize),
    /// What was read behind a run, and is not part of it.
    ahead: Option<Box<Result<ClientFrame, DecodeError>>>,
    /// What follows the chunk that is being carried out.
    more: VecDeque<Bytes>,
    /// The application's part in the connection, where there is one.
    attachment: Option<Attachment>,
    /// What was chosen of what its client offered.
    features: Features,
    /// Answers that wait for other nodes. `None` before the first.
    owed: Option<Owed>,
}

/// What came of a step. What needs no waiting is no future.
pub(crate) enum Step {
    /// So many requests are carried out; none: the bytes are used up.
    Done(u32),
    /// One request has to wait for this before the next is looked at, so that a connection's requests keep their order.
    Call(Call),
}

impl Inbound {
    /// `reader` has read `Hello`, and may stand in the middle of the next frame.
    pub(crate) fn new(router: Arc<Router>, reader: FrameReader, run: (usize, usize)) -> Self {
        let (more, features) = (VecDeque::new(), Features::NONE);
        Self { router, reader, run, ahead: None, more, attachment: None, features, owed: None }
    }

    /// The same, where these features were chosen.
    pub(crate) fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// The same, with an application.
    pub(crate) fn attached_to(self, attachment: Option<Attachment>) -> Self {
        Self { attachment, ..self }
    }

    /// The application's part in the connection, where there is one.
    pub(crate) fn attachment(&self) -> Option<&Attachment> {
        self.attachment.as_ref()
    }

    /// The groups that a connection is put into before anything of it is read.
    pub(crate) fn lasting_groups(&self, member: &Member) -> Vec<GroupName> {
        self.router.gate().lasting_groups(member.user(), access::now())
    }

    /// Puts it into one of them.
    pub(crate) fn join_lasting(&self, member: &Arc<Member>, group: &GroupName) {
        self.router.join_lasting(member, group);
    }

    /// Takes bytes that follow those that [`Self::step`] is given.
    pub(crate) fn follow(&mut self, chunk: Bytes) {
        self.more.push_back(chunk);
    }

    /// Carries out the next request that `chunk` completes, or a run of sends that can go together.
    pub(crate) fn step(&mut self, member: &Arc<Member>, chunk: &mut Bytes) -> Result<Step, CloseReason> {
        match self.next(chunk) {
            None => Ok(Step::Done(0)),
            Some(Ok(ClientFrame::Send(first)))
                if may_begin_run(&first) && !self.router.names_strangers(member, &first.to) =>
            {
                Ok(Step::Done(self.carry_out_run(member, first, chunk)))
            }
            Some(Ok(ClientFrame::Call(call))) => {
                self.call(member, call);
                Ok(Step::Done(1))
            }
            Some(Ok(ClientFrame::Watch { request, .. } | ClientFrame::Unwatch { request, .. }))
                if !Features::PRESENCE.are_in(self.features) =>
            {
                let what = "presence: it was not offered in `Hello`";
                self.router.unknown(member, Some(request), Code::NotKnownHere, &what);
                Ok(Step::Done(1))
            }
            Some(Ok(ClientFrame::Join { request, group })) if self.asks_about_joins() => {
                Ok(self.join(member, request, group))
            }
            Some(decoded) => {
                let mut frame = self.request(member, decoded)?;
                if self.router.is_node()
                    && let Some(ClientFrame::Send(send)) =
                        frame.take_if(|frame| matches!(frame, ClientFrame::Send(_)))
                {
                    let call = self.router.route_counted(member, send, self.owed.get_or_insert_default());
                    return Ok(call.map_or(Step::Done(1), Step::Call));
                }
                let came_as =
                    self.attachment.as_ref().map_or(member.user(), |attachment| attachment.came_as());
                let route = |frame| self.router.route(member, came_as, frame);
                let call = frame.map(route).transpose()?.flatten();
                Ok(call.map_or(Step::Done(1), Step::Call))
            }
        }
    }

    /// Waits until every request that was carried out is answered: other nodes may still count.
    pub(crate) async fn settled(&self) {
        if let Some(owed) = &self.owed {
            owed.settled().await;
        }
    }

    /// Hands what is said about calls to the application. Nothing of that waits, so that a call holds nothing up.
    fn call(&self, member: &Arc<Member>, call: ClientCall) {
        let Some(attachment) = self.attachment.as_ref().filter(|own| own.understands_calls()) else {
            let request = match &call {
                ClientCall::Invoke(Invoke { request, .. }) => Some(*request),
                _ => None,
            };
            let what = "calls: it has no application, or they were not offered in `Hello`";
            return self.router.unknown(member, request, Code::NotKnownHere, &what);
        };
        self.router.count_request(member);
        if let Err((request, Denial { code, detail })) = attachment.take(call) {
            self.router.refuse(member, request, code, detail);
        }
    }

    /// Answers a request that has no frame.
    pub(crate) fn refuse(&self, member: &Arc<Member>, request: RequestId, denial: Denial) {
        self.router.count_request(member);
        self.router.refuse(member, request, denial.code, denial.detail);
    }

    fn asks_about_joins(&self) -> bool {
        self.attachment.as_ref().is_some_and(Attachment::asks_about_joins)
    }

    /// Asks the application before a client joins a group.
    fn join(&self, member: &Arc<Member>, request: RequestId, group: GroupName) -> Step {
        let (Some(attachment), router) = (self.attachment.clone(), Arc::clone(&self.router)) else {
            return Step::Done(1);
        };
        let member = Arc::clone(member);
        Step::Call(Box::pin(async move {
            router.join_if(&member, request, &group, attachment.joining(&group)).await;
        }))
    }

    /// The next whole frame.
    fn next(&mut self, chunk: &mut Bytes) -> Option<Result<ClientFrame, DecodeError>> {
        if let Some(ahead) = self.ahead.take() {
            return Some(*ahead);
        }
        loop {
            match self.reader.next_frame(chunk) {
                Ok(Some(frame)) => return Some(decode(&frame)),
                // Used up.
                Ok(None) => match self.more.pop_front() {
                    Some(next) => *chunk = next,
                    None => {
                        self.more = VecDeque::new();
                        return None;
                    }
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// A back end that pushes has dozens of sends to the same group in one chunk. Together they are encoded, looked up
    /// and queued once.
    fn carry_out_run(&mut self, member: &Arc<Member>, first: Send, chunk: &mut Bytes) -> u32 {
        let (most, room) = self.run;
        let mut taken = weight(&first);
        let mut sends = vec![first];
        while sends.len() < most {
            match self.next(chunk) {
                Some(Ok(ClientFrame::Send(send)))
                    if taken + weight(&send) <= room
                        && sends.last().is_some_and(|last| goes_with(&send, last)) =>
                {
                    taken += weight(&send);
                    sends.push(send);
                }
                other => {
                    self.ahead = other.map(Box::new);
                    break;
                }
            }
        }
        let requests = u32::try_from(sends.len()).unwrap_or(u32::MAX);
        if requests == 1
            && let Some(send) = sends.pop()
        {
            self.router.route_send(member, send);
        } else {
            self.router.route_run(member, sends);
        }
        requests
    }

    /// Carries out what came in a datagram: a frame without its length, and only a send.
    pub(crate) fn datagram(&mut self, member: &Arc<Member>, datagram: &Bytes) -> Result<(), CloseReason> {
        match self.request(member, decode(datagram))? {
            None => {}
            Some(ClientFrame::Send(send)) => self.router.route_unreliable(member, send, &mut self.owed),
            Some(_) => {
                let reason = "only Send may come in a datagram".to_owned();
                return Err(CloseReason { code: Code::MalformedFrame, reason });
            }
        }
        Ok(())
    }

    /// The request. `None` where it names what cannot be a name, or is of a later version: that is answered here.
    fn request(
        &self,
        member: &Arc<Member>,
        decoded: Result<ClientFrame, DecodeError>,
    ) -> Result<Option<ClientFrame>, CloseReason> {
        match decoded {
            Ok(frame) => Ok(Some(frame)),
            Err(DecodeError::InvalidName { request: Some(request), name }) => {
                self.router.refuse(member, request, Code::InvalidName, name.to_string());
                Ok(None)
            }
            // There is no request in `Hello`, which may not come again, whatever it has in it.
            Err(
                DecodeError::Unknown { request: None, what: Unknown::Kind(..) }
                | DecodeError::ExtensionNotKnown { request: None, .. }
                | DecodeError::InvalidName { request: None, .. },
            ) => Err(Code::HelloRepeated.into()),
            Err(DecodeError::Unknown { request, what }) => {
                self.router.unknown(member, request, Code::NotKnownHere, &what);
                Ok(None)
            }
            Err(DecodeError::ExtensionNotKnown { request, extension }) => {
                let what = format_args!("extension {extension}, which must be understood");
                self.router.unknown(member, request, Code::ExtensionNotKnown, &what);
                Ok(None)
            }
            Err(error) => Err(violation(&error)),
        }
    }

    /// Where what comes and goes is counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        self.router.metrics()
    }

    /// How the connection ends when its client has finished its half of the stream here.
    pub(crate) fn finished(&self) -> CloseReason {
        let between = self.reader.is_between_frames();
        if between { Code::Normal.into() } else { Code::TruncatedFrame.into() }
    }
}

/// The frame. One without a request, of which something must be understood and is not, or is of a later version, is
/// like one that is not known: nothing of it is done, it is counted, and there is nothing to answer.
fn decode(frame: &Bytes) -> Result<ClientFrame, DecodeError> {
    codec::decode_client(frame).map_err(|error| match error {
        DecodeError::Unknown { request: None, .. } | DecodeError::ExtensionNotKnown { request: None, .. }
            if codec::has_no_request(frame) =>
        {
            DecodeError::Unknown { request: None, what: Unknown::Frame(codec::FIRST_WITHOUT_REQUEST) }
        }
        error => error,
    })
}

/// Whether others may follow it in one run: it wants no answer, which would have to say how many it alone reached, and
/// has one target.
fn may_begin_run(send: &Send) -> bool {
    !send.ack && send.to.len() == 1
}

/// The most bytes that it adds to an outbox: to its recipients', or, where it is refused, to its sender's. A refusal
/// names the target, in which a character may take six.
fn weight(send: &Send) -> usize {
    const BESIDE: usize = 256;
    let name = send.to.first().map_or(0, |target| match target {
        Target::User(user) => user.as_str().len(),
        Target::Group(group) => group.as_str().len(),
        Target::Connection(_) | Target::All => 0,
    });
    // Between nodes each message of a run names those who get none.
    send.payload.len() + send.event.as_str().len() + 6 * name + 16 * send.except.len() + BESIDE
}

/// Whether it reaches the same connections as the one before it.
fn goes_with(send: &Send, before: &Send) -> bool {
    may_begin_run(send)
        && send.to == before.to
        && send.except == before.except
        && send.others == before.others
}

/// The code for bytes that are not the protocol, or for a `Hello` of a later version.
pub(crate) fn violation(error: &DecodeError) -> CloseReason {
    let code = match error {
        DecodeError::TooLong { .. } => Code::FrameTooLarge,
        DecodeError::Malformed(_) => Code::MalformedFrame,
        DecodeError::InvalidName { .. } => Code::InvalidName,
        DecodeError::Unknown { .. } => Code::NotKnownHere,
        DecodeError::ExtensionNotKnown { .. } => Code::ExtensionNotKnown,
    };
    CloseReason { code, reason: error.to_string() }
}
