//! One connection: from an address to a server that lets this node do what it has to, to its end.
//!
//! In: settings and an address. Out: a [`Session`] whose subscriptions stand, or why there is none. Invariants: a
//! connection counts only when what was published through it has come back over its own subscriptions; when it is lost,
//! its client ends, and never connects again; there is none to a server that may do two puts over one revision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::credentials::{self, describe};
use crate::error::OpenError;
use crate::requests::{Requests, Signs};
use crate::seal::Seal;
use crate::settings::hex;
use crate::shared::Shared;
use crate::stamp::{Kind, Stamp};

/// How many messages may wait in each subscription for whoever takes them. More are dropped, and counted.
const WAITING: usize = 16 * 1024;
/// How many commands may wait in the client. Few: what waits should wait in the link's queue.
const COMMANDS: usize = 64;
/// How long the end of a client may take.
const END: Duration = Duration::from_secs(1);

/// A connection that works.
pub(crate) struct Session {
    pub(crate) requests: Arc<Requests>,
    pub(crate) address: ServerAddr,
    pub(crate) epoch: u64,
    /// What is sent to this node.
    pub(crate) to_node: Subscriber,
    /// What is sent to all.
    pub(crate) to_all: Subscriber,
    pub(crate) life: Life,
}

/// What a session's client has running.
pub(crate) struct Life {
    /// Ends when the client's tasks have ended.
    client: mpsc::Receiver<()>,
    answers: JoinHandle<()>,
}

pub(crate) fn name(address: &ServerAddr) -> String {
    format!("{}:{}", address.host(), address.port())
}

impl Session {
    pub(crate) async fn connect(
        shared: &Shared,
        address: &ServerAddr,
        epoch: u64,
    ) -> Result<Self, OpenError> {
        let settings = &shared.settings;
        let signs = Arc::new(Signs::new());
        let (life, is_alive) = mpsc::channel(1);
        let connecting = options(shared, &signs, life)?.connect(address.clone());
        let unreachable =
            |reason: String| OpenError::Unreachable { reasons: format!("{}: {reason}", name(address)) };
        // The client's own deadline leaves out the names' resolution.
        let client = match tokio::time::timeout(3 * settings.answer, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(explain(&error, shared, address)),
            Err(_) => return Err(unreachable("no answer".to_owned())),
        };
        let info = client.server_info();
        if info.cluster.is_some() && !client.is_server_compatible(2, 9, 21) {
            return Err(OpenError::TooOld { server: name(address), version: info.version });
        }
        // A process that does not know the secret has had no connection before, of which others would have to know.
        let greeting = match shared.seal.get() {
            Some((seal, _)) => Some((Kind::Hello, seal.clone())),
            None => Seal::secret().and_then(|secret| Seal::new(&secret)).map(|seal| (Kind::Probe, seal)),
        };
        let Some((kind, seal)) = greeting else {
            return Err(unreachable("the system gives no random bytes".to_owned()));
        };
        let refused = |_| unreachable("the connection ended at once".to_owned());
        let requests = Requests::new(client.clone(), Arc::clone(&signs), settings.inbox(shared.node));
        let mut refusals = signs.refusals();
        let answers = client.subscribe(requests.answers()).await.map_err(refused)?;
        let mut to_node = client.subscribe(settings.node_subject(shared.node)).await.map_err(refused)?;
        let mut to_all = client.subscribe(settings.all_subject()).await.map_err(refused)?;
        let requests = Arc::new(requests);
        let listening = Arc::clone(&requests);
        let answers = tokio::spawn(async move { listening.listen(answers).await });
        let stamp = Stamp { kind, from: shared.node, epoch, number: 0, seen: 0 };
        let inbox = requests.answers();
        let (node, all) = (settings.node_subject(shared.node), settings.all_subject());
        let subjects = [node.as_str(), all.as_str(), inbox.as_str()];
        let came = tokio::select! {
            biased;
            () = signs.ended.cancelled() => Err(unreachable("the connection ended at once".to_owned())),
            came = greet((&client, &seal), stamp, (&node, &mut to_node), (&all, &mut to_all)) => {
                if came { Ok(()) } else { Err(unreachable("the connection ended at once".to_owned())) }
            }
            what = refusals.of(&subjects) => {
                Err(OpenError::Forbidden { who: describe(&settings.credentials), what })
            }
            () = tokio::time::sleep(settings.answer) => Err(unreachable("what is sent does not come back".to_owned())),
        };
        let life = Life { client: is_alive, answers };
        let session = Self { requests, address: address.clone(), epoch, to_node, to_all, life };
        match came {
            Ok(()) => Ok(session),
            Err(error) => {
                session.end().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn end(self) {
        let Self { requests, to_node, to_all, life, .. } = self;
        drop((to_node, to_all));
        life.end(requests).await;
    }
}

impl Life {
    /// Ends the client, and waits until it has ended. Its subscriptions are dropped before.
    pub(crate) async fn end(mut self, requests: Arc<Requests>) {
        // Whoever waits for an answer stops to, and lets go of the client.
        requests.signs.ended.cancel();
        self.answers.abort();
        let _ = self.answers.await;
        drop(requests);
        let _ = tokio::time::timeout(END, self.client.recv()).await;
    }
}

/// Sends a greeting to all and one to itself, and waits until both have come back: then the subscriptions stand, and
/// what others have of older connections of this node counts no more.
async fn greet(
    (client, seal): (&Client, &Seal),
    stamp: Stamp,
    (node, to_node): (&str, &mut Subscriber),
    (all, to_all): (&str, &mut Subscriber),
) -> bool {
    let to = Some(stamp.from);
    for (subject, to) in [(node, to), (all, None)] {
        if client.publish(subject.to_owned(), stamp.seal(seal, to, &[])).await.is_err() {
            return false;
        }
    }
    for (subscriber, to) in [(to_node, to), (to_all, None)] {
        loop {
            // What comes from others before is not for a node that is not there yet.
            let Some(message) = subscriber.next().await else { return false };
            if Stamp::open(seal, to, &message.payload).is_some_and(|(came, _)| came == stamp) {
                break;
            }
        }
    }
    true
}

fn options(shared: &Shared, signs: &Arc<Signs>, life: mpsc::Sender<()>) -> Result<ConnectOptions, OpenError> {
    let settings = &shared.settings;
    let proof = Arc::new(credentials::read(&settings.credentials)?);
    let is_used = Arc::new(AtomicBool::new(false));
    let signs = Arc::clone(signs);
    let options = ConnectOptions::with_auth_callback(move |nonce| {
        let answer = if is_used.swap(true, Ordering::Relaxed) {
            // It was connected, and would be again: it ends.
            Err(AuthError::new("one client is one connection"))
        } else {
            proof.answer(&nonce).map_err(|_| AuthError::new("the nonce cannot be signed"))
        };
        async move { answer }
    })
    .event_callback(move |event| {
        let _ = &life;
        signs.take(&event);
        async {}
    })
    .name(format!("fanfare {}", hex(shared.node)))
    .max_reconnects(1)
    .reconnect_delay_callback(|_| Duration::ZERO)
    .ignore_discovered_servers()
    .connection_timeout(settings.answer)
    .ping_interval(settings.ping)
    .client_capacity(COMMANDS)
    .subscription_capacity(WAITING);
    Ok(match &settings.authority {
        Some(authority) => options.add_root_certificates(authority.clone()).require_tls(true),
        None => options,
    })
}

/// A connection that failed, as a reason for not starting.
fn explain(error: &ConnectError, shared: &Shared, address: &ServerAddr) -> OpenError {
    let server = name(address);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            OpenError::Refused { server, who: describe(&shared.settings.credentials) }
        }
        _ => match certificate_error(error) {
            Some(error) => OpenError::Certificate { server, error },
            None => OpenError::Unreachable { reasons: format!("{server}: {error}") },
        },
    }
}

fn certificate_error(error: &ConnectError) -> Option<String> {
    use async_nats::rustls;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(_)) = tls {
            return tls.map(ToString::to_string);
        }
        source = cause.source();
    }
    None
}
