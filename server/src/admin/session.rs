//! An operator's session: requests, each on a stream of its own, answered at the same time.
//!
//! In: streams. Out: lines of JSON. Invariants: an operator who is no longer one is cut off within a second, and gets
//! no answer to a request that comes later; a request and the wait for its reader are bounded; a session's tasks end
//! with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::Code;
use fanfare_protocol::admin::{ADMIN_REQUEST_BYTES, AdminError, AdminRequest, Subscription};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::feed::Watcher;
use super::reply::refusal;
use crate::quic::{Connection, ReadError, Receiver, Transmitter};

/// How often it is asked whether the operator is still one.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a request may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long the operator's side may leave a line unread.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Audit records that are read at a time.
const RECORDS_AT_ONCE: usize = 256;

/// Why a request has no (further) answer.
enum Ended {
    /// Nobody listens any more, or too slowly.
    Stream,
    /// The operator is none any more.
    Refused(String),
}

/// Answers requests until one side ends the session. Gives the code that it was closed with, where we closed it.
pub(super) async fn run(
    connection: &Connection,
    chain: &Arc<[CertificateDer<'static>]>,
    service: &Arc<Service>,
    closing: CancellationToken,
) -> Option<Code> {
    let mut requests = JoinSet::new();
    let code = serve(connection, chain, service, closing, &mut requests).await;
    if let Some(code) = code {
        // Before the answers that it cuts off: a stream that goes first ends like an answer that is whole, and `top`
        // did not learn that its operator was revoked (test
        // `whoever_is_revoked_is_told_so_in_full_and_the_dashboard_ends`).
        connection.close(code, code.sentence()).await;
    }
    code
}

async fn serve(
    connection: &Connection,
    chain: &Arc<[CertificateDer<'static>]>,
    service: &Arc<Service>,
    closing: CancellationToken,
    requests: &mut JoinSet<Result<(), Ended>>,
) -> Option<Code> {
    let address = connection.remote_address();
    let mut ask = tokio::time::interval(ASK_AGAIN);
    loop {
        let refused = tokio::select! {
            biased;
            () = closing.cancelled() => return Some(Code::ShuttingDown),
            _ = ask.tick() => service.identify(chain).await.err(),
            Some(ended) = requests.join_next() => match ended {
                Ok(Err(Ended::Refused(reason))) => Some(reason),
                _ => None,
            },
            stream = connection.accept_stream() => {
                let Ok((send, receive)) = stream else { return None };
                requests.spawn(answer(Arc::clone(service), Arc::clone(chain), address, send, receive));
                None
            }
        };
        if let Some(reason) = refused {
            service.refuse(&reason, address);
            return Some(Code::OperatorRefused);
        }
    }
}

async fn answer(
    service: Arc<Service>,
    chain: Arc<[CertificateDer<'static>]>,
    address: SocketAddr,
    mut send: Transmitter,
    mut receive: Receiver,
) -> Result<(), Ended> {
    let outcome = async {
        let read = timeout(REQUEST_DEADLINE, receive.read_to_end(ADMIN_REQUEST_BYTES)).await;
        // Asked when the request is there: what is answered, is answered to somebody who is an operator now.
        let operator = service.identify(&chain).await.map_err(Ended::Refused)?;
        let request = match read {
            Ok(Ok(request)) => request,
            Ok(Err(ReadError::TooLong)) => {
                let message = format!("a request has at most {ADMIN_REQUEST_BYTES} bytes");
                let error = AdminError { code: Code::FrameTooLarge.number(), message };
                return write(&mut send, refusal(&error)).await;
            }
            _ => return Err(Ended::Stream),
        };
        match parse(&request) {
            Ok(AdminRequest::Subscription(Subscription::Audit { after, limit, follow })) => {
                audit(&service, &mut send, after, limit, follow).await
            }
            Ok(AdminRequest::Subscription(Subscription::Watch { interval_ms })) => {
                watch(&service, &mut send, interval_ms).await
            }
            Ok(AdminRequest::Question(question)) => {
                tracing::debug!(operator = operator.name, %address, ?question, "asked");
                let line = service.answer(operator, question).await;
                write(&mut send, line).await
            }
            Ok(AdminRequest::Action(action)) => {
                tracing::debug!(operator = operator.name, %address, ?action, "ordered");
                let line = service.act(operator, action).await;
                write(&mut send, line).await
            }
            Err(error) => write(&mut send, refusal(&error)).await,
        }
    }
    .await;
    match &outcome {
        Ok(()) => send.end(),
        Err(_) => send.break_off(Code::SlowConsumer),
    }
    outcome
}

/// Reads a request (fuzz target `operator_request`).
pub(crate) fn parse(request: &[u8]) -> Result<AdminRequest, AdminError> {
    let refused = |problem: String| AdminError {
        code: Code::InvalidRequest.number(),
        message: format!("this is no request: {problem}"),
    };
    AdminRequest::from_json(request).map_err(|error| refused(in_words(&error.to_string())))
}

/// What is wrong with JSON, for whoever wrote it: without our types' names.
fn in_words(problem: &str) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("expected u64", "expected a whole number from 0 on"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("invalid value: map, expected map with a single key", "an object with one member is expected"),
        ("map with a single key", "an object with one member"),
        ("floating point", "a number with a fraction,"),
    ];
    WORDS.iter().fold(problem.to_owned(), |problem, (ours, theirs)| problem.replace(ours, theirs))
}

async fn write(send: &mut Transmitter, line: Bytes) -> Result<(), Ended> {
    match timeout(READ_DEADLINE, send.write_all(line)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Ended::Stream),
    }
}

/// Records, and then those that come.
async fn audit(
    service: &Arc<Service>,
    send: &mut Transmitter,
    mut after: u64,
    limit: u64,
    follow: bool,
) -> Result<(), Ended> {
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut recorded = service.recorded();
    loop {
        // Before the page is read, so that what is recorded meanwhile is not waited for in vain.
        recorded.mark_unchanged();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(RECORDS_AT_ONCE);
        let page = match service.records(after, most).await {
            Ok(page) => page,
            Err(error) => return write(send, refusal(&error)).await,
        };
        for (number, line) in &page {
            write(send, line.clone()).await?;
            after = *number;
            left -= 1;
        }
        if left == 0 || (page.is_empty() && !follow) {
            return Ok(());
        }
        if page.is_empty() {
            tokio::select! {
                changed = recorded.changed() => if changed.is_err() { return Ok(()) },
                () = send.stopped() => return Ok(()),
            }
        }
    }
}

/// A snapshot, and then what changes.
async fn watch(service: &Arc<Service>, send: &mut Transmitter, interval_ms: u32) -> Result<(), Ended> {
    if !(50..=60_000).contains(&interval_ms) {
        let message = "interval_ms must be from 50 to 60000".to_owned();
        let error = AdminError { code: Code::InvalidRequest.number(), message };
        return write(send, refusal(&error)).await;
    }
    let mut watcher = Watcher::new(Arc::clone(service.feed()));
    let mut pace = tokio::time::interval(Duration::from_millis(interval_ms.into()));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            () = send.stopped() => return Ok(()),
        }
        let mut update = tokio::select! {
            update = watcher.next() => update,
            () = send.stopped() => return Ok(()),
        };
        while let Some(line) = update.line() {
            write(send, line).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody reads who wrote a request by hand. It named types of Rust, and took a list as a request.
    #[test]
    fn what_is_no_request_is_told_in_words_of_json() {
        for (request, words) in [
            (r#"["status"]"#, "an object with a member \"ask\""),
            (r#""status""#, "an object with a member \"ask\""),
            ("", "an object with a member \"ask\""),
            (r#"{"ask":"audit","after":-1,"limit":0,"follow":false}"#, "a whole number from 0 on"),
            (r#"{"ask":"watch","interval_ms":1.5}"#, "a whole number from 0 to 4294967295"),
            (r#"{"ask":"nope"}"#, "unknown name `nope`"),
            (r#"{"ask":"kick","who":{},"reason":""}"#, "an object with one member"),
        ] {
            let message = parse(request.as_bytes()).unwrap_err().message;
            assert!(message.contains(words), "{request}: {message}");
            for ours in ["u64", "u32", "usize", "variant", "enum", "struct", "Who", "AdminRequest", "map"] {
                assert!(!message.contains(ours), "{request}: {message}");
            }
        }
    }
}
