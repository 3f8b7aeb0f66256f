//! One look at a key set that a URL gives: HTTPS, and nothing else.
//!
//! In: a URL, and whom to trust. Out: the text of the answer, and for how long it is good, or why there is none.
//! Invariants: nothing goes over the network unencrypted, whatever a redirect says; size and time are bounded; no task
//! outlives the look.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_token::FILE_BYTES;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_rustls::HttpsConnectorBuilder;
use rustls::RootCertStore;
use tower_service::Service as _;
use url::{Host, Url};

use super::max_age;
use crate::outbound::{client_tls, told, unreachable_words};

/// How long a look may take, with all redirects.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS: usize = 3;

/// Where a JWK Set is to be fetched.
#[derive(Clone)]
pub struct KeySetUrl {
    url: Url,
    /// Who is trusted to say whose server that is. `None`: whom the system trusts.
    roots: Option<Arc<RootCertStore>>,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("it is no URL; write one like https://login.example/keys")]
    Malformed,
    /// Anybody on the way could give other keys.
    #[error("keys are fetched over https only; write a URL like https://login.example/keys")]
    NotHttps,
    /// It would be in logs.
    #[error("a URL of keys has no user and no password")]
    Credentials,
}

impl fmt::Debug for KeySetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySetUrl").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) text: String,
    /// How long it is good.
    pub(super) good: Duration,
}

enum Reply {
    Answer(Answer),
    Elsewhere(Url),
}

impl KeySetUrl {
    /// A set at `url`, on a server whose certificate `roots` vouch for; without them, the system's authorities.
    ///
    /// # Errors
    /// When it is not a plain https URL.
    pub fn new(url: &str, roots: Option<Arc<RootCertStore>>) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        allowed(&url)?;
        Ok(Self { url, roots })
    }

    /// The whole of it: what the copy on the disk is of.
    pub(super) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Without what may be private in it.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        shown.into()
    }

    /// Fetches the set.
    pub(super) async fn fetch(&self) -> Result<Answer, String> {
        let late = |_| Err(format!("there was no whole answer within {} s", DEADLINE.as_secs()));
        tokio::time::timeout(DEADLINE, self.follow()).await.unwrap_or_else(late)
    }

    async fn follow(&self) -> Result<Answer, String> {
        let tls = self.tls().await?;
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS {
            match get(&url, tls.clone()).await? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::Elsewhere(next) => url = next,
            }
        }
        Err(format!("it redirects more than {REDIRECTS} times"))
    }

    /// Made for each look: the system's authorities change while a server runs.
    async fn tls(&self) -> Result<rustls::ClientConfig, String> {
        let roots = self.roots.clone();
        // Reads files.
        match tokio::task::spawn_blocking(move || client_tls(roots)).await {
            Ok(tls) => tls,
            Err(error) => Err(error.to_string()),
        }
    }
}

fn allowed(url: &Url) -> Result<(), UrlError> {
    if url.scheme() != "https" {
        return Err(UrlError::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    Ok(())
}

async fn get(url: &Url, tls: rustls::ClientConfig) -> Result<Reply, String> {
    let uri: hyper::Uri = url.as_str().parse().map_err(|_| "its URL cannot be asked for".to_owned())?;
    let mut connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
    let stream = connector.call(uri).await.map_err(|error| unreachable_words(&*error))?;
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| told(&error))?;
    let host = match url.host() {
        Some(Host::Ipv6(address)) => format!("[{address}]"),
        Some(host) => host.to_string(),
        None => return Err("its URL has no host".to_owned()),
    };
    let host = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
    let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("fanfare/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| told(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        read(url, response).await
    };
    // The connection is driven here and not by a task of its own, so it ends with the look.
    let driven = async {
        // What breaks it, breaks the exchange, too.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reply = exchange => reply,
        () = driven => Err("the connection ended".to_owned()),
    }
}

async fn read(url: &Url, response: Response<Incoming>) -> Result<Reply, String> {
    let status = response.status();
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        let next = text(header::LOCATION).and_then(|location| url.join(location).ok());
        let next = next.ok_or_else(|| format!("it answers {status} without an address to go to"))?;
        return match allowed(&next) {
            Ok(()) => Ok(Reply::Elsewhere(next)),
            Err(error) => Err(format!("it redirects to where keys are not fetched from: {error}")),
        };
    }
    if status.as_u16() != 200 {
        return Err(format!("it answers {status}"));
    }
    let cache_control = response.headers().get_all(header::CACHE_CONTROL).iter();
    let good =
        max_age::lifetime(cache_control.map(|value| value.to_str().unwrap_or_default()), text(header::AGE));
    let body = Limited::new(response.into_body(), FILE_BYTES).collect().await;
    let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
        Ok(_) => format!("its answer has more than {FILE_BYTES} bytes"),
        Err(error) => format!("its answer broke off: {}", told(&*error)),
    })?;
    let text = String::from_utf8(body.to_bytes().into())
        .map_err(|_| "its answer is not text in UTF-8".to_owned())?;
    Ok(Reply::Answer(Answer { text, good }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_taken_and_nothing_private_is_shown() {
        for (url, error) in [
            ("http://login.example/keys", Some(UrlError::NotHttps)),
            ("ftp://login.example/keys", Some(UrlError::NotHttps)),
            ("file:///etc/passwd", Some(UrlError::NotHttps)),
            ("login.example/keys", Some(UrlError::Malformed)),
            ("https://", Some(UrlError::Malformed)),
            ("", Some(UrlError::Malformed)),
            ("https://a:b@login.example/keys", Some(UrlError::Credentials)),
            ("https://login.example", None),
            ("https://[::1]:8443/keys?tenant=1", None),
        ] {
            assert_eq!(KeySetUrl::new(url, None).err(), error, "{url}");
        }
        let url = KeySetUrl::new("https://login.example/keys?code=private#x", None).unwrap();
        assert_eq!(url.shown(), "https://login.example/keys");
        assert!(!format!("{url:?}").contains("private"));
    }
}
