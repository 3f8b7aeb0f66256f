//! The hubs that are measured, by name.

mod doors;
mod fanfare;
mod frames;
mod mosquitto;
mod nats;
mod node;
mod redis;
mod websocket;

use std::path::{Path, PathBuf};

use crate::error::{Fallible, wrong};
use crate::peer::Peer;

pub use fanfare::{Fanfare, Way};

use doors::Encoding;

/// Every name, in the order of the tables.
pub const NAMES: [&str; 15] = [
    "fanfare",
    "fanfare-websocket",
    "fanfare-json",
    "fanfare-msgpack",
    "fanfare-application",
    "nats",
    "redis",
    "mosquitto",
    "ws",
    "socket.io",
    "nats-plain",
    "redis-plain",
    "mosquitto-plain",
    "ws-plain",
    "socket.io-plain",
];

/// Where things are.
pub struct Places {
    /// The server to measure.
    pub fanfare: PathBuf,
    /// `bench/peers`, with its `node_modules`.
    pub scripts: PathBuf,
    /// Further flags of `fanfare serve`.
    pub flags: Vec<String>,
}

/// The peer of this name. Its files of this run are in `directory`.
///
/// # Errors
/// When there is none.
pub fn peer(name: &str, places: &Places, directory: &Path) -> Fallible<Box<dyn Peer>> {
    let (kind, tls) = name.strip_suffix("-plain").map_or((name, true), |kind| (kind, false));
    let fanfare = |way| -> Fallible<Box<dyn Peer>> {
        let flags = places.flags.clone();
        Ok(Box::new(Fanfare::new(way, places.fanfare.clone(), directory, flags)?))
    };
    let node = |hub| Box::new(node::Node { hub, tls, scripts: places.scripts.clone() });
    Ok(match kind {
        "fanfare" if tls => fanfare(Way::Quic)?,
        "fanfare-websocket" => fanfare(Way::WebSocket)?,
        "fanfare-json" => fanfare(Way::SignalR(Encoding::Json))?,
        "fanfare-msgpack" => fanfare(Way::SignalR(Encoding::MessagePack))?,
        "fanfare-application" => fanfare(Way::Application)?,
        "nats" => Box::new(nats::Nats { tls }),
        "redis" => Box::new(redis::Redis { tls }),
        "mosquitto" => Box::new(mosquitto::Mosquitto { tls }),
        "ws" => node(node::Hub::Ws),
        "socket.io" => node(node::Hub::SocketIo),
        _ => return Err(wrong(format!("there is no peer {name:?}; there are {}", NAMES.join(", ")))),
    })
}
