//! From a connection to a link: open the stream, say `Hello`, wait for `Welcome`.
//!
//! In: a dialer and a credential. Out: a link, its writer task and its incoming frames, or the server's refusal.
//! Invariant: nothing but `Hello` is sent before `Welcome` came; name lookup, the connection and `Welcome` share one
//! deadline, which comes no later than the dialer's timeout after the credential was asked for.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{
    ClientFrame, Code, Credential, Features, PROTOCOL_VERSION, ServerFrame, Welcome, codec,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::calls::Calls;
use crate::connection::Connection;
use crate::credential::Source;
use crate::dial::not_welcomed;
use crate::disconnect::Disconnect;
use crate::error::ConnectError;
use crate::incoming::{Incoming, Skipped};
use crate::link::Link;
use crate::requests::Requests;
use crate::way::Dialer;
use crate::writer;

/// What this client understands of later versions.
const OFFERED: Features = Features::KNOWN;

/// A connection that the server welcomed.
pub(crate) struct Opened {
    pub(crate) link: Arc<Link>,
    pub(crate) incoming: Incoming,
    pub(crate) writer: AbortOnDropHandle<()>,
}

/// Connects and introduces the client. Once it has its credential that may take `most`.
pub(crate) async fn open(
    dialer: &Dialer,
    source: &Source,
    skipped: &Skipped,
    most: Duration,
) -> Result<Opened, ConnectError> {
    let whole = Instant::now() + dialer.timeout();
    let server = || dialer.server().to_string();
    let credential = match timeout_at(whole, source.credential()).await {
        Ok(Ok(credential)) => credential,
        Ok(Err(error)) => return Err(ConnectError::TokenProvider { detail: error.to_string() }),
        Err(_) => {
            let detail = format!("it took longer than {} s", dialer.timeout().as_secs_f32());
            return Err(ConnectError::TokenProvider { detail });
        }
    };
    let deadline = whole.min(Instant::now() + most);
    let dialer = dialer.taking(most);
    let opened = async {
        let connection = dialer.dial(deadline).await?;
        let introduced = introduce(connection, credential, skipped.clone(), deadline, server());
        match timeout_at(deadline, introduced).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(reason)) => Err(not_welcomed(server(), reason)),
            Err(_) => Err(ConnectError::NoWelcome { server: server(), within: dialer.timeout() }),
        }
    }
    .await;
    dialer.remember(opened.is_ok());
    opened
}

async fn introduce(
    connection: Connection,
    credential: Credential,
    skipped: Skipped,
    deadline: Instant,
    server: String,
) -> Result<Opened, Disconnect> {
    let (send, receive) = connection.open().await?;
    let (queue, frames) = mpsc::channel(writer::QUEUE_FRAMES);
    let finish = CancellationToken::new();
    let writer = tokio::spawn(writer::run(frames, send, connection.clone(), finish.clone()));
    let writer = AbortOnDropHandle::new(writer);
    let mut incoming = Incoming::new(receive, connection.clone(), skipped);

    let hello = ClientFrame::Hello { protocol: PROTOCOL_VERSION, features: OFFERED, credential };
    // Fails only when the connection is lost already, and then the next line says how.
    let _ = queue.send(codec::encode_client(&hello)).await;
    let welcome = welcome(&mut incoming, &connection, deadline).await?;
    tracing::debug!(connection = %welcome.connection, user = ?welcome.user, server = ?welcome.server, "welcome");
    let link = Link {
        connection,
        server,
        welcome,
        requests: Requests::new(),
        calls: Calls::new(),
        answering: Mutex::default(),
        queue,
        finish,
        expiring: Notify::new(),
    };
    Ok(Opened { link: Arc::new(link), incoming, writer })
}

async fn welcome(
    incoming: &mut Incoming,
    connection: &Connection,
    deadline: Instant,
) -> Result<Welcome, Disconnect> {
    match incoming.first().await? {
        Some(ServerFrame::Welcome(welcome)) if !welcome.features.are_in(OFFERED) => {
            // It would go on to say what nobody here understands.
            let detail = format!("it chose features that were not offered ({:#x})", welcome.features.bits());
            Err(incoming.violated(Code::MalformedFrame, &detail))
        }
        Some(ServerFrame::Welcome(welcome)) => Ok(welcome),
        Some(ServerFrame::Goodbye { code, reason, retry_after_ms }) => {
            let goodbye = Disconnect::goodbye(code, reason, retry_after_ms);
            // What it said counts, although the end does not come in time.
            Err(incoming.end_after(goodbye, Some(deadline)).await)
        }
        Some(_) => Err(incoming.violated(Code::MalformedFrame, "its first frame is not Welcome")),
        // The close, with its code, follows the end of the stream.
        None => Err(connection.over().await),
    }
}
