//! What `fanfare` makes and tells without a server: certificates, completions, manual pages and help.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{BINARY, fanfare, finish, run};

/// Every command, as it is typed.
const COMMANDS: [&[&str]; 20] = [
    &[],
    &["serve"],
    &["config"],
    &["listen"],
    &["send"],
    &["chat"],
    &["certs"],
    &["certs", "create"],
    &["token"],
    &["top"],
    &["demo"],
    &["admin"],
    &["admin", "connections"],
    &["admin", "revoke"],
    &["admin", "audit"],
    &["certs", "operator"],
    &["certs", "revoke"],
    &["certs", "show"],
    &["completions"],
    &["man"],
];

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn certificates_are_made_once_and_replaced_only_when_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".fanfare");
    let ended = run(home.path(), &["certs", "create", "--name", "chat.example", "--name", "192.0.2.1"]);
    let said = ended.printed();
    for words in [".fanfare/ca.pem", "--ca", ".fanfare/server.pem", ".fanfare/server-key.pem"] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    assert!(said.contains("chat.example, 192.0.2.1"), "{said}");
    let made = files(&state);
    run(home.path(), &["certs", "create"]).complains(1, &["ca.pem exists and is not overwritten", "--force"]);
    assert_eq!(files(&state), made, "nothing has changed");
    // Not even where only a part is there.
    fs::remove_file(state.join("ca.pem")).unwrap();
    run(home.path(), &["certs", "create"]).complains(1, &["exists and is not overwritten"]);
    assert!(!state.join("ca.pem").exists());

    run(home.path(), &["certs", "create", "--force"]).printed();
    let replaced = files(&state);
    for name in ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"] {
        assert_ne!(replaced[name], made[name], "{name}");
    }
    run(home.path(), &["certs", "create", "--state-dir", "x", "--name", "not a name"])
        .complains(1, &["\"not a name\""]);
    assert!(!home.path().join("x").exists(), "a wrong name is found before anything is made");
}

#[test]
fn certificates_are_shown_to_people_and_to_programs() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "show"])
        .complains(1, &[".fanfare/ca.pem does not exist", "fanfare certs create"]);
    assert!(!home.path().join(".fanfare").exists(), "looking makes nothing");
    run(home.path(), &["certs", "create"]).printed();
    let ended = run(home.path(), &["certs", "show"]);
    let shown = ended.printed();
    for words in [
        "CN=Fanfare development CA",
        "CN=Fanfare development server",
        "localhost, 127.0.0.1, ::1",
        "days left",
    ] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
    let ended = run(home.path(), &["certs", "show", "--json"]);
    let list: Vec<Value> = serde_json::from_str(ended.printed()).unwrap();
    let of = |name: &str| list.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("file"), [".fanfare/ca.pem", ".fanfare/server.pem"]);
    assert_eq!(of("is_ca"), [true, false]);
    for said in of("sha256").into_iter().chain(of("serial")) {
        assert!(shown.contains(said.as_str().unwrap()), "both say the same");
    }
    // Whoever has a certificate, too, and no keys.
    run(home.path(), &["certs", "operator", "--name", "oncall", "--role", "viewer"]).printed();
    run(home.path(), &["certs", "user", "--name", "sensor-1"]).printed();
    let ended = run(home.path(), &["certs", "show", "--json"]);
    let list: Vec<Value> = serde_json::from_str(ended.printed()).unwrap();
    let of = |name: &str| list.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    let state = ["ca", "server", "operator-oncall", "user-sensor-1"];
    assert_eq!(of("file"), state.map(|name| format!(".fanfare/{name}.pem")));
    // None of them is overwritten, and how to be rid of one does not cost the authority.
    for (kind, more) in [("operator", &["--role", "viewer"][..]), ("user", &[])] {
        let name = if kind == "user" { "sensor-1" } else { "oncall" };
        let again = run(home.path(), &[&["certs", kind, "--name", name], more].concat());
        again.complains(1, &["exists and is not overwritten", "--name", "revoke"]);
        assert!(!format!("{again:?}").contains("--force"), "{again:?}");
    }
    let ended = run(home.path(), &["certs", "show", ".fanfare/server.pem"]);
    assert!(!ended.printed().contains("development CA\n  valid"), "{ended:?}");
    let ended = run(home.path(), &["certs", "show", ".fanfare/server-key.pem"]);
    ended.complains(1, &["server-key.pem holds a private key, not a certificate"]);
}

#[test]
fn completions_know_every_command_and_bash_can_read_its_own() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(home.path(), &["completions", shell]);
        for words in ["serve", "listen", "send", "chat", "certs", "to-group"] {
            assert!(ended.printed().contains(words), "{shell}'s does not know {words}");
        }
    }
    let script = run(home.path(), &["completions", "bash"]);
    let checked = finish(Command::new("bash").arg("-n"), script.printed().as_bytes());
    assert_eq!(checked.printed(), "");
    // And it completes: asked by bash what may follow `fanfare se`, it says so.
    let ask = "source /dev/stdin; COMP_WORDS=(fanfare se); COMP_CWORD=1; _fanfare fanfare se fanfare; echo ${COMPREPLY[@]}";
    let asked = finish(Command::new("bash").args(["-c", ask]), script.printed().as_bytes());
    assert_eq!(asked.printed().trim(), "serve send");
    run(home.path(), &["completions", "cmd.exe"]).complains(2, &["cmd.exe", "bash", "zsh", "fish"]);
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["man", "new/pages"]).printed();
    let pages = files(&home.path().join("new/pages"));
    for command in COMMANDS {
        let name = [&["fanfare"], command].concat().join("-") + ".1";
        let page = pages.get(&name).unwrap_or_else(|| panic!("{name} is not in {:?}", pages.keys()));
        let page = String::from_utf8(page.clone()).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    fs::write(home.path().join("file"), "").unwrap();
    run(home.path(), &["man", "file"]).complains(1, &["manual pages to file", "give another DIR"]);
}

#[test]
fn help_fits_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        for flag in ["--help", "-h"] {
            // Also in a wide terminal.
            let mut help = fanfare(home.path(), &[command, &[flag]].concat());
            let ended = finish(help.env("COLUMNS", "200"), b"");
            let said = ended.printed();
            assert!(said.contains("Usage: fanfare"), "{command:?}: {said}");
            for line in said.lines() {
                assert!(
                    line.chars().count() <= 100,
                    "{command:?} {flag}: {} columns:\n{line}",
                    line.chars().count()
                );
            }
        }
    }
}

#[test]
fn help_says_every_variable() {
    let home = tempfile::tempdir().unwrap();
    for (command, variables) in [
        (
            "serve",
            &["FANFARE_LISTEN", "FANFARE_DEV", "FANFARE_STATE_DIR", "FANFARE_CONFIG", "FANFARE_LOG"][..],
        ),
        ("listen", &["FANFARE_SERVER", "FANFARE_USER", "FANFARE_CA", "FANFARE_STATE_DIR"]),
        ("send", &["FANFARE_SERVER", "FANFARE_USER", "FANFARE_CA", "FANFARE_STATE_DIR"]),
        ("certs create", &["FANFARE_STATE_DIR"]),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ended = run(home.path(), &arguments);
        for variable in variables {
            let help = ended.printed().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains(&format!("[env: {variable}=")), "{command}: {variable}");
        }
    }
}

#[test]
fn what_is_not_a_command_is_refused() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["frobnicate"]).complains(2, &["'frobnicate'", "--help"]);
    run(home.path(), &["serv"]).complains(2, &["'serv'", "'serve'"]);
    run(home.path(), &["certs", "made"]).complains(2, &["'made'"]);
    run(home.path(), &["serve", "--devel"]).complains(2, &["'--devel'", "'--dev'"]);
    // Nothing at all: the help, where errors go, and not a success.
    let ended = run(home.path(), &[]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""));
    assert!(ended.err.contains("fanfare serve --dev"), "the help shows how to begin: {ended:?}");
    let ended = run(home.path(), &["--version"]);
    assert_eq!(ended.printed(), concat!("fanfare ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn output_that_nobody_reads_is_no_reason_to_complain() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["certs", "create"]).printed();
    for arguments in ["completions bash", "config", "certs show", "serve --help"] {
        // The shell's `:` reads nothing and ends; the pipe is closed before anything is written to it, or soon after.
        let mut command = Command::new("sh");
        let script = format!("exec 3>&1; {{ \"$0\" {arguments} 2>&3; }} | :");
        command.args(["-c", &script, BINARY]).current_dir(home.path());
        support::without_our_variables(&mut command);
        assert_eq!(finish(&mut command, b"").printed(), "", "{arguments}");
    }
}
