//! A sign-in service as servers see it: an HTTPS server on loopback that publishes a JWK Set, and keys that sign
//! tokens.
//!
//! In: what it is to answer. Out: a URL, the authority that vouches for it, and how often it was asked. Invariant: it
//! runs on a thread of its own, so that tests of processes can have one, too, and ends with the test.

use std::collections::HashMap;
use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::localhost::Localhost;

/// What is answered at a path.
#[derive(Clone)]
pub enum Reply {
    /// This status, with these headers and this body.
    Now(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, ever.
    Never,
}

impl Reply {
    /// A set of these keys, good for an hour.
    #[must_use]
    pub fn keys(keys: &[&SigningKey]) -> Self {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        Self::json(&json!({ "keys": keys }))
    }

    /// This, good for an hour.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        let headers = vec![("cache-control", "public, max-age=3600".to_owned())];
        Self::Now(200, headers, value.to_string().into_bytes())
    }

    /// Elsewhere.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Self::Now(302, vec![("location", location.to_owned())], Vec::new())
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, Reply>>,
    looks: Mutex<HashMap<String, u64>>,
    down: AtomicBool,
}

/// The running service.
pub struct Issuer {
    place: Localhost,
    shared: Arc<Shared>,
}

impl Issuer {
    /// Starts one, which answers 404 to everything.
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let place = Localhost::serve(&[], |listener, tls| {
            let doors = Doors { listener, tls, shared: Arc::clone(&serving) };
            axum::serve(doors, Router::new().fallback(answer).with_state(serving)).into_future()
        });
        Self { place, shared }
    }

    /// Where a path of it is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.place.url(path)
    }

    /// The authority that issued its certificate, as PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.place.authority().to_owned()
    }

    /// Answers this at this path from now on.
    pub fn answer(&self, path: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Whether the network is down: connections are cut off.
    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// How often this path was asked for.
    #[must_use]
    pub fn looks(&self, path: &str) -> u64 {
        self.shared.looks.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response<Body> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *shared.looks.lock().unwrap().entry(path.clone()).or_default() += 1;
    let reply = shared.replies.lock().unwrap().get(&path).cloned();
    match reply {
        None => Response::builder().status(404).body(Body::empty()).unwrap(),
        Some(Reply::Never) => std::future::pending().await,
        Some(Reply::Now(status, headers, body)) => {
            let response = Response::builder().status(status);
            let response =
                headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
            response.body(Body::from(body)).unwrap()
        }
    }
}

/// Lets in whoever finishes TLS.
struct Doors {
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Doors {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if self.shared.down.load(Ordering::SeqCst) {
                continue;
            }
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A key of the service.
pub struct SigningKey {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new one by this name.
    #[must_use]
    pub fn new(id: &'static str) -> Self {
        Self { id, pair: Ed25519KeyPair::generate().unwrap() }
    }

    /// Its public half (RFC 8037).
    #[must_use]
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": x })
    }

    /// A token for this user, for an hour, to do anything.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let grants = json!([{ "group": "*", "may": ["join", "send"] }]);
        let claims = json!({ "sub": user, "iat": now, "exp": now + 3_600, "grants": grants });
        let header = json!({ "alg": "EdDSA", "kid": self.id });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// A configuration's URL of keys, which trusts the issuer's authority.
#[must_use]
pub fn key_set(issuer: &Issuer, path: &str) -> fanfare_server::KeySetUrl {
    at(issuer.url(path).as_str(), &issuer.authority())
}

/// One that trusts an authority of the test's choice.
#[must_use]
pub fn at(url: &str, authority: &Path) -> fanfare_server::KeySetUrl {
    let roots = Arc::new(fanfare_certs::load_roots(authority).unwrap());
    fanfare_server::KeySetUrl::new(url, Some(roots)).unwrap()
}
