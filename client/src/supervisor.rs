//! The task that keeps a client connected: it owns every other task, and carries out what a loss means.
//!
//! In: settings, and the application's wish to close. Out: a live connection in the shared state, and the events that
//! tell of its loss and return.
//!
//! Invariants: there is at most one connection at a time, and its reader and writer end before the next is tried;
//! dropping this task ends everything; nothing here waits without listening for the wish to close.

use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use fanfare_protocol::Code;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::config::{ClientConfig, Reconnect};
use crate::connection::Connection;
use crate::credential::Source;
use crate::dial::{QuicDialer, ready_failed};
use crate::disconnect::Disconnect;
use crate::error::{CloseError, ConnectError, RootsError};
use crate::event::{CloseReason, Event};
use crate::events::EventSink;
use crate::handshake::Opened;
use crate::incoming::Skipped;
use crate::reader::{self, StreamEnd};
use crate::rejoin::Rejoin;
use crate::route::Step;
use crate::servers::Servers;
use crate::state::Shared;
use crate::verdict::Verdict;
use crate::way::{Dialer, WebSocketDialer};
use crate::{refresher, tls, transport, watching};

/// How long a close waits for the server to confirm that it has everything.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait for the close that follows a finished stream, and for the last packets to be on their way.
const LAST_PACKETS: Duration = Duration::from_secs(1);

/// What a client's handle holds.
pub(crate) struct Started {
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: Receiver<Event>,
    /// Ends the client when it is dropped.
    pub(crate) supervisor: AbortOnDropHandle<()>,
}

/// Connects for the first time, and starts the supervisor.
pub(crate) async fn start(config: ClientConfig) -> Result<Started, ConnectError> {
    config.check()?;
    let mut ways = Vec::new();
    for server in config.addresses()? {
        // Nobody asks for a certificate over TCP, so that whoever shows one goes over QUIC or not at all.
        let way = if config.proof.is_some() { None } else { config.websocket.way(&server)? };
        ways.push((server, way));
    }
    let (roots, proof) = (config.roots, config.proof);
    let load = move || {
        let proof = proof.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        tls::load(roots, fanfare_protocol::ALPN, proof)
    };
    let trust = tokio::task::spawn_blocking(load)
        .await
        .map_err(|failed| RootsError::Tls { detail: failed.to_string() })??;
    let quic = transport::quic(&trust);
    let dialer = |(server, way): (_, Option<_>)| {
        let (quic, roots) = (quic.clone(), trust.roots.clone());
        let websocket =
            way.map(|way| WebSocketDialer::new(way, Arc::clone(&trust.tls), config.websocket_after));
        Dialer::new(QuicDialer { server, quic, roots, timeout: config.connect_timeout }, websocket)
    };
    let plan = config.reconnect.clone().unwrap_or_default();
    let backoff = Backoff::new(plan.first_delay, plan.max_delay);
    let mut servers = Servers::new(ways.into_iter().map(dialer).collect(), backoff);

    let skipped = Skipped::default();
    let opened = servers.connect(&config.source, &skipped).await?;
    let closing = CancellationToken::new();
    let (sink, events) = EventSink::new(config.event_queue, closing.clone());
    let shared = Arc::new(Shared::new(Arc::clone(&opened.link), skipped, closing));
    let supervisor = Supervisor {
        shared: Arc::clone(&shared),
        source: config.source,
        reconnect: config.reconnect,
        patience: config.request_timeout,
        most_held: config.event_queue,
        events: sink,
    };
    let supervisor = AbortOnDropHandle::new(tokio::spawn(supervisor.run(servers, opened)));
    Ok(Started { shared, events, supervisor })
}

struct Supervisor {
    shared: Arc<Shared>,
    source: Source,
    reconnect: Option<Reconnect>,
    /// How long an answer may take while groups are rejoined.
    patience: Duration,
    most_held: usize,
    events: EventSink,
}

/// How the time of one connection ended.
enum Served {
    Closed(Result<(), CloseError>),
    Lost(Disconnect),
}

impl Supervisor {
    async fn run(self, servers: Servers, opened: Opened) {
        // Whatever happens in here, nobody waits for the end of it in vain.
        let _closed = self.shared.closed.clone().drop_guard();
        let (reason, result) = self.keep_connected(servers, opened).await;
        tracing::debug!(%reason, "client closed");
        self.shared.end(Event::Closed { reason, discarded: self.events.discarded() }, result);
        self.events.close();
    }

    async fn keep_connected(
        &self,
        mut servers: Servers,
        mut opened: Opened,
    ) -> (CloseReason, Result<(), CloseError>) {
        let plan = self.reconnect.clone().unwrap_or_default();
        loop {
            let since = Instant::now();
            let lost = match self.serve(opened).await {
                Served::Closed(result) => return (CloseReason::Requested, result),
                Served::Lost(lost) => lost,
            };
            tracing::info!(server = %servers.current(), reason = %lost, "connection lost");
            let verdict = Verdict::of_loss(&lost, self.source.renews());
            let step = servers.lost(verdict, since.elapsed() >= plan.stable_after);
            // What the server wishes may be longer than the application is ready to wait.
            let wanted = step.filter(|step| self.reconnect.is_some() && plan.allows(0, step.pause));
            let Some(step) = wanted else {
                // First: an application that is slow to read its events must not be told `NotConnected` for ever.
                self.shared.refuse_requests();
                self.events.push(Event::Disconnected { reason: lost.clone(), retry_in: None }).await;
                return (CloseReason::Ended(lost), Ok(()));
            };
            opened = match self.reconnect(&plan, &mut servers, lost, step).await {
                Ok(opened) => opened,
                Err(reason) => return (reason, Ok(())),
            };
        }
    }

    /// Runs one connection to its end. On return its tasks have ended.
    async fn serve(&self, opened: Opened) -> Served {
        let Opened { link, incoming, writer: _writer } = opened;
        let reading = reader::run(Arc::clone(&self.shared), Arc::clone(&link), incoming, self.events.clone());
        let mut reader = AbortOnDropHandle::new(tokio::spawn(reading));
        let (shared, source) = (Arc::clone(&self.shared), self.source.clone());
        let refresher = refresher::run(shared, Arc::clone(&link), source, self.patience, self.events.clone());
        let watching = watching::run(Arc::clone(&self.shared), Arc::clone(&link));
        tokio::select! {
            biased;
            never = refresher => match never {},
            never = watching => match never {},
            ended = &mut reader => {
                let lost = match ended {
                    Ok(StreamEnd::Lost(lost)) => lost,
                    Ok(StreamEnd::Finished { goodbye }) => finished(&link.connection, goodbye).await,
                    Err(failed) => Disconnect::Transport { detail: format!("the reading task failed: {failed}") },
                };
                self.shared.lost();
                Served::Lost(lost)
            }
            () = self.shared.closing.cancelled() => {
                self.shared.refuse_requests();
                link.finish.cancel();
                let deadline = Instant::now() + CLOSE_DEADLINE;
                let result = match timeout_at(deadline, &mut reader).await {
                    Ok(Ok(StreamEnd::Finished { .. })) => {
                        // The server has everything and said everything. Whoever closes first makes no difference.
                        let _ = timeout(LAST_PACKETS, link.connection.over()).await;
                        Ok(())
                    }
                    Ok(Ok(StreamEnd::Lost(lost))) if lost.code() == Some(Code::Normal) => Ok(()),
                    Ok(Ok(StreamEnd::Lost(lost))) => Err(CloseError::Lost(lost)),
                    Ok(Err(failed)) => Err(CloseError::Lost(Disconnect::Transport { detail: failed.to_string() })),
                    Err(_) => Err(CloseError::Timeout { after: CLOSE_DEADLINE }),
                };
                link.fail_all();
                link.connection.close(Code::Normal, "");
                let _ = timeout(LAST_PACKETS, link.connection.flush()).await;
                Served::Closed(result)
            }
        }
    }

    /// Tries until there is a connection, or there will be none; at first what `step` says.
    async fn reconnect(
        &self,
        plan: &Reconnect,
        servers: &mut Servers,
        lost: Disconnect,
        mut step: Step,
    ) -> Result<Opened, CloseReason> {
        let outage = Instant::now();
        self.events.push(Event::Disconnected { reason: lost, retry_in: Some(step.pause) }).await;
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            let failure = tokio::select! {
                biased;
                () = self.shared.closing.cancelled() => return Err(CloseReason::Requested),
                attempt = self.attempt(servers, step, &mut refusals) => match attempt {
                    Ok((opened, events)) => {
                        servers.live(step.place);
                        for event in events {
                            self.events.push(event).await;
                        }
                        return Ok(opened);
                    }
                    Err(failure) => failure,
                },
            };
            attempts += 1;
            tracing::info!(server = %servers.name(step.place), attempts, error = %failure, "reconnecting failed");
            let last = Arc::new(failure);
            let verdict = Verdict::of_error(&last, self.source.renews());
            let Some(next) = servers.failed(step.place, verdict) else {
                return Err(CloseReason::Refused(last));
            };
            if !plan.allows(attempts, outage.elapsed().saturating_add(next.pause)) {
                return Err(CloseReason::GaveUp { attempts, after: outage.elapsed(), last });
            }
            step = next;
        }
    }

    /// One attempt. On success the connection is live, and the events that tell of it are still to be queued.
    /// `refusals` says how many have failed because a group was refused for now.
    async fn attempt(
        &self,
        servers: &Servers,
        step: Step,
        refusals: &mut u32,
    ) -> Result<(Opened, Vec<Event>), ConnectError> {
        sleep(step.pause).await;
        let source = self.source.refreshed(self.shared.newest_token());
        let mut opened = servers.attempt(step.place, &source, &self.shared.skipped).await?;
        let rejoin = Rejoin::new(&self.shared, &mut opened, &self.events, self.most_held);
        match rejoin.run(self.patience, refusals).await {
            Ok(events) => Ok((opened, events)),
            Err(lost) => Err(ready_failed(servers.name(step.place), lost)),
        }
    }
}

/// Why the server finished the stream: the close that follows says it, or else its last words.
async fn finished(connection: &Connection, goodbye: Option<Disconnect>) -> Disconnect {
    match timeout(LAST_PACKETS, connection.over()).await {
        Ok(end) => end.after(goodbye),
        Err(_) => goodbye.unwrap_or(Disconnect::StreamEnded),
    }
}
