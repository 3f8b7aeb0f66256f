//! TLS over TCP: the certificate that is shown now.
//!
//! In: who the server is, and later who it is instead. Out: an acceptor for each connection. Invariant: HTTP/1.1 alone
//! is spoken, which WebSocket's handshake is a part of (RFC 6455); and no early data, as over QUIC.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use crate::quic::{Identity, IdentityError};

/// What newcomers are shown.
pub(crate) struct WebTls(RwLock<TlsAcceptor>);

impl WebTls {
    pub(crate) fn new(identity: Identity) -> Result<Self, IdentityError> {
        Ok(Self(RwLock::new(acceptor(identity)?)))
    }

    /// Shows another certificate from now on.
    pub(crate) fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        *self.0.write() = acceptor(identity)?;
        Ok(())
    }

    /// For one connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.read().clone()
    }
}

fn acceptor(identity: Identity) -> Result<TlsAcceptor, IdentityError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // 1.2 for clients of SignalR on older systems, whose TLS is the system's.
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 1;
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(tls)))
}
