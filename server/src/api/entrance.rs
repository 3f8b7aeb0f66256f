//! Who is let in, and what is carried out once.
//!
//! In: requests. Out: the same with their key, for whoever answers them; or a problem, or the answer that was given
//! before. Invariants: nothing is let in without a key that counts at that moment; each key has no more places and
//! connections than its share; what has begun is finished, also where nobody waits for the answer any more; a body is
//! not read before its key is known, no further than its bound, and not for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fanfare_protocol::Code;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::command::{Api, pace};
use super::idempotency::{Answer, Fingerprint, MOST_KEY, Turn};
use super::problem::Problem;
use crate::access::{self, ApiKey, KeyRefusal};
use crate::edge::visitor::{Visiting, Visitor};

/// The longest request, in bytes.
const MOST_BODY: usize = 4 * 1024 * 1024;

/// How long it may take to come: at 4 MiB, a megabit a second.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A request that is carried out once: its answer is given again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// In an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";

/// Lets in who shows a key, and gives its connection the time that a back end's may take.
pub(super) async fn let_in(
    State(api): State<Arc<Api>>,
    ConnectInfo(Visiting(visitor)): ConnectInfo<Visiting>,
    mut request: Request,
    next: Next,
) -> Response {
    if api.closing.is_cancelled() {
        return shut_out(request, Problem::new(Code::ShuttingDown, "the server stops")).await;
    }
    let missing = "give an API key, as in Authorization: Bearer ffk_...; an operator makes one";
    let Some(shown) = bearer(request.headers().get(AUTHORIZATION)) else {
        return shut_out(request, Problem::new(Code::ApiKeyRefused, missing)).await;
    };
    let key = match api.moderation.keys().verify(shown, access::now()) {
        Ok(key) => key,
        Err(refusal @ (KeyRefusal::Unknown | KeyRefusal::Ended)) => {
            return shut_out(request, Problem::new(Code::ApiKeyRefused, refusal.to_string())).await;
        }
    };
    let busy = |detail: &str| Problem::new(Code::TooManyRequests, detail).after(Duration::from_secs(1));
    // Before anything of it is read, so that what makes no sense has its pace, too.
    if let Err(problem) = pace(&key) {
        return unread(&visitor, request, problem).await;
    }
    let Some(place) = key.begin() else {
        let problem = busy("the key has as many requests as may be worked on at a time");
        return unread(&visitor, request, problem).await;
    };
    if !visitor.is_known() {
        let (Ok(all), Some(own)) = (Arc::clone(&api.connections).try_acquire_owned(), key.connect()) else {
            let problem = busy("there are as many connections of back ends, or of this key, as there may be");
            return unread(&visitor, request, problem).await;
        };
        visitor.know((all, own));
    }
    request.extensions_mut().insert(Arc::clone(&key));
    // It is not silent meanwhile.
    let _working = visitor.works();
    // Somebody who does not wait any longer does not end what has begun.
    let answered = api.work.spawn(async move {
        let _place = place;
        next.run(request).await
    });
    match answered.await {
        Ok(response) => response,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// A refusal of a request whose body is not looked at. Of a stranger's no more is taken than a stranger may say.
async fn unread(visitor: &Visitor, request: Request, problem: Problem) -> Response {
    pass_over(request.into_body()).await;
    if visitor.is_known() { problem.into_response() } else { closed(problem) }
}

/// The same, and nothing more is taken on this connection.
async fn shut_out(request: Request, problem: Problem) -> Response {
    pass_over(request.into_body()).await;
    closed(problem)
}

/// A refusal that ends its connection: one that a key had opened is not kept by requests without one.
fn closed(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Room for a request: its key's, and everybody's.
type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Reads a request's body, for which there has to be room, and time.
async fn read(api: &Api, key: &ApiKey, body: Body) -> Result<(Bytes, Room), Problem> {
    let length = body.size_hint().upper().unwrap_or(MOST_BODY as u64);
    let Some(length) = u32::try_from(length).ok().filter(|length| *length as usize <= MOST_BODY) else {
        pass_over(body).await;
        return Err(too_long());
    };
    // Its own first: one key does not take all.
    let room = key.room(length);
    let Some(room) = room.zip(Arc::clone(&api.bodies).try_acquire_many_owned(length).ok()) else {
        pass_over(body).await;
        let detail = "there is no room for the request, beside the key's others and those of other keys";
        return Err(Problem::new(Code::TooManyRequests, detail).after(Duration::from_secs(1)));
    };
    match timeout(BODY_DEADLINE, Limited::new(body, MOST_BODY).collect()).await {
        Ok(Ok(body)) => Ok((body.to_bytes(), room)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Problem::invalid("the request's body broke off")),
        Err(_) => {
            let problem = Problem::invalid("the request's body did not come in time");
            Err(problem.with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

fn too_long() -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("a request has {MOST_BODY} bytes at most"))
}

/// Takes a body that is not looked at, so far as it is not endless: a client that still writes does not read what it is
/// answered.
async fn pass_over(body: Body) {
    let mut body = Limited::new(body, 4 * MOST_BODY);
    let passing = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who is slower than that hears nothing.
    let _ = timeout(BODY_DEADLINE, passing).await;
}

fn bearer(header: Option<&HeaderValue>) -> Option<&str> {
    let (scheme, key) = header?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Carries a request out once that says it by its `Idempotency-Key`. Reads the request's body for whoever is behind it.
pub(super) async fn once(
    State(api): State<Arc<Api>>,
    Extension(own): Extension<Arc<ApiKey>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let (body, _room) = match read(&api, &own, body).await {
        Ok(read) => read,
        Err(problem) => return closed(problem),
    };
    // It may have taken its time. An answer that is given again is not for whoever the key was taken from.
    if let Err(problem) = api.still_counts(&own) {
        return closed(problem);
    }
    let keys: Vec<_> = parts.headers.get_all(IDEMPOTENCY_KEY).iter().collect();
    let key = match keys.as_slice() {
        // Whatever only looks can be done again.
        _ if parts.method != Method::POST => None,
        [] => None,
        [key] => match key.to_str().ok().filter(|key| (1..=MOST_KEY).contains(&key.len())) {
            Some(key) => Some(key.to_owned()),
            None => {
                let detail = format!("an Idempotency-Key has 1 to {MOST_KEY} letters");
                return Problem::invalid(detail).into_response();
            }
        },
        _ => return Problem::invalid("there are several Idempotency-Keys").into_response(),
    };
    let Some(key) = key else {
        return next.run(Request::from_parts(parts, body.into())).await;
    };
    let fingerprint = fingerprint(&parts, &body);
    match api.answers.begin(own.id(), &key, fingerprint, Instant::now()) {
        Turn::Again(answer) => {
            let mut response = (answer.status, answer.body).into_response();
            response.headers_mut().remove(CONTENT_TYPE);
            response.headers_mut().extend(answer.content_type.map(|kind| (CONTENT_TYPE, kind)));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            response
        }
        Turn::InProgress => {
            let detail = "the request with this Idempotency-Key is still being worked on";
            Problem::new(Code::IdempotencyInProgress, detail).after(Duration::from_secs(1)).into_response()
        }
        Turn::Other => {
            let detail = "this Idempotency-Key was another request's: use a new one for each";
            Problem::new(Code::IdempotencyMismatch, detail).into_response()
        }
        Turn::First(first) => {
            let response = next.run(Request::from_parts(parts, body.into())).await;
            let (parts, body) = response.into_parts();
            // Whole already: it is ours.
            let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            // What failed for a while may be tried again, and is carried out then.
            let is_for_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
            if !is_for_now.contains(&parts.status) {
                let content_type = parts.headers.get(CONTENT_TYPE).cloned();
                let answer = Answer { status: parts.status, content_type, body: body.clone() };
                first.keep(answer, Instant::now());
            }
            Response::from_parts(parts, body.into())
        }
    }
}

/// Everything that a request asks.
fn fingerprint(parts: &Parts, body: &[u8]) -> Fingerprint {
    let mut digest = Context::new(&SHA256);
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&[][..], |kind| kind.as_bytes());
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), kind, body] {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let mut fingerprint = Fingerprint::default();
    for (place, byte) in fingerprint.iter_mut().zip(digest.finish().as_ref()) {
        *place = *byte;
    }
    fingerprint
}
