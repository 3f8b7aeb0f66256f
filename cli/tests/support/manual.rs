//! Commands in our manuals, run as they stand there, with the output that stands below them.
//!
//! In: the fenced blocks of a text in Markdown that have `<!-- test: NAME -->` on the line above, or
//! `<!-- test: NAME, stays -->` for a command that goes on. In a block of `console`, a line that begins with `$ ` is a
//! command and the lines below it are its output; in one of `sh`, every line is a command, with any output. In the
//! output `...` stands for anything, and on a line by itself for any number of lines. What differs from what a reader
//! does: `fanfare` is the binary that the tests were built with, the ports are free ones, and it happens in an empty
//! directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, Process, Stream, without_our_variables};

#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) name: String,
    /// It goes on while those below it are run.
    pub(crate) stays: bool,
    pub(crate) commands: Vec<Typed>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Typed {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// The marked blocks of a text in Markdown.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let (name, stays) = name.strip_suffix(", stays").map_or((name, false), |name| (name, true));
        let fence = lines.next().unwrap_or_default();
        let prompt = match fence {
            "```console" => "$ ",
            "```sh" => "",
            _ => panic!("below the mark of {name} there is no block of console or sh but {fence:?}"),
        };
        let mut commands: Vec<Typed> = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix(prompt), commands.last_mut()) {
                (Some(""), _) if prompt.is_empty() => {}
                (Some(command), _) => {
                    // In a block of `sh` nothing is said of the output.
                    let output = if prompt.is_empty() { vec!["...".to_owned()] } else { Vec::new() };
                    commands.push(Typed { command: command.to_owned(), output });
                }
                (None, Some(typed)) => typed.output.push(line.to_owned()),
                (None, None) => panic!("the block {name} has output before its first command: {line:?}"),
            }
        }
        assert!(!commands.is_empty(), "the block {name} has no command");
        blocks.push(Block { name: name.to_owned(), stays, commands });
    }
    blocks
}

/// Whether a line is as the README has it.
pub(crate) fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Reads on, and expects these lines and no others.
pub(crate) fn follow(out: &mut Stream, expected: &[String]) {
    let mut may_skip = false;
    for pattern in expected {
        if pattern == "..." {
            may_skip = true;
            continue;
        }
        let mut line = out.line();
        while may_skip && !is_like(&line, pattern) {
            line = out.line();
        }
        assert!(is_like(&line, pattern), "the manual has {pattern:?}, and the command says {line:?}");
        may_skip = false;
    }
}

/// Where a manual's commands are run.
pub(crate) struct Harness {
    home: tempfile::TempDir,
    /// Where `fanfare` is found.
    bin: tempfile::TempDir,
    /// The ports that the server got, for clients and for operators, in the place of 4433 and 4434.
    ports: Option<(String, String)>,
    /// The same for HTTP, in the place of 4480.
    http: Option<String>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let bin = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(BINARY, bin.path().join("fanfare")).unwrap();
        Self { home: tempfile::tempdir().unwrap(), bin, ports: None, http: None }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts a command. What it says on stderr comes with what it says on stdout, as on a terminal.
    pub(crate) fn start(&self, typed: &Typed) -> Process {
        let line = typed.command.replace("cargo run --release --", "fanfare");
        let line = match &self.http {
            Some(http) => line.replace("127.0.0.1:4480", &format!("127.0.0.1:{http}")),
            None => line,
        };
        let simple = line.starts_with("fanfare ") && !line.contains([';', '|', '>', '&']);
        // In the shell's place, so that it ends when we end it.
        let line = if simple { format!("exec 2>&1; exec {line}") } else { format!("exec 2>&1; {line}") };
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(self.home());
        without_our_variables(&mut command);
        let mut path = vec![self.bin.path().to_owned()];
        path.extend(
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<PathBuf>>(),
        );
        command.env("PATH", std::env::join_paths(path).unwrap());
        command.env("FANFARE_LISTEN", "127.0.0.1:0").env("FANFARE_ADMIN_LISTEN", "127.0.0.1:0");
        // Elsewhere it listens only where it is asked to.
        if typed.command.contains("--dev") {
            command.env("FANFARE_HTTP_LISTEN", "127.0.0.1:0");
        }
        if let Some((quic, admin)) = &self.ports {
            command.env("FANFARE_SERVER", format!("127.0.0.1:{quic}"));
            command.env("FANFARE_ADMIN", format!("127.0.0.1:{admin}"));
        }
        Process::start(&mut command)
    }

    /// Starts a server, and remembers its ports when it is ready.
    #[track_caller]
    pub(crate) fn serve(&mut self, typed: &Typed) -> Process {
        let mut process = self.start(typed);
        let ready = process.out.until("ready quic=");
        let port = |name: &str| {
            let behind = ready.split_once(name).unwrap().1;
            let address = behind.split(' ').next().unwrap();
            address.rsplit_once(':').unwrap().1.to_owned()
        };
        self.ports = Some((port("quic="), port("admin=")));
        self.http = ready.contains(" http=").then(|| port(" http="));
        follow(&mut process.out.again(), &self.here(&typed.output));
        process
    }

    /// Runs a command to its end, and compares all that it says.
    #[track_caller]
    pub(crate) fn run(&self, typed: &Typed) {
        let mut process = self.start(typed);
        let expected = self.here(&typed.output);
        follow(&mut process.out, &expected);
        if expected.last().is_none_or(|last| last != "...") {
            assert_eq!(process.out.rest(), "", "the manual lacks what {:?} says at last", typed.command);
        }
        assert_eq!(process.end().code, Some(0), "{}", typed.command);
    }

    /// With the ports that the server got.
    pub(crate) fn here(&self, lines: &[String]) -> Vec<String> {
        let Some((quic, admin)) = &self.ports else { return lines.to_vec() };
        let here =
            |line: &String| line.replace(":4433", &format!(":{quic}")).replace(":4434", &format!(":{admin}"));
        lines.iter().map(here).collect()
    }
}
