//! Questions over one connection, and their answers: each with a deadline, and with the reason where none comes.
//!
//! In: a subject and a payload. Out: the answer, or an [`Unanswered`] that says whether the question can have got
//! through. Invariants: a question whose asker has gone is forgotten at once; nobody waits longer than the deadline, or
//! than the connection lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, ServerError, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many refusals may wait for those who look for theirs.
const REFUSALS: usize = 64;
/// How many refused subscriptions are remembered: more than there are.
const UNHEARD: usize = 16;

/// What happens to one connection.
pub(crate) struct Signs {
    /// It has ended.
    pub(crate) ended: CancellationToken,
    /// Its server goes, and asks its clients to go elsewhere.
    pub(crate) moving: CancellationToken,
    /// What the server refused, in its own words.
    refusals: broadcast::Sender<Arc<str>>,
    /// Those of subscriptions, which concern whoever needs them later, too. The first few.
    unheard: Mutex<Vec<Arc<str>>>,
    /// How many messages were dropped because nobody took them here.
    pub(crate) dropped: AtomicU64,
}

impl Signs {
    pub(crate) fn new() -> Self {
        Self {
            ended: CancellationToken::new(),
            moving: CancellationToken::new(),
            refusals: broadcast::channel(REFUSALS).0,
            unheard: Mutex::new(Vec::new()),
            dropped: AtomicU64::new(0),
        }
    }

    /// What the client tells of its connection.
    pub(crate) fn take(&self, event: &async_nats::Event) {
        use async_nats::Event;
        match event {
            Event::Disconnected | Event::Closed => self.ended.cancel(),
            Event::LameDuckMode => self.moving.cancel(),
            Event::SlowConsumer(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Event::ServerError(ServerError::Other(words)) => {
                tracing::warn!(%words, "NATS refuses something");
                let words: Arc<str> = words.as_str().into();
                let mut unheard = self.unheard.lock();
                if words.contains("Subscription") && unheard.len() < UNHEARD {
                    unheard.push(Arc::clone(&words));
                }
                drop(unheard);
                // Nobody may be listening.
                let _ = self.refusals.send(words);
            }
            Event::Connected | Event::Draining | Event::ServerError(_) | Event::ClientError(_) => {}
        }
    }

    /// That this may not be subscribed to, where it was tried and refused.
    fn unheard(&self, subject: &str) -> Option<String> {
        self.unheard.lock().iter().find_map(|words| refused(words, subject))
    }

    /// Listens from now on.
    pub(crate) fn refusals(&self) -> Refusals {
        Refusals { receiver: self.refusals.subscribe() }
    }
}

pub(crate) struct Refusals {
    receiver: broadcast::Receiver<Arc<str>>,
}

impl Refusals {
    /// Waits until one of these subjects is refused, and tells what may not be done. For ever, where none is.
    pub(crate) async fn of(&mut self, subjects: &[&str]) -> String {
        loop {
            match self.receiver.recv().await {
                Ok(words) => {
                    if let Some(what) = subjects.iter().find_map(|subject| refused(&words, subject)) {
                        return what;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// `Permissions Violation for Publish to "SUBJECT"`, as what may not be done.
fn refused(words: &str, subject: &str) -> Option<String> {
    if !words.contains(&format!("\"{subject}\""))
        || !words.to_ascii_lowercase().contains("permissions violation")
    {
        return None;
    }
    let what = if words.contains("Subscription") { "subscribe to" } else { "publish to" };
    Some(format!("{what} {subject}"))
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The question has not been asked: the connection had ended, or was busy all the time.
    NotAsked,
    /// Nobody is there who could answer.
    Nobody,
    /// It may not be asked.
    Forbidden(String),
    /// The deadline, or the end of the connection: it may have been heard.
    Silence,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAsked => f.write_str("there is no connection to NATS"),
            Self::Nobody => f.write_str("JetStream is not there"),
            Self::Forbidden(what) => write!(f, "NATS does not let this user {what}"),
            Self::Silence => f.write_str("no answer from NATS"),
        }
    }
}

/// The questions of one connection.
pub(crate) struct Requests {
    pub(crate) client: Client,
    pub(crate) signs: Arc<Signs>,
    /// What every subject begins with that answers come to; without the dot.
    pub(crate) inbox: String,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    next: AtomicU64,
}

/// Forgets the question when its asker goes.
struct Asked<'a> {
    requests: &'a Requests,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.requests.waiting.lock().remove(&self.number);
    }
}

impl Requests {
    pub(crate) fn new(client: Client, signs: Arc<Signs>, inbox: String) -> Self {
        Self { client, signs, inbox, waiting: Mutex::new(HashMap::new()), next: AtomicU64::new(0) }
    }

    /// What answers are subscribed to with. Deliveries of watches are below the same inbox, at other subjects.
    pub(crate) fn answers(&self) -> String {
        format!("{}.a.*", self.inbox)
    }

    /// Hands answers on until the connection ends.
    pub(crate) async fn listen(&self, mut answers: Subscriber) {
        while let Some(message) = answers.next().await {
            let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
            let asker = number.and_then(|number: u64| self.waiting.lock().remove(&number));
            // One that comes after the deadline is nobody's.
            if let Some(asker) = asker {
                let _ = asker.send(message);
            }
        }
        // The client tells of its end itself, unless it had too much to tell.
        self.signs.ended.cancel();
    }

    pub(crate) async fn ask(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, Unanswered> {
        let deadline = Instant::now() + within;
        if self.signs.ended.is_cancelled() {
            return Err(Unanswered::NotAsked);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(number, sender);
        let _asked = Asked { requests: self, number };
        let mut refusals = self.signs.refusals();
        let asked = [subject];
        let reply = format!("{}.a.{number}", self.inbox);
        let handed_over =
            self.client.publish_with_reply_and_headers(subject.to_owned(), reply, headers, payload);
        tokio::select! {
            biased;
            () = self.signs.ended.cancelled() => return Err(Unanswered::NotAsked),
            result = tokio::time::timeout_at(deadline, handed_over) => match result {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Unanswered::NotAsked),
            },
        }
        let unanswered = tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(message) if message.status == Some(StatusCode::NO_RESPONDERS) => Unanswered::Nobody,
                Ok(message) => return Ok(message),
                Err(_) => Unanswered::Silence,
            },
            what = refusals.of(&asked) => Unanswered::Forbidden(what),
            () = self.signs.ended.cancelled() => Unanswered::Silence,
            () = tokio::time::sleep_until(deadline) => Unanswered::Silence,
        };
        Err(unanswered)
    }

    /// That answers may not be heard, where that is why none comes.
    pub(crate) fn deaf(&self) -> Option<String> {
        self.signs.unheard(&self.answers())
    }

    /// Asks, and does not wait for an answer: one comes to where nobody listens.
    pub(crate) async fn tell(&self, subject: String, payload: Bytes) {
        let reply = format!("{}.a.none", self.inbox);
        let _ = self.client.publish_with_reply(subject, reply, payload).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_for_its_subject() {
        let publish = r#"Permissions Violation for Publish to "$KV.f.x""#;
        assert_eq!(refused(publish, "$KV.f.x").unwrap(), "publish to $KV.f.x");
        assert_eq!(refused(publish, "$KV.f.xx"), None);
        assert_eq!(refused(publish, "$KV.f"), None);
        let subscribe = r#"Permissions Violation for Subscription to "f.all""#;
        assert_eq!(refused(subscribe, "f.all").unwrap(), "subscribe to f.all");
        assert_eq!(refused(r#"something else about "f.all""#, "f.all"), None);
    }
}
