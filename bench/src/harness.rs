//! A fresh server for each run, and what is needed to reach it.
//!
//! In: a peer's name. Out: a running server with certificates of its own, and connections to it. Invariant: everything
//! is on loopback, and gone when the harness is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fanfare_certs::{Authority, load_roots};
use rustls::RootCertStore;
use tempfile::TempDir;

use crate::connection::Dialer;
use crate::error::{Fallible, Tried};
use crate::peer::Peer;
use crate::peers::{self, Places};
use crate::process::Server;

/// A running peer.
pub struct Harness {
    /// Which.
    pub peer: Box<dyn Peer>,
    /// Its process.
    pub server: Server,
    /// Makes connections to it.
    pub dialer: Dialer,
    /// Where its files are.
    pub directory: TempDir,
    /// Whom its certificate is from.
    pub roots: Arc<RootCertStore>,
}

impl Harness {
    /// Starts the peer of this name.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub async fn start(name: &str, places: &Places) -> Fallible<Self> {
        let directory = TempDir::with_prefix("fanfare-bench-").tried("making a directory")?;
        let roots = certify(directory.path())?;
        let peer = peers::peer(name, places, directory.path())?;
        let port = free_port()?;
        let launch = peer.launch(directory.path(), port)?;
        let server = Server::start(&launch, directory.path(), port).await?;
        let dialer = Dialer::new(SocketAddr::from(([127, 0, 0, 1], port)), peer.transport(), &roots)?;
        Ok(Self { peer, server, dialer, directory, roots })
    }

    /// Stops the server.
    ///
    /// # Errors
    /// When it does not end by itself in time.
    pub async fn stop(self) -> Fallible<()> {
        self.server.stop().await
    }
}

/// Certificates as the peers want them.
pub(crate) fn certify(directory: &Path) -> Fallible<Arc<RootCertStore>> {
    let authority = Authority::open_or_create(&directory.join("state")).tried("making an authority")?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = authority
        .issue_server(&names, time::OffsetDateTime::now_utc())
        .tried("making a certificate for the server")?;
    let write =
        |name: &str, pem: &str| std::fs::write(directory.join(name), pem).tried(format!("writing {name}"));
    write("server.pem", issued.certificate_pem())?;
    write("server.key", &issued.key_pem())?;
    write("ca.pem", authority.certificate_pem())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(directory.join("server.key"), mode).tried("closing the key's file")?;
    }
    Ok(Arc::new(load_roots(&directory.join("ca.pem")).tried("reading the authority")?))
}

/// A port that nobody has, neither for TCP nor for UDP.
pub(crate) fn free_port() -> Fallible<u16> {
    loop {
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).tried("looking for a free port")?;
        let port = tcp.local_addr().tried("looking for a free port")?.port();
        if std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}
