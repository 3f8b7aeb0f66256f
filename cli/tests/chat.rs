//! `fanfare chat`: between programs, by way of pipes, and for a person, in a real terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use serde_json::Value;
use support::terminal::Terminal;
use support::{Process, Server, Signal, finish};

const HELP: &str = "* /who counts the members, /to USER TEXT speaks to one user, /quit leaves";

/// A chat in the lobby, by way of pipes, that has joined.
fn chat(server: &Server, user: &str, joined: &str) -> Process {
    let mut process = server.spawn(&["chat", "--user", user, "--join", "lobby"]);
    assert_eq!(process.out.line(), HELP);
    assert_eq!(process.out.line(), joined);
    process
}

#[test]
fn two_chats_hear_each_other_and_not_themselves() {
    let server = Server::start();
    let mut alice = chat(&server, "alice", "* joined lobby, the first member");
    let mut bob = chat(&server, "bob", "* joined lobby, 2 members");
    alice.say("Hello, Bob.");
    assert_eq!(bob.out.line(), "[lobby] alice: Hello, Bob.");
    bob.say("  Hello, Alice.  ");
    assert_eq!(alice.out.line(), "[lobby] bob: Hello, Alice.");
    alice.say("");
    alice.say("/who");
    assert_eq!(alice.out.line(), "* 2 connections are in lobby");
    alice.say("/to bob Between us.");
    assert_eq!(bob.out.line(), "[to you] alice: Between us.");
    alice.say("/to carol Where are you?");
    assert_eq!(alice.out.line(), "* carol is not here");
    alice.say("/to bob");
    assert_eq!(alice.out.line(), "* write /to USER TEXT");
    alice.say("/dance");
    assert_eq!(alice.out.line(), HELP);
    alice.say(&"x".repeat(70_000));
    assert_eq!(alice.out.line(), "* the payload has 70000 bytes; the server allows 65536");
    // What a person in the group writes cannot do anything to the other's terminal.
    alice.say("\x1b[2J");
    assert_eq!(bob.out.line(), "[lobby] alice: \\u{1b}[2J");

    alice.say("/quit");
    let ended = alice.end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    bob.say("/who");
    assert_eq!(bob.out.line(), "* 1 connection is in lobby");
    // The end of what is to be said is the end of the chat.
    bob.stdin.take();
    assert_eq!(bob.end().code, Some(0));
}

#[test]
fn what_is_piped_into_a_chat_is_said_before_it_leaves() {
    let server = Server::start();
    let (mut listener, _) = server.listener("carol", "lobby", &[]);
    let mut command = server.client(&["chat", "--user", "alice", "--join", "lobby"]);
    finish(&mut command, b"one\ntwo\nthree").printed();
    let texts: Vec<Value> = (0..3).map(|_| listener.object()["text"].clone()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[test]
fn a_chat_that_is_told_to_stop_leaves_politely() {
    let server = Server::start();
    for signal in [Signal::TERM, Signal::INT] {
        let alice = chat(&server, "alice", "* joined lobby, the first member");
        alice.signal(signal);
        assert_eq!(alice.end().code, Some(0));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_server_that_is_gone() {
    let server = Server::start();
    let alice = chat(&server, "alice", "* joined lobby, the first member");
    // It is there and says nothing, so that leaving takes as long as it may.
    server.process.signal(Signal::STOP);
    // Two different signals: two of a kind may arrive as one.
    alice.signal(Signal::INT);
    alice.signal(Signal::TERM);
    let ended = alice.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("left without an answer from the server"), "{ended:?}");
}

/// A chat of alice's in a terminal, when it can be typed into.
fn open(server: &Server) -> Terminal {
    let terminal = Terminal::open(server, "chat --user alice --join lobby");
    terminal.shows_lines(&[HELP, "* joined lobby, the first member", ">"]);
    terminal
}

#[test]
fn a_line_that_is_half_typed_survives_a_message() {
    let server = Server::start();
    let terminal = open(&server);
    let mut bob = chat(&server, "bob", "* joined lobby, 2 members");
    terminal.types("half a li");
    terminal.shows_lines(&["> half a li"]);
    bob.say("Am I interrupting?");
    // Above the line, which stands as it stood.
    terminal.shows_lines(&[HELP, "[lobby] bob: Am I interrupting?", "> half a li"]);
    terminal.types("ne");
    terminal.press("Enter");
    assert_eq!(bob.out.line(), "[lobby] alice: half a line");
    terminal.types("/who");
    terminal.press("Enter");
    terminal.shows_lines(&["> half a line", "> /who", "* 2 connections are in lobby", ">"]);
    // The line before the last one is two arrows away.
    terminal.press("Up");
    terminal.press("Up");
    terminal.press("Enter");
    assert_eq!(bob.out.line(), "[lobby] alice: half a line");
    terminal.types("/quit");
    terminal.press("Enter");
    let (code, screen) = terminal.finished();
    assert_eq!(code, 0, "{screen}");
}

#[test]
fn the_terminal_is_as_before_after_ctrl_d_and_after_ctrl_c() {
    let server = Server::start();
    for (typed, key) in [("", "C-d"), ("", "C-c"), ("half a li", "C-c")] {
        let terminal = open(&server);
        terminal.types(typed);
        terminal.press(key);
        let (code, screen) = terminal.finished();
        assert_eq!(code, 0, "{key}: {screen}");
    }
}

#[test]
fn the_terminal_is_as_before_when_the_server_dies_and_does_not_come_back() {
    let server = Server::start();
    let terminal = open(&server);
    let (_home, _) = server.kill();
    // The editor lost what came in the same read behind the end of a line.
    terminal.types_ahead("Is anyone there?", "half a li");
    terminal.shows_lines(&["> half a li"]);
    terminal.press("C-c");
    // There is nobody to confirm what was said last.
    let (code, screen) = terminal.finished();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("fanfare: ") && screen.contains("may be lost"), "{screen}");
}

#[test]
fn the_terminal_is_as_before_when_the_server_ends_the_chat() {
    let server = Server::start();
    let terminal = open(&server);
    terminal.types("half a li");
    terminal.shows_lines(&["> half a li"]);
    // It comes back on the same port as one that does not take a name without proof.
    let (home, address) = server.kill();
    let files = ["--cert", "state/server.pem", "--key", "state/server-key.pem"];
    let _server = Server::in_home(home, &address, &files);
    let (code, screen) = terminal.finished();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("most likely it was restarted"), "{screen}");
    assert!(screen.contains("> half a li"), "{screen}");
    assert!(screen.contains("(code 3002)"), "{screen}");
}
