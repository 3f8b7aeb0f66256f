//! The way in for clients of SignalR: negotiation over HTTP, and then a WebSocket.
//!
//! In: HTTP requests. Out: ids that open a connection; a task for each WebSocket, which goes through the same handshake
//! as any connection; or SignalR's statuses. Invariants: a browser gets in from a page of an allowed origin alone; who
//! has not shown who they are gets no id and no connection; a token is in nothing that is said, counted or logged.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION,
    CACHE_CONTROL, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use fanfare_hub::CloseReason;
use fanfare_protocol::{Code, UserName};
use fanfare_signalr::negotiate::{ConnectRefusal, NegotiateAnswer, NegotiateVersion};
use fanfare_token::Permissions;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::time::timeout;

use crate::access;
use crate::edge::admission;
use crate::edge::connection::Connection;
use crate::edge::handshake::Newcomer;
use crate::edge::listener::serve;
use crate::edge::negotiations::Negotiations;
use crate::edge::visit::Visit;
use crate::edge::visitor::Client;
use crate::edge::web::{UPGRADE, Web};
use crate::signalr::{self, Opening};
use crate::tcp::{Messages, Upgrade, UpgradeError};

/// How often an address may negotiate in a second, and at once after a pause; and as often connect.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Addresses that are remembered for that, before those are forgotten that have been quiet.
const REMEMBERED: usize = 4_096;

/// How many seconds a browser may remember what it was told of another origin.
const PREFLIGHT_AGE: &str = "600";

/// The door for SignalR's clients.
pub(crate) struct SignalRDoor {
    web: Arc<Web>,
    negotiations: Arc<Negotiations>,
    /// How often an address may negotiate, and how often connect.
    negotiating: Pace,
    connecting: Pace,
}

/// How often an address may ask for something.
struct Pace(DefaultKeyedRateLimiter<IpAddr>);

impl Pace {
    fn new() -> Self {
        Self(RateLimiter::keyed(Quota::per_second(ATTEMPTS)))
    }

    /// The answer to an address that asks too often.
    fn refusal(&self, address: SocketAddr) -> Option<Response> {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        self.0.check_key(&admission::source(address.ip())).err()?;
        let text = "this address asks too often\n";
        Some((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")], text).into_response())
    }
}

/// What a query says, as far as it is ours.
#[derive(Default)]
struct Query {
    id: Option<String>,
    token: Option<String>,
    user: Option<String>,
    version: Option<String>,
}

impl SignalRDoor {
    pub(crate) fn new(web: Arc<Web>) -> Arc<Self> {
        let negotiations = Negotiations::new(web.handshakes.node);
        Arc::new(Self { web, negotiations, negotiating: Pace::new(), connecting: Pace::new() })
    }
}

/// The paths of the door, below this one.
pub(crate) fn routes(door: Arc<SignalRDoor>, path: &str) -> Router {
    let negotiate = post(negotiate).options(preflight);
    Router::new().route(&format!("{path}/negotiate"), negotiate).route(path, any(connect)).with_state(door)
}

/// Lets a page of an allowed origin ask, with what it wants to send.
async fn preflight(State(door): State<Arc<SignalRDoor>>, request: Parts) -> Response {
    if let Some(refused) = door.refusal(&request) {
        return refused;
    }
    let asked = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE)),
    ];
    let allowed = asked.map(|asked| [(ACCESS_CONTROL_ALLOW_HEADERS, asked)]);
    shared((StatusCode::NO_CONTENT, headers, allowed, ()).into_response(), &request)
}

/// Gives an id that opens a connection, to who shows who they are.
async fn negotiate(
    State(door): State<Arc<SignalRDoor>>,
    Extension(Client(address)): Extension<Client>,
    request: Parts,
) -> Response {
    if let Some(refused) = door.refusal(&request) {
        return refused;
    }
    let answer = door.answer(address, &request).await;
    shared(answer, &request)
}

/// Opens a connection over a WebSocket.
async fn connect(
    State(door): State<Arc<SignalRDoor>>,
    Extension(Client(address)): Extension<Client>,
    mut request: Request,
) -> Response {
    let web = Arc::clone(&door.web);
    // First: a stop waits for it from then on, so that whoever is seen here before the stop is told of it.
    let reading = web.tasks.readers.token();
    if web.tasks.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let upgrade = Upgrade::of(&mut request, None);
    let (request, _) = request.into_parts();
    if let Some(refused) = door.refusal(&request) {
        return refused;
    }
    let query = Query::of(&request);
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // Another transport, which negotiation does not offer.
        Err(UpgradeError::NotAsked) if query.id.is_none() => return refused(ConnectRefusal::NoId),
        Err(UpgradeError::NotAsked) => return refused(ConnectRefusal::NoConnection),
        Err(error) => return error.into_response(),
    };
    if let Some(refused) = door.connecting.refusal(address) {
        return refused;
    }
    let identity = match door.identify(&query, &request).await {
        Ok(identity) => identity,
        Err(status) => return status.into_response(),
    };
    let negotiated = match query.id.as_deref().map(|id| door.negotiations.claim(id, &identity.0)).transpose()
    {
        Ok(negotiated) => negotiated.map(|(id, claimed)| (id, Box::new(claimed) as _)),
        Err(refusal) => return refused(refusal),
    };
    let response = upgrade.response();
    let (handshakes, tasks) = (Arc::clone(&web.handshakes), web.tasks.clone());
    web.tasks.connections.spawn(async move {
        let Ok(Some((visit, early))) = timeout(UPGRADE, upgrade.carrier::<Visit>()).await else { return };
        let Some((bytes, place)) = visit.outlast(early) else { return };
        let config = &handshakes.config;
        let message_bytes = config.limits.payload_bytes as usize;
        let messages = Messages::new(bytes, address, config.idle_timeout);
        let has_application = handshakes.application.as_ref().is_some_and(|it| it.has_methods());
        let opening = Opening { identity, negotiated, has_application, message_bytes };
        let connection = Connection::SignalR(signalr::Connection::new(messages, opening));
        serve(Newcomer::Upgraded(connection), place, handshakes, tasks, reading).await;
    });
    response
}

impl SignalRDoor {
    /// The answer to a page of an origin that may not connect.
    fn refusal(&self, request: &Parts) -> Option<Response> {
        let origin = request.headers.get(ORIGIN).map(|origin| origin.as_bytes());
        let handshakes = &self.web.handshakes;
        let refused = handshakes.config.origins.refusal(origin)?;
        handshakes.count(Some(&refused));
        Some((StatusCode::FORBIDDEN, format!("{}\n", refused.reason)).into_response())
    }

    async fn answer(&self, address: SocketAddr, request: &Parts) -> Response {
        if self.web.tasks.closing.is_cancelled() {
            return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
        }
        // Before anything is verified.
        if let Some(refused) = self.negotiating.refusal(address) {
            return refused;
        }
        let query = Query::of(request);
        let user = match self.identify(&query, request).await {
            Ok((user, _)) => user,
            Err(status) => return status.into_response(),
        };
        let version = NegotiateVersion::choose(query.version.as_deref());
        match version {
            Err(error) => json(&NegotiateAnswer::refused(&error.to_string())),
            Ok(version) => match self.negotiations.negotiate(version, &user) {
                Some((id, token)) => json(&NegotiateAnswer::accepted(version, &id.to_string(), &token)),
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            },
        }
    }

    /// Who asks, by what they show.
    async fn identify(&self, query: &Query, request: &Parts) -> Result<(UserName, Permissions), StatusCode> {
        let handshakes = &self.web.handshakes;
        let refuse = |code: Code| {
            handshakes.count(Some(&CloseReason::from(code)));
            StatusCode::UNAUTHORIZED
        };
        if let Some(user) = query.user.as_deref().filter(|_| handshakes.config.dev) {
            let user = UserName::new(user).map_err(|_| refuse(Code::InvalidName))?;
            return Ok((user, Permissions::development(access::now())));
        }
        let Some(token) = bearer(request).or(query.token.as_deref()) else {
            return Err(refuse(Code::TokenInvalid));
        };
        let verified = handshakes.router.gate().verify_or_fetch(token);
        match timeout(handshakes.config.handshake_deadline, verified).await {
            Ok(verified) => verified.map_err(|denial| refuse(denial.code)),
            Err(_) => {
                handshakes.count(Some(&CloseReason::from(Code::HandshakeTimeout)));
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

impl Query {
    /// Of two of one name the first counts.
    fn of(request: &Parts) -> Self {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(request.uri.query().unwrap_or("").as_bytes()) {
            let place = match &*name {
                "id" => &mut query.id,
                "access_token" => &mut query.token,
                "user" => &mut query.user,
                "negotiateVersion" => &mut query.version,
                _ => continue,
            };
            place.get_or_insert(value.into_owned());
        }
        query
    }
}

/// The token in the header for it (RFC 6750, section 2.1).
fn bearer(request: &Parts) -> Option<&str> {
    let (scheme, token) = request.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// An answer that a page of the request's origin may read (Fetch, section 3.2). Whether it may at all was asked before.
fn shared(mut response: Response, request: &Parts) -> Response {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = request.headers.get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

fn json(answer: &NegotiateAnswer<'_>) -> Response {
    match serde_json::to_string(answer) {
        Ok(body) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(refusal: ConnectRefusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    (status, refusal.body()).into_response()
}
