//! Requests that come twice and are carried out once: `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! In: whose request it is, its key, what it asks, and the moment. Out: that it is new, or the answer that it had, or
//! why it cannot be answered. Invariants: of requests with the same key one is carried out, whoever comes first; an
//! answer is kept for [`KEPT`], and no more of them for one API key than [`MOST`] and [`MOST_BYTES`]: beyond that the
//! oldest are forgotten sooner. A restart forgets all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use parking_lot::Mutex;

/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(3_600);
/// How many answers are kept for one API key.
const MOST: usize = 10_000;
/// How many bytes of answers are kept for one API key.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How often those of all keys are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What one takes beside its body and its key, which is kept twice.
const EACH: usize = 256;
/// The longest `Idempotency-Key`, in bytes.
pub(crate) const MOST_KEY: usize = 255;

/// A digest of everything that a request asks.
pub(crate) type Fingerprint = [u8; 32];

/// An answer, as it is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<axum::http::HeaderValue>,
    pub(crate) body: Bytes,
}

/// What is to be done with a request.
pub(crate) enum Turn {
    /// It is the first. It is to be carried out, and its answer [kept](First::keep).
    First(First),
    /// It was carried out, and answered with this.
    Again(Answer),
    /// It is being carried out.
    InProgress,
    /// Its key was another request's.
    Other,
}

/// The answers of all API keys.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    of: HashMap<String, OfKey>,
    /// When those of all keys were last looked at.
    looked: Option<Instant>,
}

/// Those of one.
#[derive(Default)]
struct OfKey {
    requests: HashMap<String, Request>,
    /// In the order in which they were answered.
    answered: VecDeque<(Instant, String)>,
    bytes: usize,
}

struct Request {
    fingerprint: Fingerprint,
    answer: Option<Answer>,
}

/// A request that is being carried out. Dropped without an answer it may be tried again.
pub(crate) struct First {
    of: Arc<Answers>,
    api_key: String,
    key: String,
    is_kept: bool,
}

impl Answers {
    /// Begins a request, if it is the first with its key.
    pub(crate) fn begin(
        self: &Arc<Self>,
        api_key: &str,
        key: &str,
        fingerprint: Fingerprint,
        now: Instant,
    ) -> Turn {
        let mut kept = self.0.lock();
        kept.forget(now);
        let own = kept.of.entry(api_key.to_owned()).or_default();
        own.forget(now);
        match own.requests.get(key) {
            Some(request) if request.fingerprint != fingerprint => Turn::Other,
            Some(Request { answer: Some(answer), .. }) => Turn::Again(answer.clone()),
            Some(_) => Turn::InProgress,
            None => {
                own.requests.insert(key.to_owned(), Request { fingerprint, answer: None });
                let (api_key, key) = (api_key.to_owned(), key.to_owned());
                Turn::First(First { of: Arc::clone(self), api_key, key, is_kept: false })
            }
        }
    }
}

impl Kept {
    /// Forgets, now and then, also what nobody asks for any more: of keys that are not used, or gone.
    fn forget(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        self.of.retain(|_, own| {
            own.forget(now);
            !own.requests.is_empty()
        });
    }
}

impl OfKey {
    /// Forgets what has been kept for long enough, and what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.answered.front() {
            let is_old = now.saturating_duration_since(*at) >= KEPT;
            if !is_old && self.answered.len() <= MOST && self.bytes <= MOST_BYTES {
                break;
            }
            let Some((_, key)) = self.answered.pop_front() else { break };
            if let Some(Request { answer: Some(answer), .. }) = self.requests.remove(&key) {
                self.bytes -= weight(&key, &answer);
            }
        }
    }
}

fn weight(key: &str, answer: &Answer) -> usize {
    answer.body.len() + 2 * key.len() + EACH
}

impl First {
    /// The answer, which is given again to whoever asks the same.
    pub(crate) fn keep(mut self, answer: Answer, now: Instant) {
        self.is_kept = true;
        let mut kept = self.of.0.lock();
        let own = kept.of.entry(self.api_key.clone()).or_default();
        let Some(request) = own.requests.get_mut(&self.key) else { return };
        own.bytes += weight(&self.key, &answer);
        own.answered.push_back((now, self.key.clone()));
        request.answer = Some(answer);
        own.forget(now);
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let mut kept = self.of.0.lock();
        if let Some(own) = kept.of.get_mut(&self.api_key) {
            own.requests.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer { status: StatusCode::OK, content_type: None, body: vec![0; bytes].into() }
    }

    fn first(answers: &Arc<Answers>, api_key: &str, key: &str, now: Instant) -> First {
        match answers.begin(api_key, key, [1; 32], now) {
            Turn::First(first) => first,
            _ => panic!("{key} is there"),
        }
    }

    #[test]
    fn a_request_is_carried_out_once_and_answered_as_often_as_it_comes() {
        let (answers, now) = (Arc::new(Answers::default()), Instant::now());
        let begun = first(&answers, "billing", "a", now);
        assert!(matches!(answers.begin("billing", "a", [1; 32], now), Turn::InProgress));
        assert!(matches!(answers.begin("billing", "a", [2; 32], now), Turn::Other));
        // Another's key is another.
        drop(first(&answers, "shop", "a", now));
        drop(first(&answers, "shop", "a", now));
        begun.keep(answer(3), now);
        let later = now + KEPT - Duration::from_secs(1);
        assert!(
            matches!(answers.begin("billing", "a", [1; 32], later), Turn::Again(again) if again == answer(3))
        );
        assert!(matches!(answers.begin("billing", "a", [2; 32], later), Turn::Other));
        drop(first(&answers, "billing", "a", now + KEPT));
    }

    #[test]
    fn no_more_is_kept_than_the_bounds_say() {
        let (answers, now) = (Arc::new(Answers::default()), Instant::now());
        let size = || {
            let kept = answers.0.lock();
            let own = &kept.of["billing"];
            assert_eq!(own.requests.len(), own.answered.len());
            let bytes =
                own.requests.iter().map(|(key, request)| weight(key, request.answer.as_ref().unwrap()));
            assert_eq!(own.bytes, bytes.sum::<usize>());
            (own.answered.len(), own.bytes)
        };
        for number in 0..MOST + 5 {
            first(&answers, "billing", &number.to_string(), now).keep(answer(1), now);
        }
        assert_eq!(size().0, MOST);
        drop(first(&answers, "billing", "4", now));
        assert!(matches!(answers.begin("billing", "5", [1; 32], now), Turn::Again(_)));
        first(&answers, "billing", "large", now).keep(answer(MOST_BYTES - 1_000), now);
        let (count, bytes) = size();
        assert!(count < 4 && bytes <= MOST_BYTES, "{count} {bytes}");
        assert!(matches!(answers.begin("billing", "large", [1; 32], now), Turn::Again(_)));
        // What nobody asks for any more goes, too.
        first(&answers, "gone", "a", now).keep(answer(1), now);
        drop(first(&answers, "other", "b", now + KEPT));
        assert!(!answers.0.lock().of.contains_key("gone"));
        assert!(!answers.0.lock().of.contains_key("billing"));
    }
}
