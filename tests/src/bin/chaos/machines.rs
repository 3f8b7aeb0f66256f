//! Three machines: network namespaces at a bridge, with a NATS server and a node in each.
//!
//! In: what is to be started, killed, stopped, cut. Out: addresses, and what `ip`, `nft` and JetStream say. Invariant:
//! all processes are children of this one, and end with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfare_certs::{OPERATOR_LIFETIME, create_operator, operator_files, server_leaf};
use fanfare_client::{OperatorConfig, Roots};
use fanfare_protocol::admin::Role;

use crate::MACHINES;

/// What the cluster's names in NATS begin with.
const PREFIX: &str = "chaos";
/// The secret that tokens are signed with.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "oncall";
/// How long something may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take to end that is told to, whatever is wrong: the time in which clients may read what waits
/// for them, and as much again for what is to be said to the other nodes and to NATS.
const END: Duration = Duration::from_secs(10);

/// The machines, by their numbers from 0.
pub(crate) struct Machines {
    folder: PathBuf,
    nats_server: PathBuf,
    nats: [Option<Child>; MACHINES],
    nodes: [Option<Child>; MACHINES],
    /// How often each node has said that it must be started again.
    refusals: [usize; MACHINES],
    /// Which node goes on where it is cut off.
    serves: Option<usize>,
}

/// Where machine `number` is.
pub(crate) fn host(number: usize) -> String {
    format!("10.77.0.{}", number + 1)
}

/// What the node on machine `number` is called.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number}")
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().unwrap_or_default();
    let done = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

fn inside(number: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/m{number}")).arg(program);
    command
}

impl Machines {
    /// Starts everything, and waits until it is there.
    pub(crate) fn start(serves: Option<usize>) -> Result<Self, String> {
        run("ip link set lo up")?;
        run("mount -t tmpfs tmpfs /run")?;
        run("ip link add hub type bridge")?;
        run("ip addr add 10.77.0.254/24 dev hub")?;
        run("ip link set hub up")?;
        for number in 0..MACHINES {
            run(&format!("ip netns add m{number}"))?;
            run(&format!("ip link add v{number} type veth peer name eth0 netns m{number}"))?;
            run(&format!("ip link set v{number} master hub up"))?;
            run(&format!("ip -n m{number} addr add {}/24 dev eth0", host(number)))?;
            run(&format!("ip -n m{number} link set eth0 up"))?;
            run(&format!("ip -n m{number} link set lo up"))?;
            nft(
                number,
                "table inet cut { chain out { type filter hook output priority 0; }; chain in { type filter hook input priority 0; }; }",
            )?;
        }
        let folder = tempfile::Builder::new()
            .prefix("fanfare-cluster-")
            .tempdir()
            .map_err(|error| format!("no directory: {error}"))?
            .keep();
        std::fs::write(folder.join("secret"), SECRET).map_err(|error| error.to_string())?;
        let nats_server = std::env::var_os("FANFARE_NATS_SERVER").expect("FANFARE_NATS_SERVER names it");
        let mut machines = Self {
            folder,
            nats_server: nats_server.into(),
            nats: [const { None }; MACHINES],
            nodes: [const { None }; MACHINES],
            refusals: [0; MACHINES],
            serves,
        };
        for number in 0..MACHINES {
            machines.prepare(number);
            machines.start_nats(number);
        }
        for number in 0..MACHINES {
            machines.start_node(number);
        }
        Ok(machines)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a node goes on where it is cut off.
    pub(crate) fn has_one_that_serves(&self) -> bool {
        self.serves.is_some()
    }

    /// Ends everything, and leaves nothing.
    pub(crate) fn clean(&mut self) {
        for child in self.nats.iter_mut().chain(&mut self.nodes).filter_map(Option::as_mut) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    fn state(&self, number: usize) -> PathBuf {
        self.folder.join(format!("state-{number}"))
    }

    fn prepare(&self, number: usize) {
        let routes: Vec<_> = (0..MACHINES).map(|other| format!("nats://{}:6222", host(other))).collect();
        let routes = routes.join(", ");
        let own = host(number);
        let text = format!(
            "server_name: n{number}\nlisten: \"{own}:4222\"\nping_interval: 1s\nping_max: 3\njetstream {{ store_dir: \
             \"{}\", max_mem: 64M, max_file: 1G }}\ncluster {{ name: chaos, listen: \"{own}:6222\", routes: [{routes}] }}\n",
            self.folder.join(format!("nats-{number}")).display(),
        );
        std::fs::write(self.folder.join(format!("nats-{number}.conf")), text).unwrap();
        let leaf = server_leaf(&self.state(number), &[own]).unwrap();
        assert!(leaf.ca_certificate.exists());
        create_operator(&self.state(number), OPERATOR, Role::Operator, OPERATOR_LIFETIME).unwrap();
    }

    fn log(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.folder.join(format!("{name}.log"))).unwrap()
    }

    fn start_nats(&mut self, number: usize) {
        let log = self.log(&format!("nats-{number}"));
        let child = inside(number, &self.nats_server)
            .arg("-c")
            .arg(self.folder.join(format!("nats-{number}.conf")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nats[number] = Some(child);
    }

    fn start_node(&mut self, number: usize) {
        let (log, state, own) = (self.log(&format!("node-{number}")), self.state(number), host(number));
        let binary = std::env::var_os("FANFARE_BIN").expect("FANFARE_BIN names the server");
        let mut command = inside(number, binary);
        command.arg("serve").args(["--http-listen", "off", "--name", &own]);
        command.args(["--listen", &format!("{own}:4433"), "--admin-listen", &format!("{own}:4434")]);
        command.arg("--state-dir").arg(&state).arg("--token-secret").arg(self.folder.join("secret"));
        command.arg("--cert").arg(state.join("server.pem")).arg("--key").arg(state.join("server-key.pem"));
        command.args(["--cluster-name", &node_name(number), "--cluster-prefix", PREFIX]);
        let without = if self.serves == Some(number) { "serve" } else { "pause" };
        command.args(["--cluster-replicas", "3", "--cluster-lease", "5s", "--without-cluster", without]);
        command.args(["--idle-timeout", "12s"]);
        for other in 0..MACHINES {
            command.args(["--cluster", &format!("nats://{}:4222", host(other))]);
        }
        let log = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.nodes[number] = Some(log);
    }

    /// How an operator connects to a node.
    pub(crate) fn operator(&self, number: usize) -> OperatorConfig {
        let (certificate, key) = operator_files(&self.state(number), OPERATOR);
        OperatorConfig::new(format!("{}:4434", host(number)), self.roots(number), certificate, key)
    }

    /// What a client of a node trusts.
    pub(crate) fn roots(&self, number: usize) -> Roots {
        Roots::Pem(self.state(number).join("ca.pem"))
    }

    /// Like a power failure. [`Self::heal`] starts it again.
    pub(crate) fn kill_node(&mut self, number: usize) {
        kill(&mut self.nodes[number]);
    }

    /// The same for a NATS server.
    pub(crate) fn kill_nats(&mut self, number: usize) {
        kill(&mut self.nats[number]);
    }

    /// Tells a node to end, and waits until it has. [`Self::heal`] starts it again.
    pub(crate) fn end_node(&mut self, number: usize) -> Result<(), String> {
        let Some(mut child) = self.nodes[number].take() else { return Ok(()) };
        // One that stands still hears of it when it goes on.
        for name in ["TERM", "CONT"] {
            signal(Some(&child), name);
        }
        let begun = Instant::now();
        while begun.elapsed() < END {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("node {number} was told to end, and ended: {status}")),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        kill(&mut Some(child));
        Err(format!("node {number} was told to end, and did not in {END:?}"))
    }

    /// Has a node end and start anew, and waits until it lets in. Where it finds no NATS, that is not waited for.
    pub(crate) fn roll(&mut self, number: usize) -> Result<(), String> {
        self.end_node(number)?;
        let lets_in = |machines: &Self| {
            let log = std::fs::read_to_string(machines.folder.join(format!("node-{number}.log")));
            log.unwrap_or_default().matches("it lets in and delivers").count()
        };
        let before = lets_in(self);
        self.start_node(number);
        let begun = Instant::now();
        while begun.elapsed() < END && lets_in(self) == before {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Lets a node stand still.
    pub(crate) fn stop_node(&self, number: usize) {
        signal(self.nodes[number].as_ref(), "STOP");
    }

    /// The same for a NATS server.
    pub(crate) fn stop_nats(&self, number: usize) {
        signal(self.nats[number].as_ref(), "STOP");
    }

    /// Has a machine drop what it sends to an address, or hears of it, where the ports say so.
    pub(crate) fn cut(number: usize, way: Way, other: usize, port: u16) {
        let (chain, address) = match way {
            Way::Out => ("out", "daddr"),
            Way::In => ("in", "saddr"),
        };
        let host = host(other);
        for side in ["dport", "sport"] {
            let rule = format!("add rule inet cut {chain} ip {address} {host} tcp {side} {port} drop");
            nft(number, &rule).unwrap();
        }
    }

    /// Lets through a fifth less than all of what a machine sends and is sent at a port, and 50 kB/s at most: TCP waits
    /// and sends again, longer each time. The kernel's netem, which delays, is not on every machine.
    pub(crate) fn slow(number: usize, port: u16) {
        for chain in ["out", "in"] {
            for side in ["dport", "sport"] {
                let rule = format!("add rule inet cut {chain} tcp {side} {port}");
                nft(number, &format!("{rule} numgen random mod 5 == 0 drop")).unwrap();
                nft(number, &format!("{rule} limit rate over 50 kbytes/second drop")).unwrap();
            }
        }
    }

    /// Takes all cuts away, starts what was killed and lets go on what stood still.
    pub(crate) fn heal(&mut self) {
        for number in 0..MACHINES {
            nft(number, "flush table inet cut").unwrap();
            if self.nats[number].is_none() {
                self.start_nats(number);
            }
            if self.nodes[number].is_none() {
                self.start_node(number);
            }
            signal(self.nats[number].as_ref(), "CONT");
            signal(self.nodes[number].as_ref(), "CONT");
        }
    }

    /// Starts again what has ended by itself, as what runs a service does, and says what it was. A node ends where it
    /// finds no NATS as it starts, which is as it should be while something is broken: then it says that last.
    pub(crate) fn raise(&mut self) -> Vec<String> {
        let mut raised = Vec::new();
        for number in 0..MACHINES {
            let log =
                std::fs::read_to_string(self.folder.join(format!("node-{number}.log"))).unwrap_or_default();
            let is_another = ["bucket is another than it was", "secret is another than it was"];
            let refusals = is_another.iter().map(|words| log.matches(words).count()).sum();
            if refusals > self.refusals[number] {
                self.refusals[number] = refusals;
                raised.push(format!(
                    "node {number} took the bucket for another one, and had to be started again"
                ));
                self.kill_node(number);
                self.start_node(number);
            }
            if let Some(status) = status(&mut self.nats[number]) {
                raised.push(format!("NATS server {number} ended: {status}"));
                self.start_nats(number);
            }
            if let Some(status) = status(&mut self.nodes[number]) {
                let last = log.lines().last().unwrap_or_default();
                if last.starts_with("fanfare: this server cannot be a node of the cluster") {
                    println!("    node {number} found no NATS, and is started again");
                } else {
                    raised.push(format!("node {number} ended: {status}: {last}"));
                }
                self.start_node(number);
            }
        }
        raised
    }

    /// Which NATS server leads the bucket.
    pub(crate) fn leader() -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for number in 0..MACHINES {
                let info = ask(number, &format!("$JS.API.STREAM.INFO.KV_{PREFIX}")).unwrap_or_default();
                if let Some((_, rest)) = info.split_once("\"leader\":\"n")
                    && let Some(leader) = rest.chars().next().and_then(|digit| digit.to_digit(10))
                {
                    return leader as usize;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads the bucket");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Which way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    In,
}

fn nft(number: usize, rules: &str) -> Result<(), String> {
    let done = inside(number, "nft").arg(rules).output().map_err(|error| format!("nft: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("nft: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

fn status(child: &mut Option<Child>) -> Option<std::process::ExitStatus> {
    child.as_mut().and_then(|child| child.try_wait().ok().flatten())
}

fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn signal(child: Option<&Child>, signal: &str) {
    if let Some(child) = child {
        run(&format!("kill -{signal} {}", child.id())).unwrap();
    }
}

/// Asks NATS something over a connection of its own.
fn ask(number: usize, subject: &str) -> std::io::Result<String> {
    let address: SocketAddr = format!("{}:4222", host(number)).parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    write!(stream, "CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.t 1\r\nPUB {subject} _INBOX.t 0\r\n\r\n")?;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.starts_with("-ERR") {
            return Ok(String::new());
        }
        if line.starts_with("MSG") {
            line.clear();
            reader.read_line(&mut line)?;
            return Ok(line);
        }
    }
}
