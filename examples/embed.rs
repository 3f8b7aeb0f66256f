//! A hub inside an application's own server: whoever posts to /rooms/NAME tells everybody in that group.
//!
//! ```text
//! cargo run -p fanfare-examples --example embed
//! cargo run -- listen --user alice --join lobby
//! curl --data 'the doors are open' http://127.0.0.1:8080/rooms/lobby
//! ```

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use fanfare_server::{GroupName, HubHandle, Identity, Server};

async fn tell(State(hub): State<HubHandle>, Path(room): Path<String>, text: String) -> (StatusCode, String) {
    let room = GroupName::new(&room);
    match room.map_err(Into::into).and_then(|room| hub.group(room).send("Announcement", text)) {
        Ok(reached) => (StatusCode::OK, format!("told {reached} connections\n")),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (quic, http) = (address("127.0.0.1:4433").parse()?, address("127.0.0.1:8080"));
    let made = fanfare_certs::server_leaf(std::path::Path::new(".fanfare"), &[])?.identity;
    let identity = Identity { chain: made.chain, key: made.key };

    let server = Server::builder().listen(quic).identity(identity).development().start().await?;
    let application = Router::new().route("/rooms/{room}", post(tell)).with_state(server.hub());
    let listener = tokio::net::TcpListener::bind(http).await?;
    println!("ready quic={} http={}", server.address(), listener.local_addr()?);
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, application).with_graceful_shutdown(stopped).await?;
    server.drain().await;
    Ok(())
}
