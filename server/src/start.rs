//! A server's start: everything is looked at before anything is written, so that a start which is refused leaves no
//! trace.
//!
//! In: a configuration, an identity, and what the caller wants to have written in the state directory. Out: a running
//! server. The order: the settings; the state directory's lock; what is in it; the sockets; TLS; and only then the
//! disk, where only the disk itself can still fail. Invariants: nobody writes who does not hold the lock; what was
//! written by a start that fails is taken back (`cli/tests/refused.rs` compares the directory before and after, for
//! every refusal).

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{Bans, Gate, KeySets, Tokens};
use crate::admin::{Administration, Operators};
use crate::api;
use crate::application::{MethodSet, Methods};
use crate::cluster::{self, Held, Opening, Side};
use crate::config::Config;
use crate::edge::listener::Tasks;
use crate::error::{Listener, StartError};
use crate::home::Home;
use crate::hub::Hub;
use crate::moderation::{FileStore, MemoryStore, Moderation, Store};
use crate::opened::{Opened, OpenedAdmin, OpenedCluster, OpenedWeb};
use crate::quic::{self, Endpoint, EndpointKeys, Identity, IdentityError, Settings};
use crate::server::Server;
use crate::tcp::WebTls;
use crate::telemetry::Metrics;
use crate::webhooks::{self, Nodes, Webhooks};

/// For how long nothing may come of it when a node that starts is told what was decided, and brings what it has.
const JOINING: Duration = Duration::from_secs(10);

/// What the caller wants to have in the state directory. Dropped without having been kept, it takes back what it wrote.
pub trait Files: Send {
    /// Writes it, when nothing but the disk can fail any more. The directory is there, and held.
    ///
    /// # Errors
    /// Why it could not be written.
    fn write(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// The server has started: what was written stays.
    fn keep(self: Box<Self>);
}

/// Of a caller who wants nothing.
pub(crate) struct NoFiles;

impl Files for NoFiles {
    fn write(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn keep(self: Box<Self>) {}
}

/// A server that could start, as far as the settings and the state directory go. Nothing has been written.
pub struct Start {
    config: Config,
    /// Where operators are to connect.
    admin: Option<SocketAddr>,
    started: Instant,
    home: Option<Home>,
    keys: EndpointKeys,
    key_sets: Arc<KeySets>,
    methods: Option<MethodSet>,
    web_identity: Option<Identity>,
    /// The number that this node goes by until it ends.
    node: [u8; 4],
    /// The cluster, where it is to be a node of one.
    cluster: Option<Opening>,
}

/// Where the server listens, before anybody is answered there.
struct Sockets {
    clients: (std::net::UdpSocket, SocketAddr),
    admin: Option<(std::net::UdpSocket, SocketAddr)>,
    http: Option<(TcpListener, SocketAddr)>,
    web: Option<(TcpListener, SocketAddr)>,
}

impl Sockets {
    async fn bind(config: &Config, admin: Option<SocketAddr>) -> Result<Self, StartError> {
        let http = tcp(Listener::Http, config.http).await?;
        let web = tcp(Listener::Web, config.web).await?;
        let clients = udp(Listener::Clients, config.listen)?;
        let admin = admin.map(|address| udp(Listener::Operators, address)).transpose()?;
        Ok(Self { clients, admin, http, web })
    }
}

impl Server {
    /// Starts a server, with an endpoint for operators if `admin` is given. It accepts connections when this returns.
    /// Needs a tokio runtime. [`Server::builder`] says the same in fewer words.
    ///
    /// # Errors
    /// When the configuration makes no sense, the state directory or the identity cannot be used, or the address cannot
    /// be listened on.
    pub async fn start(
        config: Config,
        identity: Identity,
        admin: Option<Administration>,
    ) -> Result<Self, StartError> {
        Self::start_with(config, identity, admin, None).await
    }

    /// The same, with an application.
    pub(crate) async fn start_with(
        config: Config,
        identity: Identity,
        admin: Option<Administration>,
        methods: Option<MethodSet>,
    ) -> Result<Self, StartError> {
        // In boxes, so that whoever starts a server somewhere has not the room of all this in its own future.
        let start = Box::pin(Start::look(config, admin.as_ref().map(|admin| admin.listen))).await?;
        let admin = admin.map(|admin| (admin.identity, admin.operators));
        Box::pin(start.method_set(methods).serve(identity, admin, Box::new(NoFiles))).await
    }
}

impl Start {
    /// Checks the settings, holds the state directory if it is there, and looks at what is in it. With `admin` there
    /// will be an endpoint for operators. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the configuration makes no sense, or the state directory cannot be used: as when another server has it.
    pub async fn look(config: Config, admin: Option<SocketAddr>) -> Result<Self, StartError> {
        config.check()?;
        if let Some(admin) = admin {
            config.check_admin(admin)?;
        }
        let started = Instant::now();
        let (directory, webhooks) = (config.state_dir.clone(), config.webhooks.clone());
        let (home, keys) = off_runtime(move || -> Result<_, StartError> {
            let Some(directory) = directory else { return Ok((None, EndpointKeys::passing()?)) };
            let home = Home::look(&directory)?;
            let keys = EndpointKeys::look(&directory)?;
            FileStore::look(&directory)?;
            Webhooks::look(&webhooks, &directory)?;
            Ok((Some(home), keys))
        })
        .await?;
        let key_sets = KeySets::open(&config.key_sets, config.state_dir.as_deref()).await?;
        let node = node();
        let cluster = match &config.cluster {
            None => None,
            Some(cluster) => {
                let goes_by = (config.between_nodes(), config.node_settings(cluster));
                Some(Box::pin(Opening::open(cluster, node, goes_by)).await?)
            }
        };
        let (methods, web_identity) = (None, None);
        Ok(Self { config, admin, started, home, keys, key_sets, methods, web_identity, node, cluster })
    }

    /// Gives the server an application.
    #[must_use]
    pub fn methods<S: Clone + Send + Sync + 'static>(self, methods: Methods<S>) -> Self {
        self.method_set(Some(methods.into_set()))
    }

    /// Gives the listener for WebSockets a certificate of its own. Without it that is the one that QUIC shows.
    #[must_use]
    pub fn web_identity(self, identity: Identity) -> Self {
        Self { web_identity: Some(identity), ..self }
    }

    pub(crate) fn method_set(self, methods: Option<MethodSet>) -> Self {
        Self { methods, ..self }
    }

    /// Starts the server. It accepts connections when this returns. `admin` is what the server proves itself to
    /// operators with, and who they are; given exactly where [`Start::look`] was told of an address for them.
    ///
    /// # Errors
    /// When an address cannot be listened on, TLS does not take an identity, or the disk fails. Nothing has changed
    /// then.
    pub async fn serve(
        self,
        identity: Identity,
        admin: Option<(Identity, Arc<dyn Operators>)>,
        files: Box<dyn Files>,
    ) -> Result<Server, StartError> {
        let sockets = Sockets::bind(&self.config, self.admin).await?;
        let runtime = tokio::runtime::Handle::current();
        // Tasks are started in there.
        let opened = off_runtime(move || {
            let _runtime = runtime.enter();
            self.open(sockets, identity, admin, files)
        });
        // In a box while it waits, or every start would have its room twice.
        let mut opened = Box::new(opened.await?);
        if let Some(cluster) = &mut opened.cluster {
            // Before anybody is answered: who came too early would be sent away at once.
            while !cluster.joining.borrow_and_update().is_ready {
                // Much that was decided takes its time; but it goes on.
                if matches!(tokio::time::timeout(JOINING, cluster.joining.changed()).await, Ok(Ok(()))) {
                    continue;
                }
                cluster.closing.cancel();
                let _ = (&mut cluster.driver).await;
                return Err(StartError::ClusterSilent { waited: JOINING });
            }
        }
        Ok(Server::assemble(*opened))
    }

    fn open(
        self,
        sockets: Sockets,
        identity: Identity,
        admin: Option<(Identity, Arc<dyn Operators>)>,
        files: Box<dyn Files>,
    ) -> Result<Opened, StartError> {
        let Self {
            config, started, mut home, mut keys, key_sets, methods, web_identity, node, cluster, ..
        } = self;
        if methods.is_some() && !config.webhooks.is_empty() {
            return Err(StartError::MethodsAndWebhooks);
        }
        // Behind the directory, so that it is taken back before that is (test
        // `a_start_that_fails_at_the_last_moment_takes_back_what_it_made`).
        let mut files = files;
        let Sockets { clients: (socket, address), admin: admin_socket, http, web } = sockets;
        let tasks = Tasks::default();
        let certificate = api::certificate_hash(&identity.chain);
        let web = match web {
            None => None,
            Some((listener, address)) => {
                let shares_identity = web_identity.is_none();
                let tls = Arc::new(WebTls::new(web_identity.unwrap_or_else(|| identity.clone()))?);
                Some(OpenedWeb { listener, address, tls, shares_identity })
            }
        };
        let settings = config.settings(identity, &keys)?;

        if let Some(home) = &mut home {
            home.make()?;
        }
        files.write().map_err(StartError::Files)?;
        let admin = match (admin_socket, admin) {
            (Some((socket, address)), Some((identity, operators))) => {
                let verifier = operators.verifier().map_err(IdentityError::from)?;
                let settings = Settings::for_operators(identity, verifier, &keys)?;
                let endpoint = Endpoint::open(settings, socket, &keys, &tasks.endpoint)
                    .map_err(listening(Listener::Operators, address))?;
                Some(OpenedAdmin { endpoint, address, operators })
            }
            _ => None,
        };
        let endpoint = Endpoint::open(settings, socket, &keys, &tasks.endpoint)
            .map_err(listening(Listener::Clients, address))?;
        let store = match &mut home {
            None => Box::new(MemoryStore::default()) as Box<dyn Store>,
            Some(home) => {
                keys.write(home)?;
                let file = FileStore::file(home.path());
                if file.symlink_metadata().is_err() {
                    home.makes(file);
                }
                Box::new(FileStore::open(home.path())?)
            }
        };
        let bans = Arc::new(Bans::new(config.validity()));
        let tokens = Arc::new(Tokens::new(config.tokens.clone(), Arc::clone(&key_sets)));
        let lease = cluster.as_ref().map(|cluster| Arc::clone(&cluster.side().lease)).unwrap_or_default();
        let gate = Gate::new(Arc::clone(&tokens), Arc::clone(&bans)).taking(config.names).leased(lease);
        let gate = Arc::new(gate);
        let hub = Arc::new(Hub::new(config.hub_limits(), Arc::clone(&gate) as _));
        let metrics = Arc::new(Metrics { live_bytes: config.live_bytes, ..Metrics::default() });
        let moderation =
            Moderation::open(store, Arc::clone(&hub), bans, Arc::clone(&metrics), config.limits)?
                .taking(config.names);
        let moderation = Arc::new(moderation);
        // Last of what may fail: it tells back ends that the server has started.
        let side = cluster.as_ref().map(|cluster| Arc::clone(cluster.side()));
        let webhooks = open_webhooks(&config, home.as_mut(), side)?;
        let cluster = cluster.map(|cluster| {
            let held = home.as_ref().map(|home| Held::new(home.path(), home.held()));
            join(cluster, (&config, held), &hub, &moderation, webhooks.clone())
        });
        if let Some(home) = &mut home {
            if cluster.is_none() {
                // What is decided from now on is nobody's copy.
                cluster::forget(home.path(), &moderation)
                    .map_err(|source| StartError::Files(source.into()))?;
            }
            home.keep();
        }
        files.keep();
        let handshake = config.handshake_deadline;
        Ok(Opened {
            config,
            home,
            started,
            keys,
            tasks,
            endpoint,
            address,
            certificate,
            http,
            web,
            admin,
            hub,
            metrics,
            tokens,
            gate,
            moderation,
            key_sets,
            methods: webhooks.as_ref().map(|webhooks| webhooks.methods(handshake).into_set()).or(methods),
            webhooks,
            node,
            cluster,
        })
    }
}

/// Makes the server a node: from here on the hub and moderation have the others in mind.
fn join(
    opening: Opening,
    (config, held): (&Config, Option<Held>),
    hub: &Arc<Hub>,
    moderation: &Arc<Moderation>,
    webhooks: Option<Arc<Webhooks>>,
) -> OpenedCluster {
    let side = Arc::clone(opening.side());
    hub.cluster(Arc::clone(&side) as _);
    moderation.decided_with(Arc::clone(&side) as _);
    let directory = config.state_dir.clone();
    let notified = webhooks.map(|webhooks| webhooks as _);
    let driver = opening.driver(Arc::clone(hub), Arc::clone(moderation), notified, directory, held);
    let (joining, closing) = (driver.joining(), CancellationToken::new());
    let driver = AbortOnDropHandle::new(tokio::spawn(driver.run(closing.clone())));
    OpenedCluster { side, driver, joining, closing }
}

/// The number that a node goes by until it ends. It must differ from other nodes', and is no secret, so the standard
/// library's random keys will do.
fn node() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_le_bytes();
    [a, b, c, d]
}

/// Opens what waits for back ends, and begins to deliver it.
fn open_webhooks(
    config: &Config,
    home: Option<&mut Home>,
    side: Option<Arc<Side>>,
) -> Result<Option<Arc<Webhooks>>, StartError> {
    for name in config.state_dir.iter().flat_map(|directory| Webhooks::left_over(&config.webhooks, directory))
    {
        tracing::warn!(
            file = name,
            "events may wait for a webhook that there is no more; delete the file to forget them"
        );
    }
    if config.webhooks.is_empty() {
        return Ok(None);
    }
    let directory = home.map(|home| {
        for webhook in &config.webhooks {
            let file = webhooks::file(home.path(), &webhook.name);
            if file.symlink_metadata().is_err() {
                home.makes(file);
            }
        }
        home.path().to_owned()
    });
    let (webhooks, dev) = (config.webhooks.clone(), config.dev);
    let nodes = match side {
        None => Nodes::One(config.presence_grace),
        Some(side) => Nodes::Several(side),
    };
    Ok(Some(Webhooks::start(webhooks, directory.as_deref(), dev, nodes)?))
}

async fn tcp(
    who: Listener,
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = listening(who, address);
    let listener = TcpListener::bind(address).await.map_err(&failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, address)))
}

fn udp(who: Listener, address: SocketAddr) -> Result<(std::net::UdpSocket, SocketAddr), StartError> {
    let failed = listening(who, address);
    let socket = quic::socket(address).map_err(&failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, address))
}

fn listening(who: Listener, address: SocketAddr) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::Listen { who, address, source }
}

/// Runs what waits for the disk on a thread of its own.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // The one other join error there could be is a panic in there, which goes on here.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
