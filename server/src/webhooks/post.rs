//! One signed request to an end point, and its answer.
//!
//! In: an id, attributes, a body and a deadline. Out: the status and as much of the answer as may be read, or why there
//! is none. Invariants: no redirect is followed and no proxy is asked; what is connected to is what [`Reach`] covers;
//! size and time of an answer are bounded; each request is signed with the time at which it is sent. Connections are
//! kept, and are HTTP/2 where the back end speaks it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::event::header_value;
use crate::outbound::{client_tls, unreachable_words};
use crate::webhook::{Reach, Webhook, signatures};

/// How long it may take to reach a back end.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept on which nothing is asked.
const KEPT: Duration = Duration::from_secs(60);

/// Asks and tells the back end of one end point.
pub(super) struct Poster {
    client: Client<HttpsConnector<HttpConnector<Reach>>, Full<Bytes>>,
    uri: hyper::Uri,
}

/// What is sent.
pub(super) struct Letter<'a> {
    /// Which message it is, however often it is sent.
    pub(super) id: &'a str,
    /// CloudEvents' attributes, in binary mode.
    pub(super) attributes: &'a [(&'static str, String)],
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    pub(super) deadline: Duration,
    /// How many bytes of the answer are read.
    pub(super) answer_bytes: usize,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing that can be used came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PostError {
    #[error("there was no whole answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("{0}")]
    Unreachable(String),
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    #[error("its answer broke off: {0}")]
    BrokenOff(String),
}

impl Poster {
    /// Reads the system's authorities, where the end point has none of its own.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn new(webhook: &Webhook, dev: bool) -> Result<Self, String> {
        let tls = client_tls(webhook.roots.clone())?;
        let mut http = HttpConnector::new_with_resolver(webhook.reach(dev));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        // Unencrypted to this machine alone: `Webhook::check`.
        let connector = https.https_or_http().enable_http1().enable_http2().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            // A back end that has gone without a word is noticed.
            .http2_keep_alive_interval(Some(Duration::from_secs(15)))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(connector);
        let uri = webhook.url().as_str().parse().map_err(|_| "its URL cannot be asked for".to_owned())?;
        Ok(Self { client, uri })
    }

    /// Sends it. Dropped, it is not waited for any more.
    pub(super) async fn post(&self, webhook: &Webhook, letter: Letter<'_>) -> Result<Reply, PostError> {
        let deadline = letter.deadline;
        let sent = tokio::time::timeout(deadline, self.exchange(webhook, letter)).await;
        sent.unwrap_or(Err(PostError::Late(deadline)))
    }

    async fn exchange(&self, webhook: &Webhook, letter: Letter<'_>) -> Result<Reply, PostError> {
        let Letter { id, attributes, content_type, body, answer_bytes, .. } = letter;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signatures(&webhook.secrets, id, now, &body));
        if !attributes.is_empty() {
            request = request.header("ce-specversion", "1.0");
        }
        for (name, value) in attributes {
            request = request.header(format!("ce-{name}"), header_value(value));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| PostError::Unreachable(unreachable_words(&error)))?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| PostError::Unreachable(unreachable_words(&error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), answer_bytes).collect().await;
        let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
            Ok(_) => PostError::TooLong(answer_bytes),
            Err(error) => PostError::BrokenOff(unreachable_words(&*error)),
        })?;
        Ok(Reply { status, headers, body: body.to_bytes() })
    }
}

impl Reply {
    /// When it says that it may be asked again: in seconds, or at a time (RFC 9110 section 10.2.3).
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = httpdate::parse_http_date(text).ok()?;
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// What kind of thing its body is, without parameters.
    pub(super) fn media_type(&self) -> String {
        let text = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        text.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// What went wrong, by its status alone: its words are the back end's own.
    pub(super) fn words(&self) -> String {
        let status = self.status;
        match status.is_redirection() {
            true => format!("it answers {status}, and redirects are not followed"),
            false => format!("it answers {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: header::HeaderName, value: &str) -> Reply {
        let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
        Reply { status: StatusCode::SERVICE_UNAVAILABLE, headers, body: Bytes::new() }
    }

    #[test]
    fn when_to_come_back_is_seconds_or_a_time() {
        let after = |value| reply(header::RETRY_AFTER, value).retry_after();
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!((95..=100).contains(&after(&soon).unwrap().as_secs()));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_media_type_is_without_parameters() {
        assert_eq!(
            reply(header::CONTENT_TYPE, "Application/JSON; charset=utf-8").media_type(),
            "application/json"
        );
        assert_eq!(reply(header::RETRY_AFTER, "1").media_type(), "");
    }
}
