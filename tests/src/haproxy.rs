//! haproxy in front of a server, as OPERATIONS.md has it.
//!
//! In: one of the examples there, and a server. Out: where clients connect. Invariant: it ends with the value.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::{Hub, eventually};

const MANUAL: &str = include_str!("../../OPERATIONS.md");

/// A running haproxy.
pub struct Haproxy {
    /// Where it takes clients.
    pub address: SocketAddr,
    process: Child,
    _files: tempfile::TempDir,
}

/// The examples of OPERATIONS.md: in TCP mode and in HTTP mode.
#[must_use]
pub fn examples() -> [String; 2] {
    let blocks =
        MANUAL.split("```haproxy\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
    blocks.collect::<Vec<_>>().try_into().expect("the manual has two examples")
}

impl Haproxy {
    /// An example with a port, a server and files that are there.
    pub async fn start(example: &str, hub: &Hub) -> Self {
        let files = tempfile::tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let state = |name: &str| std::fs::read_to_string(hub.state().join(name)).unwrap();
        let both = files.path().join("fanfare.pem");
        std::fs::write(&both, state("server.pem") + &state("server-key.pem")).unwrap();
        let mut config = example.to_owned();
        let server = hub.websocket().parse::<url::Url>().unwrap();
        for (there, here) in [
            (":443", address.to_string()),
            ("192.0.2.10:4443", format!("127.0.0.1:{}", server.port().unwrap())),
            ("/etc/haproxy/fanfare.pem", both.display().to_string()),
            ("/etc/haproxy/fanfare-ca.pem", hub.state().join("ca.pem").display().to_string()),
            ("fanfare.example", "localhost".to_owned()),
        ] {
            config = config.replace(&format!(" {there}"), &format!(" {here}"));
            config = config.replace(&format!("({there}"), &format!("({here}"));
        }
        let file = files.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        // Debian has it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut process = Command::new("haproxy")
            .env("PATH", path)
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("tests/tools installs haproxy");
        let mut is_there = || {
            assert!(process.try_wait().unwrap().is_none(), "haproxy has ended");
            TcpStream::connect(address).is_ok()
        };
        eventually("haproxy takes clients", &mut is_there).await;
        Self { address, process, _files: files }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
