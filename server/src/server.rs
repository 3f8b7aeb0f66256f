//! A server while it runs: puts the parts together, and has what can be asked of it and changed in it. `drain` takes
//! them apart.
//!
//! In: a configuration and an identity. Out: a running server, and its counts.

mod drain;

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_hub::Population;
use fanfare_protocol::admin::WebhookRow;
use fanfare_protocol::{Target, WEBSOCKET_PATH};
use fanfare_token::TokenRules;
use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use self::drain::Drained;
use crate::access::{KeySetUrl, Minting, Tokens};
use crate::admin::{self, Feed, Operators, Queries, Service};
use crate::api::{self, API_PATH, Api, Http};
use crate::application::Application;
use crate::cluster::Answers;
use crate::config::{Config, ConfigError};
use crate::edge::admission::Admission;
use crate::edge::announcer;
use crate::edge::door::{Door, OwnShare};
use crate::edge::expiry::Expiry;
use crate::edge::handshake::Handshakes;
use crate::edge::listener::{self, Tasks};
use crate::edge::rounds::Rounds;
use crate::edge::router::Router;
use crate::edge::signalr::{self, SignalRDoor};
use crate::edge::visit::{self, Times, Visits};
use crate::edge::web::{self, Web};
use crate::error::StartError;
use crate::handle::HubHandle;
use crate::home::Home;
use crate::hub::Hub;
use crate::moderation::{Moderation, end_lasting, mend_store, note_keys};
use crate::opened::{Opened, OpenedAdmin, OpenedCluster, OpenedWeb};
use crate::quic::{Endpoint, EndpointKeys, Identity, IdentityError, Settings};
use crate::tcp::{Proxies, WebTls};
use crate::telemetry::{Metrics, Snapshot};
use crate::webhook::{self, Webhook};
use crate::webhooks::{Webhooks, WebhooksError};

/// Visits over HTTP at a time: health checks and a page, not a crowd.
const VISITS: usize = 64;

/// A running server. Dropping it without [`Server::drain`] cuts every connection off.
pub struct Server {
    config: Arc<Config>,
    keys: EndpointKeys,
    endpoint: Endpoint,
    address: SocketAddr,
    hub: Arc<Hub>,
    handle: HubHandle,
    metrics: Arc<Metrics>,
    tokens: Arc<Tokens>,
    moderation: Arc<Moderation>,
    application: Option<Arc<Application>>,
    tasks: Tasks,
    listener: JoinHandle<()>,
    expiry: JoinHandle<()>,
    rounds: JoinHandle<()>,
    announcer: JoinHandle<()>,
    key_sets: JoinHandle<()>,
    admin: Option<Admin>,
    http: Option<HttpListener>,
    web: Option<WebListener>,
    mending: AbortOnDropHandle<()>,
    api: Arc<Api>,
    noting: JoinHandle<()>,
    lasting: JoinHandle<()>,
    webhooks: Option<Arc<Webhooks>>,
    cluster: Option<OpenedCluster>,
    /// The state directory, if there is one, is ours until everything else has ended.
    _home: Option<Home>,
}

/// The HTTP listener while it runs.
struct HttpListener {
    http: Arc<Http>,
    address: SocketAddr,
    listener: JoinHandle<()>,
}

/// The listener for WebSockets while it runs.
struct WebListener {
    tls: Arc<WebTls>,
    shares_identity: bool,
    address: SocketAddr,
    listener: JoinHandle<()>,
}

/// The operators' endpoint while it runs.
struct Admin {
    endpoint: Endpoint,
    address: SocketAddr,
    operators: Arc<dyn Operators>,
    listener: JoinHandle<()>,
    feed: JoinHandle<()>,
}

/// Everything that is reached over TCP by clients and back ends.
fn web_routes(web: &Arc<Web>, door: &Arc<SignalRDoor>, api: &Arc<Api>, config: &Config) -> axum::Router {
    let signalr = signalr::routes(Arc::clone(door), &config.signalr_path);
    web::routes(Arc::clone(web)).merge(signalr).merge(api::api_routes(api))
}

impl Server {
    /// Puts the parts together. Nothing can fail any more.
    pub(crate) fn assemble(opened: Opened) -> Self {
        let Opened { config, home, started, keys, tasks, endpoint, address, certificate, .. } = opened;
        let Opened { http, web, admin, hub, metrics, tokens, gate, moderation, key_sets, methods, .. } =
            opened;
        let (webhooks, cluster, node) = (opened.webhooks, opened.cluster, opened.node);
        let side = cluster.as_ref().map(|cluster| Arc::clone(&cluster.side));
        let config = Arc::new(config);
        let arrivals = Arc::clone(moderation.arrivals());
        let handle = HubHandle::new(Arc::clone(&hub), config.limits).expecting(arrivals);
        let handle = handle.among(side.clone().map(|side| side as _));
        let application = methods.map(|methods| {
            Application::new(methods, (handle.clone(), &hub), config.limits, Arc::clone(&metrics))
        });
        if let Some(application) = &application {
            handle.asks(application.clients());
            if let Some(side) = &side {
                side.asks(application.clients());
            }
        }
        let expiry = Arc::new(Expiry::new(Arc::clone(&hub), Arc::clone(&gate), config.expiry_notice));
        let router = Arc::new(Router::new(
            Arc::clone(&hub),
            Arc::clone(&metrics),
            config.limits,
            Arc::clone(&gate),
            Arc::clone(&expiry),
            side.clone(),
        ));
        let admission = Admission::new(config.capacity.connections, config.capacity.per_address);
        let handshakes = Arc::new(Handshakes {
            config: Arc::clone(&config),
            router,
            admission: Arc::clone(&admission),
            node,
            application: application.clone(),
        });
        let rounds = Rounds {
            hub: Arc::clone(&hub),
            metrics: Arc::clone(&metrics),
            reader_deadline: config.reader_deadline,
        };
        let rounds = tokio::spawn(rounds.run(tasks.closing.clone()));
        let websockets = Arc::new(Web { handshakes: Arc::clone(&handshakes), tasks: tasks.clone() });
        let signalr = SignalRDoor::new(Arc::clone(&websockets));
        let queries = Arc::new(Queries {
            hub: Arc::clone(&hub),
            gate,
            admission,
            moderation: Arc::clone(&moderation),
            metrics: Arc::clone(&metrics),
            address,
            dev: config.dev,
            started,
            webhooks: webhooks.clone(),
            cluster: side.clone(),
            decides: application.as_ref().map(|application| application.decides()).unwrap_or_default(),
        });
        if let Some(side) = &side {
            let answers = Arc::clone(&queries) as Arc<dyn Answers>;
            // The queries have the side: what it had of them would keep both.
            side.answered_by(Arc::downgrade(&answers));
        }
        let api = Api::new(
            handle.clone(),
            Arc::clone(&moderation),
            Arc::clone(&queries),
            config.minting.clone(),
            side.clone(),
            tasks.closing.clone(),
        );
        let noting = tokio::spawn(note_keys(Arc::clone(&moderation), tasks.closing.clone()));
        let lasting = tokio::spawn(end_lasting(Arc::clone(&moderation), tasks.closing.clone()));
        let listener = tokio::spawn(listener::listen(endpoint.clone(), handshakes, tasks.clone()));
        let expiry = tokio::spawn(expiry.run(tasks.closing.clone()));
        let announcer = tokio::spawn(announcer::announce(Arc::clone(&hub), tasks.closing.clone()));
        let key_sets = tokio::spawn(key_sets.run(tasks.closing.clone()));
        let visits = |listener, door, tls| Visits {
            listener,
            door,
            tls,
            proxies: Proxies::new(&config.trusted_proxies),
            times: Times::new(config.handshake_deadline),
            metrics: Arc::clone(&metrics),
            closing: tasks.closing.clone(),
        };
        let http = http.map(|(listener, http_address)| {
            let closing = tasks.closing.clone();
            let certificate = RwLock::new(certificate);
            let moderation = Arc::clone(&moderation);
            let (server, dev) = (address, config.dev);
            let lease = side.as_ref().map(|side| Arc::clone(&side.lease)).unwrap_or_default();
            let http = Arc::new(Http { server, dev, certificate, moderation, lease, closing });
            let mut routes = api::routes(Arc::clone(&http));
            if config.dev {
                routes = routes.merge(web_routes(&websockets, &signalr, &api, &config));
            }
            let door = Door::new(VISITS, OwnShare::TakeOldest);
            let listener = tokio::spawn(visit::answer(visits(listener, door, None), routes));
            HttpListener { http, address: http_address, listener }
        });
        let web = web.map(|OpenedWeb { listener, address, tls, shares_identity }| {
            let door = Door::new(config.refuse_above, OwnShare::TakeOwnOldest);
            let visits = visits(listener, door, Some(Arc::clone(&tls)));
            let listener =
                tokio::spawn(visit::answer(visits, web_routes(&websockets, &signalr, &api, &config)));
            WebListener { tls, shares_identity, address, listener }
        });
        let admin = match admin {
            None => None,
            Some(OpenedAdmin { endpoint, address: admin_address, operators }) => {
                let feed = Arc::new(Feed::new(Arc::clone(&queries)));
                let service = Service {
                    operators: Arc::clone(&operators),
                    moderation: Arc::clone(&moderation),
                    queries,
                    feed: Arc::clone(&feed),
                    metrics: Arc::clone(&metrics),
                    closing: tasks.closing.clone(),
                    work: TaskTracker::new(),
                };
                let listen =
                    admin::endpoint::listen(endpoint.clone(), Arc::new(service), tasks.closing.clone());
                let listener = tokio::spawn(listen);
                let feed = tokio::spawn(feed.run(tasks.closing.clone()));
                Some(Admin { endpoint, address: admin_address, operators, listener, feed })
            }
        };
        let mending =
            AbortOnDropHandle::new(tokio::spawn(mend_store(Arc::clone(&moderation), tasks.closing.clone())));
        Self {
            config,
            _home: home,
            mending,
            api,
            noting,
            lasting,
            webhooks,
            cluster,
            keys,
            endpoint,
            address,
            hub,
            handle,
            metrics,
            tokens,
            moderation,
            application,
            tasks,
            listener,
            expiry,
            rounds,
            announcer,
            key_sets,
            admin,
            http,
            web,
        }
    }

    /// Where the server listens; with the port that it got where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators connect, if they can.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Where HTTP is answered, if it is.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Where clients connect that UDP does not reach, if they can: with TLS, or without in development.
    #[must_use]
    pub fn websocket_url(&self) -> Option<String> {
        let (scheme, address) = self.web_address()?;
        let scheme = if scheme == "https" { "wss" } else { "ws" };
        Some(format!("{scheme}://{address}{WEBSOCKET_PATH}"))
    }

    /// Where clients of SignalR connect, if they can: with TLS, or without in development.
    #[must_use]
    pub fn signalr_url(&self) -> Option<String> {
        let (scheme, address) = self.web_address()?;
        Some(format!("{scheme}://{address}{}", self.config.signalr_path))
    }

    /// Where back ends use the HTTP API, if they can: with TLS, or without in development.
    #[must_use]
    pub fn api_url(&self) -> Option<String> {
        let (scheme, address) = self.web_address()?;
        Some(format!("{scheme}://{address}{API_PATH}"))
    }

    /// How the paths of clients and back ends are reached over TCP.
    fn web_address(&self) -> Option<(&'static str, SocketAddr)> {
        match (&self.web, &self.http) {
            (Some(web), _) => Some(("https", web.address)),
            (None, Some(http)) if self.config.dev => Some(("http", http.address)),
            _ => None,
        }
    }

    /// Makes tokens for back ends by another key from now on, or none.
    pub fn replace_minting(&self, minting: Option<Minting>) {
        self.api.replace_minting(minting);
    }

    /// What became of requests to back ends: each webhook, in the order of the settings.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookRow> {
        self.webhooks.as_ref().map(|webhooks| webhooks.rows()).unwrap_or_default()
    }

    /// Goes on with other secrets, URLs and bounds of webhooks; what back ends are asked and told stays as it is.
    ///
    /// # Errors
    /// When something makes no sense, or needs a restart. The server goes on with those that it has.
    pub fn replace_webhooks(&self, webhooks: &[Webhook]) -> Result<(), StartError> {
        let Config { dev, handshake_deadline, .. } = *self.config;
        webhook::check(webhooks, dev, handshake_deadline).map_err(ConfigError::from)?;
        match &self.webhooks {
            Some(running) => Ok(running.replace(webhooks)?),
            None => match webhooks.first() {
                Some(new) => Err(WebhooksError::needs_restart(&new.name, "that it is there").into()),
                None => Ok(()),
            },
        }
    }

    /// How many connections, users and groups there are.
    #[must_use]
    pub fn population(&self) -> Population {
        self.hub.population()
    }

    /// How many connections a user, a group or everyone has.
    #[must_use]
    pub fn count(&self, target: &Target) -> usize {
        self.hub.count(target)
    }

    /// The hub, for the application around the server: it may be cloned, and used from anywhere.
    #[must_use]
    pub fn hub(&self) -> HubHandle {
        self.handle.clone()
    }

    /// What the server has done so far.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        self.metrics.snapshot(&self.hub)
    }

    /// What operators can do.
    #[must_use]
    pub fn moderation(&self) -> &Arc<Moderation> {
        &self.moderation
    }

    /// Uses another certificate for the connections that come from now on.
    ///
    /// # Errors
    /// When TLS does not take it. The server goes on with the one it has.
    pub fn replace_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        let certificate = api::certificate_hash(&identity.chain);
        let settings = self.config.settings(identity.clone(), &self.keys)?;
        if let Some(web) = self.web.as_ref().filter(|web| web.shares_identity) {
            web.tls.replace(identity)?;
        }
        self.endpoint.replace(settings);
        if let Some(HttpListener { http, .. }) = &self.http {
            *http.certificate.write() = certificate;
        }
        Ok(())
    }

    /// Uses another certificate of its own for the WebSockets that come from now on.
    ///
    /// # Errors
    /// When TLS does not take it. The server goes on with the one it has.
    pub fn replace_web_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        self.web.as_ref().map_or(Ok(()), |web| web.tls.replace(identity))
    }

    /// Uses another certificate towards operators, and another authority of theirs where that has changed, for the
    /// sessions that come from now on.
    ///
    /// # Errors
    /// When TLS does not take it. The server goes on with the one it has.
    pub fn replace_admin_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        if let Some(admin) = &self.admin {
            let verifier = admin.operators.verifier()?;
            admin.endpoint.replace(Settings::for_operators(identity, verifier, &self.keys)?);
        }
        Ok(())
    }

    /// Checks tokens by other rules from now on, and fetches the key sets again, of which there are as many as at the
    /// start. Who is connected stays connected, as long as the old token lasts.
    pub fn replace_token_rules(&self, rules: TokenRules, key_sets: &[KeySetUrl]) {
        self.tokens.replace(rules, key_sets);
    }
}
