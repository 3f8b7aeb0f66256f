//! Keeps a node connected: one session after the other, from the start to the end.
//!
//! In: settings, servers. Out: a link while there is a connection, events, and no link while there is none. Invariants:
//! `Connected` comes before anything that its connection gives, and `Disconnected` after all of it; epochs grow;
//! between attempts at all servers is a pause that grows, and a connection that ended soon does not make it short
//! again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bucket;
use crate::credentials;
use crate::error::OpenError;
use crate::judge::Verdict;
use crate::marks;
use crate::requests::{Requests, Signs};
use crate::session::{Session, name};
use crate::shared::{Event, Link, Outgoing, Outlet, Shared};
use crate::stamp::{BYTES, Kind, Stamp};
use crate::watch::Watch;

/// The first pause after all servers were tried, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// How long the end may take in peace.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    outlet: Outlet,
    servers: Vec<ServerAddr>,
    watch: Watch,
    epoch: u64,
    pause: Duration,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The node closes.
    Closing,
    /// The connection was lost.
    Lost,
    /// The server goes, and there are others.
    Moving,
}

impl Keeper {
    /// The first session, in which all is looked at.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        outlet: Outlet,
        servers: Vec<ServerAddr>,
    ) -> Result<(Self, Session), OpenError> {
        credentials::read(&shared.settings.credentials)?;
        check_authority(&shared)?;
        let watch = Watch::new(Arc::clone(&shared), outlet.clone());
        let mut keeper = Self { shared, outlet, servers, watch, epoch: 0, pause: PAUSE };
        let deadline = Instant::now() + keeper.shared.settings.patience;
        loop {
            let mut reasons = Vec::new();
            for server in keeper.order(None) {
                match keeper.start(&server, deadline).await {
                    Ok(session) => return Ok((keeper, session)),
                    Err(error) if error.is_final() => return Err(error),
                    Err(OpenError::Unreachable { reasons: reason }) => reasons.push(reason),
                    Err(other) => reasons.push(other.to_string()),
                }
            }
            let pause = keeper.next_pause();
            if Instant::now() + pause >= deadline {
                return Err(OpenError::Unreachable { reasons: reasons.join("; ") });
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn start(&mut self, server: &ServerAddr, deadline: Instant) -> Result<Session, OpenError> {
        let epoch = self.next_epoch();
        let session = Session::connect(&self.shared, server, epoch).await?;
        match self.look(&session, deadline).await {
            Ok(()) => Ok(session),
            // The server has gone meanwhile, and whatever could not be done over it says nothing.
            Err(error) if session.requests.signs.ended.is_cancelled() => {
                session.end().await;
                Err(OpenError::Unreachable { reasons: format!("{}: {error}", name(server)) })
            }
            Err(error) => {
                session.end().await;
                Err(error)
            }
        }
    }

    /// Whether all can be done that will have to be.
    async fn look(&mut self, session: &Session, deadline: Instant) -> Result<(), OpenError> {
        let (requests, settings) = (&session.requests, &self.shared.settings);
        let (needed, limit) = (settings.largest + BYTES, requests.client.max_payload());
        if needed > limit {
            return Err(OpenError::MaxPayload { server: name(&session.address), needed, limit });
        }
        bucket::open(requests, settings, deadline).await?;
        let seal = bucket::seal(requests, settings, deadline).await?;
        // It stays what it was: with another secret there are other nodes, and the watch says so.
        self.shared.seal.get_or_init(|| seal);
        loop {
            let error = match self.try_all(requests).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // A server that has just started does not know yet that others have the bucket: nobody seems to be there.
            let is_final =
                matches!(error, OpenError::Forbidden { .. }) || requests.signs.ended.is_cancelled();
            if is_final || Instant::now() + PAUSE > deadline {
                return Err(error);
            }
            tracing::debug!(%error, "trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_all(&mut self, requests: &Requests) -> Result<(), OpenError> {
        let settings = &self.shared.settings;
        bucket::try_rights(requests, settings, self.shared.node).await?;
        // A node that cannot do it is a node all the same: others can, or the bucket grows.
        let hindrance = marks::hindrance(requests, settings).await;
        let hindrance = hindrance.map_err(|undone| bucket::explain(&undone, settings))?;
        if let Some(reason) = &hindrance {
            tracing::warn!(
                bucket = settings.prefix,
                reason,
                "this node takes no old marks of what was ended out of the bucket, which grows by them"
            );
        }
        self.shared.purges.store(hindrance.is_none(), Ordering::Relaxed);
        let tried = self.watch.try_out(requests).await;
        tried.map_err(|undone| bucket::explain(&undone, settings))
    }

    /// Until the node closes.
    pub(crate) async fn run(mut self, mut session: Session) {
        loop {
            let (began, server) = (Instant::now(), session.address.clone());
            let end = self.serve(session).await;
            if end == End::Closing || !self.outlet.tell(Event::Disconnected).await {
                break;
            }
            if began.elapsed() >= GOOD {
                self.pause = PAUSE;
            }
            tracing::warn!(server = name(&server), ?end, "no connection to NATS");
            let avoided = (end == End::Moving).then_some(&server);
            let Some(next) = self.reconnect(avoided).await else { break };
            session = next;
        }
    }

    /// One connection, from when it works to its end.
    async fn serve(&mut self, session: Session) -> End {
        let Session { requests, address, epoch, to_node, to_all, life } = session;
        let signs = Arc::clone(&requests.signs);
        let max_payload = requests.client.max_payload();
        let limit = max_payload.min(self.shared.settings.largest + BYTES);
        if limit < self.shared.settings.largest + BYTES {
            tracing::error!(
                server = name(&address),
                needed = self.shared.settings.largest + BYTES,
                limit,
                "this NATS server takes only shorter messages than there may be (max_payload): longer ones are refused"
            );
        }
        let (queue, outgoing) = mpsc::channel(self.shared.settings.queue.max(1));
        let link = Link { queue, requests: Arc::clone(&requests), limit };
        *self.shared.link.write() = Some(link);
        self.shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        tracing::info!(server = name(&address), "connected to NATS");
        let connected = Event::Connected { server: name(&address), largest: limit.saturating_sub(BYTES) };
        self.outlet.tell(connected).await;

        let mut tasks = JoinSet::new();
        for (messages, is_for_all) in [(to_node, false), (to_all, true)] {
            tasks.spawn(receive(Arc::clone(&self.shared), self.outlet.clone(), messages, is_for_all));
        }
        let writer = tokio::spawn(write(Arc::clone(&self.shared), Arc::clone(&requests), epoch, outgoing));

        let stop = CancellationToken::new();
        let end = {
            let watching = self.watch.run(&requests, &stop);
            tokio::pin!(watching);
            let end = tokio::select! {
                biased;
                () = self.outlet.closing.cancelled() => End::Closing,
                () = signs.ended.cancelled() => End::Lost,
                // With nowhere else to go, it is used until it has gone.
                () = signs.moving.cancelled(), if self.servers.len() > 1 => End::Moving,
                // It ends only when it is told to.
                () = &mut watching => End::Lost,
            };
            *self.shared.link.write() = None;
            stop.cancel();
            watching.await;
            end
        };
        if end == End::Lost {
            signs.ended.cancel();
        }
        // The link has gone, and with it the queue's other end: what waits is handed over, and then it ends.
        let farewell = async {
            let _ = writer.await;
            if end != End::Lost {
                self.watch.end(&requests).await;
                let _ = requests.client.flush().await;
            }
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            signs.ended.cancel();
        }
        tasks.shutdown().await;
        self.shared.counters.overrun.fetch_add(signs.dropped.load(Ordering::Relaxed), Ordering::Relaxed);
        life.end(requests).await;
        end
    }

    async fn reconnect(&mut self, avoided: Option<&ServerAddr>) -> Option<Session> {
        let closing = self.outlet.closing.clone();
        let mut avoided = avoided.cloned();
        loop {
            for server in self.order(avoided.take().as_ref()) {
                let epoch = self.next_epoch();
                let connected = tokio::select! {
                    biased;
                    () = closing.cancelled() => return None,
                    connected = Session::connect(&self.shared, &server, epoch) => connected,
                };
                match connected {
                    Ok(session) => return Some(session),
                    Err(error) if error.is_final() => tracing::error!(%error, "no connection to NATS"),
                    Err(error) => tracing::debug!(%error, "no connection to NATS"),
                }
            }
            let pause = self.next_pause();
            tokio::select! {
                biased;
                () = closing.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// All servers in random order, the avoided one last.
    fn order(&self, avoided: Option<&ServerAddr>) -> Vec<ServerAddr> {
        let mut servers = self.servers.clone();
        fastrand::shuffle(&mut servers);
        servers.sort_by_key(|server| Some(server) == avoided);
        servers
    }

    /// Somewhere between half of it and all: many nodes lose their server at once.
    fn next_pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Greater than all before, and than those of a process before this one.
    fn next_epoch(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.epoch = now.max(self.epoch.saturating_add(1));
        self.epoch
    }
}

/// What others send, to the events.
async fn receive(shared: Arc<Shared>, outlet: Outlet, mut messages: Subscriber, is_for_all: bool) {
    let counters = &shared.counters;
    let to = (!is_for_all).then_some(shared.node);
    while let Some(message) = messages.next().await {
        // What comes before the secret is known is not for this node, which nobody knows yet.
        let opened = shared.seal.get().and_then(|(seal, _)| Stamp::open(seal, to, &message.payload));
        let Some((stamp, payload)) = opened else {
            if Stamp::is_probe(&message.payload) {
                continue;
            }
            counters.unreadable.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if is_for_all && stamp.from == shared.node {
            continue;
        }
        let verdict = shared.judge.lock().judge(&stamp, is_for_all, (shared.settings.clock)());
        match verdict {
            Verdict::Stale => counters.stale.fetch_add(1, Ordering::Relaxed),
            Verdict::Late => counters.late.fetch_add(1, Ordering::Relaxed),
            Verdict::Counts if stamp.kind != Kind::Message => continue,
            Verdict::Counts => {
                // Before it is told: whoever has been told of a message finds it counted.
                counters.received.fetch_add(1, Ordering::Relaxed);
                if !outlet.tell(Event::Message { payload }).await {
                    return;
                }
                continue;
            }
        };
    }
}

/// What waits to be sent, to the client; what is left when the connection ends, to nobody.
async fn write(
    shared: Arc<Shared>,
    requests: Arc<Requests>,
    epoch: u64,
    mut outgoing: mpsc::Receiver<Outgoing>,
) {
    let (settings, from) = (&shared.settings, shared.node);
    let signs: &Signs = &requests.signs;
    let counters = &shared.counters;
    let sending = async {
        let mut number = 0;
        while let Some(Outgoing { to, message, seen }) = outgoing.recv().await {
            // There is one since the first connection was looked at, which was before there was a link.
            let Some((seal, _)) = shared.seal.get() else { break };
            number += 1;
            let stamp = Stamp { kind: Kind::Message, from, epoch, number, seen };
            let payload = stamp.seal(seal, to, &message);
            let subject = to.map_or_else(|| settings.all_subject(), |node| settings.node_subject(node));
            if requests.client.publish(subject, payload).await.is_err() {
                counters.discarded.fetch_add(1, Ordering::Relaxed);
                break;
            }
            counters.sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::select! {
        biased;
        () = signs.ended.cancelled() => {}
        () = sending => {}
    }
    outgoing.close();
    while outgoing.try_recv().is_ok() {
        counters.discarded.fetch_add(1, Ordering::Relaxed);
    }
}

/// The file with the authorities: that it can be read, and has nothing in it that would be left out in silence.
fn check_authority(shared: &Shared) -> Result<(), OpenError> {
    let Some(file) = &shared.settings.authority else { return Ok(()) };
    let bytes = std::fs::read(file)
        .map_err(|error| OpenError::File { file: file.clone(), error: error.to_string() })?;
    let wrong = |what: String| OpenError::Content { file: file.clone(), what };
    let blocks = fanfare_pem::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    match fanfare_pem::certificates(&blocks) {
        Ok(found) if found.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        Ok(_) => Ok(()),
        Err(unused) => Err(wrong(unused.to_string())),
    }
}
