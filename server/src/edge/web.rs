//! The way in over TCP: WebSockets with the protocol's frames, for clients that UDP does not reach.
//!
//! In: HTTP requests. Out: a task for each WebSocket, which goes through the same handshake as a QUIC connection; or a
//! status with a sentence. Invariant: a browser gets in from a page of an allowed origin alone, as over WebTransport.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use fanfare_protocol::{WEBSOCKET_PATH, WEBSOCKET_PROTOCOL};
use tokio::time::timeout;

use crate::edge::connection::Connection;
use crate::edge::handshake::{Handshakes, Newcomer};
use crate::edge::listener::{Tasks, serve};
use crate::edge::visit::Visit;
use crate::edge::visitor::Client;
use crate::tcp::{self, Upgrade};

/// How long the upgrade itself may take, which waits for the answer to be written.
pub(crate) const UPGRADE: Duration = Duration::from_secs(5);

/// What a WebSocket needs to become a connection.
pub(crate) struct Web {
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) tasks: Tasks,
}

/// The paths of WebSockets.
pub(crate) fn routes(web: Arc<Web>) -> Router {
    Router::new().route(WEBSOCKET_PATH, any(fanfare)).with_state(web)
}

async fn fanfare(
    State(web): State<Arc<Web>>,
    Extension(Client(address)): Extension<Client>,
    mut request: Request,
) -> Response {
    // First: a stop waits for it from then on, so that whoever is seen here before the stop is told of it.
    let reading = web.tasks.readers.token();
    if web.tasks.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.as_bytes());
    if let Some(refused) = web.handshakes.config.origins.refusal(origin) {
        web.handshakes.count(Some(&refused));
        return (StatusCode::FORBIDDEN, format!("{}\n", refused.reason)).into_response();
    }
    let upgrade = match Upgrade::of(&mut request, Some(WEBSOCKET_PROTOCOL)) {
        Ok(upgrade) => upgrade,
        Err(error) => return error.into_response(),
    };
    let response = upgrade.response();
    let (handshakes, tasks) = (Arc::clone(&web.handshakes), web.tasks.clone());
    web.tasks.connections.spawn(async move {
        let Ok(Some((visit, early))) = timeout(UPGRADE, upgrade.carrier::<Visit>()).await else { return };
        let Some((bytes, place)) = visit.outlast(early) else { return };
        let socket = tcp::Connection::new(bytes, address, handshakes.config.idle_timeout);
        let newcomer = Newcomer::Upgraded(Connection::WebSocket(socket));
        serve(newcomer, place, handshakes, tasks, reading).await;
    });
    response
}
