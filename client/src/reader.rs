//! The task that reads: it alone takes frames from the server once the connection is live.
//!
//! In: the server's frames. Out: answers, to whoever waits for them; everything else as events, in the order in which
//! it came.
//!
//! Invariant: every frame has exactly one effect, and none is dropped in silence: one of a later version is counted. A
//! full event queue stops this task, and with it the stream, which is how the server learns of a slow consumer.

use std::sync::Arc;

use fanfare_protocol::{Code, RequestId, ServerFrame};
use tokio::time::{Instant, sleep_until};

use crate::calls::Overrun;
use crate::disconnect::Disconnect;
use crate::event::Event;
use crate::events::EventSink;
use crate::incoming::{END_AFTER_GOODBYE, Incoming};
use crate::link::Link;
use crate::requests::{Answer, Effect};
use crate::state::Shared;

/// How the stream ended.
pub(crate) enum StreamEnd {
    /// The server finished it: everything that it had to say has come.
    Finished {
        /// The last words, if there were any.
        goodbye: Option<Disconnect>,
    },
    /// The connection was lost.
    Lost(Disconnect),
}

/// Reads until the stream ends.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut incoming: Incoming,
    events: EventSink,
) -> StreamEnd {
    let mut goodbye: Option<Disconnect> = None;
    let mut patience = Instant::now();
    loop {
        let next = tokio::select! {
            biased;
            frame = incoming.next() => frame,
            () = sleep_until(patience), if goodbye.is_some() => Ok(None),
            datagram = link.connection.datagram() => match incoming.read(&datagram) {
                Ok(Some(frame @ ServerFrame::Message(_))) => Ok(Some(frame)),
                Ok(Some(_)) => Err(incoming.violated(Code::MalformedFrame, "a datagram may only have a Message")),
                Ok(None) => continue,
                Err(lost) => Err(lost),
            },
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return StreamEnd::Finished { goodbye },
            Err(lost) => return StreamEnd::Lost(lost.after(goodbye)),
        };
        let event = match frame {
            ServerFrame::Ack { request, count } => {
                // An answer that nobody waits for is no harm: the caller gave up, or wanted none.
                let _ = answer(&shared, &link, request, Answer::Done(count));
                None
            }
            ServerFrame::AckPart { request, count, silent } => {
                let _ = answer(&shared, &link, request, Answer::Part(count, silent));
                None
            }
            ServerFrame::Error { request, code, detail } => {
                let (code, detail) = match link.calls.refused(request, code, detail) {
                    Ok(()) => continue,
                    Err(no_call) => no_call,
                };
                let refused = Answer::Refused { code, detail };
                match answer(&shared, &link, request, refused) {
                    Some(Answer::Refused { code, detail }) => Some(Event::Refused { request, code, detail }),
                    Some(Answer::Done(_) | Answer::Part(..)) | None => None,
                }
            }
            ServerFrame::Joined { group, members } => {
                shared.membership(|groups| groups.joined(&group));
                Some(Event::Joined { group, members })
            }
            ServerFrame::Goodbye { code, reason, retry_after_ms } => {
                goodbye = Some(Disconnect::goodbye(code, reason.clone(), retry_after_ms));
                patience = Instant::now() + END_AFTER_GOODBYE;
                Some(Event::goodbye(code, reason, retry_after_ms))
            }
            ServerFrame::Welcome(_) => {
                return StreamEnd::Lost(
                    incoming.violated(Code::MalformedFrame, "it said Welcome a second time"),
                );
            }
            ServerFrame::Message(message) => Some(Event::Message(message)),
            ServerFrame::Removed { group, code, reason } => Some(removed(&shared, group, code, reason)),
            ServerFrame::Lagged { dropped } => Some(Event::Lagged { dropped }),
            ServerFrame::Call(call) => {
                if let Err(Overrun) = link.take(call, &shared.handlers) {
                    let detail = Code::StreamOverrun.sentence();
                    return StreamEnd::Lost(incoming.violated(Code::StreamOverrun, detail));
                }
                None
            }
            ServerFrame::Presence(frame) => {
                shared.watches.take(frame);
                None
            }
            ServerFrame::Expiring { scope, seconds } => {
                link.expiring.notify_one();
                Some(Event::Expiring { scope, seconds })
            }
        };
        if let Some(event) = event {
            events.push(event).await;
        }
    }
}

/// Takes note that a membership is over.
pub(crate) fn removed(
    shared: &Shared,
    group: fanfare_protocol::GroupName,
    code: u16,
    reason: String,
) -> Event {
    shared.membership(|groups| groups.ended(&group));
    Event::Removed { group, code, reason }
}

/// Hands an answer over. Gives it back when no request with this number waits.
fn answer(shared: &Shared, link: &Link, request: RequestId, answer: Answer) -> Option<Answer> {
    let Some(entry) = link.requests.take(request) else {
        return Some(answer);
    };
    // Before the caller hears of it, so that whatever it does next comes after.
    let done = matches!(answer, Answer::Done(_) | Answer::Part(..));
    match &entry.effect {
        Effect::Join(group) => shared.membership(|groups| groups.join_answered(group, done)),
        Effect::Leave(group) => shared.membership(|groups| groups.leave_answered(group)),
        Effect::Refresh(token) if done => shared.refreshed(request, token.clone()),
        Effect::Refresh(_) => {}
        Effect::Watch(group, watch) => match &answer {
            Answer::Refused { code, detail } => shared.watches.refused(group, *watch, *code, detail),
            Answer::Done(_) | Answer::Part(..) => shared.watches.answered(group, *watch),
        },
        Effect::None => {}
    }
    entry.answer(answer);
    None
}
