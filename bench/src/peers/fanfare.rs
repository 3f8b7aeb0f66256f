//! Fanfare: the release build of this repository, with tokens that it checks, and nothing of `--dev`. It is reached in
//! four ways; and as an application has it in its own program, with a method.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::{Credential, Token};
use fanfare_server::{Extras, GrantClaim, Minter, Right};

use super::doors::{Encoding, Framed, SignalR};
use super::frames::{FanfareWire, named};
use crate::error::{Fallible, Tried};
use crate::peer::{Launch, Peer, Transport};
use crate::wire::Wire;

/// How its clients come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// QUIC.
    Quic,
    /// Its own frames over WebSocket.
    WebSocket,
    /// As SignalR's clients.
    SignalR(Encoding),
    /// QUIC, to a program that has a method.
    Application,
}

pub struct Fanfare {
    way: Way,
    binary: PathBuf,
    minter: Minter,
    /// Further flags of `fanfare serve`.
    flags: Vec<String>,
}

impl Fanfare {
    /// The server in this file. The secret is of this run.
    ///
    /// # Errors
    /// When the secret cannot be written.
    pub fn new(way: Way, binary: PathBuf, directory: &Path, flags: Vec<String>) -> Fallible<Self> {
        let secret: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let path = directory.join("token.key");
        std::fs::write(&path, STANDARD.encode(secret)).tried("writing the secret for tokens")?;
        let minter = Minter::read_secret(&path).tried("reading the secret for tokens")?;
        Ok(Self { way, binary, minter, flags })
    }

    fn mint(&self, user: &str) -> String {
        let grant = |group: Option<&str>, user: Option<&str>, may: &[Right]| GrantClaim {
            group: group.map(str::to_owned),
            user: user.map(str::to_owned),
            all: None,
            may: may.to_vec(),
            exp: None,
        };
        let grants =
            [grant(Some("*"), None, &[Right::Join, Right::Send]), grant(None, Some("*"), &[Right::Send])];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // The grants are ours, and can be written.
        self.minter.mint(user, now, 7_200, &grants, Extras::default()).unwrap_or_default()
    }
}

impl Peer for Fanfare {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Quic => "fanfare",
            Way::WebSocket => "fanfare-websocket",
            Way::SignalR(Encoding::Json) => "fanfare-json",
            Way::SignalR(Encoding::MessagePack) => "fanfare-msgpack",
            Way::Application => "fanfare-application",
        }
    }

    fn launch(&self, _: &Path, port: u16) -> Fallible<Launch> {
        let listen = format!("127.0.0.1:{port}");
        if self.way == Way::Application {
            let program = std::env::current_exe().tried("looking for this program")?.display().to_string();
            return Launch::program(&program, "cargo build --release -p fanfare-bench")
                .arguments(["serve-application", &listen])
                .version(["--version"])
                .says("ready ")
                .done();
        }
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let launch = Launch::program(&self.binary.display().to_string(), "cargo build --release")
            .arguments(["serve", "--admin-listen", "127.0.0.1:0", "--state-dir", "state"]);
        let launch = match self.way {
            Way::Quic | Way::Application => launch.arguments(["--listen", &listen]),
            Way::WebSocket | Way::SignalR(_) => {
                launch.arguments(["--listen", "127.0.0.1:0", "--web-listen", &listen])
            }
        };
        launch
            .arguments(["--cert", "server.pem", "--key", "server.key", "--token-secret", "token.key"])
            // The load comes from one address, and connects all at once.
            .arguments(["--connections-per-address", "100000", "--retry-above", "100000", "--log", "warn"])
            // The publisher is a back end, and no client to be held back.
            .arguments(["--requests-per-second", "0"])
            .arguments(flags)
            .version(["--version"])
            .says("ready ")
            .done()
    }

    fn connects_per_second(&self) -> Option<NonZeroU32> {
        // 100 are let in (server/src/edge/signalr.rs).
        matches!(self.way, Way::SignalR(_)).then_some(const { NonZeroU32::new(80).unwrap() })
    }

    fn transport(&self) -> Transport {
        match self.way {
            Way::Quic | Way::Application => Transport::Quic,
            Way::WebSocket | Way::SignalR(_) => Transport::Tls,
        }
    }

    fn wire(&self, user: u32) -> Box<dyn Wire> {
        let name = format!("u{user}");
        let token = self.mint(&name);
        match self.way {
            Way::Quic => Box::new(FanfareWire::new(Credential::Token(Token::new(token.as_str())))),
            Way::Application => Box::new(FanfareWire::new(Credential::DevUser(named(&name)))),
            Way::WebSocket => Box::new(Framed::new(Credential::Token(Token::new(token.as_str())))),
            Way::SignalR(encoding) => Box::new(SignalR::new(encoding, token)),
        }
    }

    fn token(&self, user: u32) -> Option<String> {
        Some(self.mint(&format!("u{user}")))
    }
}
