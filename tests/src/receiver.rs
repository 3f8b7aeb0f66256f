//! A back end's end point as servers see it: an HTTPS server on loopback that hears webhooks, and answers as a test
//! says.
//!
//! In: what it does with each request. Out: what it heard, in its order, with what it checked: each signature is
//! recomputed here, by code of its own. Invariant: it runs on a thread of its own, and ends with the test.
#![allow(clippy::indexing_slicing, reason = "a harness that cannot go on must say where")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_server::{Webhook, WebhookSecret};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::localhost::Localhost;

type Body = BoxBody<Bytes, std::io::Error>;

/// A request, as it was heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, in seconds since 1970.
    pub timestamp: u64,
    /// All headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
    /// Whether it came over HTTP/2.
    pub is_http2: bool,
    /// Which signatures it had.
    pub signatures: Vec<String>,
}

impl Heard {
    /// What its body says of this.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }

    /// What kind of event or question it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.field("type")
    }
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// It is answered: a status, headers, a body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The same after this time.
    Later(Duration, Box<Reaction>),
    /// The answer breaks off in its middle.
    Half,
    /// Nothing comes, ever.
    Never,
}

impl Reaction {
    /// No content.
    #[must_use]
    pub fn fine() -> Self {
        Self::Answer(204, Vec::new(), Vec::new())
    }

    /// This status alone.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    /// JSON.
    #[must_use]
    pub fn json(status: u16, value: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self::Answer(status, headers, value.to_string().into_bytes())
    }
}

type React = Box<dyn FnMut(&Heard) -> Reaction + Send>;

struct Shared {
    heard: Mutex<Vec<Heard>>,
    react: Mutex<React>,
    key: hmac::Key,
    connections: AtomicU64,
    /// Whether it is reached at all.
    up: watch::Sender<bool>,
}

/// The running end point.
pub struct Receiver {
    place: Localhost,
    shared: Arc<Shared>,
    secret: String,
}

impl Receiver {
    /// Starts one, which does this with each request.
    #[must_use]
    pub fn start(react: impl FnMut(&Heard) -> Reaction + Send + 'static) -> Self {
        let secret = WebhookSecret::generate().unwrap();
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            react: Mutex::new(Box::new(react)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            connections: AtomicU64::new(0),
            up: watch::Sender::new(true),
        });
        let serving = Arc::clone(&shared);
        let place = Localhost::serve(&[b"h2", b"http/1.1"], |listener, tls| serve(listener, tls, serving));
        Self { place, shared, secret }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.place.url("/hook?tenant=1")
    }

    /// As a server is told of it, with this name; it is asked and told nothing yet.
    #[must_use]
    pub fn webhook(&self, name: &str) -> Webhook {
        webhook(name, &self.url(), &self.secret, self.authority())
    }

    /// What requests to it are signed with.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The file with the authority that vouches for it.
    #[must_use]
    pub fn authority(&self) -> &Path {
        self.place.authority()
    }

    /// Does this with each request from now on.
    pub fn react(&self, react: impl FnMut(&Heard) -> Reaction + Send + 'static) {
        *self.shared.react.lock().unwrap() = Box::new(react);
    }

    /// Whether it is reached: where it is not, connections end, and no new one is taken.
    pub fn set_up(&self, up: bool) {
        self.shared.up.send_replace(up);
    }

    /// What it has heard so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The kinds of what it has heard so far.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.heard().iter().map(|heard| heard.kind().to_owned()).collect()
    }

    /// Forgets what it has heard.
    pub fn forget(&self) {
        self.shared.heard.lock().unwrap().clear();
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

/// An end point as a server is told of it: nothing is asked of it and told to it yet.
#[must_use]
pub fn webhook(name: &str, url: &str, secret: &str, authority: &Path) -> Webhook {
    let mut webhook = Webhook::new(name, url, vec![WebhookSecret::parse(secret).unwrap()]).unwrap();
    webhook.roots = Some(Arc::new(fanfare_certs::load_roots(authority).unwrap()));
    webhook
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if !*shared.up.borrow() {
            continue;
        }
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let mut up = shared.up.subscribe();
            let answering = Arc::clone(&shared);
            let service = service_fn(move |request| answer(Arc::clone(&answering), request));
            let http = Builder::new(TokioExecutor::new());
            tokio::select! {
                _ = http.serve_connection(TokioIo::new(stream), service) => {}
                _ = up.wait_for(|up| !up) => {}
            }
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(plain(Response::builder().status(400), Bytes::new()));
    };
    let headers: BTreeMap<String, String> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signatures: Vec<String> = header("webhook-signature").split(' ').map(str::to_owned).collect();
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &body].concat();
    let expected = format!("v1,{}", STANDARD.encode(hmac::sign(&shared.key, &signed)));
    let timestamp = timestamp.parse().unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let heard = Heard {
        id,
        timestamp,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        is_http2: head.version == Version::HTTP_2,
        signatures,
    };
    // As the specification asks of receivers: the signature, and a time that is not long ago.
    if !heard.signatures.contains(&expected) || now.abs_diff(timestamp) > 300 {
        return Ok(plain(Response::builder().status(401), Bytes::from_static(b"wrong signature")));
    }
    let reaction = {
        let mut react = shared.react.lock().unwrap();
        shared.heard.lock().unwrap().push(heard.clone());
        react(&heard)
    };
    Ok(carry_out(reaction).await)
}

async fn carry_out(mut reaction: Reaction) -> Response<Body> {
    while let Reaction::Later(pause, then) = reaction {
        tokio::time::sleep(pause).await;
        reaction = *then;
    }
    match reaction {
        Reaction::Answer(status, headers, body) => {
            let response = Response::builder().status(status);
            let response =
                headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
            plain(response, body.into())
        }
        Reaction::Half => {
            let broken = std::io::Error::other("broken off");
            let body = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"user\":"))), Err(broken)]);
            let response = Response::builder().status(200).header("content-type", "application/json");
            response.header("content-length", "100").body(StreamBody::new(body).boxed()).unwrap()
        }
        Reaction::Later(..) | Reaction::Never => std::future::pending().await,
    }
}

fn plain(response: hyper::http::response::Builder, body: Bytes) -> Response<Body> {
    response.body(Full::new(body).map_err(|never| match never {}).boxed()).unwrap()
}
