//! A program with Fanfare in it that has a method: what calls are measured on.
//!
//! In: an address on loopback. Out: a running server, until it is told to end. Invariant: it is a development server,
//! so that nobody takes it for more.

use std::net::SocketAddr;
use std::path::Path;

use fanfare_server::{Args, CallError, Identity, Methods, Server};
use time::OffsetDateTime;

use crate::error::{Fallible, Tried};

/// The method's name.
pub const METHOD: &str = "Length";

async fn length(Args((text,)): Args<(String,)>) -> Result<usize, CallError> {
    Ok(text.len())
}

/// Serves with the certificate in this directory's `server.pem` and `server.key`.
///
/// # Errors
/// When it cannot start.
pub async fn serve(address: SocketAddr) -> Fallible<()> {
    let (cert, key) = (Path::new("server.pem"), Path::new("server.key"));
    let made = fanfare_certs::load_identity(cert, key, OffsetDateTime::now_utc())
        .tried("reading the certificate")?;
    let server = Server::builder()
        .listen(address)
        .identity(Identity { chain: made.chain, key: made.key })
        .development()
        .methods(Methods::new().on(METHOD, length))
        .configure(|config| {
            // The load comes from one address, and connects all at once.
            config.capacity.per_address = 100_000;
            config.retry_above = 100_000;
            config.requests_per_second = None;
        })
        .start()
        .await
        .tried("starting the server")?;
    #[allow(clippy::print_stdout, reason = "what the load tool waits for")]
    {
        println!("ready quic={}", server.address());
    }
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .tried("listening for the end")?;
    ended.recv().await;
    server.drain().await;
    Ok(())
}
