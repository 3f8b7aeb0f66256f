//! An HTTPS server's place on loopback: a socket, a certificate, and who vouches for it.
//!
//! In: the protocols that it speaks. Out: what serves on a thread of its own until it is dropped. Invariant: the thread
//! has ended when this has.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A server that runs.
pub(crate) struct Localhost {
    address: SocketAddr,
    authority: PathBuf,
    _home: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Localhost {
    /// Begins to serve, with these protocols for ALPN, until it is dropped.
    pub(crate) fn serve<F: Future>(
        protocols: &[&[u8]],
        serve: impl FnOnce(TcpListener, TlsAcceptor) -> F + Send + 'static,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let leaf = fanfare_certs::server_leaf(home.path(), &[]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.identity.chain, leaf.identity.key)
            .unwrap();
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = serve(listener, TlsAcceptor::from(Arc::new(tls))) => {}
                    _ = stopped => {}
                }
            });
        });
        let authority = leaf.ca_certificate;
        Self { address, authority, _home: home, stop: Some(stop), thread: Some(thread) }
    }

    /// Where a path of it is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The authority that issued its certificate, as PEM.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }
}

impl Drop for Localhost {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has panicked only if a test has, which then says so.
            let _ = thread.join();
        }
    }
}
