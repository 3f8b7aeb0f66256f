//! Calls of the application's methods: one value, or items, with streams of the client's own.
//!
//! In: a method's name and arguments. Out: what came of it. Invariants: a call that is dropped is cancelled, and so are
//! its streams; items are taken only as fast as they are read.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanfare_protocol::call::{ClientCall, Failure, Invoke, Outcome, StreamId};
use fanfare_protocol::codec::PREFIX_BYTES;
use fanfare_protocol::{Code, Denial, Features, MethodName, Payload, PayloadFormat, RequestId};
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::answering::Answer;
use crate::calls::{News, Uploading, WINDOW};
use crate::client::Client;
use crate::encoding::{decode, encode, encoded};
use crate::error::{CallError, RequestError};
use crate::link::Link;

type Upload = Pin<Box<dyn Stream<Item = Result<Payload, Failure>> + Send>>;

/// A call that is to be made: the method, its arguments, and streams that are arguments.
///
/// ```
/// use fanfare_client::Invocation;
///
/// let call = Invocation::new("SendPrivateMessage").arguments(&("bob", "hello"));
/// ```
#[must_use = "it is made when it is given to Client::call or Client::stream_call"]
pub struct Invocation {
    method: String,
    format: PayloadFormat,
    arguments: Result<Payload, CallError>,
    uploads: Vec<Upload>,
}

impl Invocation {
    /// A call of this method, without arguments yet.
    pub fn new(method: impl Into<String>) -> Self {
        let format = PayloadFormat::Json;
        Self { method: method.into(), format, arguments: Ok(Payload::json("[]")), uploads: Vec::new() }
    }

    /// Arguments, items and the outcome go as MessagePack, and not as JSON. Call it before the others.
    pub fn in_message_pack(mut self) -> Self {
        self.format = PayloadFormat::MessagePack;
        self.arguments(&([0_u8; 0]))
    }

    /// The arguments: a tuple with an element for each.
    pub fn arguments(mut self, arguments: &impl Serialize) -> Self {
        // No arguments are an empty list, and `()` is written as no value.
        let encoded = encode(arguments, self.format).map(|arguments| match &arguments.bytes[..] {
            b"null" if self.format == PayloadFormat::Json => Payload::json("[]"),
            b"\xc0" if self.format == PayloadFormat::MessagePack => Payload::message_pack(&b"\x90"[..]),
            _ => arguments,
        });
        self.arguments = encoded.map_err(CallError::Arguments);
        self
    }

    /// The arguments as they are.
    pub fn raw(mut self, arguments: Payload) -> Self {
        self.arguments = Ok(arguments);
        self
    }

    /// One more stream that is an argument. It is read as the server takes its items.
    pub fn upload<S>(mut self, stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Serialize,
    {
        self.uploads.push(Box::pin(Encoded { stream: Box::pin(stream), format: self.format }));
        self
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uploads = self.uploads.len();
        f.debug_struct("Invocation")
            .field("method", &self.method)
            .field("uploads", &uploads)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Invokes a method of the application, and waits for its value, as long as the method takes. `arguments` is a
    /// tuple with an element for each. Dropped before, the call is cancelled.
    ///
    /// ```no_run
    /// # async fn run(client: fanfare_client::Client) -> Result<(), fanfare_client::CallError> {
    /// let sum: i64 = client.invoke("Add", &(1, 2)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn invoke<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Invocation::new(method).arguments(arguments)).await
    }

    /// The same with all that a call can have.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<T: DeserializeOwned>(&self, invocation: Invocation) -> Result<T, CallError> {
        let value = self.call_raw(invocation).await?;
        // Nothing is read as null is.
        decode(&value.unwrap_or_else(|| Payload::json("null"))).map_err(CallError::Value)
    }

    /// The same, and the value as it came. `None`: the method has none.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_raw(&self, invocation: Invocation) -> Result<Option<Payload>, CallError> {
        let mut pending = self.begin(invocation, 0).await?;
        loop {
            match pending.news.recv().await {
                Some(News::Outcome(outcome)) => {
                    pending.is_over = true;
                    return outcome;
                }
                // It has no credit for any.
                Some(News::Item(_)) => {}
                None => return Err(pending.lost()),
            }
        }
    }

    /// Invokes a method whose result is a stream.
    ///
    /// # Errors
    /// See [`CallError`]; that the method itself fails is told by [`Items::next`].
    pub async fn stream<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<Items<T>, CallError> {
        self.stream_call(Invocation::new(method).arguments(arguments)).await
    }

    /// The same with all that a call can have.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn stream_call<T: DeserializeOwned>(
        &self,
        invocation: Invocation,
    ) -> Result<Items<T>, CallError> {
        let pending = self.begin(invocation, WINDOW).await?;
        Ok(Items { pending, read: 0, items: PhantomData })
    }

    async fn begin(&self, invocation: Invocation, credit: u32) -> Result<Pending, CallError> {
        let Invocation { method, arguments, uploads, format: _ } = invocation;
        let method = MethodName::new(&method).map_err(RequestError::from)?;
        let arguments = arguments?;
        let shared = self.shared();
        let link = shared.link()?;
        if !Features::CALLS.are_in(link.welcome.features) {
            return Err(CallError::NotSupported);
        }
        let limits = link.welcome.limits;
        let bytes = arguments.bytes.len();
        if bytes > limits.payload_bytes as usize {
            return Err(RequestError::PayloadTooLarge { bytes, limit: limits.payload_bytes }.into());
        }
        let request = shared.next_request();
        let streams: Vec<StreamId> = uploads.iter().map(|_| shared.next_request()).collect();
        let invoke = Invoke { request, method, credit, streams: streams.clone(), arguments };
        let frame = encoded(ClientCall::Invoke(invoke));
        let bytes = frame.len().saturating_sub(PREFIX_BYTES);
        if bytes > limits.frame_bytes as usize {
            return Err(RequestError::FrameTooLarge { bytes, limit: limits.frame_bytes }.into());
        }
        let entered = shared.queue_call(&link, frame, |place| link.calls.enter(request, &streams, place));
        let (news, uploading) = entered.await?;
        let parts = streams.iter().zip(uploads).zip(uploading);
        let _uploads = parts
            .map(|((stream, items), upload)| {
                let pump = pump(Arc::clone(&link), *stream, items, upload, limits.payload_bytes);
                AbortOnDropHandle::new(self.runtime().spawn(pump))
            })
            .collect();
        Ok(Pending { link, request, streams, news, is_over: false, _uploads })
    }
}

impl Client {
    /// Answers when the application invokes this method here. `handler` takes a tuple with an element for each
    /// argument; its error is a text that the application gets. A later handler for the same method replaces the
    /// earlier one.
    ///
    /// The handler runs in a task of its own. It is dropped when its answer is not wanted any more: the application
    /// does not wait for it, or the connection is lost. A handler that uses the client keeps a
    /// [`WeakClient`](crate::WeakClient): a [`Client`] in it would keep the connection until [`Client::close`].
    ///
    /// ```no_run
    /// # fn run(client: &fanfare_client::Client) {
    /// client.on_invoke("Confirm", |(question,): (String,)| async move { Ok::<_, String>(question.len() < 100) });
    /// # }
    /// ```
    pub fn on_invoke<A, T, F, Fut>(&self, method: &str, handler: F)
    where
        A: DeserializeOwned,
        T: Serialize,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, String>> + Send + 'static,
    {
        let answer = move |arguments: Payload| -> Answer {
            let format = arguments.format;
            let refused = |code, detail| Outcome::Failed(Denial { code, detail }.into());
            match decode::<A>(&arguments) {
                Err(problem) => Box::pin(std::future::ready(refused(Code::ArgumentsInvalid, problem))),
                Ok(arguments) => {
                    let answer = handler(arguments);
                    Box::pin(async move {
                        match answer.await.map(|value| encode(&value, format)) {
                            Ok(Ok(value)) => Outcome::Value(value),
                            Ok(Err(problem)) | Err(problem) => refused(Code::CallFailed, problem),
                        }
                    })
                }
            }
        };
        self.shared().handlers.insert(method, Arc::new(answer));
    }
}

/// A call that has no outcome yet. Dropped, it is cancelled.
struct Pending {
    link: Arc<Link>,
    request: RequestId,
    streams: Vec<StreamId>,
    news: mpsc::Receiver<News>,
    is_over: bool,
    /// They end with the call.
    _uploads: Vec<AbortOnDropHandle<()>>,
}

impl Pending {
    /// The connection is gone, and nobody knows what has come of it.
    fn lost(&mut self) -> CallError {
        self.is_over = true;
        RequestError::Disconnected.into()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let had_no_outcome = self.link.calls.leave(self.request, &self.streams);
        if had_no_outcome && !self.is_over {
            self.link.say(encoded(ClientCall::Cancel { request: self.request }));
        }
    }
}

/// The items of a result, one after the other. Dropped before the last, the method is told to stop.
pub struct Items<T> {
    pending: Pending,
    /// Items taken that the server has not got credit for again.
    read: u32,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Items<T> {
    /// The next item; `None` behind the last. An error is the last.
    pub async fn next(&mut self) -> Option<Result<T, CallError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T: DeserializeOwned> Stream for Items<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.pending.is_over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pending.news.poll_recv(context)) {
            Some(News::Item(item)) => {
                self.read += 1;
                // By halves, so that not every item costs a frame.
                if self.read > WINDOW / 2 {
                    let items = std::mem::take(&mut self.read);
                    let request = self.pending.request;
                    self.pending.link.say(encoded(ClientCall::Credit { request, items }));
                }
                Some(decode(&item).map_err(CallError::Value))
            }
            Some(News::Outcome(outcome)) => {
                self.pending.is_over = true;
                outcome.err().map(Err)
            }
            None => Some(Err(self.pending.lost())),
        })
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("request", &self.pending.request).finish_non_exhaustive()
    }
}

/// Sends a stream of the client's own as the server takes it.
async fn pump(link: Arc<Link>, stream: StreamId, mut items: Upload, upload: Uploading, most: u32) {
    let unended = Unended { link, stream };
    loop {
        // Closed: nobody reads it any more.
        let Ok(permit) = upload.credit.acquire().await else { return };
        permit.forget();
        let item = std::future::poll_fn(|context| items.as_mut().poll_next(context)).await;
        let too_long = |item: &Payload| item.bytes.len() > most as usize;
        let (last, call) = match item {
            Some(Ok(item)) if too_long(&item) => {
                let failure = Denial::from(Code::PayloadTooLarge).into();
                (true, ClientCall::End { stream, failure: Some(failure) })
            }
            Some(Ok(item)) => (false, ClientCall::Item { stream, item }),
            Some(Err(failure)) => (true, ClientCall::End { stream, failure: Some(failure) }),
            None => (true, ClientCall::End { stream, failure: None }),
        };
        if unended.link.queue.send(encoded(call)).await.is_err() || last {
            return;
        }
    }
}

/// A stream that is being sent. Where what makes its items panics, the server is told that no more come: its method
/// would wait for them for ever.
struct Unended {
    link: Arc<Link>,
    stream: StreamId,
}

impl Drop for Unended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let detail = "what makes the items of the stream panicked".to_owned();
            let failure = Some(Denial { code: Code::CallFailed, detail }.into());
            self.link.say(encoded(ClientCall::End { stream: self.stream, failure }));
        }
    }
}

/// A stream whose items are encoded.
struct Encoded<S> {
    stream: Pin<Box<S>>,
    format: PayloadFormat,
}

impl<S: Stream> Stream for Encoded<S>
where
    S::Item: Serialize,
{
    type Item = Result<Payload, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.stream.as_mut().poll_next(context));
        let failed = |detail| Failure::from(Denial { code: Code::CallFailed, detail }).shortened();
        Poll::Ready(item.map(|item| encode(&item, self.format).map_err(failed)))
    }
}
