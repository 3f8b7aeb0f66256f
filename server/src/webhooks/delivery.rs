//! Delivers one end point's events: a task from the server's start to its end.
//!
//! In: what there is to tell. Out: requests. Invariants (promise 17): an event is done when its back end has taken it,
//! or when it is given up and counted, and not before; of one subject it is told in order. What waits for less than a
//! moment is never written: a server that is killed in between has ended every connection that such an event could be
//! about, and says so with `started`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::backlog::Backlog;
use super::event::now_ms;
use super::outgoing::{Outgoing, Reached};
use super::post::{Letter, PostError, Reply};
use super::queue::{Batch, Trouble};

/// How much of an answer to events is read: only its status counts.
const ANSWER_BYTES: usize = 64 * 1024;

/// What came of a request.
type Sent = (Batch, Result<(), (Trouble, String)>);

/// Delivers one end point's events.
pub(super) struct Delivery {
    outgoing: Arc<Outgoing>,
    backlog: Backlog,
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
}

impl Delivery {
    pub(super) fn new(outgoing: Arc<Outgoing>, backlog: Backlog) -> Self {
        Self { outgoing, backlog, sending: FuturesUnordered::new() }
    }

    /// Delivers until it is told how much longer, and then for so long at most what there still is. Where nobody can
    /// tell that any more, it ends at once.
    pub(super) async fn run(mut self, mut finishing: watch::Receiver<Option<Duration>>) {
        let mut last_moment = None;
        loop {
            self.backlog.accept();
            self.backlog.use_disk();
            self.send();
            self.show();
            if last_moment.is_some_and(|last| Instant::now() >= last || self.backlog.is_empty()) {
                break;
            }
            let outgoing = Arc::clone(&self.outgoing);
            let wakes = [self.wakes(), self.backlog.wakes(), last_moment].into_iter().flatten().min();
            tokio::select! {
                () = outgoing.wake.notified() => {}
                Some(sent) = self.sending.next(), if !self.sending.is_empty() => self.sent(sent),
                Some(done) = self.backlog.disk() => self.backlog.disk_done(done),
                () = at(wakes) => {}
                patience = patience(&mut finishing), if last_moment.is_none() => {
                    last_moment = Some(Instant::now() + patience);
                }
            }
        }
        self.sending.clear();
        self.backlog.leave().await;
    }

    /// When something may go, where there is a request for it.
    fn wakes(&self) -> Option<Instant> {
        let has_request = self.sending.len() < self.outgoing.reached().webhook.requests;
        if has_request { self.backlog.queue.wakes() } else { None }
    }

    /// Sends what may go.
    fn send(&mut self) {
        let reached = self.outgoing.reached();
        let most = reached.webhook.batch;
        while self.sending.len() < reached.webhook.requests
            && let Some(batch) = self.backlog.queue.next(Instant::now(), most)
        {
            self.sending.push(Box::pin(post(Arc::clone(&reached), batch)));
        }
    }

    fn sent(&mut self, (batch, outcome): Sent) {
        let reached = self.outgoing.reached();
        match outcome {
            Ok(()) => {
                self.outgoing.facts.delivered(batch.len(), &reached.webhook);
                self.backlog.queue.done(&batch);
                self.backlog.done(&batch);
            }
            Err((trouble, words)) => {
                self.outgoing.facts.failed(&reached.webhook, &words);
                let now = (Instant::now(), now_ms());
                let longest = reached.webhook.retry_for;
                let given_up = self.backlog.queue.failed(&batch, trouble, now, longest, fastrand::f64);
                self.backlog.give_up(&given_up);
            }
        }
    }

    fn show(&self) {
        let facts = &self.outgoing.facts;
        facts.waiting.store(self.backlog.len(), Ordering::Relaxed);
        let oldest = self.backlog.queue.oldest().map_or(0, |event| event.event.at_ms);
        facts.oldest_ms.store(oldest, Ordering::Relaxed);
    }
}

/// Sends a request.
async fn post(reached: Arc<Reached>, batch: Batch) -> Sent {
    let Reached { webhook, poster } = &*reached;
    let single = batch.first().filter(|_| webhook.batch == 1);
    let (id, attributes, content_type, data) = match single {
        Some(event) => (event.id(), event.attributes(), "application/json", event.data()),
        None => {
            let events: Vec<_> = batch.iter().map(|event| event.structured()).collect();
            (id_of(&batch), Vec::new(), "application/cloudevents-batch+json", events.into())
        }
    };
    let letter = Letter {
        id: &id,
        attributes: &attributes,
        content_type,
        body: Bytes::from(data.to_string()),
        deadline: webhook.event_deadline,
        answer_bytes: ANSWER_BYTES,
    };
    let outcome = judge(poster.post(webhook, letter).await);
    (batch, outcome)
}

/// Which batch it is: the same for the same events, and another for any others, since a receiver passes over what it
/// has had by its id.
fn id_of(batch: &Batch) -> String {
    let mut digest = Context::new(&SHA256);
    for event in batch {
        digest.update(event.id().as_bytes());
        digest.update(b"\n");
    }
    let digest = digest.finish();
    let hash: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("batch_{hash}")
}

/// What an answer to events says.
fn judge(outcome: Result<Reply, PostError>) -> Result<(), (Trouble, String)> {
    let reply = outcome.map_err(|error| (Trouble::Down(None), error.to_string()))?;
    match reply.status.as_u16() {
        200..=299 => Ok(()),
        // These say something of the events. All else is as true of any other event.
        400 | 409 | 413 | 415 | 422 => Err((Trouble::Refused, reply.words())),
        _ => Err((Trouble::Down(reply.retry_after()), reply.words())),
    }
}

/// How much longer is delivered, when somebody says so.
async fn patience(finishing: &mut watch::Receiver<Option<Duration>>) -> Duration {
    finishing.wait_for(Option::is_some).await.ok().and_then(|patience| *patience).unwrap_or_default()
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::GroupName;

    use super::*;
    use crate::webhook::WebhookEvent;
    use crate::webhooks::event::{Event, Numbered};

    /// A receiver passes over what it has had by its id: the same for other events would be lost.
    #[test]
    fn a_batch_has_the_same_id_for_the_same_events_alone() {
        let batch = |numbers: &[u64]| -> Batch {
            let event = Event::group(WebhookEvent::GroupOpened, GroupName::new("group").unwrap());
            let numbered = |sequence: &u64| Numbered { epoch: 7, sequence: *sequence, event: event.clone() };
            numbers.iter().map(numbered).map(Arc::new).collect()
        };
        let id = id_of(&batch(&[2, 4]));
        assert_eq!(id, id_of(&batch(&[2, 4])));
        for other in [&[2, 3, 4][..], &[2], &[4, 2], &[2, 4, 5], &[24]] {
            assert_ne!(id, id_of(&batch(other)), "{other:?}");
        }
    }

    #[test]
    fn what_an_answer_says_is_about_the_events_or_about_the_back_end() {
        let reply = |status: u16| {
            let status = hyper::StatusCode::from_u16(status).unwrap();
            judge(Ok(Reply { status, headers: hyper::HeaderMap::new(), body: Bytes::new() }))
        };
        for status in [200, 202, 204] {
            assert_eq!(reply(status), Ok(()));
        }
        for status in [400, 409, 413, 415, 422] {
            assert_eq!(reply(status).unwrap_err().0, Trouble::Refused, "{status}");
        }
        for status in [101, 301, 302, 401, 403, 404, 405, 408, 410, 429, 500, 503] {
            assert_eq!(reply(status).unwrap_err().0, Trouble::Down(None), "{status}");
        }
        assert_eq!(judge(Err(PostError::TooLong(1))).unwrap_err().0, Trouble::Down(None));
    }
}
