//! The README's own commands, run as they stand there, with the output that stands below them.
//!
//! In: the fenced blocks of README.md that have `<!-- test: NAME -->` on the line above. In a block of `console`, a line that
//! begins with `$ ` is a command and the lines below it are its output; in one of `sh`, every line is a command. In the
//! output `...` stands for anything, and on a line by itself for any number of lines. What differs from what a reader does:
//! the binary is the one that the tests were built with, the port is a free one, and it happens in an empty directory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::{BINARY, Process, Stream, without_our_variables};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The port that the README has.
const PORT: &str = ":4433";

#[derive(Debug, PartialEq)]
struct Block {
    name: String,
    commands: Vec<Typed>,
}

#[derive(Debug, PartialEq)]
struct Typed {
    command: String,
    output: Vec<String>,
}

/// The marked blocks of a text in Markdown.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
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
                    commands.push(Typed { command: command.to_owned(), output: Vec::new() });
                }
                (None, Some(typed)) => typed.output.push(line.to_owned()),
                (None, None) => panic!("the block {name} has output before its first command: {line:?}"),
            }
        }
        assert!(!commands.is_empty(), "the block {name} has no command");
        blocks.push(Block { name: name.to_owned(), commands });
    }
    blocks
}

/// Whether a line is as the README has it.
fn is_like(line: &str, pattern: &str) -> bool {
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
fn follow(out: &mut Stream, expected: &[String]) {
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
        assert!(is_like(&line, pattern), "the README has {pattern:?}, and the command says {line:?}");
        may_skip = false;
    }
}

/// Starts a command of the README in `home`. What it says on stderr comes with what it says on stdout, as on a terminal.
fn start(typed: &Typed, home: &Path, port: &str) -> Process {
    let rest =
        typed.command.strip_prefix("cargo run --release -- ").or(typed.command.strip_prefix("fanfare "));
    let rest = rest.unwrap_or_else(|| panic!("not a command of fanfare: {}", typed.command));
    let mut command = Command::new("sh");
    // In the shell's place, so that it ends when we end it.
    command.args(["-c", &format!("exec 2>&1; exec '{BINARY}' {rest}")]).current_dir(home);
    without_our_variables(&mut command);
    command.env("FANFARE_LISTEN", "127.0.0.1:0").env("FANFARE_SERVER", format!("127.0.0.1{port}"));
    Process::start(&mut command)
}

#[test]
fn the_readme_does_what_it_says() {
    let mut blocks = blocks(&std::fs::read_to_string(README).unwrap());
    let mut take = |name: &str| {
        let at = blocks.iter().position(|block| block.name == name);
        let block = blocks
            .remove(at.unwrap_or_else(|| panic!("README.md has no block marked <!-- test: {name} -->")));
        assert_eq!(block.commands.len(), 1, "the block {name} is one command");
        block.commands.into_iter().next().unwrap()
    };
    let (serve, listen, send) = (take("serve"), take("listen"), take("send"));
    let home = tempfile::tempdir().unwrap();
    let home = home.path();

    let mut server = start(&serve, home, PORT);
    let ready = server.out.until("ready quic=");
    let port = &ready[ready.rfind(':').unwrap()..];
    let here =
        |lines: &[String]| -> Vec<String> { lines.iter().map(|line| line.replace(PORT, port)).collect() };
    follow(&mut server.out.again(), &here(&serve.output));

    let mut listener = start(&listen, home, port);
    let expected = here(&listen.output);
    // The rest comes when something is sent.
    let joined = expected.iter().position(|line| line.contains("joined")).unwrap() + 1;
    follow(&mut listener.out, &expected[..joined]);

    let others = blocks.into_iter().flat_map(|block| block.commands);
    for typed in std::iter::once(send).chain(others) {
        let mut process = start(&typed, home, port);
        let expected = here(&typed.output);
        follow(&mut process.out, &expected);
        if expected.last().is_none_or(|last| last != "...") {
            assert_eq!(process.out.rest(), "", "the README lacks what {:?} says at last", typed.command);
        }
        assert_eq!(process.end().code, Some(0), "{}", typed.command);
    }
    follow(&mut listener.out, &expected[joined..]);
}

#[test]
fn only_marked_blocks_are_run_and_each_line_is_what_it_looks_like() {
    let markdown = "\
```sh
make test
```

<!-- test: one -->
```console
$ fanfare serve
...
ready on ...
$ fanfare config
```
<!-- not a test -->
<!-- test: two -->
```sh
fanfare config

fanfare serve
```
";
    let typed = |command: &str, output: &[&str]| Typed {
        command: command.to_owned(),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    let one = vec![typed("fanfare serve", &["...", "ready on ..."]), typed("fanfare config", &[])];
    let two = vec![typed("fanfare config", &[]), typed("fanfare serve", &[])];
    let expected =
        [Block { name: "one".to_owned(), commands: one }, Block { name: "two".to_owned(), commands: two }];
    assert_eq!(blocks(markdown), expected);
}

#[test]
fn three_dots_are_anything() {
    for (line, pattern, is) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "...", true),
        ("", "...", true),
        ("as alice, 4F", "as alice, ...", true),
        ("as alice", "as alice, ...", false),
        ("2026 INFO made it: done", "... INFO ... it...", true),
        ("a b c", "a...b...d", false),
        ("ab", "ab...b", false),
    ] {
        assert_eq!(is_like(line, pattern), is, "{line:?} {pattern:?}");
    }
}
