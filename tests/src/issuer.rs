//! A sign-in service as servers see it: an HTTPS server on loopback that publishes a JWK Set, and keys that sign
//! tokens.
//!
//! In: what it is to answer. Out: a URL, the authority that vouches for it, and how often it was asked. Invariant: it
//! runs on a thread of its own, so that tests of processes can have one, too, and ends with the test.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
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
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

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
    address: SocketAddr,
    shared: Arc<Shared>,
    home: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Issuer {
    /// Starts one, which answers 404 to everything.
    #[must_use]
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let leaf = fanfare_certs::server_leaf(home.path(), &[]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.identity.chain, leaf.identity.key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let doors =
                    Doors { listener, tls: TlsAcceptor::from(Arc::new(tls)), shared: Arc::clone(&serving) };
                let router = Router::new().fallback(answer).with_state(serving);
                tokio::select! {
                    _ = axum::serve(doors, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, home, stop: Some(stop), thread: Some(thread) }
    }

    /// Where a path of it is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The authority that issued its certificate, as PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.home.path().join("ca.pem")
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

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked only if a test has, which then says so.
            let _ = thread.join();
        }
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
