//! `fanfare top` in a real terminal, against a real server with real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use support::terminal::Terminal;
use support::{BINARY, Server, Signal, run};

fn has<'a>(words: &'a [&str]) -> impl Fn(&[&str]) -> bool + 'a {
    move |lines| words.iter().all(|words| lines.iter().any(|line| line.contains(words)))
}

#[test]
fn an_operator_finds_somebody_gets_them_out_and_lets_them_in_again() {
    let server = Server::start();
    let (mut alice, _) = server.listener("alice", "room-1", &["--join", "lobby"]);
    assert_eq!(alice.object()["group"], "lobby");
    let (_bob, _) = server.listener("bob", "room-1", &[]);
    let terminal = Terminal::open(&server, "top");
    terminal.shows(
        "the overview",
        has(&["2 connections  2 users  2 groups", "developer, operator", "live", "delivered"]),
    );
    // By group to its members, and to one of them.
    terminal.types("4");
    terminal.shows("the groups", has(&["room-1", "lobby", "MEMBERS"]));
    terminal.press("Enter");
    terminal.shows("the members", has(&["› group room-1", "alice", "bob"]));
    terminal.types("/ali");
    terminal.shows("only alice", |lines| has(&["alice", "1 of 2 rows"])(lines) && !has(&["bob "])(lines));
    terminal.press("Enter");
    terminal.press("Enter");
    terminal.shows("all about her", has(&["user        alice", "groups      lobby  room-1", "round trip"]));
    // Out of all rooms, but not out of the lobby; told before it is done.
    terminal.types("r");
    terminal.shows("the dialog, with the group that one came from", has(&["Revoke alice", "group   room-1"]));
    terminal.press("BSpace");
    terminal.types("*");
    terminal.press("Tab");
    terminal.types("2h");
    terminal.press("Tab");
    terminal.types("too loud");
    terminal.shows("what it would do", has(&["group   room-*", "this removes 1 connection (room-1 1)"]));
    terminal.press("Enter");
    terminal.confirms("the receipt", has(&["revoked: 1 connection (room-1 1); record 1"]));
    let removed = alice.object();
    assert_eq!((&removed["kind"], &removed["reason"]), (&"removed".into(), &"too loud".into()));
    // Back to the members: she is gone from them, and bob is not. Two Escapes that come in one piece are one to a
    // program, so that a person waits for what the first one does, too.
    terminal.press("Escape");
    terminal.shows("the members, with the filter", has(&["› group room-1", "with \"ali\" in them"]));
    terminal.press("Escape");
    terminal.shows("the members without her", |lines| {
        has(&["› group room-1", "bob", "1 row"])(lines) && !has(&["alice  "])(lines)
    });
    terminal.types("5");
    terminal.shows("the ban", has(&["alice", "group room-*", "too loud", "developer"]));
    assert_eq!(server.run(&["listen", "--user", "alice", "--join", "room-1"]).code, Some(1));
    terminal.types("u");
    terminal.shows("whether to lift it", has(&["Lift", "alice may be in room-* again", "F2 does it"]));
    terminal.confirms("nobody is banned", has(&["restored:", "nobody is banned"]));
    let (_again, _) = server.listener("alice", "room-1", &[]);
    terminal.types("4");
    terminal.shows("both in the room", |lines| {
        lines.iter().any(|line| line.split_whitespace().take(3).eq(["room-1", "2", "2"]))
    });
    // The selection stayed on the other room when they changed places.
    terminal.types("g");
    terminal.press("Enter");
    terminal.shows("her among the members again", has(&["› group room-1", "alice  ", "bob", "2 rows"]));
    terminal.types("6");
    terminal
        .shows("the audit", has(&["restore user=alice groups=room-*", "revoke user=alice groups=room-*"]));
    terminal.types("q");
    let (code, _) = terminal.finished();
    assert_eq!(code, 0);
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let server = Server::start();
    for end in ["q", "C-c", "kill"] {
        let terminal = Terminal::open(&server, "top");
        terminal.shows("the overview", has(&["live"]));
        match end {
            "kill" => rustix::process::kill_process(terminal.process(), Signal::TERM).unwrap(),
            key => terminal.press(key),
        }
        let (code, screen) = terminal.finished();
        assert_eq!(code, 0, "{end}: {screen}");
        assert!(!screen.contains("Overview"), "{end}: the screen from before is back: {screen}");
    }
}

#[test]
fn a_server_that_is_killed_is_missed_and_found_again() {
    let server = Server::start();
    let (_alice, _) = server.listener("alice", "room", &[]);
    let terminal = Terminal::open(&server, "top");
    terminal.types("2");
    terminal.shows("alice", has(&["alice", "live"]));
    terminal.resizes(40, 10);
    terminal.shows("what it needs", has(&["needs 60 columns and 12 rows"]));
    // A storm of sizes, and then of keys: what no key is, sequences of no terminal, half of one, and bytes that are no
    // text.
    for round in 0..40_u16 {
        terminal.resizes(2 + (round * 37) % 200, 2 + (round * 13) % 50);
    }
    terminal.resizes(100, 30);
    terminal.types("zzz\\~%&\u{7f}\u{1}\u{0b}日本");
    for bytes in
        ["1b 5b 39 39 39 7e", "1b 5b 3c 30 3b 4d", "1b 4f 5a", "ff fe 80", "1b 5d 30 3b 78 07", "1b 1b 1b"]
    {
        terminal.sends_bytes(bytes);
    }
    // Whatever that opened is closed, and the view is the one that was open.
    for _ in 0..4 {
        terminal.press("Escape");
    }
    terminal.types("2");
    terminal.shows("as before", has(&["alice", "live", "1 row"]));
    let server = server.killed_and_restarted(&["--dev"]);
    terminal.shows("the restarted server, to which alice has come back", has(&["live", "alice", "up "]));
    server.run(&["admin", "ban", "nobody"]).printed();
    terminal.types("5");
    terminal.shows("what was done since", has(&["WHO", "nobody  ", "1 row"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
}

/// It was shown as live, with a time that went on, until QUIC gave it up half a minute later.
#[test]
fn a_server_that_stands_still_is_not_live_and_an_idle_one_is() {
    let server = Server::start();
    let terminal = Terminal::open(&server, "top");
    // The word alone is in `delivered`, too.
    terminal.shows("the overview", has(&["operator  live"]));
    server.process.signal(Signal::STOP);
    terminal.shows("that nothing comes", has(&["no news for "]));
    server.process.signal(Signal::CONT);
    terminal.shows("that it goes on, though nothing happens there", has(&["operator  live"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
}

/// It tried again for ever, with the reason cut off.
#[test]
fn whoever_is_revoked_is_told_so_in_full_and_the_dashboard_ends() {
    let server = Server::start();
    server.run(&["certs", "operator", "--name", "guest", "--role", "viewer"]).printed();
    let certificate = server.state().join("operator-guest.pem");
    let top = format!("top --operator-cert '{}'", certificate.display());
    // Some lines before, as tmux scrolls the first ones away.
    let terminal = Terminal::open_with(&server, "echo; echo; echo;", &top);
    terminal.shows("a viewer's dashboard", has(&["guest, viewer  live"]));
    server.run(&["certs", "revoke", "guest"]).printed();
    let (code, screen) = terminal.finished();
    assert_eq!(code, 1, "{screen}");
    // The terminal breaks the line where it likes.
    let said = screen.replace('\n', "");
    for words in ["does not take this certificate", "(code 3011)", "fanfare certs operator"] {
        assert!(said.contains(words), "{words} is not in\n{screen}");
    }
}

#[test]
fn the_demonstration_is_a_crowd_with_a_dashboard_on_top() {
    // Only for the terminal's sake: the demonstration has a server of its own.
    let server = Server::start();
    let terminal = Terminal::open(&server, "demo --users 30");
    terminal.shows("everybody", has(&["30 connections", "developer, operator", "live"]));
    terminal.types("4");
    terminal.shows("the rooms", has(&["lobby", "30"]));
    terminal.types("2");
    // One is slow, because it reads nothing; another is far away.
    terminal.shows("the crowd", |lines| {
        // A round trip of 140 ms, and more where the machine is busy.
        let far = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words
                .windows(2)
                .any(|pair| pair[1] == "ms" && pair[0].parse::<f64>().is_ok_and(|rtt| rtt >= 100.0))
        };
        has(&["30 rows", "!app"])(lines) && lines.iter().any(far)
    });
    terminal.types("x");
    terminal.shows("the dialog", has(&["Close connection", "this closes 1 connection"]));
    terminal.confirms("the receipt", has(&["closed: 1 connection; record 1"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
    server.run(&["demo"]).complains(2, &["needs a terminal"]);
    server.run(&["demo", "--users", "0"]).complains(2, &["--users"]);
}

#[test]
fn a_snapshot_is_text_and_without_a_terminal_that_is_all_there_is() {
    let server = Server::with(&["--dev", "--names", "any"]);
    let (_alice, id) = server.listener("a\u{1b}[2Jlice", "room", &[]);
    let ended = server.run(&["top", "--once"]);
    let text = ended.printed();
    for words in [
        "[Overview]",
        "1 connection  1 user  1 group",
        "[Connections]",
        "a\\u{1b}[2Jlice",
        id.as_str(),
        "[Audit]",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.replace('\n', "").chars().any(char::is_control));
    server.run(&["top"]).complains(2, &["needs a terminal", "--once"]);
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["top", "--once"]).complains(1, &["no operator's certificate"]);
}

#[test]
fn what_is_pasted_is_text_and_no_orders() {
    let server = Server::start();
    let (_alice, _) = server.listener("alice", "room", &[]);
    let terminal = Terminal::open(&server, "top");
    terminal.types("3");
    terminal.shows("alice", has(&["alice", "live"]));
    terminal.pastes("o\nx\nq\n");
    terminal.shows("that it is no order", has(&["pasted text is no order", "alice"]));
    terminal.types("x");
    terminal.pastes("bye\nq\n");
    terminal.shows("its first line in the field", has(&["Close alice", "reason  bye", "F2 does it"]));
    // A terminal that marks nothing sends it as keys, with the sequence of F2 in the same burst: it fills the field.
    // Wherever that stands in it: at its beginning it carried the action out.
    terminal.sends_bytes("1b 4f 51 20 6e 6f 77 1b 4f 51 0a 1b 4f 51");
    terminal.shows("why it was not taken", has(&["F2 counts where nothing else is typed"]));
    // With what types nothing behind it: Ctrl-Z, the mouse, and that the window is looked at.
    for company in ["1a", "1b 5b 3c 33 35 3b 35 3b 35 4d"] {
        terminal.sends_bytes(&format!("1b 4f 51 {company}"));
        // For as long as it takes to ask some times, which is longer than it would be held.
        for _ in 0..10 {
            let connections = server.run(&["admin", "connections"]).out;
            assert!(connections.contains("alice"), "{company} carried it out: {connections}");
        }
    }
    terminal.shows("the dialog still", has(&["reason  bye now", "this closes 1 connection"]));
    terminal.confirms("the act, by a key that came alone", has(&["closed: 1 connection; record 1"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
}

#[test]
fn whatever_ends_it_the_terminal_is_given_back() {
    let server = Server::start();
    for signal in [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP] {
        let terminal = Terminal::open(&server, "top");
        terminal.shows("the dashboard", has(&["live", "Overview"]));
        rustix::process::kill_process(terminal.process(), signal).unwrap();
        let (code, screen) = terminal.finished();
        assert_eq!(code, 0, "{signal:?}");
        assert!(!screen.contains("Overview"), "{screen}");
    }
}

#[test]
fn it_stops_and_goes_on_like_any_program() {
    let server = Server::start();
    // Where nobody controls jobs, nobody would take it up again: it hung for good.
    let terminal = Terminal::open(&server, "top");
    terminal.shows("the dashboard", has(&["live", "Overview"]));
    terminal.press("C-z");
    terminal.shows("that it goes on", has(&["no shell is there", "Overview"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
    // A shell that does, which goes on when the job stops, and takes it up again. With what wraps the command: it hung,
    // too.
    let command = format!(
        "-h > /dev/null; ('{BINARY}' top; echo left $?); echo one; read key; fg; echo two; read key; fg"
    );
    let terminal = Terminal::open_with(&server, "set -m;", &command);
    terminal.shows("the dashboard", has(&["live", "Overview"]));
    for (by_signal, stops) in [(false, "one"), (true, "two")] {
        let process = terminal.process();
        if by_signal {
            rustix::process::kill_process(process, Signal::TSTP).unwrap();
        } else {
            terminal.press("C-z");
        }
        terminal
            .shows("the terminal as it was", |lines| lines.contains(&stops) && !has(&["Overview"])(lines));
        terminal.shows("the process, stopped", |_| stopped(process));
        terminal.press("Enter");
        terminal.shows("the dashboard again", has(&["live", "Overview"]));
    }
    terminal.types("2");
    terminal.shows("that it takes keys", has(&["SLOW  USER"]));
    terminal.types("q");
    assert_eq!(terminal.finished().0, 0);
}

fn stopped(process: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn a_terminal_that_cannot_show_it_gets_a_sentence() {
    let server = Server::start();
    for set in ["TERM=dumb", "TERM=", "TERM=unknown"] {
        let (code, screen) = Terminal::open_with(&server, set, "top").finished();
        // The beginning is scrolled away when tmux says that the pane has ended.
        assert_eq!(code, 2, "{screen}");
        assert!(screen.contains("a snapshot to any terminal"), "{screen}");
    }
    let terminal = Terminal::open_with(&server, "stty cols 1 rows 1; echo; echo;", "top");
    let (code, screen) = terminal.finished();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("the terminal has 1 columns and 1 rows"), "{screen}");
}
