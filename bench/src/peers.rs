//! The hubs that are measured, by name.

mod fanfare;
mod mosquitto;
mod nats;
mod node;
mod redis;

use std::path::{Path, PathBuf};

use crate::error::{Fallible, wrong};
use crate::peer::Peer;

pub use fanfare::Fanfare;

/// Every name, in the order of the tables.
pub const NAMES: [&str; 11] = [
    "fanfare",
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
    let node = |hub| Box::new(node::Node { hub, tls, scripts: places.scripts.clone() });
    Ok(match kind {
        "fanfare" if tls => Box::new(Fanfare::new(places.fanfare.clone(), directory, places.flags.clone())?),
        "nats" => Box::new(nats::Nats { tls }),
        "redis" => Box::new(redis::Redis { tls }),
        "mosquitto" => Box::new(mosquitto::Mosquitto { tls }),
        "ws" => node(node::Hub::Ws),
        "socket.io" => node(node::Hub::SocketIo),
        _ => return Err(wrong(format!("there is no peer {name:?}; there are {}", NAMES.join(", ")))),
    })
}
