//! What a connection's two directions have in common: the client's words for calls and streams beside Fanfare's
//! numbers, and what has been agreed on.
//!
//! In: ids as the client writes them. Out: numbers for requests and streams, and the way back. Invariants: a number is
//! not used twice; what is kept for a call goes with its answer, its streams included, so that no more is kept than
//! calls may go on at a time.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fanfare_protocol::RequestId;
use fanfare_protocol::call::StreamId;
use fanfare_signalr::Encoding;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What both directions of a connection know.
pub(crate) struct Book {
    /// Whether methods are the application's.
    pub(super) has_application: bool,
    encoding: OnceLock<Encoding>,
    is_welcomed: AtomicBool,
    pings: AtomicBool,
    /// What a stream of the client's may do has changed.
    streams_changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_request: RequestId,
    calls: HashMap<RequestId, Call>,
    /// By the client's id: what it may cancel.
    numbers: HashMap<String, RequestId>,
    next_stream: StreamId,
    uploads: HashMap<StreamId, Upload>,
    names: HashMap<String, StreamId>,
    /// What a handshake is answered that could not be read.
    refusal: Option<Bytes>,
}

/// A call that the client waits for.
pub(super) struct Call {
    /// The client's id for it.
    pub(super) id: String,
    /// The method, as the client writes it.
    pub(super) method: String,
    /// Whether its result is items.
    pub(super) is_stream: bool,
}

/// A stream of the client's.
struct Upload {
    name: String,
    call: RequestId,
    /// How many items more are taken.
    credit: u64,
    /// Some were: its method has begun.
    has_begun: bool,
}

/// What is to be done with an item of a client's stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There was credit for it.
    Goes,
    /// It has to wait for credit.
    Waits,
    /// Nobody takes it any more.
    Gone,
}

impl Book {
    pub(crate) fn new(has_application: bool) -> Self {
        Self {
            has_application,
            encoding: OnceLock::new(),
            is_welcomed: AtomicBool::new(false),
            pings: AtomicBool::new(false),
            streams_changed: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// How hub messages are written; JSON as long as that is not agreed on, as the handshake is.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding.get().copied().unwrap_or(Encoding::Json)
    }

    /// It is agreed on.
    pub(super) fn agree(&self, encoding: Encoding) {
        let _ = self.encoding.set(encoding);
    }

    /// What answers the handshake, where it could not be read.
    pub(super) fn refuse(&self, answer: Bytes) {
        self.state.lock().refusal = Some(answer);
    }

    /// The same for whoever says it.
    pub(super) fn refusal(&self) -> Option<Bytes> {
        self.state.lock().refusal.take()
    }

    /// The handshake is answered.
    pub(crate) fn welcome(&self) {
        self.is_welcomed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_welcomed(&self) -> bool {
        self.is_welcomed.load(Ordering::Relaxed)
    }

    /// The client has sent a ping: from now on its silence means something.
    pub(super) fn pinged(&self) {
        self.pings.store(true, Ordering::Relaxed);
    }

    pub(super) fn pings(&self) -> bool {
        self.pings.load(Ordering::Relaxed)
    }

    /// A number for a request. What is kept of it, is kept where the client waits for an answer. Also tells whether the
    /// client's id was free.
    pub(super) fn begin(&self, id: Option<String>, method: &str, is_stream: bool) -> (RequestId, bool) {
        let mut state = self.state.lock();
        let request = state.next_request;
        state.next_request += 1;
        let Some(id) = id else { return (request, true) };
        let is_free = !state.numbers.contains_key(&id);
        if is_free {
            state.numbers.insert(id.clone(), request);
        }
        state.calls.insert(request, Call { id, method: method.to_owned(), is_stream });
        (request, is_free)
    }

    /// The number of what the client waits for under this id.
    pub(super) fn number(&self, id: &str) -> Option<RequestId> {
        self.state.lock().numbers.get(id).copied()
    }

    /// The client's id for a call that goes on.
    pub(super) fn id(&self, request: RequestId) -> Option<String> {
        self.state.lock().calls.get(&request).map(|call| call.id.clone())
    }

    /// A call is answered: it and its streams are forgotten.
    pub(super) fn end(&self, request: RequestId) -> Option<Call> {
        let mut state = self.state.lock();
        let call = state.calls.remove(&request);
        if let Some(call) = &call
            && state.numbers.get(&call.id) == Some(&request)
        {
            state.numbers.remove(&call.id);
        }
        let State { uploads, names, .. } = &mut *state;
        uploads.retain(|_, upload| {
            let stays = upload.call != request;
            if !stays {
                names.remove(&upload.name);
            }
            stays
        });
        drop(state);
        self.streams_changed.notify_one();
        call
    }

    /// Numbers for the streams of a call; `None` where one of the names is that of a stream that goes on.
    pub(super) fn announce(&self, call: RequestId, names: Vec<String>) -> Option<Vec<StreamId>> {
        let mut state = self.state.lock();
        let has_twice = |at: usize, name| names.get(..at).is_some_and(|before| before.contains(name));
        if names.iter().enumerate().any(|(at, name)| state.names.contains_key(name) || has_twice(at, name)) {
            return None;
        }
        let numbers = names.into_iter().map(|name| {
            let stream = state.next_stream;
            state.next_stream += 1;
            state.names.insert(name.clone(), stream);
            state.uploads.insert(stream, Upload { name, call, credit: 0, has_begun: false });
            stream
        });
        Some(numbers.collect())
    }

    /// The number of the stream with this name.
    pub(super) fn stream(&self, name: &str) -> Option<StreamId> {
        self.state.lock().names.get(name).copied()
    }

    /// So many more items of a stream are taken.
    pub(super) fn credit(&self, stream: StreamId, items: u32) {
        if let Some(upload) = self.state.lock().uploads.get_mut(&stream) {
            upload.credit += u64::from(items);
            upload.has_begun = true;
        }
        self.streams_changed.notify_one();
    }

    /// Takes credit for an item.
    pub(super) fn admit(&self, stream: StreamId) -> Admission {
        match self.state.lock().uploads.get_mut(&stream) {
            None => Admission::Gone,
            Some(upload) if upload.credit == 0 => Admission::Waits,
            Some(upload) => {
                upload.credit -= 1;
                Admission::Goes
            }
        }
    }

    /// Whether the method that reads a stream has not begun yet.
    pub(super) fn is_early(&self, stream: StreamId) -> bool {
        self.state.lock().uploads.get(&stream).is_some_and(|upload| !upload.has_begun)
    }

    /// A stream has ended, or nobody takes it any more.
    pub(super) fn end_stream(&self, stream: StreamId) {
        let mut state = self.state.lock();
        if let Some(upload) = state.uploads.remove(&stream) {
            state.names.remove(&upload.name);
        }
        drop(state);
        self.streams_changed.notify_one();
    }

    /// Waits until what a stream may do has changed. For one who waits alone.
    pub(super) async fn streams_changed(&self) {
        self.streams_changed.notified().await;
    }

    /// How much is kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.calls.len() + state.numbers.len() + state.uploads.len() + state.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_call_that_was_answered() {
        let book = Book::new(true);
        let (first, is_free) = book.begin(Some("7".to_owned()), "Add", false);
        assert!(is_free);
        assert_eq!(book.number("7"), Some(first));
        let streams = book.announce(first, vec!["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(book.announce(first, vec!["a".to_owned()]), None, "it goes on");
        assert_eq!(book.announce(first, vec!["c".to_owned(), "c".to_owned()]), None, "it is there twice");
        assert_eq!(book.stream("b"), Some(streams[1]));
        let (second, is_free) = book.begin(Some("7".to_owned()), "Add", false);
        assert!(!is_free);
        assert_eq!(book.end(second).unwrap().id, "7");
        assert_eq!(book.number("7"), Some(first), "who was first stays");
        assert_eq!(book.begin(None, "Send", false), (second + 1, true));
        assert_eq!(book.id(second + 1), None, "nobody waits for it");
        assert_eq!(book.end(first).unwrap().method, "Add");
        assert!(book.end(first).is_none());
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn items_go_against_credit() {
        let book = Book::new(true);
        let (call, _) = book.begin(Some("1".to_owned()), "Sum", false);
        let stream = book.announce(call, vec!["s".to_owned()]).unwrap()[0];
        assert_eq!(book.admit(stream), Admission::Waits);
        assert!(book.is_early(stream));
        book.credit(stream, 2);
        assert!(!book.is_early(stream), "its method has begun");
        assert_eq!(
            [(); 3].map(|()| book.admit(stream)),
            [Admission::Goes, Admission::Goes, Admission::Waits]
        );
        book.end_stream(stream);
        assert_eq!(book.admit(stream), Admission::Gone);
        assert_eq!(book.stream("s"), None);
    }
}
