//! The calls that one connection has under way: who waits for what.
//!
//! In: calls that are sent, and what the server says about them. Out: outcomes and items, to whoever waits, and credit
//! for uploads. Invariants: nothing here waits; when the connection is lost everybody who waits hears of it; a call has
//! its place among the requests without an answer until the server has said what came of it, also when its caller gave
//! up.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::call::{Failure, Outcome, ServerCall, StreamId};
use fanfare_protocol::{Payload, RequestId};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use crate::error::{CallError, RequestError};
use crate::requests::Place;

/// How many items of a result may wait to be taken, and so the credit that the server has.
pub(crate) const WINDOW: u32 = 32;

/// Credit above this is not added: no stream has so many items.
const MOST_CREDIT: usize = 1 << 40;

/// What comes for a call, in its order.
#[derive(Debug)]
pub(crate) enum News {
    /// An item of its result.
    Item(Payload),
    /// What came of it. Nothing comes behind it.
    Outcome(Result<Option<Payload>, CallError>),
}

/// A stream of the client's own.
#[derive(Clone)]
pub(crate) struct Uploading {
    /// How many items the server takes. Closed when it takes no more.
    pub(crate) credit: Arc<Semaphore>,
}

/// The calls of one connection.
#[derive(Default)]
pub(crate) struct Calls {
    /// `None` when the connection is lost.
    table: Mutex<Option<Table>>,
}

#[derive(Default)]
struct Table {
    calls: HashMap<RequestId, Called>,
    uploads: HashMap<StreamId, Uploading>,
}

/// A call that the server has not answered.
struct Called {
    /// `None`: the caller gave up.
    news: Option<mpsc::Sender<News>>,
    _place: Place,
}

/// The server has sent more items than it had credit for.
pub(crate) struct Overrun;

impl Calls {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(Some(Table::default())) }
    }

    /// Enters a call with its streams. `None`: the connection is lost already.
    pub(crate) fn enter(
        &self,
        request: RequestId,
        streams: &[StreamId],
        place: Place,
    ) -> Option<(mpsc::Receiver<News>, Vec<Uploading>)> {
        let mut table = self.table.lock();
        let table = table.as_mut()?;
        // One more place than items, for the outcome.
        let (sender, receiver) = mpsc::channel(WINDOW as usize + 1);
        table.calls.insert(request, Called { news: Some(sender), _place: place });
        let uploads = streams.iter().map(|stream| {
            let upload = Uploading { credit: Arc::new(Semaphore::new(0)) };
            table.uploads.insert(*stream, upload.clone());
            upload
        });
        Some((receiver, uploads.collect()))
    }

    /// Nobody waits for this call any more, or sends a stream of it. Tells whether it had no outcome yet.
    pub(crate) fn leave(&self, request: RequestId, streams: &[StreamId]) -> bool {
        let mut table = self.table.lock();
        let Some(table) = table.as_mut() else { return false };
        for stream in streams {
            table.uploads.remove(stream);
        }
        table.calls.get_mut(&request).is_some_and(|call| call.news.take().is_some())
    }

    /// The server refused a request. Gives the reason back where it was no call.
    pub(crate) fn refused(&self, request: RequestId, code: u16, detail: String) -> Result<(), (u16, String)> {
        let call = self.table.lock().as_mut().and_then(|table| table.calls.remove(&request));
        let Some(call) = call else { return Err((code, detail)) };
        call.tell(News::Outcome(Err(RequestError::Refused { code, detail }.into())));
        Ok(())
    }

    /// Takes what the server says about the client's own calls. What it wants of the client is given back.
    pub(crate) fn take(&self, call: ServerCall) -> Result<Option<ServerCall>, Overrun> {
        let mut table = self.table.lock();
        let Some(table) = table.as_mut() else { return Ok(None) };
        match call {
            ServerCall::Completion { request, outcome } => {
                if let Some(call) = table.calls.remove(&request) {
                    let outcome = match outcome {
                        Outcome::Nothing => Ok(None),
                        Outcome::Value(value) => Ok(Some(value)),
                        Outcome::Failed(Failure { code, detail, data }) => {
                            Err(CallError::Failed { code, detail, data })
                        }
                    };
                    call.tell(News::Outcome(outcome));
                }
            }
            ServerCall::Item { request, item } => {
                let news = table.calls.get(&request).and_then(|call| call.news.as_ref());
                match news.map(|news| (news.capacity(), news)) {
                    // The last place is for the outcome.
                    Some((0 | 1, news)) if !news.is_closed() => return Err(Overrun),
                    Some((_, news)) => drop(news.try_send(News::Item(item))),
                    None => {}
                }
            }
            ServerCall::Credit { stream, items } => {
                let upload = table.uploads.get(&stream);
                if let Some(upload) = upload.filter(|upload| upload.credit.available_permits() < MOST_CREDIT)
                {
                    upload.credit.add_permits(items as usize);
                }
            }
            ServerCall::Stop { stream } => {
                if let Some(upload) = table.uploads.remove(&stream) {
                    upload.credit.close();
                }
            }
            wanted @ (ServerCall::Invoke { .. } | ServerCall::Cancel { .. }) => return Ok(Some(wanted)),
        }
        Ok(None)
    }

    /// The connection is lost: everybody who waits hears of it.
    pub(crate) fn fail_all(&self) {
        let Some(table) = self.table.lock().take() else { return };
        for upload in table.uploads.values() {
            upload.credit.close();
        }
        // Whoever waits finds the other end gone.
        drop(table.calls);
    }
}

impl Called {
    /// Tells whoever waits; nobody does if the caller gave up.
    fn tell(self, news: News) {
        let _ = self.news.map(|waiting| waiting.try_send(news));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Requests;

    #[tokio::test]
    async fn items_beyond_the_credit_are_an_error_and_the_outcome_always_has_a_place() {
        let (calls, requests) = (Calls::new(), Requests::new());
        let (mut news, _) = calls.enter(1, &[], requests.place().await.unwrap()).unwrap();
        let item = || ServerCall::Item { request: 1, item: Payload::from("x") };
        for _ in 0..WINDOW {
            assert!(calls.take(item()).is_ok());
        }
        assert!(calls.take(item()).is_err());
        assert!(calls.take(ServerCall::Completion { request: 1, outcome: Outcome::Nothing }).is_ok());
        let mut items = 0;
        while let Ok(News::Item(_)) = news.try_recv() {
            items += 1;
        }
        assert_eq!(items, WINDOW);
        // Behind it the number is free, and what comes for it has no effect.
        assert!(calls.take(item()).is_ok());
        assert!(calls.refused(1, 2201, String::new()).is_err());
    }

    #[tokio::test]
    async fn a_loss_is_heard_by_everybody() {
        let (calls, requests) = (Calls::new(), Requests::new());
        let (mut news, uploads) = calls.enter(1, &[2], requests.place().await.unwrap()).unwrap();
        calls.fail_all();
        assert!(news.recv().await.is_none());
        assert!(uploads[0].credit.acquire().await.is_err());
        assert!(calls.enter(3, &[], requests.place().await.unwrap()).is_none());
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_keeps_its_place_until_the_server_has_answered() {
        let (calls, requests) = (Calls::new(), Requests::new());
        let before = requests.free();
        let (news, _) = calls.enter(1, &[], requests.place().await.unwrap()).unwrap();
        drop(news);
        assert!(calls.leave(1, &[]) && !calls.leave(1, &[]), "it is given up once");
        assert_eq!(requests.free(), before - 1);
        assert_eq!(calls.refused(1, 2201, String::new()), Ok(()), "this is no event of the application's");
        assert_eq!(requests.free(), before);
        assert!(calls.refused(1, 2201, String::new()).is_err());
    }
}
